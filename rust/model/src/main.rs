//! Runs the model within bounds that are too large for CI, or shows what a planted bug does.

use std::process::ExitCode;
use std::time::Instant;

use vark_model::bugs::Bug;
use vark_model::packing::width;
use vark_model::search::{Outcome, search};
use vark_model::settings::Settings;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => {
            if larger_bounds().into_iter().all(|settings| is_safe(&settings)) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        ["bug", name] if !named(name).is_empty() => {
            named(name).into_iter().for_each(show);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!(
                "usage: vark-model            check the protocol within larger bounds\n       vark-model bug all|NAME"
            );
            eprintln!("planted bugs:");
            Bug::ALL.iter().for_each(|bug| eprintln!("  {bug:?}: {}", bug.text()));
            ExitCode::from(2)
        }
    }
}

fn named(name: &str) -> Vec<Bug> {
    Bug::ALL.iter().copied().filter(|bug| name == "all" || format!("{bug:?}") == name).collect()
}

/// About 2 GB of memory at most.
fn larger_bounds() -> Vec<Settings> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let short = |writers, collectors| Settings { attempts: 1, ..Settings::new(writers, collectors) };
    let runs = [
        Settings { volumes: 2, partial: true, forgets: 2, ..short(2, 1) },
        Settings { forgets: 2, reader: false, ..Settings::new(2, 1) },
        Settings { forgets: 0, reader: false, ..short(3, 1) },
        short(2, 2),
        Settings { reader: false, ..Settings::new(2, 2) },
    ];
    runs.into_iter().map(|run| Settings { threads, ..run }).collect()
}

fn is_safe(settings: &Settings) -> bool {
    println!("{}; {} bits a state", settings.text(), width(settings));
    let start = Instant::now();
    let outcome = search(settings);
    let seconds = start.elapsed().as_secs();
    let Outcome { state_count, step_count, depth, found, complete } = outcome;
    println!("  {state_count} states, {step_count} steps, the farthest after {depth}, {seconds} s");
    if let Some((fault, trace)) = &found {
        println!("  FAULT: {fault}");
        trace.iter().for_each(|action| println!("    {action}"));
    } else if complete {
        println!("  all states seen, no fault");
    } else {
        println!("  STOPPED at the limit on states, no fault so far");
    }
    complete && found.is_none()
}

fn show(bug: Bug) {
    println!("{bug:?}: {}", bug.text());
    match search(&Settings::for_bug(bug)).found {
        Some((fault, trace)) => {
            trace.iter().enumerate().for_each(|(number, action)| println!("  {:2} {action}", number + 1));
            println!("  => {fault}");
        }
        None => println!("  not found within its bounds"),
    }
}
