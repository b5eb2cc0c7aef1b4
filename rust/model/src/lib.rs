//! An explicit-state model of the repository's garbage-collection protocol, and a checker that visits all its states.
//!
//! ```text
//! cargo run  --release --package vark-model                  # all larger bounds, some minutes (make model)
//! cargo run  --release --package vark-model bug SkipRecheck  # the shortest way in which a planted bug does harm
//! cargo test --release --package vark-model                  # bounds of CI, all planted bugs
//! ```
//!
//! **Modelled.** Two snapshots stand at the start: a full one, and a delta on it whose closure is both archives.
//! *Writers* do one job each, chosen freely: a full backup; a delta on any listed commit, which needs that commit's
//! whole closure or its newest archive only; a compaction of any chain; an undelete of any commit; a policy that
//! forgets an older commit because a newer one is kept. A writer whose W4 fails supersedes its commit by a full archive
//! under a new name, as often as the bounds allow, or gives up. *Users* write forget marks at any time. *Collectors*
//! run any number of epochs (nothing counts epochs: what matters of the chain is the union of its sweep lists), crash
//! at any step, and continue what they or another one left behind. A *reader* lists, reads root, is told whether a commit can be
//! restored, and reads the closure archive by archive. A process that stops for good is one that takes no step.
//!
//! **Atomic steps.** One listing (of archives, of commits, of marks), one read of the newest root record, one created
//! object (volume, commit record, mark, root record), one deleted volume or record. That is what a linearizable store
//! gives. Root is read by listing and taking the highest, which decides; records and lists never change, so that they
//! are read afterwards is no step of its own. A listing that takes many requests is as good: what is relied on
//! is only that it shows what stood when it began and still stands when it ends. Reading a commit record is part of
//! the listing, as its content is in its name.
//!
//! **Clocks** play no part: the trash window has always passed and the grace period never holds, or (bounds `partial`)
//! they, holds and the floor keep any part of what could be condemned. Undelete marks name the forget marks they
//! cancel.
//!
//! **Checked** ([`step::Fault`]):
//! 1. What is *protected* can be restored: the record and every archive of the closure exist, and it is not void. A commit is
//!    protected from the moment somebody ran W4 for it and it passed (its writer, an undelete, a policy that keeps it)
//!    until somebody asks to forget it.
//! 2. The void rule is exact and stable: a commit whose record stands and that is not void lacks nothing, whether it was
//!    acknowledged or not; what is void stays void.
//! 3. Archives are deleted only if they are on a sweep list of the chain, commit records only if they are void.
//! 4. A reader is told that it can restore only what is not void at that moment; a restore fails only if the commit has
//!    become void; it never reports success without the whole closure.
//! 5. From every state, one collector alone removes all that no commit needs which is neither void nor forgotten, the
//!    records of void commits too, and comes to rest.
//!
//! **Reduced**, exactly: names tell whose they are, so states that differ by the order of writers are one
//! ([`canonical`]); what has no effect any more is cleared. A test walks all states without any reduction and compares.
//! States are kept whole (at most 192 bits), so no two are ever mistaken for one another; see [`visited`].
//!
//! **Not modelled:** stores that are not linearizable; bytes (an archive is there, half there or not); several shards
//! a commit (to the protocol they are one set of names, as an archive and its closure are); sessions and resuming (a resumed writer is one
//! that paused); tags and reports; the text of holds and floors beyond "keeps more"; a hold on a forgotten commit,
//! which must do what an undelete does; more jobs, writers or commits than the bounds say.

pub mod bugs;
pub mod canonical;
pub mod collector;
pub mod invariants;
pub mod packing;
pub mod reader;
pub mod search;
pub mod settings;
pub mod state;
pub mod step;
pub mod visited;
pub mod writer;
