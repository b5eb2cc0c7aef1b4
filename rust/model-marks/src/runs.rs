//! What is run: searches that have to find nothing, and planted bugs that have to be found.

use crate::plant::{Plant, Plants};
use crate::rules::{EVERY_TASK, Setup};

/// A search under a name.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub name: &'static str,
    pub setup: Setup,
}

/// States that fit into 2 GB.
pub const STATES_MAX: usize = 60_000_000;

const ONE: Setup = Setup {
    writers: 1,
    collectors: 1,
    reader: true,
    epochs: 2,
    tasks: [EVERY_TASK; 2],
    forgettable: 0b1111,
    partial_lists: false,
    crashes: true,
    any_single_mark: false,
    reduced: false,
    plants: Plants::NONE,
};

const TWO: Setup = Setup { writers: 2, reduced: true, ..ONE };

/// The protocol, in minutes at most.
pub const QUICK: &[Run] = &[
    Run { name: "1 writer, 1 collector, reader; nothing left out", setup: ONE },
    Run {
        name: "1 writer, 1 collector, reader; any part of a list, any mark of a commit",
        setup: Setup { partial_lists: true, any_single_mark: true, reduced: true, ..ONE },
    },
    Run {
        name: "1 writer, 2 collectors",
        setup: Setup { collectors: 2, reader: false, reduced: true, crashes: false, ..ONE },
    },
    Run { name: "2 writers, 1 collector, reader; 1 epoch", setup: Setup { epochs: 1, ..TWO } },
    Run { name: "2 writers, 1 collector", setup: Setup { reader: false, ..TWO } },
    Run { name: "2 writers, 1 collector, reader; no crash", setup: Setup { crashes: false, ..TWO } },
];

/// The protocol with two of each. A writer has one task, so one run for each pair of tasks leaves nothing out, and each
/// fits into memory.
#[must_use]
pub fn thorough() -> Vec<Run> {
    let free = Run {
        name: "2 writers, 1 collector; 1 epoch, any part of a list, any mark of a commit",
        setup: Setup { reader: false, epochs: 1, partial_lists: true, any_single_mark: true, ..TWO },
    };
    let mut runs = vec![free];
    for first in 0..EVERY_TASK.len() {
        for second in first..EVERY_TASK.len() {
            let tasks = [&EVERY_TASK[first..=first], &EVERY_TASK[second..=second]];
            runs.push(Run {
                name: "2 writers, 2 collectors; 1 epoch",
                setup: Setup { collectors: 2, reader: false, epochs: 1, crashes: false, tasks, ..TWO },
            });
        }
    }
    runs
}

/// Each planted bug where it has to be found.
#[must_use]
pub fn planted() -> Vec<Run> {
    let mut runs = Vec::new();
    for &(plant, name) in crate::plant::PLANTS {
        let plants = Plants::NONE.with(plant);
        let setup = match plant {
            Plant::NoSwap => Setup { collectors: 2, ..ONE },
            Plant::MarkAlwaysCounts => Setup { writers: 2, ..ONE },
            _ => ONE,
        };
        // Marks that count whatever happens are what makes it matter when they are written.
        let plants = if plant == Plant::ForgetEarly { plants.with(Plant::MarkAlwaysCounts) } else { plants };
        runs.push(Run { name, setup: Setup { plants, ..setup } });
    }
    runs
}

/// What the rule for marks of single commits is good for: it makes these harmless, or they need a second writer.
pub const HARMLESS: &[Run] = &[
    Run {
        name: "compact-forgets-before-w4, with the rule for such marks",
        setup: Setup { plants: Plants::NONE.with(Plant::ForgetEarly), reduced: true, ..ONE },
    },
    Run {
        name: "superseded-mark-always-counts, with 1 writer",
        setup: Setup { plants: Plants::NONE.with(Plant::MarkAlwaysCounts), reduced: true, ..ONE },
    },
];
