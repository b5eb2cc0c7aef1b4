//! Breadth-first search over all states, and the shortest way to a wrong one.
//!
//! States are shared out by their hash among as many tables as there are threads. A chunk of states is expanded by all
//! threads; then each adds to its own table what belongs there. So no table is ever locked, and runs are repeatable.

use crate::reduce::canonical;
use crate::rules::{Setup, fault};
use crate::state::{START, State};
use crate::steps::Steps;
use crate::table::{BATCH, Table, hash};
use std::panic::resume_unwind;
use std::thread;

const THREADS: usize = 2;
const CHUNK: usize = 1 << 15;

/// A rule that is broken, and the shortest way there.
#[derive(Debug)]
pub struct Violation {
    pub text: &'static str,
    pub trace: Vec<String>,
}

/// What a search has found.
#[derive(Debug)]
pub struct Outcome {
    pub states: usize,
    pub steps: usize,
    /// Steps of the longest of the shortest ways.
    pub depth: usize,
    pub bytes: usize,
    /// Whether all states were seen; not when there is a violation, or too many states.
    pub complete: bool,
    pub violation: Option<Violation>,
}

/// A state that was reached. wrong: what the step to it has broken.
struct Found {
    state: u128,
    parent: u32,
    wrong: Option<&'static str>,
}

/// Where a state is: its table and its index there.
#[derive(Clone, Copy)]
struct Place(u32);

impl Place {
    fn new(table: usize, index: usize) -> Self {
        Self(u32::try_from(index * THREADS + table).unwrap_or(u32::MAX))
    }

    fn table(self) -> usize {
        self.0 as usize % THREADS
    }

    fn index(self) -> usize {
        self.0 as usize / THREADS
    }
}

fn table_of(state: u128) -> usize {
    (hash(state) >> 32) % THREADS
}

/// Visit every state that can be reached, until one is wrong or there are more than `states_max`.
#[must_use]
pub fn search(setup: &Setup, states_max: usize) -> Outcome {
    let mut tables: [Table; THREADS] = std::array::from_fn(|_| Table::new());
    let mut outcome = Outcome { states: 0, steps: 0, depth: 0, bytes: 0, complete: false, violation: None };
    let start = canonical(&START, setup);
    tables[table_of(start)].insert(start, u32::MAX);
    let mut begin = [0; THREADS];
    loop {
        let end: [usize; THREADS] = std::array::from_fn(|index| tables[index].len());
        outcome.states = end.iter().sum();
        outcome.bytes = tables.iter().map(Table::bytes).sum();
        outcome.complete = begin == end;
        if outcome.complete || outcome.states > states_max {
            return outcome;
        }
        while begin != end {
            let until: [usize; THREADS] = std::array::from_fn(|index| end[index].min(begin[index] + CHUNK));
            let (found, steps) = expand(&tables, begin, until, setup);
            outcome.steps += steps;
            if let Some((place, text)) = add(&mut tables, &found, setup) {
                outcome.states = tables.iter().map(Table::len).sum();
                outcome.violation = Some(Violation { text, trace: trace(&tables, setup, place, text) });
                return outcome;
            }
            begin = until;
            if tables.iter().map(Table::len).sum::<usize>() > states_max {
                break;
            }
        }
        outcome.depth += 1;
    }
}

type Buckets = [Vec<Found>; THREADS];

/// Take every step out of the states of a chunk; for each thread, what it has found for each table.
fn expand(
    tables: &[Table; THREADS],
    begin: [usize; THREADS],
    end: [usize; THREADS],
    setup: &Setup,
) -> (Vec<Buckets>, usize) {
    let work = |own: usize| {
        let (mut steps, mut buckets, mut count) = (Steps::default(), Buckets::default(), 0);
        for index in begin[own]..end[own] {
            steps.fill(&State::unpack(tables[own].state(index)), setup);
            count += steps.all.len();
            for step in &steps.all {
                let state = canonical(&step.next, setup);
                buckets[table_of(state)].push(Found { state, parent: Place::new(own, index).0, wrong: step.wrong });
            }
        }
        (buckets, count)
    };
    let results = in_threads((0..THREADS).map(|own| move || work(own)));
    let count = results.iter().map(|(_, count)| count).sum();
    (results.into_iter().map(|(buckets, _)| buckets).collect(), count)
}

/// Add what was found; return where something wrong comes from.
fn add(tables: &mut [Table; THREADS], found: &[Buckets], setup: &Setup) -> Option<(Place, &'static str)> {
    let work = |own: usize, table: &mut Table| {
        let mut wrong = None;
        for batch in found.iter().flat_map(|buckets| buckets[own].chunks(BATCH)) {
            let mut states = [0; BATCH];
            states.iter_mut().zip(batch).for_each(|(state, item)| *state = item.state);
            let known = table.known(&states[..batch.len()]);
            for (item, known) in batch.iter().zip(known) {
                let new = !known && table.insert(item.state, item.parent);
                let check = || if new { fault(&State::unpack(item.state), setup.plants) } else { None };
                if wrong.is_none() {
                    wrong = item.wrong.or_else(check).map(|text| (Place(item.parent), text));
                }
            }
        }
        wrong
    };
    in_threads(tables.iter_mut().enumerate().map(|(own, table)| move || work(own, table))).into_iter().flatten().next()
}

fn in_threads<T: Send, F: FnOnce() -> T + Send>(jobs: impl Iterator<Item = F>) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, T>| thread.join().unwrap_or_else(|cause| resume_unwind(cause));
        running.into_iter().map(join).collect()
    })
}

/// The steps to a state, and one more that is wrong. Actors keep their names from the start to the end.
fn trace(tables: &[Table; THREADS], setup: &Setup, last: Place, text: &'static str) -> Vec<String> {
    let mut path = Vec::new();
    let mut place = last;
    loop {
        let table = &tables[place.table()];
        let parent = table.parent(place.index());
        if parent == u32::MAX {
            break;
        }
        path.push(table.state(place.index()));
        place = Place(parent);
    }
    let mut steps = Steps::default();
    let mut state = START;
    let mut lines = Vec::new();
    for wanted in path.into_iter().rev() {
        steps.fill(&state, setup);
        let Some(step) = steps.all.iter().find(|step| canonical(&step.next, setup) == wanted) else {
            lines.push("(a step is missing)".to_owned());
            return lines;
        };
        lines.push(step.text());
        state = step.next;
    }
    steps.fill(&state, setup);
    let wrong = steps.all.iter().find(|step| step.wrong.or_else(|| fault(&step.next, setup.plants)) == Some(text));
    lines.push(wrong.map_or_else(|| "(a step is missing)".to_owned(), |step| step.text()));
    lines
}
