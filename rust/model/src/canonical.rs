//! States that behave the same become the same state: what can have no effect any more is cleared, interchangeable
//! processes are put in order. Each rule here is exact (a bisimulation), none is a guess about what matters.

use crate::bugs::Bug;
use crate::collector::end_of_deletes;
use crate::packing::{Packed, pack};
use crate::settings::Settings;
use crate::state::{
    Collector, CollectorAt, INITIAL_NAMES, Job, MarkStage, Names, Reader, ReaderAt, State, Writer, WriterAt, members,
    only,
};
use crate::step::void;

/// The state without what can have no effect any more; processes and names keep their numbers.
pub fn cleared(settings: &Settings, state: &State) -> State {
    let mut state = *state;
    clear_processes(settings, &mut state);
    clear_names(settings, &mut state);
    state
}

/// The representative of all states that behave as this one.
pub fn canonical(settings: &Settings, state: &State) -> Packed {
    let state = cleared(settings, state);
    // What a writer is at does not depend on names, so orders in which that is not sorted need no look.
    let mut least: Option<Packed> = None;
    each_order(settings, &state, |order| {
        if order.writers[..settings.writers].is_sorted_by_key(stage) {
            let packed = arranged(settings, order);
            least = Some(least.map_or(packed, |least| least.min(packed)));
        }
    });
    least.unwrap_or_default()
}

/// Writers differ by number only, and their names by whose they are: all orders of them are one state.
fn each_order(settings: &Settings, state: &State, mut visit: impl FnMut(&State)) {
    visit(state);
    if settings.writers == 2 && stage(&state.writers[0]) >= stage(&state.writers[1]) {
        visit(&swapped(settings, state, 0, 1));
    }
    if settings.writers == 3 {
        let turned = swapped(settings, state, 0, 1);
        visit(&turned);
        for half in [state, &turned] {
            visit(&swapped(settings, half, 1, 2));
            visit(&swapped(settings, half, 0, 2));
        }
    }
}

fn stage(writer: &Writer) -> (WriterAt, Job, u8) {
    (writer.at, writer.job, writer.attempt)
}

/// Collectors have no names, so sorting them is enough.
fn arranged(settings: &Settings, state: &State) -> Packed {
    let mut state = *state;
    state.collectors[..settings.collectors].sort_unstable();
    pack(settings, &state)
}

/// A stale collector before C3 can only lose its race; one that has nothing left to delete goes on; a writer that is
/// done remembers nothing.
fn clear_processes(settings: &Settings, state: &mut State) {
    for number in 0..settings.writers {
        if state.writers[number].at == WriterAt::Done && !settings.has(Bug::ReplacedIsForgotten) {
            state.writers[number] = Writer { at: WriterAt::Done, ..Writer::default() };
        }
    }
    let may_win =
        settings.any(&[Bug::CondemnWithoutSwap, Bug::SweepWithoutSwap, Bug::FinishWithoutSwap, Bug::VoidByStoredLists]);
    // What a void commit's reader gets is complete or a clean error, whenever it looks: void stays void.
    let reader = state.reader;
    if reader.at == ReaderAt::Read
        && !settings.any(&[Bug::ReaderSkipsMissing, Bug::VoidByCondemned])
        && void(settings, state, usize::from(reader.commit))
    {
        state.reader = Reader::default();
    }
    let stored = state.some() | uploading(settings, state);
    for number in 0..settings.collectors {
        let me = &mut state.collectors[number];
        if me.at == CollectorAt::Delete {
            me.archives &= stored;
            if me.archives == 0 {
                end_of_deletes(settings, state, number);
            }
        }
        let me = &mut state.collectors[number];
        let harmless = match me.at {
            CollectorAt::Delete
            | CollectorAt::CleanArchives
            | CollectorAt::CleanCommits
            | CollectorAt::DeleteRecord
            | CollectorAt::TidyMarks => false,
            _ => me.stale && !may_win,
        };
        if harmless {
            *me = Collector::default();
        }
    }
}

/// Archives that a writer is about to create or to complete.
fn uploading(settings: &Settings, state: &State) -> Names {
    let mut names = 0;
    for (number, writer) in state.writers.iter().take(settings.writers).enumerate() {
        let before = match writer.at {
            WriterAt::Upload | WriterAt::UploadRest => true,
            WriterAt::Commit => settings.has(Bug::CommitBeforeArchive),
            _ => false,
        };
        if before {
            let attempt = if settings.has(Bug::ReuseName) { 0 } else { writer.attempt };
            names |= only(settings.name(number, attempt));
        }
    }
    names
}

/// Commits that exist, or that some process still has in hand.
fn commits_in_hand(settings: &Settings, state: &State) -> Names {
    let mut commits = state.records;
    for (number, writer) in state.writers.iter().take(settings.writers).enumerate() {
        if matches!(writer.at, WriterAt::Idle | WriterAt::Done) {
            continue;
        }
        if !matches!(writer.job, Job::Undelete | Job::Retain) && writer.at != WriterAt::ReadRoot {
            commits |= only(settings.name(number, writer.attempt));
        }
        commits |= only(usize::from(writer.target));
        if writer.job == Job::Retain {
            commits |= only(usize::from(writer.seen));
        }
    }
    if state.reader.at == ReaderAt::Read {
        commits |= only(usize::from(state.reader.commit));
    }
    for collector in &state.collectors[..settings.collectors] {
        if matches!(collector.at, CollectorAt::ListMarks | CollectorAt::RelistMarks | CollectorAt::DeleteRecord) {
            commits |= collector.commits;
        }
    }
    commits
}

/// A name that is not stored, not about to be, and not needed by a commit in hand never comes back: names are unique.
fn clear_names(settings: &Settings, state: &mut State) {
    let commits = commits_in_hand(settings, state);
    for commit in members(!commits) {
        state.needs[commit] = 0;
    }
    let names =
        members(commits).fold(state.some() | uploading(settings, state), |names, commit| names | state.needs[commit]);
    state.root.dead &= names;
    state.root.list &= names;
    state.orphans &= names;
    let cancelled_matter = settings.any(&[Bug::RescueIgnoresUndelete, Bug::TidyUndelete]);
    for (slot, mark) in state.marks.iter_mut().enumerate() {
        let moot = commits >> mark.commit & 1 == 0 || mark.stage == MarkStage::Cancelled && !cancelled_matter;
        if moot && mark.stage != MarkStage::Unused || mark.stage == MarkStage::Spent {
            mark.commit = 0;
            // A writer writes its mark once; those of users are counted.
            mark.stage = if slot < settings.forgets { MarkStage::Spent } else { MarkStage::Unused };
        }
    }
    let active = state.marks.iter().enumerate().filter(|(_, mark)| mark.stage == MarkStage::Active);
    let active = active.fold(0, |set, (slot, _)| set | only(slot));
    for writer in &mut state.writers[..settings.writers] {
        if writer.job == Job::Undelete {
            writer.seen &= active;
        }
    }
}

/// The same state with two writers' numbers exchanged, in everything that names one or what is its own.
fn swapped(settings: &Settings, state: &State, left: usize, right: usize) -> State {
    let mut next = *state;
    let width = settings.attempts;
    let places = (INITIAL_NAMES + left * width, INITIAL_NAMES + right * width, width);
    let names = |set: Names| exchange(set, places);
    let commit = |commit: u8| names(1 << commit).trailing_zeros().try_into().unwrap_or(0u8);
    let slots = (settings.forgets + left, settings.forgets + right, 1);

    next.volumes = state.volumes.map(names);
    next.records = names(state.records);
    next.needs = state.needs.map(names);
    for offset in 0..width {
        next.needs.swap(places.0 + offset, places.1 + offset);
    }
    next.protected = names(state.protected);
    next.marks.swap(slots.0, slots.1);
    for mark in &mut next.marks {
        mark.commit = commit(mark.commit);
    }
    next.root.list = names(state.root.list);
    next.root.dead = names(state.root.dead);
    next.orphans = names(state.orphans);
    next.writers.swap(left, right);
    for writer in &mut next.writers {
        writer.target = commit(writer.target);
        writer.seen = match writer.job {
            Job::Retain => commit(writer.seen),
            _ => exchange(writer.seen, slots),
        };
        writer.first = names(writer.first);
    }
    for collector in &mut next.collectors {
        // Tidying (a planted bug) keeps the number of a mark where archives stand.
        collector.archives = match collector.at {
            CollectorAt::TidyMarks => exchange(collector.archives, slots),
            _ => names(collector.archives),
        };
        collector.commits = names(collector.commits);
        collector.view = names(collector.view);
    }
    next.reader.commit = commit(state.reader.commit);
    next.reader.archives = names(state.reader.archives);
    next
}

/// A set of bits with two runs of the same width exchanged.
fn exchange(set: u8, (left, right, width): (usize, usize, usize)) -> u8 {
    let mask = (1u8 << width) - 1;
    let (a, b) = (set >> left & mask, set >> right & mask);
    set & !(mask << left | mask << right) | a << right | b << left
}
