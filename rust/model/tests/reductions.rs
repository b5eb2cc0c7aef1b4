//! The reductions are exact: a walk without any of them meets the same states, up to renaming.

use std::collections::{HashSet, VecDeque};

use vark_model::bugs::Bug;
use vark_model::canonical::{canonical, cleared};
use vark_model::packing::{Packed, initial, pack, unpack, width};
use vark_model::search::{all_steps, search};
use vark_model::settings::Settings;
use vark_model::state::State;

/// All states that can be reached when nothing is cleared and nobody is interchangeable.
fn every_state(settings: &Settings) -> HashSet<State> {
    let mut seen = HashSet::from([initial()]);
    let mut open = VecDeque::from([initial()]);
    while let Some(state) = open.pop_front() {
        for step in all_steps(settings, &state).list {
            if seen.insert(step.next) {
                open.push_back(step.next);
            }
        }
    }
    seen
}

fn assert_exact(settings: &Settings) {
    let every = every_state(settings);
    let reduced: HashSet<Packed> = every.iter().map(|state| canonical(settings, state)).collect();
    let outcome = search(settings);
    assert!(outcome.complete && outcome.found.is_none());
    println!("{}: {} states without reductions, {} with", settings.text(), every.len(), reduced.len());
    assert_eq!(outcome.state_count, reduced.len());
    for state in &every {
        let settled = cleared(settings, state);
        assert_eq!(cleared(settings, &settled), settled, "clearing twice is clearing once");
        assert_eq!(unpack(settings, &pack(settings, &settled)), settled, "packing keeps everything");
        let packed = canonical(settings, state);
        assert_eq!(canonical(settings, &unpack(settings, &packed)), packed, "a representative stands for itself");
    }
}

#[test]
fn one_writer_one_collector_one_reader() {
    assert_exact(&Settings { volumes: 2, ..Settings::new(1, 1) });
}

#[test]
fn two_writers_one_collector() {
    assert_exact(&Settings { forgets: 0, reader: false, ..Settings::new(2, 1) });
}

#[test]
fn one_writer_two_collectors() {
    assert_exact(&Settings { attempts: 1, reader: false, ..Settings::new(1, 2) });
}

#[test]
fn all_bounds_fit_into_the_encoding() {
    for &bug in Bug::ALL {
        let settings = Settings { reader: true, volumes: 2, bug: Some(bug), ..Settings::new(2, 2) };
        assert!(settings.fit() && width(&settings) <= 192, "{} bits", width(&settings));
    }
}
