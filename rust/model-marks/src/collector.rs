//! The collector's side, C1 to C6: each listing, each deletion and each exchange of the root is a step.

use crate::plant::Plant;
use crate::rules::{Setup, View, live_commits, needed};
use crate::state::{Collector, CollectorStep, FRESH_COLLECTOR, Mask, Phase, State, Word, slots};
use crate::steps::Steps;

const ACTORS: [&str; 2] = ["collector 0", "collector 1"];

/// Add every step that collector `index` can take.
pub fn steps(state: &State, view: &View, setup: &Setup, index: usize, out: &mut Steps) {
    let me = state.collectors[index];
    let mut put = |action, slot, collector| {
        let mut next = *state;
        next.collectors[index] = collector;
        out.put(ACTORS[index], action, slot, next);
    };
    if setup.crashes && me.step != CollectorStep::ReadRoot {
        put("dies, another begins", None, FRESH_COLLECTOR);
    }
    match me.step {
        CollectorStep::ReadRoot => {
            if let Some(next) = read_root(state, setup) {
                put("C1 reads root", None, next);
            }
        }
        CollectorStep::ListArchives => {
            let next = Collector { step: CollectorStep::ListCommits, first: state.exists, ..me };
            put("C1 lists archives", None, next);
        }
        CollectorStep::ListCommits => {
            let next = Collector { step: CollectorStep::ListMarks, second: state.commits, ..me };
            put("C1 lists commits", None, next);
        }
        // What is void is taken from the root as it is now: were it not the one that was read, to exchange it would fail.
        CollectorStep::ListMarks => {
            for list in
                lists(me.first & !needed(view, live_commits(state, view, me.second, setup.plants, false)), setup)
            {
                let resumed = Phase::of(me.generation) == Phase::Sweep;
                let step = if resumed { CollectorStep::Delete } else { CollectorStep::Condemn };
                let next = Collector { step, first: list, second: 0, ..me };
                put("C1 lists marks, knows what to condemn", None, if list == 0 { FRESH_COLLECTOR } else { next });
            }
        }
        CollectorStep::Relist => {
            let skipped = setup.plants.has(Plant::SkipRelist);
            let step = if skipped { CollectorStep::Sweep } else { CollectorStep::Rescue };
            let next = Collector { step, second: if skipped { 0 } else { state.commits }, ..me };
            put("C2 lists commits again", None, next);
        }
        CollectorStep::Rescue => {
            let live = live_commits(state, view, me.second, setup.plants, true);
            let rescued = if setup.plants.has(Plant::RescueWithoutClosure) { live } else { needed(view, live) };
            let second = if setup.plants.has(Plant::SweepCondemned) { me.first } else { 0 };
            let next = Collector { step: CollectorStep::Sweep, first: me.first & !rescued, second, ..me };
            put("C2 lists marks again, rescues", None, next);
        }
        CollectorStep::Condemn | CollectorStep::Sweep | CollectorStep::Finish => {
            exchange_root(state, setup, index, out);
        }
        _ => delete(state, view, setup, index, out),
    }
}

fn read_root(state: &State, setup: &Setup) -> Option<Collector> {
    let (step, first) = match Phase::of(state.generation) {
        Phase::Idle if state.generation >= 3 * setup.epochs => return None,
        Phase::Condemned if setup.plants.has(Plant::ForgetCondemned) => return None,
        Phase::Idle => (CollectorStep::ListArchives, 0),
        Phase::Condemned => (CollectorStep::Relist, state.list),
        Phase::Sweep if setup.plants.has(Plant::RecomputeSweep) => (CollectorStep::ListArchives, 0),
        Phase::Sweep if state.list == 0 => (CollectorStep::ListRecords, 0),
        Phase::Sweep => (CollectorStep::Delete, state.list),
    };
    Some(Collector { step, generation: state.generation, first, second: 0 })
}

/// The lists that may be condemned: all of `mask`, or any part of it.
fn lists(mask: Mask, setup: &Setup) -> impl Iterator<Item = Mask> {
    let partial = setup.partial_lists;
    (0..=mask).filter(move |&list| list & !mask == 0 && (list == mask || partial && list != 0))
}

/// C1, C3 and C6: the next generation is created, or somebody was faster.
fn exchange_root(state: &State, setup: &Setup, index: usize, out: &mut Steps) {
    let me = state.collectors[index];
    let mut next = *state;
    next.collectors[index] = FRESH_COLLECTOR;
    if state.generation != me.generation && !setup.plants.has(Plant::NoSwap) {
        return out.put(ACTORS[index], "is too late to exchange root", None, next);
    }
    next.generation = me.generation + 1;
    next.list = me.first;
    let mine = Collector { generation: next.generation, second: 0, ..me };
    let action = match me.step {
        CollectorStep::Condemn => {
            next.collectors[index] = Collector { step: CollectorStep::Relist, ..mine };
            "C1 creates root: condemned"
        }
        CollectorStep::Sweep => {
            next.swept |= me.first;
            next.ever |= me.first;
            let first = me.first | me.second;
            let step = if first == 0 { CollectorStep::ListRecords } else { CollectorStep::Delete };
            next.collectors[index] = Collector { step, first, ..mine };
            "C3 creates root: sweep"
        }
        _ => {
            next.list = 0;
            if setup.plants.has(Plant::DropLists) {
                next.swept = 0;
            }
            "C6 creates root: idle"
        }
    };
    out.put_list(ACTORS[index], action, Some(next.list), next);
}

/// C5: one archive, commit record or mark is deleted.
fn delete(state: &State, view: &View, setup: &Setup, index: usize, out: &mut Steps) {
    let me = state.collectors[index];
    if me.step == CollectorStep::ListRecords {
        let mut next = *state;
        next.collectors[index] = list_records(state, view, setup, &me);
        return out.put(ACTORS[index], "C5 lists commits whose archives are gone", None, next);
    }
    let archives = me.step == CollectorStep::Delete;
    let records = !archives && me.second != 0;
    for slot in slots(if records { me.second } else { me.first }) {
        let bit = 1u8 << slot;
        let mut next = *state;
        let mut mine = me;
        let mut action = "C5 deletes archive";
        if archives {
            next.exists &= !bit;
            mine.first &= !bit;
            if mine.first == 0 {
                mine.step = CollectorStep::ListRecords;
            }
            if state.ever & bit == 0 {
                out.fault("an archive is deleted that is on no sweep list");
            }
        } else if records {
            action = "C5 deletes commit";
            next.commits &= !bit;
            next.single &= !bit;
            mine.second &= !bit;
        } else {
            action = "C5 deletes the marks of snapshot";
            next.words[usize::from(slot)] = Word::None;
            mine.first &= !bit;
        }
        if !archives && mine.first | mine.second == 0 {
            mine.step = CollectorStep::Finish;
        }
        next.collectors[index] = mine;
        out.put(ACTORS[index], action, Some(slot), next);
    }
}

fn list_records(state: &State, view: &View, setup: &Setup, me: &Collector) -> Collector {
    let forgotten = |slot: u8| state.words[usize::from(view.snapshot_of(slot))] == Word::Forgotten;
    let mut records = state.commits & state.swept & !state.exists;
    if setup.plants.has(Plant::DeleteForgottenRecords) {
        records |= slots(state.commits).filter(|&slot| forgotten(slot)).fold(0, |mask, slot| mask | 1 << slot);
    }
    let mut marks = 0;
    for snapshot in 0..4u8 {
        let commits = state.commits & view.slots_of(snapshot);
        if commits & !records == 0 && state.words[usize::from(snapshot)] != Word::None {
            marks |= 1 << snapshot;
        }
    }
    let step = if records | marks == 0 { CollectorStep::Finish } else { CollectorStep::DeleteRecords };
    Collector { step, generation: me.generation, first: marks, second: records }
}
