//! One state of the model: the repository's objects, the processes' memories, and what people were told.

pub const NAMES_MAX: usize = 8;
pub const WRITERS_MAX: usize = 3;
pub const COLLECTORS_MAX: usize = 2;
pub const MARKS_MAX: usize = 5;
/// Archives and commits that stand before anything happens: a full one, and a delta on it.
pub const INITIAL_NAMES: usize = 2;

/// A set of archives or of commits: bit k is archive k, or the commit k that owns it.
pub type Names = u8;

/// The members of a set.
pub fn members(set: Names) -> impl Iterator<Item = usize> {
    (0..NAMES_MAX).filter(move |name| set >> name & 1 == 1)
}

/// The set of one name.
pub fn only(name: usize) -> Names {
    1 << name
}

macro_rules! stages {
    ($(#[$meta:meta])* $name:ident { $($stage:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(u8)]
        pub enum $name { #[default] $($stage),+ }
        impl $name {
            const ALL: &[Self] = &[$(Self::$stage),+];
            /// The inverse of `as u8`; a number that stands for nothing is the first.
            pub fn from_number(number: u8) -> Self {
                Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
            }
        }
    };
}
stages!(
    /// What the newest root record says.
    Phase { Idle, Condemned, Sweep }
);
stages!(
    /// The life of a forget mark: written, cancelled by an undelete mark that names it, no longer of effect.
    MarkStage { Unused, Active, Cancelled, Spent }
);
stages!(
    /// What a writer is asked to do, once.
    Job { Full, Delta, NearDelta, Compact, Undelete, Retain }
);
stages!(
    /// The next step of a writer.
    WriterAt {
        Idle, ReadRoot, Upload, UploadRest, EarlyCheck, Commit, Check, ForgetOld, ListMarks, WriteUndelete, CheckUndelete,
        CheckKept, ForgetVictim, Done,
    }
);
stages!(
    /// The next step of a collector.
    CollectorAt {
        Idle, ListArchives, ListCommits, ListMarks, EarlyRelist, Condemn, RelistCommits, RelistMarks, StoreList, Sweep,
        Delete, CleanArchives, CleanCommits, DeleteRecord, TidyMarks, Finish,
    }
);
stages!(
    /// The next step of a reader.
    ReaderAt { Idle, RootFirst, Read }
);

/// A forget mark. An undelete mark names the forget marks that it cancels: no clock orders them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Mark {
    pub stage: MarkStage,
    pub commit: u8,
}

/// The newest root record. The chain of finished sweep lists matters only as their union, `dead`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Root {
    pub phase: Phase,
    /// The condemned list in phase `Condemned`, the sweep list in phase `Sweep`.
    pub list: Names,
    pub dead: Names,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Writer {
    pub at: WriterAt,
    pub job: Job,
    pub attempt: u8,
    /// The commit that is built on, compacted, undeleted or forgotten.
    pub target: u8,
    /// `Retain`: the commit that is kept. `Undelete`: the forget marks that were seen, as bits.
    pub seen: u8,
    /// The dead list read first; only kept by a planted bug.
    pub first: Names,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Collector {
    pub at: CollectorAt,
    /// Somebody else has written the root record that this one would write next.
    pub stale: bool,
    /// Archives: listed, condemned, to be swept, still to be deleted.
    pub archives: Names,
    /// Commits: listed, to be deleted.
    pub commits: Names,
    /// The chain as this one read it; only kept by planted bugs.
    pub view: Names,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Reader {
    pub at: ReaderAt,
    pub commit: u8,
    pub archives: Names,
    /// Something was missing and the reader went on; only by a planted bug.
    pub gap: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    /// Archives whose first and whose last volume exists; with one volume an archive both are the same.
    pub volumes: [Names; 2],
    /// Commit records that exist.
    pub records: Names,
    /// Per commit: its own archive and its closure of ancestors. It is fixed before the record is written.
    pub needs: [Names; NAMES_MAX],
    /// Commits that somebody was told are safe, and that nobody has asked to forget since.
    pub protected: Names,
    pub marks: [Mark; MARKS_MAX],
    pub root: Root,
    /// Sweep lists that were stored and never became root; only kept by a planted bug.
    pub orphans: Names,
    pub writers: [Writer; WRITERS_MAX],
    pub collectors: [Collector; COLLECTORS_MAX],
    pub reader: Reader,
}

impl State {
    /// Archives that can be read whole.
    pub fn whole(&self) -> Names {
        self.volumes[0] & self.volumes[1]
    }

    /// Archives of which anything is stored.
    pub fn some(&self) -> Names {
        self.volumes[0] | self.volumes[1]
    }

    /// Archives on any sweep list of the chain.
    pub fn swept(&self) -> Names {
        self.root.dead | if self.root.phase == Phase::Sweep { self.root.list } else { 0 }
    }

    /// The effective dead list: all sweep lists, and the condemned list of an epoch that is still in that phase.
    pub fn effective(&self) -> Names {
        self.root.dead | if self.root.phase == Phase::Idle { 0 } else { self.root.list }
    }

    pub fn forgotten(&self, commit: usize) -> bool {
        self.marks.iter().any(|mark| mark.stage == MarkStage::Active && usize::from(mark.commit) == commit)
    }
}
