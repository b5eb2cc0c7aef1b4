//! Explicit-state model checker of the repository's collection protocol (writers, collectors, marks, readers).
//!
//! It visits, breadth first, every state that can be reached in a small repository, whatever the order of steps, and
//! tells the shortest way to one that is wrong. It is no test of the code in `python/vark/repository`: it is a test of the rules
//! that the code follows, and shares nothing with it.
//!
//! **Modelled.** A full archive and a delta of it, both committed and promised, are there at the start. Each writer does
//! one of: full backup, delta of any full archive, compact (and the forget mark of the old commit), undelete; up to
//! two attempts. Collectors go through C1 to C6 any number of times within `epochs`, die at any step (`crashes`; who comes
//! next continues what was left), and with two of them stall while the other goes on. The user forgets any snapshot at
//! any time, again after each undelete. The reader takes a commit from a listing, looks whether it is void, and reads
//! archive after archive. A step is one of: create an object, list, read root with its lists, delete one object,
//! create the next root. A writer that dies is one that takes no more steps, so every state is also one of a crash.
//!
//! **Invariants.** (1) A snapshot whose backup, compact or undelete was acknowledged, and which nobody has forgotten since, has
//! a commit that is neither void nor counts as forgotten, and every commit of it that is not void has every archive of its
//! closure, so it does not matter which is taken. (2) Void stays void. (3) Only archives on a sweep list are deleted. (4) From
//! every state, were everybody to stop, a fresh collector frees exactly what is unreferenced, and breaks no promise.
//! (5) A reader gets all, or fails cleanly; it does not fail for a promised snapshot unless the commit became void,
//! and never gets other bytes than the commit means.
//!
//! **Assumed.** Stores are linearizable: a read, a listing and a creation happen at one moment each, and creating an
//! object that is there fails. Reading root and its lists is one step since lists never change. A list is created with
//! its root since nobody knows it before. Names of archives are fresh.
//!
//! **Not modelled.** Volumes (an archive is one object), several shards, chains of more than one delta, holds and the
//! floor (marks like undelete; conditions that only keep more), sessions, lost replies, damage, clocks: a trash window is
//! taken to be over at once, a mark of a single commit may or may not be dated before an undelete. Bounds: 2 epochs
//! (1 with two writers and two collectors), 6 archives, 4 snapshots, one task a writer; deaths of collectors without bound,
//! but with two writers, 2 epochs and a reader, or two of each, a collector that dies is one that takes no more steps.
//!
//! **The rule for marks of single commits.** Compact marks the old commit as forgotten after its new one has passed W4. That
//! mark can land at any later time. Were it to count whatever happens, this could: the user forgets the snapshot, a collection
//! sweeps the new archive only, an undelete passes W4 for the old commit, and then the mark takes that away (run
//! `vark-model-marks superseded-mark-always-counts`). Therefore such a mark counts only while its snapshot has a commit that is
//! neither void nor so marked.

pub mod collector;
pub mod plant;
pub mod reader;
pub mod reduce;
pub mod rules;
pub mod runs;
pub mod search;
pub mod state;
pub mod steps;
pub mod table;
pub mod writer;
