//! What nobody can tell any more is forgotten, so that states which differ in nothing else are one.
//!
//! Sound because names are never used again (so not to be combined with `ReuseName`): an archive that is gone stays gone, and
//! a sweep list matters only through archives that are there and commits that are visible, coming or being read.

use crate::rules::{Setup, View};
use crate::state::{
    Collector, CollectorStep, FRESH_READER, FRESH_WRITER, Mask, Phase, ReaderStep, SLOTS, State, Task, Word, Writer,
    WriterStep,
};

/// The state without what cannot matter any more, writers and collectors put in order.
#[must_use]
pub fn canonical(state: &State, setup: &Setup) -> u128 {
    let state = if setup.reduced { reduce(state) } else { *state };
    let alike = setup.tasks[0] == setup.tasks[1];
    state.canonical(if alike { setup.writers } else { 1 }, setup.collectors)
}

fn reduce(state: &State) -> State {
    let mut next = *state;
    let view = View::new(state);
    if Phase::of(state.generation) == Phase::Sweep {
        next.list &= state.exists;
    }
    for collector in &mut next.collectors {
        if collector.step == CollectorStep::Delete {
            collector.first &= state.exists;
            if collector.first == 0 {
                collector.step = CollectorStep::ListRecords;
            }
        }
    }
    // Void is void for ever: whether this reader finishes or not, it proves nothing any more.
    if state.reader.step != ReaderStep::List && view.needs_of(state.reader.commit) & state.swept != 0 {
        next.reader = FRESH_READER;
    }
    let used = used(&next, &view);
    let kept = used | state.exists | next.list | held(&next);
    next.swept &= kept;
    next.ever &= kept;
    drop_marks(&mut next, &view);
    for index in 0..next.writers.len() {
        next.writers[index] = remembered(&next, index, used | kept);
    }
    next
}

/// Slots that a commit needs which is visible, coming or being read.
fn used(state: &State, view: &View) -> Mask {
    let mut used = 0;
    for slot in 0..SLOTS {
        let writer = &state.writers[usize::from(slot >= 4)];
        let coming = slot >= 2 && !matches!(writer.step, WriterStep::Start | WriterStep::Done);
        if coming || state.commits >> slot & 1 != 0 {
            used |= view.needs[slot] | 1 << slot;
        }
    }
    for writer in &state.writers {
        if !matches!(writer.step, WriterStep::Start | WriterStep::Done) {
            used |= view.needs_of(writer.target) | 1 << writer.target;
        }
    }
    if state.reader.step != ReaderStep::List {
        used |= view.needs_of(state.reader.commit) | 1 << state.reader.commit;
    }
    used
}

/// Slots that collectors remember.
fn held(state: &State) -> Mask {
    let of = |collector: &Collector| match collector.step {
        CollectorStep::DeleteRecords => collector.second,
        _ => collector.first | collector.second,
    };
    state.collectors.iter().fold(0, |mask, collector| mask | of(collector))
}

/// Drop marks of snapshots that have no commit and get none.
fn drop_marks(next: &mut State, view: &View) {
    for snapshot in 0..4u8 {
        let commits = view.slots_of(snapshot);
        let coming = (0..2).any(|index| {
            let writer = &next.writers[index];
            let writes = !matches!(writer.task, Task::None | Task::Undelete) && writer.step != WriterStep::Done;
            writes && commits >> (2 + 2 * index) & 1 != 0
        });
        if coming || next.commits & commits != 0 {
            continue;
        }
        next.words[usize::from(snapshot)] = Word::None;
        for collector in &mut next.collectors {
            if collector.step == CollectorStep::DeleteRecords {
                collector.first &= !(1 << snapshot);
                if collector.first | collector.second == 0 {
                    collector.step = CollectorStep::Finish;
                }
            }
        }
    }
}

/// A writer that is done matters only through what it has left.
fn remembered(state: &State, index: usize, kept: Mask) -> Writer {
    let writer = state.writers[index];
    if writer.step != WriterStep::Done {
        return writer;
    }
    let first = 1u8 << (2 + 2 * index);
    let mine = first | first << 1;
    let other = &state.writers[1 - index];
    let targeted = other.task != Task::None && mine >> other.target & 1 != 0;
    if writer.task == Task::Undelete || !targeted && mine & kept == 0 {
        return Writer { step: WriterStep::Done, ..FRESH_WRITER };
    }
    Writer { second: false, ..writer }
}
