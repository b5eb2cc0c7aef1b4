//! The protocol within the bounds of CI, and the mistakes that the search must find.
#![expect(clippy::panic, reason = "tests")]

use vark_model::bugs::Bug;
use vark_model::search::{Outcome, search};
use vark_model::settings::Settings;

/// Visits all states and insists on their number: a rule that stops something from happening changes it.
fn assert_safe(settings: &Settings, state_count: usize) {
    let outcome = search(settings);
    if let Some((fault, trace)) = &outcome.found {
        trace.iter().for_each(|action| println!("  {action}"));
        panic!("{}: {fault}", settings.text());
    }
    println!("{}: {} states, {} steps", settings.text(), outcome.state_count, outcome.step_count);
    assert!(outcome.complete);
    assert_eq!(outcome.state_count, state_count, "{}", settings.text());
}

#[test]
fn two_writers_a_collector_and_a_reader_lose_nothing() {
    assert_safe(&Settings { threads: 2, ..Settings::new(2, 1) }, 24_462_363);
}

#[test]
fn smaller_bounds_with_more_freedom_lose_nothing() {
    let one = |collectors| Settings::new(1, collectors);
    assert_safe(&Settings { attempts: 3, volumes: 2, partial: true, ..one(1) }, 797_802);
    assert_safe(&one(2), 422_551);
    assert_safe(&Settings { partial: true, volumes: 2, reader: false, forgets: 2, ..one(2) }, 4_402_266);
    assert_safe(&Settings { attempts: 1, volumes: 2, reader: false, ..Settings::new(2, 1) }, 1_112_421);
}

#[test]
fn the_lists_that_a_writer_reads_first_only_save_work() {
    assert_safe(&Settings { blind: true, ..Settings::new(1, 2) }, 422_551);
}

/// What each planted bug breaks first, and after how many steps at least: a model that does less is noticed.
const EXPECTED: &[(Bug, &str, usize)] = &[
    (Bug::SkipRecheck, "ProtectedLost", 12),
    (Bug::RootBeforeCommit, "ProtectedLost", 13),
    (Bug::AcknowledgeBeforeCommit, "ProtectedLost", 3),
    (Bug::CommitBeforeArchive, "MissingArchive", 3),
    (Bug::OwnArchiveOnly, "ProtectedLost", 14),
    (Bug::CurrentListOnly, "ProtectedLost", 16),
    (Bug::ListsOfFirstRead, "ProtectedLost", 13),
    (Bug::IgnoreCondemned, "ProtectedLost", 13),
    (Bug::ReuseName, "ProtectedLost", 16),
    (Bug::UndeleteWithoutCheck, "ProtectedLost", 12),
    (Bug::UndeleteChecksFirst, "ProtectedLost", 13),
    (Bug::UndeleteTrustsMarks, "ProtectedLost", 14),
    (Bug::UndeleteByClock, "ProtectedLost", 12),
    (Bug::CompactForgetsFirst, "ProtectedLost", 13),
    (Bug::ReplacedIsForgotten, "ProtectedLost", 12),
    (Bug::RetainTrustsListing, "ProtectedLost", 15),
    (Bug::SkipRelist, "ProtectedLost", 11),
    (Bug::RelistBeforeRoot, "ProtectedLost", 12),
    (Bug::RescueIgnoresClosure, "ProtectedLost", 14),
    (Bug::RescueIgnoresUndelete, "ProtectedLost", 13),
    (Bug::CondemnWithoutSwap, "VoidReversed", 14),
    (Bug::SweepWithoutSwap, "VoidReversed", 16),
    (Bug::FinishWithoutSwap, "VoidReversed", 26),
    (Bug::DropFinishedLists, "VoidReversed", 15),
    (Bug::DeleteCondemned, "DeletedUnlisted", 13),
    (Bug::DeleteBeforeSweepList, "DeletedUnlisted", 9),
    (Bug::ContinueRecomputes, "DeletedUnlisted", 18),
    (Bug::CleanByOldListing, "DeletedRecord", 17),
    (Bug::TidyUndelete, "ProtectedLost", 28),
    (Bug::VoidByCondemned, "ProtectedLost", 10),
    (Bug::VoidByStoredLists, "ProtectedLost", 18),
    (Bug::VoidKeepsAlive, "Leak", 13),
    (Bug::ReaderReadsRootFirst, "ToldVoid", 11),
    (Bug::ReaderSkipsMissing, "WrongData", 13),
];

#[test]
fn every_planted_bug_is_found_with_a_shortest_trace() {
    let mut seen = Vec::new();
    for &bug in Bug::ALL {
        let Outcome { found, state_count, .. } = search(&Settings::for_bug(bug));
        let (fault, trace) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("\n{bug:?}: {} ({state_count} states)", bug.text());
        trace.iter().enumerate().for_each(|(number, action)| println!("  {:2} {action}", number + 1));
        println!("   => {fault}");
        let kind = format!("{fault:?}");
        seen.push((bug, kind[..kind.find('(').unwrap_or(kind.len())].to_owned(), trace.len()));
    }
    let expected: Vec<_> = EXPECTED.iter().map(|&(bug, kind, steps)| (bug, kind.to_owned(), steps)).collect();
    assert_eq!(seen, expected);
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
        assert_eq!(search(&bug).found.map(|found| found.1.len()), Some(12));
    }
}

/// About three minutes on two cores and 1.9 GB.
#[test]
#[ignore = "minutes; make model runs larger bounds"]
fn two_writers_and_two_collectors_lose_nothing() {
    assert_safe(&Settings { threads: 2, reader: false, ..Settings::new(2, 2) }, 44_052_605);
}
