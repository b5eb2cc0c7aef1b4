//! The protocol within the bounds of CI, and the mistakes that the search must find.
#![expect(clippy::panic, reason = "tests")]

use vark_model::bugs::Bug;
use vark_model::search::{Outcome, search};
use vark_model::settings::Settings;

fn assert_safe(settings: &Settings) {
    let outcome = search(settings);
    if let Some((fault, trace)) = &outcome.found {
        trace.iter().for_each(|action| println!("  {action}"));
        panic!("{}: {fault}", settings.text());
    }
    println!("{}: {} states, {} steps", settings.text(), outcome.state_count, outcome.step_count);
    assert!(outcome.complete);
}

#[test]
fn two_writers_a_collector_and_a_reader_lose_nothing() {
    assert_safe(&Settings { threads: 2, ..Settings::new(2, 1) });
}

#[test]
fn smaller_bounds_with_more_freedom_lose_nothing() {
    let one = |collectors| Settings::new(1, collectors);
    assert_safe(&Settings { attempts: 3, volumes: 2, partial: true, ..one(1) });
    assert_safe(&one(2));
    assert_safe(&Settings { partial: true, volumes: 2, reader: false, forgets: 2, ..one(2) });
    assert_safe(&Settings { attempts: 1, volumes: 2, reader: false, ..Settings::new(2, 1) });
}

#[test]
fn the_lists_that_a_writer_reads_first_only_save_work() {
    assert_safe(&Settings { blind: true, ..Settings::new(1, 2) });
}

#[test]
fn every_planted_bug_is_found_with_a_shortest_trace() {
    for &bug in Bug::ALL {
        let Outcome { found, state_count, .. } = search(&Settings::for_bug(bug));
        let (fault, trace) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("\n{bug:?}: {} ({state_count} states)", bug.text());
        trace.iter().enumerate().for_each(|(number, action)| println!("  {:2} {action}", number + 1));
        println!("   => {fault}");
    }
    assert!(Bug::ALL.len() >= 30);
}

#[test]
fn without_its_bug_the_same_bounds_are_safe() {
    let mut done = Vec::new();
    for &bug in Bug::ALL {
        let settings = Settings { bug: None, ..Settings::for_bug(bug) };
        if !done.contains(&settings.text()) {
            let outcome = search(&settings);
            assert!(outcome.complete && outcome.found.is_none(), "{}: {:?}", settings.text(), outcome.found);
            done.push(settings.text());
        }
    }
}

#[test]
fn the_limit_on_states_ends_a_search_without_a_verdict() {
    let outcome = search(&Settings { states_max: 1000, ..Settings::new(2, 1) });
    assert!(!outcome.complete && outcome.found.is_none() && outcome.state_count > 1000);
}

#[test]
fn threads_do_not_change_what_is_seen() {
    let settings = Settings { attempts: 1, forgets: 0, ..Settings::new(2, 1) };
    let alone = search(&settings);
    for threads in [2, 3] {
        let shared = search(&Settings { threads, ..settings.clone() });
        assert_eq!(
            (alone.state_count, alone.step_count, alone.depth),
            (shared.state_count, shared.step_count, shared.depth)
        );
        let bug = Settings { threads, ..Settings::for_bug(Bug::SkipRecheck) };
        assert!(search(&bug).found.is_some());
    }
}

/// About two minutes and 2 GB.
#[test]
#[ignore = "minutes; make model runs larger bounds"]
fn two_writers_and_two_collectors_lose_nothing() {
    assert_safe(&Settings { threads: 2, reader: false, ..Settings::new(2, 2) });
}
