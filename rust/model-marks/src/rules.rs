//! What commits and marks add up to, and what must be true in every state.

use crate::plant::{Plant, Plants};
use crate::state::{Mask, Phase, SLOTS, SNAPSHOTS, State, Task, WRITERS, Word, slots};

/// What is explored: who takes part, what they may do, and which rules are broken.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub writers: usize,
    pub collectors: usize,
    pub reader: bool,
    pub epochs: u8,
    /// What each writer may do.
    pub tasks: [&'static [Task]; WRITERS],
    /// Snapshots that may be forgotten by the user.
    pub forgettable: Mask,
    /// Whether a collector may condemn any part of what it could (grace periods, lists with a limit).
    pub partial_lists: bool,
    /// Whether collectors lose their memory at any step; who starts afresh is the same as another.
    pub crashes: bool,
    /// Whether anybody may write a forget mark for a single commit at any time.
    pub any_single_mark: bool,
    /// Whether states that nobody can tell apart any more are taken as one.
    pub reduced: bool,
    pub plants: Plants,
}

pub const EVERY_TASK: &[Task] = &[Task::Full, Task::Delta, Task::Compact, Task::Undelete];

/// What follows from who does what: the archives that each commit needs, and its snapshot.
pub struct View {
    pub needs: [Mask; SLOTS],
    pub snapshot: [u8; SLOTS],
    /// The commit that each replaces.
    pub replaces: [Option<u8>; SLOTS],
    /// The slots whose commits belong to each snapshot.
    of_snapshot: [Mask; SNAPSHOTS],
}

impl View {
    #[must_use]
    pub fn new(state: &State) -> Self {
        let mut view = Self {
            needs: [1, 0b11, 4, 8, 16, 32],
            snapshot: [0, 1, 2, 2, 3, 3],
            replaces: [None; SLOTS],
            of_snapshot: [0; SNAPSHOTS],
        };
        for index in [0, 1, 0] {
            // Twice for the first: it may compact what the other has written.
            let (writer, slot) = (&state.writers[index], 2 + 2 * index);
            match writer.task {
                Task::Delta => view.needs[slot] |= 1 << writer.target,
                Task::Compact => {
                    view.replaces[slot] = Some(writer.target);
                    view.snapshot[slot] = view.snapshot[usize::from(writer.target)];
                    view.snapshot[slot + 1] = view.snapshot[slot];
                }
                _ => {}
            }
            view.replaces[slot + 1] = u8::try_from(slot).ok();
        }
        for (slot, &snapshot) in view.snapshot.iter().enumerate() {
            view.of_snapshot[usize::from(snapshot)] |= 1 << slot;
        }
        view
    }

    #[must_use]
    pub fn snapshot_of(&self, slot: u8) -> u8 {
        self.snapshot[usize::from(slot)]
    }

    #[must_use]
    pub fn needs_of(&self, slot: u8) -> Mask {
        self.needs[usize::from(slot)]
    }

    /// The base of a delta.
    #[must_use]
    pub fn base_of(&self, slot: u8) -> Option<u8> {
        slots(self.needs_of(slot) & !(1 << slot)).next()
    }

    /// The slots whose commits belong to a snapshot.
    #[must_use]
    pub fn slots_of(&self, snapshot: u8) -> Mask {
        self.of_snapshot[usize::from(snapshot)]
    }

    /// Void by rule: those of `commits` that need an archive of `dead`.
    #[must_use]
    pub fn void(&self, commits: Mask, dead: Mask) -> Mask {
        slots(commits).filter(|&slot| self.needs_of(slot) & dead != 0).fold(0, |mask, slot| mask | 1 << slot)
    }

    /// Those of `commits` that are not void and not replaced by one that is not void.
    #[must_use]
    pub fn standing(&self, commits: Mask, dead: Mask) -> Mask {
        let valid = commits & !self.void(commits, dead);
        let replaced =
            slots(valid).filter_map(|slot| self.replaces[usize::from(slot)]).fold(0, |mask, old| mask | 1 << old);
        valid & !replaced
    }
}

/// Commits of `seen` that a collector has to keep, with the marks and the sweep lists as they are now.
///
/// A forget mark of a single commit counts only while its snapshot has a commit that is neither void nor so marked.
#[must_use]
pub fn live_commits(state: &State, view: &View, seen: Mask, plants: Plants, rescue: bool) -> Mask {
    let dead = if plants.has(Plant::VoidIsLive) { 0 } else { state.swept };
    let valid = seen & !view.void(seen, dead);
    let mut live = 0;
    for snapshot in 0..4u8 {
        let commits = valid & view.slots_of(snapshot);
        let word = state.words[usize::from(snapshot)];
        let unseen = rescue && plants.has(Plant::RescueWithoutMarks) && word == Word::Undeleted;
        if commits == 0 || word == Word::Forgotten || unseen {
            continue;
        }
        let unmarked = commits & !state.single;
        live |= if unmarked != 0 || plants.has(Plant::MarkAlwaysCounts) { unmarked } else { commits };
    }
    live
}

/// The archives that commits need.
#[must_use]
pub fn needed(view: &View, commits: Mask) -> Mask {
    slots(commits).fold(0, |mask, slot| mask | view.needs_of(slot))
}

/// The effective dead list, as it is read now.
#[must_use]
pub fn dead(state: &State, plants: Plants) -> Mask {
    let phase = Phase::of(state.generation);
    if plants.has(Plant::CheckNewestList) {
        return if phase == Phase::Idle { 0 } else { state.list };
    }
    let list = if phase == Phase::Condemned && !plants.has(Plant::CheckSweepOnly) { state.list } else { 0 };
    state.swept | list
}

/// What is wrong in a state, if anything is.
#[must_use]
pub fn fault(state: &State, plants: Plants) -> Option<&'static str> {
    let view = View::new(state);
    if view.void(state.commits, state.ever) & !view.void(state.commits, state.swept) != 0 {
        return Some("a void commit is not void any more");
    }
    promise_fault(state, &view, plants).or_else(|| collectable_fault(state, &view, plants))
}

/// Invariant 1: what was promised and not forgotten can be restored, whichever of its valid commits is taken.
fn promise_fault(state: &State, view: &View, plants: Plants) -> Option<&'static str> {
    let live = live_commits(state, view, state.commits, plants, false);
    for snapshot in slots(state.claimed) {
        let commits = state.commits & view.slots_of(snapshot);
        let valid = commits & !view.void(commits, state.swept);
        if valid == 0 {
            return Some("a promised snapshot has no commit that is not void");
        }
        if needed(view, valid) & !state.exists != 0 {
            return Some("a promised snapshot lacks an archive");
        }
        if live & valid == 0 {
            return Some("a promised snapshot counts as forgotten");
        }
    }
    None
}

/// Invariant 4: were everybody else to stop now, a fresh collector would free all that is unreferenced, and no more.
fn collectable_fault(state: &State, view: &View, plants: Plants) -> Option<&'static str> {
    let mut state = *state;
    for _ in 0..6 {
        match Phase::of(state.generation) {
            Phase::Condemned if plants.has(Plant::ForgetCondemned) => state.generation = 0,
            Phase::Condemned => {
                state.list &= !needed(view, live_commits(&state, view, state.commits, plants, true));
                state.swept |= state.list;
                state.generation = 2;
            }
            Phase::Sweep => {
                state.exists &= !state.list;
                state.commits &= !(state.swept & !state.exists);
                state.generation = 0;
            }
            Phase::Idle => {
                state.list = state.exists & !needed(view, live_commits(&state, view, state.commits, plants, false));
                if state.list == 0 {
                    break;
                }
                state.generation = 1;
            }
        }
    }
    let live = live_commits(&state, view, state.commits, Plants::NONE, false);
    if state.exists & !needed(view, live) != 0 || Phase::of(state.generation) != Phase::Idle {
        return Some("an unreferenced archive cannot be collected");
    }
    promise_fault(&state, view, plants).map(|_| "the next collection breaks a promise")
}
