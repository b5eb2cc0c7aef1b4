//! A reader: lists the commits, reads root, is told whether the commit it chose can be restored, reads the closure.

use crate::bugs::Bug;
use crate::state::{INITIAL_NAMES, Reader, ReaderAt, State, members, only};
use crate::step::{Actor, Fault, Steps, void};

pub fn reader_steps(state: &State, steps: &mut Steps<'_>) {
    let reader = state.reader;
    let early = steps.settings.has(Bug::ReaderReadsRootFirst);
    match reader.at {
        ReaderAt::Idle if early => {
            let me = Reader { at: ReaderAt::RootFirst, archives: state.swept(), ..Reader::default() };
            steps.push(
                Actor::Reader,
                "reads root, before it lists; dead are",
                me.archives,
                State { reader: me, ..*state },
            );
        }
        ReaderAt::Idle | ReaderAt::RootFirst => choose(state, steps),
        ReaderAt::Read => read(state, steps),
    }
}

/// Lists the commits, then reads root. The two are one step here, which loses nothing: a commit that was listed and is
/// not void by the later root record still stands then, because only records of void commits are ever deleted (that is
/// itself checked in every run, `Fault::DeletedRecord`). It needs one commit of the listing, so one is chosen.
fn choose(state: &State, steps: &mut Steps<'_>) {
    let early = state.reader.at == ReaderAt::RootFirst;
    for commit in members(state.records) {
        let excluded = void(steps.settings, state, commit);
        let told = if early { state.needs[commit] & state.reader.archives == 0 } else { !excluded };
        if told {
            let number = u8::try_from(commit).unwrap_or(0);
            let me = Reader { at: ReaderAt::Read, commit: number, archives: state.needs[commit], gap: false };
            let fault = excluded.then_some(Fault::ToldVoid(commit));
            let text = "lists commits, reads root, is told that it can restore";
            steps.push_faulty(Actor::Reader, text, only(commit), State { reader: me, ..*state }, fault);
        }
    }
}

/// The archives of the closure one by one: ancestors that stood at the start, other ancestors in any order, the own
/// archive. Missing is a clean error, which must not happen to a commit that is not void.
fn read(state: &State, steps: &mut Steps<'_>) {
    let rest = state.reader.archives;
    let own = only(usize::from(state.reader.commit));
    let oldest = rest & ((1 << INITIAL_NAMES) - 1) & !own;
    let others = rest & !own;
    if oldest != 0 {
        members(oldest).take(1).for_each(|archive| read_one(state, archive, steps));
    } else {
        members(if others != 0 { others } else { rest }).for_each(|archive| read_one(state, archive, steps));
    }
}

fn read_one(state: &State, archive: usize, steps: &mut Steps<'_>) {
    let reader = state.reader;
    let commit = usize::from(reader.commit);
    let found = state.whole() & only(archive) != 0;
    if !found && !steps.settings.has(Bug::ReaderSkipsMissing) {
        let next = State { reader: Reader::default(), ..*state };
        let fault = (!void(steps.settings, state, commit)).then_some(Fault::RestoreFailed(commit));
        steps.push_faulty(Actor::Reader, "fails cleanly, there is no archive", only(archive), next, fault);
        return;
    }
    let gap = reader.gap || !found;
    let rest = reader.archives & !only(archive);
    let done = rest == 0;
    let me = if done { Reader::default() } else { Reader { archives: rest, gap, ..reader } };
    let text = match (done, found) {
        (true, _) => "reports a restored snapshot after archive",
        (false, true) => "reads archive",
        (false, false) => "goes on without archive",
    };
    let fault = (done && gap).then_some(Fault::WrongData(commit));
    steps.push_faulty(Actor::Reader, text, only(archive), State { reader: me, ..*state }, fault);
}
