//! Writers and the people who forget: backup (full, delta), compact, undelete, forgetting by policy, forgetting by hand.

use crate::bugs::Bug;
use crate::settings::Settings;
use crate::state::{INITIAL_NAMES, Job, Mark, MarkStage, State, Writer, WriterAt, members, only};
use crate::step::{Actor, Steps, recheck_list, recheck_needs};

/// A user forgets any commit that is listed, at any time.
pub fn forget_steps(state: &State, steps: &mut Steps<'_>) {
    let slots = &state.marks[..steps.settings.forgets];
    let Some(slot) = slots.iter().position(|mark| mark.stage == MarkStage::Unused) else { return };
    for commit in members(state.records) {
        let mut next = *state;
        forget(&mut next, slot, commit);
        steps.push(Actor::User, "creates a forget mark for commit", only(commit), next);
    }
}

fn forget(state: &mut State, slot: usize, commit: usize) {
    state.marks[slot] = Mark { stage: MarkStage::Active, commit: number(commit) };
    state.protected &= !only(commit);
}

/// Tells somebody that the commit is safe. One that is forgotten in the meantime is promised to nobody.
fn protect(state: &mut State, commit: usize) {
    if !state.forgotten(commit) {
        state.protected |= only(commit);
    }
}

fn number(commit: usize) -> u8 {
    u8::try_from(commit).unwrap_or(u8::MAX)
}

pub fn writer_steps(state: &State, number: usize, steps: &mut Steps<'_>) {
    let writer = state.writers[number];
    match writer.at {
        WriterAt::Idle => start(state, number, steps),
        WriterAt::ReadRoot => read_root(state, number, steps),
        WriterAt::Upload | WriterAt::UploadRest => upload(state, number, steps),
        WriterAt::EarlyCheck | WriterAt::Check => check(state, number, steps),
        WriterAt::Commit => commit(state, number, steps),
        WriterAt::ForgetOld => forget_old(state, number, steps),
        WriterAt::ListMarks => list_marks(state, number, steps),
        WriterAt::WriteUndelete => write_undelete(state, number, steps),
        WriterAt::CheckUndelete => check_undelete(state, number, steps),
        WriterAt::CheckKept => check_kept(state, number, steps),
        WriterAt::ForgetVictim => forget_victim(state, number, steps),
        WriterAt::Done => {}
    }
}

/// The listing of commits, from which the writer takes one to work on (or none).
fn start(state: &State, number: usize, steps: &mut Steps<'_>) {
    for &job in &steps.settings.jobs {
        let mut begin = |target: usize, seen: u8, at, text| {
            let mut next = *state;
            next.writers[number] = Writer { at, job, target: self::number(target), seen, ..Writer::default() };
            steps.push(Actor::Writer(number), text, only(target), next);
        };
        if job == Job::Full {
            // What a full backup lists does not matter: it starts by reading root.
            begin(0, 0, WriterAt::ReadRoot, "starts a full backup; listed");
            continue;
        }
        for target in members(state.records) {
            let alone = state.needs[target] == only(target);
            match job {
                Job::Full => {}
                Job::Delta => begin(target, 0, WriterAt::ReadRoot, "lists commits; a delta on"),
                Job::NearDelta if alone => {} // the same as a delta
                Job::NearDelta => {
                    begin(target, 0, WriterAt::ReadRoot, "lists commits; a delta on the newest archive of")
                }
                Job::Compact if alone => {} // no chain
                Job::Compact => begin(target, 0, WriterAt::ReadRoot, "lists commits; compacts"),
                Job::Undelete => begin(target, 0, WriterAt::ListMarks, "lists commits; undeletes"),
                Job::Retain => {
                    // Of two commits the one made later is kept.
                    for kept in members(state.records).filter(|&kept| kept > target && target < INITIAL_NAMES) {
                        begin(target, self::number(kept), WriterAt::ListMarks, "lists commits; a policy forgets");
                    }
                }
            }
        }
    }
}

/// W1: root and its lists. An ancestor on the effective dead list counts as absent, and the backup is a full one.
fn read_root(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let writer = state.writers[number];
    let own = settings.name(number, 0);
    let target = usize::from(writer.target);
    let closure = match writer.job {
        Job::Delta => state.needs[target],
        Job::NearDelta => only(target),
        _ => 0,
    };
    let mut next = *state;
    let me = &mut next.writers[number];
    if writer.job == Job::Compact {
        if state.needs[target] & !state.whole() != 0 {
            *me = Writer { at: WriterAt::Done, ..Writer::default() };
            steps.push(Actor::Writer(number), "cannot read the blocks of", only(target), next);
            return;
        }
    } else {
        // From here on only what the commit will need tells a delta from a full backup.
        me.job = Job::Full;
        me.target = 0;
    }
    if settings.has(Bug::ListsOfFirstRead) {
        me.first = state.effective();
    }
    me.at = if settings.has(Bug::CommitBeforeArchive) { WriterAt::Commit } else { WriterAt::Upload };
    let dead = !settings.blind && closure & state.effective() != 0;
    next.needs[own] = only(own) | if dead { 0 } else { closure };
    steps.push(Actor::Writer(number), "W1 reads root; its commit will need", next.needs[own], next);
}

/// W2: volumes under a fresh name. With one volume an archive is there at once.
fn upload(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let writer = state.writers[number];
    let name = own_archive(settings, number, &writer);
    let mut next = *state;
    let last = settings.volumes == 1 || writer.at == WriterAt::UploadRest;
    if settings.volumes == 1 || !last {
        next.volumes[0] |= only(name);
    }
    if last {
        next.volumes[1] |= only(name);
    }
    let commit = settings.name(number, writer.attempt);
    next.writers[number].at = match (last, settings.bug) {
        (false, _) => WriterAt::UploadRest,
        (true, Some(Bug::RootBeforeCommit)) => WriterAt::EarlyCheck,
        (true, Some(Bug::CommitBeforeArchive)) => WriterAt::Check,
        _ => WriterAt::Commit,
    };
    if last && settings.has(Bug::AcknowledgeBeforeCommit) {
        protect(&mut next, commit);
    }
    steps.push(
        Actor::Writer(number),
        if last { "W2 uploads" } else { "W2 uploads the first half of" },
        only(name),
        next,
    );
}

fn own_archive(settings: &Settings, number: usize, writer: &Writer) -> usize {
    settings.name(number, if settings.has(Bug::ReuseName) { 0 } else { writer.attempt })
}

/// W3: the commit record.
fn commit(state: &State, number: usize, steps: &mut Steps<'_>) {
    let writer = state.writers[number];
    let commit = steps.settings.name(number, writer.attempt);
    let mut next = *state;
    next.records |= only(commit);
    let mut text = "W3 creates commit";
    next.writers[number].at = match steps.settings.bug {
        Some(Bug::CommitBeforeArchive) => WriterAt::Upload,
        Some(Bug::CompactForgetsFirst) if writer.job == Job::Compact => WriterAt::ForgetOld,
        Some(Bug::SkipRecheck | Bug::RootBeforeCommit) => {
            protect(&mut next, commit);
            text = "W3 creates, and reports success of, commit";
            after_success(&writer)
        }
        _ => WriterAt::Check,
    };
    steps.push(Actor::Writer(number), text, only(commit), next);
}

fn after_success(writer: &Writer) -> WriterAt {
    if writer.job == Job::Compact || writer.attempt > 0 { WriterAt::ForgetOld } else { WriterAt::Done }
}

/// W4: root and all lists again, now that the commit record exists. Only then is success reported.
fn check(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let writer = state.writers[number];
    let commit = settings.name(number, writer.attempt);
    let mut next = *state;
    let mut needs = recheck_needs(settings, state, commit);
    if settings.has(Bug::ReuseName) && writer.attempt > 0 {
        needs &= !only(own_archive(settings, number, &writer));
    }
    if needs & recheck_list(settings, state, writer.first) == 0 {
        if writer.at == WriterAt::EarlyCheck {
            next.writers[number].at = WriterAt::Commit;
            steps.push(Actor::Writer(number), "W4 (early) passes for commit", only(commit), next);
            return;
        }
        protect(&mut next, commit);
        next.writers[number].at = if settings.has(Bug::CompactForgetsFirst) && writer.job == Job::Compact {
            WriterAt::Done
        } else {
            after_success(&writer)
        };
        steps.push(Actor::Writer(number), "W4 passes, success of commit", only(commit), next);
    } else if writer.job == Job::Compact || usize::from(writer.attempt) + 1 >= settings.attempts {
        next.writers[number].at = WriterAt::Done;
        steps.push(Actor::Writer(number), "W4 fails, no success of commit", only(commit), next);
    } else {
        let me = &mut next.writers[number];
        me.attempt += 1;
        me.at = WriterAt::Upload;
        let archive = own_archive(settings, number, me);
        next.needs[commit + 1] = only(archive);
        steps.push(Actor::Writer(number), "W4 fails, a full archive is to supersede commit", only(commit), next);
    }
}

/// After success: the commit that was compacted or superseded is forgotten.
fn forget_old(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let writer = state.writers[number];
    let new = settings.name(number, writer.attempt);
    let old = if writer.job == Job::Compact { usize::from(writer.target) } else { new - 1 };
    let mut next = *state;
    let early = settings.has(Bug::CompactForgetsFirst);
    if early && state.protected & only(old) != 0 {
        protect(&mut next, new); // nobody asked to lose the snapshot: the promise goes over to the new commit
    }
    forget(&mut next, settings.forgets + number, old);
    next.writers[number].at = if early && writer.job == Job::Compact { WriterAt::Check } else { WriterAt::Done };
    steps.push(Actor::Writer(number), "creates a forget mark for the replaced commit", only(old), next);
}

/// Undelete and policies: the listing of marks.
fn list_marks(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let writer = state.writers[number];
    let target = usize::from(writer.target);
    let mut next = *state;
    let me = &mut next.writers[number];
    if writer.job == Job::Retain {
        let kept = usize::from(writer.seen);
        let moot = state.forgotten(kept) || state.forgotten(target);
        me.at = match settings.bug {
            _ if moot => WriterAt::Done,
            Some(Bug::RetainTrustsListing) => WriterAt::ForgetVictim,
            _ => WriterAt::CheckKept,
        };
        steps.push(Actor::Writer(number), "lists marks; would keep commit", only(kept), next);
        return;
    }
    let active = state
        .marks
        .iter()
        .enumerate()
        .filter(|(_, mark)| mark.stage == MarkStage::Active && usize::from(mark.commit) == target);
    me.seen = active.fold(0, |seen, (slot, _)| seen | only(slot));
    let unmarked = me.seen == 0;
    me.at = match settings.bug {
        Some(Bug::UndeleteChecksFirst) => WriterAt::CheckUndelete,
        _ if unmarked => WriterAt::CheckUndelete,
        _ => WriterAt::WriteUndelete,
    };
    let mut text = "lists the marks of commit";
    if settings.has(Bug::UndeleteTrustsMarks) && unmarked && state.records & only(target) != 0 {
        me.at = WriterAt::Done;
        text = "finds no forget mark and reports success of commit";
        protect(&mut next, target);
    }
    steps.push(Actor::Writer(number), text, only(target), next);
}

/// The undelete mark; it names the forget marks that were seen.
fn write_undelete(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let writer = state.writers[number];
    let target = usize::from(writer.target);
    let mut next = *state;
    for slot in members(writer.seen) {
        if next.marks[slot].stage == MarkStage::Active {
            next.marks[slot].stage = MarkStage::Cancelled;
        }
    }
    let me = &mut next.writers[number];
    me.at = WriterAt::CheckUndelete;
    me.seen = 0;
    let mut text = "creates an undelete mark for commit";
    if settings.any(&[Bug::UndeleteWithoutCheck, Bug::UndeleteChecksFirst]) {
        me.at = WriterAt::Done;
        text = "creates an undelete mark and reports success of commit";
        protect(&mut next, target);
    }
    steps.push(Actor::Writer(number), text, only(target), next);
    if settings.has(Bug::UndeleteByClock) {
        let mut next = *state;
        next.writers[number].at = WriterAt::CheckUndelete;
        steps.push(Actor::Writer(number), "creates an undelete mark that looks older, for commit", only(target), next);
    }
}

/// W4 for the commit that was undeleted.
fn check_undelete(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let writer = state.writers[number];
    let target = usize::from(writer.target);
    let mut next = *state;
    let me = &mut next.writers[number];
    me.at = WriterAt::Done;
    let passes = recheck_needs(settings, state, target) & recheck_list(settings, state, 0) == 0;
    if !passes {
        steps.push(Actor::Writer(number), "W4 fails, no undelete of commit", only(target), next);
    } else if settings.has(Bug::UndeleteChecksFirst) {
        me.at = WriterAt::WriteUndelete;
        steps.push(Actor::Writer(number), "W4 (early) passes for commit", only(target), next);
    } else {
        if settings.has(Bug::UndeleteByClock) {
            next.protected |= only(target);
        } else {
            protect(&mut next, target);
        }
        steps.push(Actor::Writer(number), "W4 passes, success of undeleting commit", only(target), next);
    }
}

/// W4 for a commit that is the reason to forget another one.
fn check_kept(state: &State, number: usize, steps: &mut Steps<'_>) {
    let writer = state.writers[number];
    let kept = usize::from(writer.seen);
    let mut next = *state;
    if state.needs[kept] & recheck_list(steps.settings, state, 0) == 0 {
        next.writers[number].at = WriterAt::ForgetVictim;
        next.writers[number].seen = 0;
        protect(&mut next, kept);
        steps.push(Actor::Writer(number), "W4 passes for the kept commit", only(kept), next);
    } else {
        next.writers[number].at = WriterAt::Done;
        steps.push(Actor::Writer(number), "W4 fails for the kept commit, nothing is forgotten:", only(kept), next);
    }
}

fn forget_victim(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let writer = state.writers[number];
    let (victim, kept) = (usize::from(writer.target), usize::from(writer.seen));
    let mut next = *state;
    if settings.has(Bug::RetainTrustsListing) && state.protected & only(victim) != 0 {
        protect(&mut next, kept); // the policy promised to keep one: the promise goes over
    }
    forget(&mut next, settings.forgets + number, victim);
    next.writers[number].at = WriterAt::Done;
    steps.push(Actor::Writer(number), "creates a forget mark for commit", only(victim), next);
}
