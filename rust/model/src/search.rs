//! Breadth-first search over all states, level by level, so that the first fault found has a shortest trace.
//!
//! States are shared out among threads by their hash. In turns each thread expands some of its own states, then takes
//! in what all threads found for it, so nothing is locked and the result does not depend on timing.

use std::ops::Range;

use crate::canonical::{canonical, cleared};
use crate::collector::{collector_steps, crash_step};
use crate::invariants::{fault_of_state, fault_of_step, leak};
use crate::packing::{Packed, initial, pack, unpack, without_processes};
use crate::reader::reader_steps;
use crate::settings::Settings;
use crate::state::State;
use crate::step::{Action, Fault, Steps};
use crate::visited::{Visited, hash};
use crate::writer::{forget_steps, writer_steps};

/// States a thread expands before what was found is handed over.
const BATCH_STATES: usize = 1 << 14;

/// What a search found.
#[derive(Debug)]
pub struct Outcome {
    pub state_count: usize,
    pub step_count: usize,
    /// The number of steps to the state that is farthest from the start.
    pub depth: usize,
    /// The fault and a shortest way to it.
    pub found: Option<(Fault, Vec<Action>)>,
    /// All states within the bounds were seen; otherwise a fault or the limit on states came first.
    pub complete: bool,
}

/// The states that one thread owns.
#[derive(Default)]
struct Shard {
    visited: Visited,
    /// What is left when no process is, as far as it was checked for leaks.
    leak_checked: Visited,
    /// States of the level that are still to be expanded.
    open: Range<usize>,
}

/// What expanding a batch gave: successors for each shard with the number of their parent, steps, and the first fault.
struct Found {
    successors: Vec<Vec<(Packed, u32)>>,
    step_count: usize,
    fault: Option<(usize, Fault)>,
}

/// All that can happen next, whoever does it.
pub fn all_steps<'a>(settings: &'a Settings, state: &State) -> Steps<'a> {
    let mut steps = Steps::new(settings);
    forget_steps(state, &mut steps);
    for number in 0..settings.writers {
        writer_steps(state, number, &mut steps);
    }
    for number in 0..settings.collectors {
        collector_steps(state, number, &mut steps);
        crash_step(state, number, &mut steps);
    }
    if settings.reader {
        reader_steps(state, &mut steps);
    }
    steps
}

/// Visits every state within the bounds, or stops at the first fault.
///
/// # Panics
/// If the bounds do not fit the encoding (`Settings::fit`).
pub fn search(settings: &Settings) -> Outcome {
    assert!(settings.fit(), "bounds do not fit the encoding");
    let threads = settings.threads.max(1);
    let mut shards: Vec<Shard> = (0..threads).map(|_| Shard::default()).collect();
    let start = canonical(settings, &initial());
    shards[owner(&start, threads)].visited.insert(start, 0);
    let mut outcome = Outcome { state_count: 1, step_count: 0, depth: 0, found: None, complete: false };
    let mut last_len = vec![0; threads];
    loop {
        for (shard, last) in shards.iter_mut().zip(&mut last_len) {
            shard.open = *last..shard.visited.len();
            *last = shard.visited.len();
        }
        if shards.iter().all(|shard| shard.open.is_empty()) {
            outcome.complete = true;
            return outcome;
        }
        while shards.iter().any(|shard| !shard.open.is_empty()) {
            let found = in_parallel(&mut shards, |number, shard| expand(settings, threads, number, shard));
            outcome.step_count += found.iter().map(|found| found.step_count).sum::<usize>();
            if let Some(&(from, fault)) = found.iter().find_map(|found| found.fault.as_ref()) {
                outcome.found = Some((fault, trace(settings, &shards, from, fault)));
                return outcome;
            }
            in_parallel(&mut shards, |number, shard| {
                for &(state, parent) in found.iter().flat_map(|found| &found.successors[number]) {
                    shard.visited.insert(state, parent);
                }
            });
            outcome.state_count = shards.iter().map(|shard| shard.visited.len()).sum();
            if outcome.state_count > settings.states_max {
                return outcome;
            }
        }
        outcome.depth += usize::from(shards.iter().zip(&last_len).any(|(shard, last)| shard.visited.len() > *last));
    }
}

fn owner(state: &Packed, threads: usize) -> usize {
    // Bits that neither choose the slot nor matter much for the tag of `Visited`.
    usize::try_from(hash(state) >> 56).unwrap_or(0) % threads
}

/// Runs `work` on every shard, each in a thread of its own; a single one stays in this thread.
fn in_parallel<T: Send>(shards: &mut [Shard], work: impl Fn(usize, &mut Shard) -> T + Sync) -> Vec<T> {
    if let [shard] = shards {
        return vec![work(0, shard)];
    }
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> =
            shards.iter_mut().enumerate().map(|(number, shard)| scope.spawn(move || work(number, shard))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn expand(settings: &Settings, threads: usize, number: usize, shard: &mut Shard) -> Found {
    let mut found = Found { successors: vec![Vec::new(); threads], step_count: 0, fault: None };
    let batch = shard.open.start..shard.open.end.min(shard.open.start + BATCH_STATES);
    shard.open.start = batch.end;
    for index in batch {
        let from = index * threads + number;
        let parent = u32::try_from(from).unwrap_or(u32::MAX);
        let state = unpack(settings, &shard.visited.get(index));
        let rest = pack(settings, &without_processes(&state));
        if shard.leak_checked.insert(rest, 0)
            && let Some(fault) = leak(settings, &state)
        {
            found.fault = Some((from, fault));
            return found;
        }
        for step in all_steps(settings, &state).list {
            found.step_count += 1;
            if let Some(fault) = fault_of_step(settings, &state, &step) {
                found.fault = Some((from, fault));
                return found;
            }
            let next = canonical(settings, &step.next);
            found.successors[owner(&next, threads)].push((next, parent));
        }
    }
    found
}

/// The steps to a state, and the faulty one after it unless the state itself leaks. States are canonical, so the way
/// is walked again from the start with writers that keep their numbers.
fn trace(settings: &Settings, shards: &[Shard], from: usize, fault: Fault) -> Vec<Action> {
    let threads = shards.len();
    let start = canonical(settings, &initial());
    let mut way: Vec<Packed> = Vec::new();
    let mut number = from;
    loop {
        let visited = &shards[number % threads].visited;
        let state = visited.get(number / threads);
        if state == start {
            break;
        }
        way.push(state);
        number = visited.parent(number / threads) as usize;
    }
    let mut state = initial();
    let mut actions = Vec::new();
    for wanted in way.iter().rev() {
        let steps = all_steps(settings, &state).list;
        let step = steps.into_iter().find(|step| canonical(settings, &step.next) == *wanted);
        let Some(step) = step else { return actions };
        actions.push(step.action);
        state = cleared(settings, &step.next);
    }
    debug_assert_eq!(fault_of_state(settings, &state), None);
    if !matches!(fault, Fault::Leak(_)) {
        let kind = std::mem::discriminant(&fault);
        let last = all_steps(settings, &state).list.into_iter().find(|step| {
            fault_of_step(settings, &state, step).is_some_and(|fault| std::mem::discriminant(&fault) == kind)
        });
        actions.extend(last.map(|step| step.action));
    }
    actions
}
