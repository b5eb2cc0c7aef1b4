//! What must hold: in every state, between two states, and when only a collector is left.

use crate::collector::collector_steps;
use crate::packing::without_processes;
use crate::settings::Settings;
use crate::state::{CollectorAt, Phase, State, members, only};
use crate::step::{Fault, Step, Steps, forgotten, void};

/// Protected commits can be restored, and the void rule tells exactly what cannot.
pub fn fault_of_state(settings: &Settings, state: &State) -> Option<Fault> {
    for commit in members(state.protected | state.records) {
        let excluded = void(settings, state, commit);
        let complete = state.needs[commit] & !state.whole() == 0;
        let recorded = state.records & only(commit) != 0;
        if state.protected & only(commit) != 0 && (excluded || !complete || !recorded) {
            return Some(Fault::ProtectedLost(commit));
        }
        if recorded && !excluded && !complete {
            return Some(Fault::MissingArchive(commit));
        }
    }
    None
}

/// What is wrong with the step itself, with void before and after it, or with the state after it.
pub fn fault_of_step(settings: &Settings, before: &State, step: &Step) -> Option<Fault> {
    let reversed = members(before.records & step.next.records)
        .find(|&commit| void(settings, before, commit) && !void(settings, &step.next, commit));
    step.fault.or(reversed.map(Fault::VoidReversed)).or_else(|| fault_of_state(settings, &step.next))
}

/// Lets one fresh collector run alone until it changes nothing, and returns what should be gone and is not.
pub fn leak(settings: &Settings, state: &State) -> Option<Fault> {
    const STEPS_MAX: usize = 1000;
    let mut now = without_processes(state);
    let mut before = None;
    let mut settled = false;
    for _ in 0..STEPS_MAX {
        if now.collectors[0].at == CollectorAt::Idle && now.root.phase == Phase::Idle {
            settled = before == Some(now);
            if settled {
                break;
            }
            before = Some(now);
        }
        let mut steps = Steps::new(settings);
        collector_steps(&now, 0, &mut steps);
        let Some(first) = steps.list.first() else { break };
        now = first.next;
    }
    let kept = members(now.records)
        .filter(|&commit| !void(settings, &now, commit) && !forgotten(settings, &now, commit))
        .fold(0, |kept, commit| kept | now.needs[commit]);
    let voids = members(now.records).find(|&commit| void(settings, &now, commit));
    let garbage = members(now.some() & !kept).next();
    // A collector that never comes to rest has not collected anything for good.
    garbage.or(voids).or((!settled).then_some(0)).map(Fault::Leak)
}
