//! The writer's side: backup in full or as a delta, compact, undelete; and the user who forgets.

use crate::plant::Plant;
use crate::rules::{Setup, View, dead};
use crate::state::{State, Task, Word, Writer, WriterStep, slots};
use crate::steps::Steps;

const ACTORS: [&str; 2] = ["writer 0", "writer 1"];

/// Add every step that writer `index` can take.
pub fn steps(state: &State, view: &View, setup: &Setup, index: usize, out: &mut Steps) {
    let writer = state.writers[index];
    match writer.step {
        WriterStep::Start => start(state, view, setup, index, out),
        WriterStep::Done => {}
        WriterStep::Check | WriterStep::CommitPassed | WriterStep::CommitFailed | WriterStep::CheckMark => {
            check(state, view, setup, index, out);
        }
        WriterStep::WriteMark => write_mark(state, view, setup, index, out),
        _ => store(state, view, setup, index, out),
    }
}

/// W1: root, lists and commits are read; what to do and on what base is decided by them.
fn start(state: &State, view: &View, setup: &Setup, index: usize, out: &mut Steps) {
    let mut put = |action, task, target, step| {
        let mut next = *state;
        next.writers[index] = Writer { task, target, second: false, step };
        out.put(ACTORS[index], action, Some(target), next);
    };
    let dead = dead(state, setup.plants);
    let word = |slot| state.words[usize::from(view.snapshot_of(slot))];
    let standing = view.standing(state.commits, state.swept);
    for &task in setup.tasks[index] {
        match task {
            Task::None => {}
            Task::Full => put("W1 begins a full backup", task, 0, WriterStep::Upload),
            Task::Delta => slots(state.commits & !dead)
                .filter(|&slot| view.base_of(slot).is_none())
                .for_each(|slot| put("W1 begins a delta of", task, slot, WriterStep::Upload)),
            Task::Compact => slots(standing)
                .filter(|&slot| view.base_of(slot).is_some() && word(slot) != Word::Forgotten)
                .for_each(|slot| put("W1 begins to compact", task, slot, WriterStep::Upload)),
            Task::Undelete => slots(standing)
                .filter(|&slot| word(slot) == Word::Forgotten)
                .for_each(|slot| put("reads the catalog to take back", task, slot, WriterStep::WriteMark)),
        }
    }
}

/// W2, W3 and the forget marks afterwards: one object is created.
fn store(state: &State, view: &View, setup: &Setup, index: usize, out: &mut Steps) {
    let (writer, plants) = (state.writers[index], setup.plants);
    let slot = slot_of(index, &writer);
    let mut next = *state;
    let (action, object) = match writer.step {
        WriterStep::Upload if plants.has(Plant::CommitFirst) => {
            next.commits |= 1 << slot;
            next.writers[index].step = WriterStep::UploadLate;
            ("W3 commits too early", slot)
        }
        WriterStep::Upload | WriterStep::UploadLate => {
            next.exists |= 1 << slot;
            next.recreated |= state.ever & 1 << slot;
            let late = writer.step == WriterStep::UploadLate;
            next.writers[index].step = if late { WriterStep::Check } else { WriterStep::Commit };
            if plants.has(Plant::AcknowledgeEarly) {
                claim(&mut next, view, slot);
            }
            ("W2 uploads archive", slot)
        }
        WriterStep::Commit if plants.has(Plant::CheckBeforeCommit) => {
            let stale = view.needs_of(slot) & dead(state, plants) != 0;
            next.writers[index].step = if stale { WriterStep::CommitFailed } else { WriterStep::CommitPassed };
            ("W4 reads root before the commit of", slot)
        }
        WriterStep::Commit => {
            next.commits |= 1 << slot;
            let early = plants.has(Plant::ForgetEarly) && writer.task == Task::Compact;
            next.writers[index].step = if early { WriterStep::ForgetEarly } else { WriterStep::Check };
            if plants.has(Plant::SkipCheck) {
                pass(&mut next, view, setup, index);
            }
            ("W3 creates commit", slot)
        }
        WriterStep::ForgetTarget | WriterStep::ForgetEarly => {
            next.single |= state.commits & 1 << writer.target;
            next.writers[index].step = match writer.step {
                WriterStep::ForgetEarly => WriterStep::Check,
                _ if writer.second => WriterStep::ForgetFirst,
                _ => WriterStep::Done,
            };
            ("marks as forgotten commit", writer.target)
        }
        _ => {
            next.single |= state.commits & 1 << (slot - 1);
            next.writers[index].step = WriterStep::Done;
            ("marks as forgotten commit", slot - 1)
        }
    };
    out.put(ACTORS[index], action, Some(object), next);
}

/// W4: root and all lists are read; success is reported, or everything begins again under another name.
fn check(state: &State, view: &View, setup: &Setup, index: usize, out: &mut Steps) {
    let (writer, plants) = (state.writers[index], setup.plants);
    let slot = slot_of(index, &writer);
    let mut next = *state;
    if writer.step == WriterStep::CheckMark {
        let alive = view.needs_of(writer.target) & dead(state, plants) == 0;
        if alive {
            claim(&mut next, view, writer.target);
        }
        next.writers[index].step = WriterStep::Done;
        let action = if alive { "W4 passes, taken back is" } else { "W4 fails, not taken back is" };
        return out.put(ACTORS[index], action, Some(writer.target), next);
    }
    let needs = if plants.has(Plant::CheckOwnOnly) { 1 << slot } else { view.needs_of(slot) };
    let passed = match writer.step {
        WriterStep::Check => needs & dead(state, plants) == 0,
        step => step == WriterStep::CommitPassed,
    };
    if writer.step != WriterStep::Check {
        next.commits |= 1 << slot;
    }
    let action = if passed {
        pass(&mut next, view, setup, index);
        "W4 passes, success is reported for"
    } else if plants.has(Plant::ReuseName) {
        next.writers[index].step = WriterStep::Upload;
        "W4 fails, the same name is taken again for"
    } else if writer.second {
        next.writers[index].step = WriterStep::Done;
        "W4 fails again, failure is reported for"
    } else {
        next.writers[index] = Writer { second: true, step: WriterStep::Upload, ..writer };
        "W4 fails, another full archive will replace"
    };
    out.put(ACTORS[index], action, Some(slot), next);
}

fn pass(next: &mut State, view: &View, setup: &Setup, index: usize) {
    let writer = next.writers[index];
    claim(next, view, slot_of(index, &writer));
    let target = writer.task == Task::Compact && !setup.plants.has(Plant::ForgetEarly);
    next.writers[index].step = match (target, writer.second) {
        (true, _) => WriterStep::ForgetTarget,
        (false, true) => WriterStep::ForgetFirst,
        (false, false) => WriterStep::Done,
    };
}

/// The undelete mark. By the clocks of two clients it is later than a mark of a single commit, or it is not.
fn write_mark(state: &State, view: &View, setup: &Setup, index: usize, out: &mut Steps) {
    let target = state.writers[index].target;
    let snapshot = view.snapshot_of(target);
    let mut next = *state;
    let word = &mut next.words[usize::from(snapshot)];
    if *word == Word::Forgotten {
        *word = Word::Undeleted;
    }
    next.writers[index].step = WriterStep::CheckMark;
    if setup.plants.has(Plant::UndeleteUnchecked) {
        claim(&mut next, view, target);
        next.writers[index].step = WriterStep::Done;
    }
    if !setup.plants.has(Plant::MarkAlwaysCounts) {
        out.put(ACTORS[index], "writes an undelete mark (older than others) for", Some(target), next);
    }
    next.single &= !view.slots_of(snapshot);
    out.put(ACTORS[index], "writes an undelete mark for", Some(target), next);
}

/// The user forgets a snapshot, and, where that is asked for, anybody marks any single commit.
pub fn forget_steps(state: &State, view: &View, setup: &Setup, out: &mut Steps) {
    for snapshot in slots(setup.forgettable) {
        let word = state.words[usize::from(snapshot)];
        let commits = state.commits & view.slots_of(snapshot);
        if commits != 0 && word != Word::Forgotten {
            let mut next = *state;
            next.words[usize::from(snapshot)] = Word::Forgotten;
            next.claimed &= !(1 << snapshot);
            out.put("user", "forgets the snapshot of commit", slots(commits).next(), next);
        }
    }
    if setup.any_single_mark {
        for slot in slots(state.commits & !state.single) {
            let next = State { single: state.single | 1 << slot, ..*state };
            out.put("anybody", "marks as forgotten commit", Some(slot), next);
        }
    }
}

fn slot_of(index: usize, writer: &Writer) -> u8 {
    (if index == 0 { 2 } else { 4 }) + u8::from(writer.second)
}

fn claim(next: &mut State, view: &View, slot: u8) {
    let snapshot = view.snapshot_of(slot);
    if next.words[usize::from(snapshot)] != Word::Forgotten {
        next.claimed |= 1 << snapshot;
    }
}
