//! A collector: epochs of condemn, list again, sweep, delete, clean; it may crash at any step and continues what it finds.

use crate::bugs::Bug;
use crate::settings::Settings;
use crate::state::{Collector, CollectorAt, MarkStage, Names, Phase, State, members, only};
use crate::step::{Actor, Fault, Steps, needed, rescued, void};

pub fn collector_steps(state: &State, number: usize, steps: &mut Steps<'_>) {
    let collector = state.collectors[number];
    match collector.at {
        CollectorAt::Idle => read_root(state, number, steps),
        CollectorAt::ListArchives => {
            go(state, number, steps, CollectorAt::ListCommits, "C1 lists archives", state.some(), 0);
        }
        CollectorAt::ListCommits => {
            let text = "C1 lists commits";
            go(state, number, steps, CollectorAt::ListMarks, text, collector.archives, state.records);
        }
        CollectorAt::ListMarks => condemn(state, number, steps),
        CollectorAt::EarlyRelist => {
            let sweep = collector.archives & !rescued(steps.settings, state, state.records);
            let text = "lists again, too early; keeps";
            go(state, number, steps, CollectorAt::Condemn, text, collector.archives, sweep);
        }
        CollectorAt::Condemn => publish_condemned(state, number, steps),
        CollectorAt::RelistCommits => {
            let text = "C2 lists commits again";
            go(state, number, steps, CollectorAt::RelistMarks, text, collector.archives, state.records);
        }
        CollectorAt::RelistMarks => rescue(state, number, steps),
        CollectorAt::StoreList => {
            let mut next = *state;
            next.orphans |= collector.archives;
            next.collectors[number].at = CollectorAt::Sweep;
            steps.push(Actor::Collector(number), "stores the sweep list", collector.archives, next);
        }
        CollectorAt::Sweep => publish_sweep(state, number, steps),
        CollectorAt::Delete => delete(state, number, steps),
        CollectorAt::CleanArchives => {
            let text = "C5 lists archives, before the commits";
            go(state, number, steps, CollectorAt::CleanCommits, text, state.whole(), 0);
        }
        CollectorAt::CleanCommits => clean(state, number, steps),
        CollectorAt::DeleteRecord => delete_record(state, number, steps),
        CollectorAt::TidyMarks => tidy_marks(state, number, steps),
        CollectorAt::Finish => finish(state, number, steps),
    }
}

/// A collector dies; what it knew is lost, another one (or the same, later) starts from root.
pub fn crash_step(state: &State, number: usize, steps: &mut Steps<'_>) {
    if state.collectors[number].at != CollectorAt::Idle {
        let mut next = *state;
        next.collectors[number] = Collector::default();
        steps.push(Actor::Collector(number), "crashes", 0, next);
    }
}

fn go(
    state: &State,
    number: usize,
    steps: &mut Steps<'_>,
    at: CollectorAt,
    text: &'static str,
    archives: Names,
    commits: Names,
) {
    let mut next = *state;
    next.collectors[number] = Collector { at, archives, commits, ..state.collectors[number] };
    let shown = if at == CollectorAt::ListCommits || at == CollectorAt::CleanCommits { archives } else { commits };
    steps.push(Actor::Collector(number), text, shown, next);
}

/// C1 begins by reading root; what another one left behind is continued from C2 or C5.
fn read_root(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let mut next = *state;
    let me = &mut next.collectors[number];
    *me = Collector::default();
    if settings.any(&[Bug::CondemnWithoutSwap, Bug::SweepWithoutSwap, Bug::FinishWithoutSwap]) {
        me.view = state.root.dead;
    }
    let text = match state.root.phase {
        Phase::Idle => {
            me.at = CollectorAt::ListArchives;
            "C1 reads root, idle"
        }
        Phase::Condemned => {
            me.at = CollectorAt::RelistCommits;
            me.archives = state.root.list;
            "reads root and continues from C2"
        }
        Phase::Sweep if settings.has(Bug::ContinueRecomputes) => {
            me.at = CollectorAt::ListArchives;
            "reads root, a sweep, and computes it anew"
        }
        Phase::Sweep => {
            me.at = CollectorAt::Delete;
            me.archives = state.root.list;
            if settings.any(&[Bug::SweepWithoutSwap, Bug::FinishWithoutSwap]) {
                me.view |= state.root.list;
            }
            "reads root and continues from C5"
        }
    };
    steps.push(Actor::Collector(number), text, 0, next);
}

/// The end of C1: marks are listed, archives less what is live are condemned. Grace period, floor and holds keep more.
fn condemn(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let collector = state.collectors[number];
    let dispensable = collector.archives & !needed(settings, state, collector.commits);
    let void_records = members(collector.commits).any(|commit| void(settings, state, commit));
    let mut next = *state;
    if settings.has(Bug::ContinueRecomputes) && state.root.phase == Phase::Sweep {
        next.collectors[number] = Collector { at: CollectorAt::Delete, archives: dispensable, commits: 0, ..collector };
        steps.push(Actor::Collector(number), "lists marks; would delete", dispensable, next);
        return;
    }
    if dispensable == 0 && !void_records {
        next.collectors[number] = Collector::default();
        steps.push(Actor::Collector(number), "C1 lists marks; nothing to collect", 0, next);
        return;
    }
    let at = if settings.has(Bug::RelistBeforeRoot) { CollectorAt::EarlyRelist } else { CollectorAt::Condemn };
    let mut part = dispensable;
    loop {
        if part != 0 || dispensable == 0 {
            next.collectors[number] = Collector { at, archives: part, commits: 0, ..collector };
            steps.push(Actor::Collector(number), "C1 lists marks; condemns", part, next);
        }
        if !settings.partial || part == 0 {
            return;
        }
        part = (part - 1) & dispensable;
    }
}

/// Creates the next root record; the swap is that it must not exist yet. Everyone else's next number is then taken.
fn write_root(state: &mut State, number: usize, phase: Phase, list: Names, dead: Names) {
    state.root.phase = phase;
    state.root.list = list;
    state.root.dead = dead;
    for (other, collector) in state.collectors.iter_mut().enumerate() {
        collector.stale = other != number && collector.at != CollectorAt::Idle;
    }
}

fn lost_race(state: &State, number: usize, steps: &mut Steps<'_>) {
    let mut next = *state;
    next.collectors[number] = Collector::default();
    steps.push(Actor::Collector(number), "lost the race for the next root record", 0, next);
}

fn publish_condemned(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let me = state.collectors[number];
    let forced = settings.has(Bug::CondemnWithoutSwap);
    if me.stale && !forced {
        return lost_race(state, number, steps);
    }
    let mut next = *state;
    write_root(&mut next, number, Phase::Condemned, me.archives, if forced { me.view } else { state.root.dead });
    let collector = &mut next.collectors[number];
    collector.at = match settings.bug {
        Some(Bug::RelistBeforeRoot) => CollectorAt::Sweep,
        Some(Bug::SkipRelist) => CollectorAt::Sweep,
        _ => CollectorAt::RelistCommits,
    };
    if settings.has(Bug::RelistBeforeRoot) {
        collector.archives = me.commits;
        collector.commits = 0;
    }
    steps.push(Actor::Collector(number), "C1 creates the root record, condemned", me.archives, next);
}

/// The end of C2: marks are listed again; what is now needed is rescued.
fn rescue(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let me = state.collectors[number];
    let sweep = me.archives & !rescued(settings, state, me.commits);
    let mut next = *state;
    let collector = &mut next.collectors[number];
    collector.archives = sweep;
    collector.commits = 0;
    collector.at = CollectorAt::Sweep;
    match settings.bug {
        Some(Bug::VoidByStoredLists) => collector.at = CollectorAt::StoreList,
        Some(Bug::DeleteCondemned) => collector.commits = me.archives,
        Some(Bug::DeleteBeforeSweepList) => {
            collector.commits = sweep;
            collector.at = CollectorAt::Delete;
        }
        _ => {}
    }
    steps.push(Actor::Collector(number), "C2 lists marks again; will sweep", sweep, next);
}

fn publish_sweep(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let me = state.collectors[number];
    let forced = settings.has(Bug::SweepWithoutSwap);
    if me.stale && !forced {
        return lost_race(state, number, steps);
    }
    let mut next = *state;
    write_root(&mut next, number, Phase::Sweep, me.archives, if forced { me.view } else { state.root.dead });
    let collector = &mut next.collectors[number];
    collector.at = CollectorAt::Delete;
    if settings.any(&[Bug::SweepWithoutSwap, Bug::FinishWithoutSwap]) {
        collector.view |= me.archives;
    }
    match settings.bug {
        Some(Bug::DeleteCondemned) => collector.archives = me.commits,
        Some(Bug::DeleteBeforeSweepList) => collector.at = CollectorAt::CleanCommits,
        _ => {}
    }
    collector.commits = 0;
    steps.push(Actor::Collector(number), "C3 creates the root record, sweep", me.archives, next);
}

/// C5: the volumes of one archive of the list, in any order. Who is stale goes on: the names are dead for ever.
fn delete(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let me = state.collectors[number];
    for archive in members(me.archives & state.some()) {
        let mut next = *state;
        let bit = only(archive);
        // Volumes go one by one, the last one first, so that a half stands in between.
        let half = settings.volumes == 2 && state.whole() & bit != 0;
        next.volumes[1] &= !bit;
        if !half {
            next.volumes[0] &= !bit;
            next.collectors[number].archives &= !bit;
        }
        let fault = (state.swept() & bit == 0).then_some(Fault::DeletedUnlisted(archive));
        let text = if half { "C5 deletes the second half of" } else { "C5 deletes" };
        steps.push_faulty(Actor::Collector(number), text, bit, next, fault);
    }
    let missing = me.archives & !state.some();
    if missing == me.archives {
        let mut next = *state;
        end_of_deletes(settings, &mut next, number);
        steps.push(Actor::Collector(number), "C5 has deleted all", 0, next);
    }
}

/// Where a collector goes on when nothing is left to delete.
pub fn end_of_deletes(settings: &Settings, state: &mut State, number: usize) {
    let me = &mut state.collectors[number];
    me.archives = 0;
    match settings.bug {
        Some(Bug::CleanByOldListing) => me.at = CollectorAt::CleanArchives,
        Some(Bug::DeleteBeforeSweepList) if state.root.phase == Phase::Condemned => {
            me.archives = me.commits;
            me.commits = 0;
            me.at = CollectorAt::Sweep;
        }
        _ => me.at = CollectorAt::CleanCommits,
    }
}

/// The commit records that go: void ones. Their marks go after them and then mean nothing.
fn clean(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let me = state.collectors[number];
    let gone = members(state.records)
        .filter(|&commit| match settings.bug {
            Some(Bug::CleanByOldListing) => state.needs[commit] & !me.archives != 0,
            Some(Bug::VoidKeepsAlive) => only(commit) & state.some() == 0,
            _ => void(settings, state, commit),
        })
        .fold(0, |gone, commit| gone | only(commit));
    let at = match settings.bug {
        _ if gone != 0 => CollectorAt::DeleteRecord,
        Some(Bug::TidyUndelete) => CollectorAt::TidyMarks,
        _ => CollectorAt::Finish,
    };
    go(state, number, steps, at, "C5 lists commits; to be removed are", 0, gone);
}

/// C5: one commit record, in any order.
fn delete_record(state: &State, number: usize, steps: &mut Steps<'_>) {
    for commit in members(state.collectors[number].commits) {
        let mut next = *state;
        next.records &= !only(commit);
        let me = &mut next.collectors[number];
        me.commits &= !only(commit);
        if me.commits == 0 {
            me.at = if steps.settings.has(Bug::TidyUndelete) { CollectorAt::TidyMarks } else { CollectorAt::Finish };
        }
        let standing = state.records & only(commit) != 0 && !void(steps.settings, state, commit);
        let fault = standing.then_some(Fault::DeletedRecord(commit));
        steps.push_faulty(Actor::Collector(number), "C5 deletes the record of commit", only(commit), next, fault);
    }
}

/// A planted bug: between its two deletes the commit is forgotten again.
fn tidy_marks(state: &State, number: usize, steps: &mut Steps<'_>) {
    let mut next = *state;
    let me = &mut next.collectors[number];
    if let Some(slot) = members(me.archives).next() {
        next.marks[slot].stage = MarkStage::Spent;
        me.archives = 0;
        steps.push(Actor::Collector(number), "deletes the cancelled forget mark of", only(slot), next);
    } else if let Some(slot) = state.marks.iter().position(|mark| mark.stage == MarkStage::Cancelled) {
        next.marks[slot].stage = MarkStage::Active;
        me.archives = only(slot);
        steps.push(Actor::Collector(number), "deletes the undelete mark of mark", only(slot), next);
    } else {
        me.at = CollectorAt::Finish;
        steps.push(Actor::Collector(number), "has tidied the marks", 0, next);
    }
}

fn finish(state: &State, number: usize, steps: &mut Steps<'_>) {
    let settings = steps.settings;
    let me = state.collectors[number];
    let forced = settings.has(Bug::FinishWithoutSwap);
    if me.stale && !forced {
        return lost_race(state, number, steps);
    }
    let dead = match settings.bug {
        Some(Bug::DropFinishedLists) => 0,
        Some(Bug::FinishWithoutSwap) => me.view,
        _ => state.swept(),
    };
    let mut next = *state;
    write_root(&mut next, number, Phase::Idle, 0, dead);
    next.collectors[number] = Collector::default();
    steps.push(Actor::Collector(number), "C6 creates the root record, idle", 0, next);
}
