//! Mistakes that an implementation could make, one flag each; the search must find what each of them breaks.

macro_rules! bugs {
    ($($bug:ident: $text:literal),+ $(,)?) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug { $($bug),+ }

        impl Bug {
            pub const ALL: &[Bug] = &[$(Bug::$bug),+];

            /// The mistake in words.
            pub fn text(self) -> &'static str {
                match self { $(Bug::$bug => $text),+ }
            }
        }
    };
}

bugs! {
    SkipRecheck: "success is reported without W4",
    RootBeforeCommit: "W4 reads root before the commit record exists",
    AcknowledgeBeforeCommit: "success is reported before the commit record exists",
    CommitBeforeArchive: "the commit record is written before the archive is durable",
    OwnArchiveOnly: "W4 checks the commit's own archive and not its closure",
    CurrentListOnly: "W4 reads the list of the newest root record only, not those finished since W1",
    ListsOfFirstRead: "W4 uses the lists that W1 read",
    IgnoreCondemned: "W4 ignores a condemned list whose sweep list is not there yet",
    ReuseName: "the second upload takes the name of the first and is trusted because it is fresh",
    UndeleteWithoutCheck: "undelete writes its mark and says so, without W4",
    UndeleteChecksFirst: "undelete runs W4 before its mark exists",
    UndeleteTrustsMarks: "undelete of what no mark forgets any more succeeds without W4",
    UndeleteByClock: "forget and undelete are ordered by clocks, so an undelete with a slow clock has no effect",
    CompactForgetsFirst: "compact forgets the old commit before W4 of the new one",
    ReplacedIsForgotten: "a commit counts as forgotten as soon as another names it in `replaces`",
    RetainTrustsListing: "a policy forgets a commit because of a newer one that nobody ran W4 for",
    SkipRelist: "C2 does not list again: everything condemned is swept",
    RelistBeforeRoot: "C2 lists again before the condemned list is in root",
    RescueIgnoresClosure: "C2 rescues the own archives of commits, not their closures",
    RescueIgnoresUndelete: "C2 lists commits again but takes every forget mark at its word",
    CondemnWithoutSwap: "C1 writes its root record whoever wrote one before",
    SweepWithoutSwap: "C3 writes its root record whoever wrote one before",
    FinishWithoutSwap: "C6 writes its root record whoever wrote one before",
    DropFinishedLists: "the root record of C6 does not carry the chain of sweep lists on",
    DeleteCondemned: "C5 deletes what was condemned, not what is on the sweep list",
    DeleteBeforeSweepList: "C5 deletes before the sweep list is in root",
    ContinueRecomputes: "a collector that continues a sweep computes anew what to delete",
    CleanByOldListing: "commit records are deleted because their archives are not in a listing made before",
    TidyUndelete: "gc removes cancelled forget marks, each after the undelete mark that cancels it",
    VoidByCondemned: "the void rule counts condemned lists",
    VoidByStoredLists: "the void rule counts every stored sweep list, also of collectors that lost the race",
    VoidKeepsAlive: "what a void commit needs counts as live, and its record stays as long as its own archive is stored",
    ReaderReadsRootFirst: "a reader reads root before it lists the commits",
    ReaderSkipsMissing: "a restore goes on when an archive of the closure is missing",
}
