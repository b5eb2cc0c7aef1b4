//! The reader: takes a commit from a listing, looks whether it is void, reads its archives one by one.

use crate::rules::{Setup, View};
use crate::state::{FRESH_READER, Reader, ReaderStep, State, Word, slots};
use crate::steps::Steps;

/// Add every step that the reader can take.
pub fn steps(state: &State, view: &View, setup: &Setup, out: &mut Steps) {
    let Reader { step, commit } = state.reader;
    let mut next = *state;
    match step {
        // A commit that is not void when root is read is still visible then, so to list it only then is to miss nothing.
        ReaderStep::List if setup.reduced => {
            for slot in slots(state.commits & !view.void(state.commits, state.swept)) {
                next.reader = Reader { step: ReaderStep::ReadOwn, commit: slot };
                out.put("reader", "lists commits, reads root, takes", Some(slot), next);
            }
        }
        ReaderStep::List => {
            for slot in slots(state.commits & !state.single) {
                if state.words[usize::from(view.snapshot_of(slot))] != Word::Forgotten {
                    next.reader = Reader { step: ReaderStep::ReadRoot, commit: slot };
                    out.put("reader", "lists commits, takes", Some(slot), next);
                }
            }
        }
        ReaderStep::ReadRoot => {
            let void = view.needs_of(commit) & state.swept != 0;
            next.reader = if void { FRESH_READER } else { Reader { step: ReaderStep::ReadOwn, commit } };
            out.put(
                "reader",
                if void { "refuses the void commit" } else { "finds not void commit" },
                Some(commit),
                next,
            );
        }
        ReaderStep::ReadOwn => {
            let base = view.base_of(commit).is_some();
            next.reader = if base { Reader { step: ReaderStep::ReadBase, commit } } else { FRESH_READER };
            read(state, view, commit, next, out);
        }
        ReaderStep::ReadBase => {
            next.reader = FRESH_READER;
            read(state, view, view.base_of(commit).unwrap_or(commit), next, out);
        }
    }
}

fn read(state: &State, view: &View, archive: u8, mut next: State, out: &mut Steps) {
    let commit = state.reader.commit;
    if state.exists >> archive & 1 == 0 {
        let void = view.needs_of(commit) & state.swept != 0;
        if state.claimed >> view.snapshot_of(commit) & 1 != 0 && !void {
            out.fault("a reader of a promised snapshot finds an archive gone");
        }
        next.reader = FRESH_READER;
        return out.put("reader", "fails cleanly without archive", Some(archive), next);
    }
    if state.recreated >> archive & 1 != 0 {
        out.fault("a reader gets other bytes under an old name");
    }
    out.put("reader", "reads archive", Some(archive), next);
}
