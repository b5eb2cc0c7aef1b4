//! The protocol has no violation, every planted bug is found, and the reduction changes neither.

#![expect(clippy::panic, reason = "a test stops at the first fault")]

use vark_model_marks::plant::PLANTS;
use vark_model_marks::rules::Setup;
use vark_model_marks::runs::{HARMLESS, QUICK, Run, STATES_MAX, planted};
use vark_model_marks::search::search;
use vark_model_marks::state::{START, State};
use vark_model_marks::steps::Steps;

fn assert_none(runs: &[Run]) {
    for run in runs {
        let outcome = search(&run.setup, STATES_MAX);
        println!("{}: {} states, {} steps", run.name, outcome.states, outcome.steps);
        assert!(outcome.violation.is_none(), "{}: {:#?}", run.name, outcome.violation);
        assert!(outcome.complete, "{}: more than {STATES_MAX} states", run.name);
        assert!(outcome.states > 10_000, "{}: {} states prove nothing", run.name, outcome.states);
    }
}

#[test]
fn the_protocol_has_no_violation() {
    assert_none(QUICK);
}

#[test]
fn the_rule_for_marks_makes_their_time_harmless() {
    assert_none(HARMLESS);
}

#[test]
fn every_planted_bug_is_found_with_a_trace() {
    let runs = planted();
    assert_eq!(runs.len(), PLANTS.len());
    for run in runs {
        let outcome = search(&run.setup, STATES_MAX);
        let violation = outcome.violation.unwrap_or_else(|| panic!("{}: not found", run.name));
        println!("{}: {} after {} states", run.name, violation.text, outcome.states);
        violation.trace.iter().for_each(|line| println!("    {line}"));
        assert!(!violation.trace.is_empty() && !violation.trace.iter().any(|line| line.starts_with('(')));
    }
}

#[test]
fn the_reduction_finds_the_same() {
    for run in planted() {
        if run.name == "reuse-of-a-name" {
            continue; // what the reduction takes for granted
        }
        let violation = search(&run.setup, STATES_MAX).violation.unwrap_or_else(|| panic!("{}", run.name));
        let reduced = search(&Setup { reduced: true, ..run.setup }, STATES_MAX).violation;
        let reduced = reduced.unwrap_or_else(|| panic!("{}: lost by the reduction", run.name));
        assert!(reduced.trace.len() <= violation.trace.len(), "{}: {:#?} {:#?}", run.name, violation, reduced);
    }
}

#[test]
fn states_are_packed_without_loss_and_exchanged_actors_are_one_state() {
    let setup = Setup { writers: 2, collectors: 2, epochs: 1, ..QUICK[0].setup };
    let mut steps = Steps::default();
    let mut state = START;
    for turn in 0..2000usize {
        steps.fill(&state, &setup);
        if steps.all.is_empty() {
            state = START;
            continue;
        }
        state = steps.all[turn * 7919 % steps.all.len()].next;
        assert_eq!(State::unpack(state.pack()), state);
        let canonical = state.canonical(2, 2);
        assert_eq!(State::unpack(canonical).canonical(2, 2), canonical);
        assert_eq!(state.exchanged().canonical(2, 2), canonical);
    }
}
