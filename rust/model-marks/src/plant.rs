//! Planted bugs: each takes one rule of the protocol away, and the checker has to notice.

macro_rules! plants {
    ($($name:ident = $text:literal,)*) => {
        /// One rule that is broken on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Plant { $($name,)* }

        /// Every plant with the words that name it on the command line.
        pub const PLANTS: &[(Plant, &str)] = &[$((Plant::$name, $text),)*];
    };
}

plants! {
    SkipCheck = "skip-w4",
    SkipRelist = "skip-c2",
    CheckBeforeCommit = "root-read-before-commit",
    AcknowledgeEarly = "acknowledge-before-commit",
    DropLists = "drop-finished-lists",
    NoSwap = "collector-without-cas",
    ReuseName = "reuse-of-a-name",
    CheckOwnOnly = "w4-checks-own-archives-only",
    CheckNewestList = "w4-reads-the-newest-list-only",
    CheckSweepOnly = "w4-ignores-condemned-lists",
    UndeleteUnchecked = "undelete-without-w4",
    ForgetEarly = "compact-forgets-before-w4",
    SweepCondemned = "delete-from-the-condemned-list",
    RescueWithoutMarks = "rescue-ignores-marks",
    RescueWithoutClosure = "rescue-ignores-closures",
    RecomputeSweep = "continued-sweep-recomputes-its-list",
    CommitFirst = "commit-before-the-archive",
    MarkAlwaysCounts = "superseded-mark-always-counts",
    VoidIsLive = "void-commits-keep-archives",
    ForgetCondemned = "left-condemned-phase-is-not-continued",
    DeleteForgottenRecords = "records-of-the-forgotten-go-at-once",
}

/// A set of plants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plants(u32);

impl Plants {
    /// No plant.
    pub const NONE: Self = Self(0);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, plant: Plant) -> Self {
        Self(self.0 | 1 << plant as u32)
    }

    /// Whether a plant is in the set.
    #[must_use]
    pub const fn has(self, plant: Plant) -> bool {
        self.0 >> plant as u32 & 1 != 0
    }
}
