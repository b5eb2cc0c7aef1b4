//! What a step of a process is: its name for traces, the state after it, and what is wrong with it.

use crate::bugs::Bug;
use crate::settings::Settings;
use crate::state::{Job, MarkStage, Names, Phase, State, members, only};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    User,
    Writer(usize),
    Collector(usize),
    Reader,
}

/// A step for people to read: who, what, and the archive or commit it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Action {
    pub actor: Actor,
    pub text: &'static str,
    pub names: Names,
}

impl std::fmt::Display for Action {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.actor {
            Actor::User => write!(out, "user: ")?,
            Actor::Writer(number) => write!(out, "writer {number}: ")?,
            Actor::Collector(number) => write!(out, "collector {number}: ")?,
            Actor::Reader => write!(out, "reader: ")?,
        }
        write!(out, "{}", self.text)?;
        members(self.names).try_for_each(|name| write!(out, " {name}"))
    }
}

/// A promise that was broken, with the commit or archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Somebody was told that this commit is safe; its record or an archive of its closure is gone, or it is void.
    ProtectedLost(usize),
    /// A commit that the void rule does not exclude lacks an archive.
    MissingArchive(usize),
    /// A void commit is no longer void.
    VoidReversed(usize),
    /// An archive was deleted that is on no sweep list of the chain.
    DeletedUnlisted(usize),
    /// The record of a commit was deleted that is not void.
    DeletedRecord(usize),
    /// A reader was told that a void commit can be restored.
    ToldVoid(usize),
    /// A restore failed though the commit is not void.
    RestoreFailed(usize),
    /// A restore reported success without having read the whole closure.
    WrongData(usize),
    /// With no process left but a collector, an archive or a void record that nobody needs stays for ever.
    Leak(usize),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::ProtectedLost(name) => write!(out, "commit {name} was reported as safe and cannot be restored"),
            Fault::MissingArchive(name) => write!(out, "commit {name} is not void and lacks an archive"),
            Fault::VoidReversed(name) => write!(out, "commit {name} was void and is not any more"),
            Fault::DeletedUnlisted(name) => write!(out, "archive {name} was deleted and is on no sweep list"),
            Fault::DeletedRecord(name) => write!(out, "the record of commit {name} was deleted, which is not void"),
            Fault::ToldVoid(name) => write!(out, "a reader was told that it can restore commit {name}, which is void"),
            Fault::RestoreFailed(name) => write!(out, "a restore of commit {name} failed, which is not void"),
            Fault::WrongData(name) => write!(out, "a restore of commit {name} was reported without all its data"),
            Fault::Leak(name) => write!(out, "a collector alone never gets rid of archive or commit {name}"),
        }
    }
}

pub struct Step {
    pub action: Action,
    pub next: State,
    pub fault: Option<Fault>,
}

/// Collects the steps that are possible in one state.
pub struct Steps<'a> {
    pub settings: &'a Settings,
    pub list: Vec<Step>,
}

impl<'a> Steps<'a> {
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings, list: Vec::with_capacity(64) }
    }

    pub fn push(&mut self, actor: Actor, text: &'static str, names: Names, next: State) {
        self.push_faulty(actor, text, names, next, None);
    }

    pub fn push_faulty(&mut self, actor: Actor, text: &'static str, names: Names, next: State, fault: Option<Fault>) {
        self.list.push(Step { action: Action { actor, text, names }, next, fault });
    }
}

/// **Void by rule**: the commit needs an archive on a sweep list of the chain.
pub fn void(settings: &Settings, state: &State, commit: usize) -> bool {
    let lists = match settings.bug {
        Some(Bug::VoidByCondemned) => state.effective(),
        Some(Bug::VoidByStoredLists) => state.swept() | state.orphans,
        _ => state.swept(),
    };
    state.needs[commit] & lists != 0
}

/// Whether a collector takes the commit for forgotten.
pub fn forgotten(settings: &Settings, state: &State, commit: usize) -> bool {
    state.forgotten(commit) || settings.has(Bug::ReplacedIsForgotten) && replaced(settings, state, commit)
}

fn replaced(settings: &Settings, state: &State, commit: usize) -> bool {
    state.writers.iter().take(settings.writers).enumerate().any(|(number, writer)| {
        let new = settings.name(number, writer.attempt);
        writer.job == Job::Compact
            && usize::from(writer.target) == commit
            && state.records & only(new) != 0
            && !void(settings, state, new)
    })
}

/// What the listed commits need: those neither forgotten nor void, with their closures.
pub fn needed(settings: &Settings, state: &State, listed: Names) -> Names {
    members(listed)
        .filter(|&commit| settings.has(Bug::VoidKeepsAlive) || !void(settings, state, commit))
        .filter(|&commit| !forgotten(settings, state, commit))
        .fold(0, |needed, commit| needed | state.needs[commit])
}

/// As `needed`, as C2 sees it: here is where bugs are planted.
pub fn rescued(settings: &Settings, state: &State, listed: Names) -> Names {
    match settings.bug {
        Some(Bug::RescueIgnoresClosure) => members(listed)
            .filter(|&commit| !void(settings, state, commit) && !state.forgotten(commit))
            .fold(0, |needed, commit| needed | only(commit)),
        Some(Bug::RescueIgnoresUndelete) => members(listed)
            .filter(|&commit| !void(settings, state, commit))
            .filter(|&commit| {
                !state.marks.iter().any(|mark| {
                    matches!(mark.stage, MarkStage::Active | MarkStage::Cancelled) && usize::from(mark.commit) == commit
                })
            })
            .fold(0, |needed, commit| needed | state.needs[commit]),
        _ => needed(settings, state, listed),
    }
}

/// The lists that W4 compares with.
pub fn recheck_list(settings: &Settings, state: &State, first: Names) -> Names {
    match settings.bug {
        Some(Bug::CurrentListOnly) if state.root.phase == Phase::Idle => 0,
        Some(Bug::CurrentListOnly) => state.root.list,
        Some(Bug::ListsOfFirstRead) => first,
        Some(Bug::IgnoreCondemned) => state.swept(),
        _ => state.effective(),
    }
}

/// What W4 asks for: the own archive and the closure.
pub fn recheck_needs(settings: &Settings, state: &State, commit: usize) -> Names {
    match settings.bug {
        Some(Bug::OwnArchiveOnly) => only(commit),
        _ => state.needs[commit],
    }
}
