//! One state of the repository and of everybody who works with it, in 128 bits.
//!
//! An archive's name is its slot, and a commit has one archive of its own, so a commit has the same slot. Slots 0 and 1
//! are there at the start; writer `w` writes its first archive to slot `2 + 2 w` and the one that replaces it to the
//! next. So names do not depend on who was first, and all that is left of symmetry is the exchange of actors.

use std::cmp::Ordering;

pub const SLOTS: usize = 6;
pub const SNAPSHOTS: usize = 4;
pub const WRITERS: usize = 2;
pub const COLLECTORS: usize = 2;
const SLOT_MASK: u8 = (1 << SLOTS) - 1;

/// A set of slots, or of snapshots.
pub type Mask = u8;

/// The last word on a snapshot as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    None,
    Forgotten,
    Undeleted,
}

/// What the newest root says; the generation counts through the phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Idle,
    Condemned,
    Sweep,
}

impl Phase {
    /// The phase of a generation.
    #[must_use]
    pub const fn of(generation: u8) -> Self {
        match generation % 3 {
            0 => Self::Idle,
            1 => Self::Condemned,
            _ => Self::Sweep,
        }
    }
}

/// What a writer was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Task {
    None,
    Full,
    Delta,
    Compact,
    Undelete,
}

/// What a writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WriterStep {
    Start,
    Upload,
    Commit,
    Check,
    ForgetTarget,
    ForgetFirst,
    WriteMark,
    CheckMark,
    Done,
    /// Only with `CheckBeforeCommit`: what was read before the commit decides.
    CommitPassed,
    CommitFailed,
    /// Only with `ForgetEarly`.
    ForgetEarly,
    /// Only with `CommitFirst`.
    UploadLate,
}

/// What a collector does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CollectorStep {
    ReadRoot,
    ListArchives,
    ListCommits,
    ListMarks,
    Condemn,
    Relist,
    Rescue,
    Sweep,
    Delete,
    ListRecords,
    DeleteRecords,
    Finish,
}

/// What the reader does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReaderStep {
    List,
    ReadRoot,
    ReadOwn,
    ReadBase,
}

/// A writer. target: the slot that a delta builds on, or that is compacted or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    pub task: Task,
    pub target: u8,
    pub second: bool,
    pub step: WriterStep,
}

/// A collector. first, second: what it has listed and worked out so far; the step says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collector {
    pub step: CollectorStep,
    pub generation: u8,
    pub first: Mask,
    pub second: Mask,
}

/// The reader and the commit that it restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    pub step: ReaderStep,
    pub commit: u8,
}

/// The whole state. list: the condemned list in phase condemned, the sweep list in phase sweep. swept: all sweep lists
/// that can be read; ever: all that there were. single: commits with a forget mark of their own. claimed: snapshots
/// that somebody was promised and nobody has forgotten since. recreated: names that were used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub exists: Mask,
    pub recreated: Mask,
    pub commits: Mask,
    pub list: Mask,
    pub swept: Mask,
    pub ever: Mask,
    pub single: Mask,
    pub words: [Word; SNAPSHOTS],
    pub claimed: Mask,
    pub generation: u8,
    pub writers: [Writer; WRITERS],
    pub collectors: [Collector; COLLECTORS],
    pub reader: Reader,
}

impl Writer {
    /// The same writer, were it the other one.
    fn exchanged(self) -> Self {
        Self { target: exchange_slot(self.target), ..self }
    }

    fn key(self) -> (u8, u8, u8, bool) {
        (self.step as u8, self.task as u8, self.target, self.second)
    }
}

impl Collector {
    fn key(self) -> (u8, u8, Mask, Mask) {
        (self.step as u8, self.generation, self.first, self.second)
    }
}

/// A writer that has not begun.
pub const FRESH_WRITER: Writer = Writer { task: Task::None, target: 0, second: false, step: WriterStep::Start };
/// A collector that knows nothing.
pub const FRESH_COLLECTOR: Collector = Collector { step: CollectorStep::ReadRoot, generation: 0, first: 0, second: 0 };
/// A reader that has chosen nothing.
pub const FRESH_READER: Reader = Reader { step: ReaderStep::List, commit: 0 };

/// The start: a full archive in slot 0, a delta of it in slot 1, both committed and promised.
pub const START: State = State {
    exists: 0b11,
    recreated: 0,
    commits: 0b11,
    list: 0,
    swept: 0,
    ever: 0,
    single: 0,
    words: [Word::None; SNAPSHOTS],
    claimed: 0b11,
    generation: 0,
    writers: [FRESH_WRITER; WRITERS],
    collectors: [FRESH_COLLECTOR; COLLECTORS],
    reader: FRESH_READER,
};

struct Packer(u128, u32);

impl Packer {
    fn put(&mut self, value: u8, bits: u32) {
        self.0 |= u128::from(value) << self.1;
        self.1 += bits;
    }
}

struct Unpacker(u128);

impl Unpacker {
    fn take(&mut self, bits: u32) -> u8 {
        let value = self.0.to_le_bytes()[0] & ((1 << bits) - 1);
        self.0 >>= bits;
        value
    }

    fn choose<T: Copy>(&mut self, bits: u32, values: &[T]) -> T {
        values[usize::from(self.take(bits))]
    }
}

impl State {
    /// The state in 128 bits.
    #[must_use]
    pub fn pack(&self) -> u128 {
        let mut packer = Packer(0, 0);
        for mask in [self.exists, self.recreated, self.commits, self.list, self.swept, self.ever, self.single] {
            packer.put(mask, 6);
        }
        for word in self.words {
            packer.put(word as u8, 2);
        }
        packer.put(self.claimed, 4);
        packer.put(self.generation, 3);
        for writer in self.writers {
            packer.put(writer.task as u8, 3);
            packer.put(writer.target, 3);
            packer.put(u8::from(writer.second), 1);
            packer.put(writer.step as u8, 4);
        }
        for collector in self.collectors {
            packer.put(collector.step as u8, 4);
            packer.put(collector.generation, 3);
            packer.put(collector.first, 6);
            packer.put(collector.second, 6);
        }
        packer.put(self.reader.step as u8, 2);
        packer.put(self.reader.commit, 3);
        packer.0
    }

    /// The state of 128 bits that `pack` made.
    #[must_use]
    pub fn unpack(bits: u128) -> Self {
        let mut bits = Unpacker(bits);
        let [exists, recreated, commits, list, swept, ever, single] = std::array::from_fn(|_| bits.take(6));
        Self {
            exists,
            recreated,
            commits,
            list,
            swept,
            ever,
            single,
            words: std::array::from_fn(|_| bits.choose(2, &WORDS)),
            claimed: bits.take(4),
            generation: bits.take(3),
            writers: std::array::from_fn(|_| Writer {
                task: bits.choose(3, &TASKS),
                target: bits.take(3),
                second: bits.take(1) != 0,
                step: bits.choose(4, &WRITER_STEPS),
            }),
            collectors: std::array::from_fn(|_| Collector {
                step: bits.choose(4, &COLLECTOR_STEPS),
                generation: bits.take(3),
                first: bits.take(6),
                second: bits.take(6),
            }),
            reader: Reader { step: bits.choose(2, &READER_STEPS), commit: bits.take(3) },
        }
    }

    /// The one that stands for all states that differ only in which writer and which collector is which.
    #[must_use]
    pub fn canonical(&self, writers: usize, collectors: usize) -> u128 {
        let ordered = |state: &Self| {
            let [one, two] = state.collectors.map(|collector| collector.key());
            if collectors > 1 && one > two { state.with_collectors_exchanged().pack() } else { state.pack() }
        };
        if writers < 2 {
            return ordered(self);
        }
        let [one, two] = [self.writers[0].key(), self.writers[1].exchanged().key()];
        match one.cmp(&two) {
            Ordering::Less => ordered(self),
            Ordering::Greater => ordered(&self.with_writers_exchanged()),
            Ordering::Equal => ordered(self).min(ordered(&self.with_writers_exchanged())),
        }
    }

    /// The same state, were each actor the other one.
    #[must_use]
    pub fn exchanged(&self) -> Self {
        self.with_writers_exchanged().with_collectors_exchanged()
    }

    fn with_collectors_exchanged(&self) -> Self {
        Self { collectors: [self.collectors[1], self.collectors[0]], ..*self }
    }

    fn with_writers_exchanged(&self) -> Self {
        let slots = exchange_slots;
        let snapshots = |mask: Mask| mask & 0b11 | (mask & 0b100) << 1 | (mask & 0b1000) >> 1;
        let collector = |collector: Collector| {
            let of_snapshots = collector.step == CollectorStep::DeleteRecords;
            let first = if of_snapshots { snapshots(collector.first) } else { slots(collector.first) };
            Collector { first, second: slots(collector.second), ..collector }
        };
        Self {
            exists: slots(self.exists),
            recreated: slots(self.recreated),
            commits: slots(self.commits),
            list: slots(self.list),
            swept: slots(self.swept),
            ever: slots(self.ever),
            single: slots(self.single),
            words: [self.words[0], self.words[1], self.words[3], self.words[2]],
            claimed: snapshots(self.claimed),
            generation: self.generation,
            writers: [self.writers[1].exchanged(), self.writers[0].exchanged()],
            collectors: self.collectors.map(collector),
            reader: Reader { commit: exchange_slot(self.reader.commit), ..self.reader },
        }
    }
}

fn exchange_slot(slot: u8) -> u8 {
    if slot < 2 { slot } else { ((slot - 2) ^ 2) + 2 }
}

fn exchange_slots(mask: Mask) -> Mask {
    (mask & 0b11 | (mask & 0b00_1100) << 2 | (mask & 0b11_0000) >> 2) & SLOT_MASK
}

/// The slots of a mask, lowest first.
pub fn slots(mask: Mask) -> impl Iterator<Item = u8> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let slot = u8::try_from(left.trailing_zeros()).unwrap_or(8);
        left &= left.wrapping_sub(1);
        (slot < 8).then_some(slot)
    })
}

const WORDS: [Word; 4] = [Word::None, Word::Forgotten, Word::Undeleted, Word::None];
const TASKS: [Task; 8] = {
    use Task::{Compact, Delta, Full, None, Undelete};
    [None, Full, Delta, Compact, Undelete, None, None, None]
};
const WRITER_STEPS: [WriterStep; 16] = {
    use WriterStep::*;
    [
        Start,
        Upload,
        Commit,
        Check,
        ForgetTarget,
        ForgetFirst,
        WriteMark,
        CheckMark,
        Done,
        CommitPassed,
        CommitFailed,
        ForgetEarly,
        UploadLate,
        Start,
        Start,
        Start,
    ]
};
const COLLECTOR_STEPS: [CollectorStep; 16] = {
    use CollectorStep::*;
    [
        ReadRoot,
        ListArchives,
        ListCommits,
        ListMarks,
        Condemn,
        Relist,
        Rescue,
        Sweep,
        Delete,
        ListRecords,
        DeleteRecords,
        Finish,
        ReadRoot,
        ReadRoot,
        ReadRoot,
        ReadRoot,
    ]
};
const READER_STEPS: [ReaderStep; 4] = {
    use ReaderStep::*;
    [List, ReadRoot, ReadOwn, ReadBase]
};
