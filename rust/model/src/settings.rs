//! The bounds of one run.

use crate::bugs::Bug;
use crate::state::{INITIAL_NAMES, Job, MARKS_MAX, NAMES_MAX};

#[derive(Clone, Debug)]
pub struct Settings {
    /// Writers, each of which does one job; they are interchangeable.
    pub writers: usize,
    /// How often a writer may write an archive and a commit; the second and later ones supersede the one before.
    pub attempts: usize,
    pub collectors: usize,
    pub reader: bool,
    /// Volumes an archive: 1, or 2 so that half an archive can stand.
    pub volumes: usize,
    /// Forget marks that people write at any time, besides those of writers.
    pub forgets: usize,
    pub jobs: Vec<Job>,
    /// C1 may leave out any part of what it could condemn (grace period, floor, hold), not only nothing.
    pub partial: bool,
    /// W1 looks at no list. It only saves work, and the model shows that.
    pub blind: bool,
    pub bug: Option<Bug>,
    pub threads: usize,
    /// The search stops with an error above this.
    pub states_max: usize,
}

pub const ALL_JOBS: [Job; 6] = [Job::Full, Job::Delta, Job::NearDelta, Job::Compact, Job::Undelete, Job::Retain];

impl Settings {
    /// Writers with all jobs and two attempts, collectors, a reader, one forget mark by users.
    pub fn new(writers: usize, collectors: usize) -> Self {
        Self {
            writers,
            attempts: 2,
            collectors,
            reader: true,
            volumes: 1,
            forgets: 1,
            jobs: ALL_JOBS.to_vec(),
            partial: false,
            blind: false,
            bug: None,
            threads: 1,
            states_max: 55_000_000,
        }
    }

    /// Bounds within which a planted bug shows: as few processes as it needs.
    pub fn for_bug(bug: Bug) -> Self {
        let (writers, attempts, collectors) = match bug {
            Bug::UndeleteTrustsMarks | Bug::RetainTrustsListing => (2, 1, 1),
            Bug::CondemnWithoutSwap | Bug::SweepWithoutSwap | Bug::FinishWithoutSwap | Bug::VoidByStoredLists => {
                (1, 1, 2)
            }
            _ => (1, 2, 1),
        };
        Self { attempts, bug: Some(bug), ..Self::new(writers, collectors) }
    }

    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub fn any(&self, bugs: &[Bug]) -> bool {
        self.bug.is_some_and(|bug| bugs.contains(&bug))
    }

    /// Names of archives: those of the start and one for each attempt of each writer.
    pub fn names(&self) -> usize {
        INITIAL_NAMES + self.writers * self.attempts
    }

    pub fn marks(&self) -> usize {
        self.forgets + self.writers
    }

    /// The archive and commit of a writer's attempt. Names are never reused, and whose they are is in the number.
    pub fn name(&self, writer: usize, attempt: u8) -> usize {
        INITIAL_NAMES + writer * self.attempts + usize::from(attempt)
    }

    /// The bounds in a line.
    pub fn text(&self) -> String {
        let Self { writers, attempts, collectors, volumes, forgets, .. } = self;
        let mut text = format!(
            "{writers} writers x {collectors} collectors x {} readers, {attempts} commits a writer, {forgets} forgets by \
             users, {volumes} volumes an archive",
            u8::from(self.reader)
        );
        for (on, words) in [(self.partial, ", any part condemned"), (self.blind, ", W1 reads no list")] {
            text += if on { words } else { "" };
        }
        text
    }

    /// Whether the bounds fit the encoding.
    pub fn fit(&self) -> bool {
        self.names() <= NAMES_MAX
            && self.marks() <= MARKS_MAX
            && (1..=2).contains(&self.collectors)
            && (1..=4).contains(&self.attempts)
            && (1..=2).contains(&self.volumes)
            && self.writers <= 3
    }
}
