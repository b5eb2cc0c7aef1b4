//! `vark-model-marks`: check the protocol. Arguments: nothing for all of it, `quick`, `traces`, or the name of a planted bug.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;
use vark_model_marks::runs::{HARMLESS, QUICK, Run, STATES_MAX, planted, thorough};
use vark_model_marks::search::search;

fn main() -> io::Result<ExitCode> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let traces: Vec<Run> = planted().into_iter().filter(|run| wanted == "traces" || wanted == run.name).collect();
    let all = [QUICK.to_vec(), thorough(), HARMLESS.to_vec()].concat();
    let one: Vec<Run> = all.iter().copied().filter(|run| wanted == run.name).collect();
    let good = match wanted.as_str() {
        "" => report(all, false)? & report(planted(), true)?,
        "quick" => report(QUICK.to_vec(), false)?,
        _ if !one.is_empty() => report(one, false)?,
        _ if traces.is_empty() => {
            writeln!(io::stderr(), "vark-model-marks: no such run; nothing, quick, traces, or one of:")?;
            planted().iter().try_for_each(|run| writeln!(io::stderr(), "  {}", run.name))?;
            false
        }
        _ => report(traces, true)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Run and tell; return whether each had a violation, or had none, as it has to be.
fn report(runs: Vec<Run>, violations: bool) -> io::Result<bool> {
    let mut good = true;
    let mut out = io::stdout().lock();
    for run in runs {
        let start = Instant::now();
        let outcome = search(&run.setup, STATES_MAX);
        let seconds = start.elapsed().as_secs_f64();
        let found = outcome.violation.is_some();
        let right = found == violations && (found || outcome.complete);
        good &= right;
        let (states, steps, megabytes) = (outcome.states, outcome.steps, outcome.bytes >> 20);
        let verdict = if right { "ok" } else { "WRONG" };
        let [first, second] = run.setup.tasks;
        let tasks = if first == second && first.len() > 1 { String::new() } else { format!(" {first:?} {second:?}") };
        writeln!(
            out,
            "{verdict}: {}{tasks}: {states} states, {steps} steps, depth {}, complete {}, {megabytes} MiB, {seconds:.1} s",
            run.name, outcome.depth, outcome.complete
        )?;
        if let Some(violation) = outcome.violation {
            for (number, line) in violation.trace.iter().enumerate() {
                writeln!(out, "  {:2} {line}", number + 1)?;
            }
            writeln!(out, "   = {}", violation.text)?;
        }
        out.flush()?;
    }
    Ok(good)
}
