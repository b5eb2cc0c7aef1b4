"""Claims: of which snapshots and archives a write-only client may speak: of none that is another's (spec CRYPTO 8)."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from vark.repository.records import Commit

OVERREACHES = "by a write-only client, of a snapshot or an archive that is another's"


def overreaching(commits: Mapping[str, Commit]) -> dict[str, Commit]:
    """Return the commits of write-only clients (by digest) that claim what is not theirs; they count as not there.

    Theirs are snapshots and archives that no member's commit names, and commits that they signed themselves to replace.
    What a member's commit has replaced was theirs when the member looked, and stays what it was.
    """
    members = {digest: commit for digest, commit in commits.items() if not commit.provenance.is_write_only}
    vouched = _replaced_by(members, commits)
    snapshots = {commit.snapshot for commit in members.values()}
    archives = {archive.id for commit in members.values() for archive in commit.archives}
    found = {}
    for digest, commit in commits.items():
        if digest in members or digest in vouched:
            continue
        old = commits.get(commit.replaces or "")
        theirs = old is None or (old.snapshot, old.provenance.signer) == (commit.snapshot, commit.provenance.signer)
        if not theirs or commit.snapshot in snapshots or any(archive.id in archives for archive in commit.archives):
            found[digest] = _refused(commit)
    counted = {digest: commit for digest, commit in commits.items() if digest not in found}
    return found | _building_on_others(counted, members.keys() | vouched)


def _building_on_others(commits: Mapping[str, Commit], vouched: AbstractSet[str]) -> dict[str, Commit]:
    """Return commits of write-only clients that point into archives of others: these would be kept for their sake.

    What a client wrote is its own, though a member may have vouched for it since.
    """
    named = {archive.id for commit in commits.values() for archive in commit.archives}
    own: dict[str, set[str]] = {}
    for commit in commits.values():
        if commit.provenance.is_write_only:
            own.setdefault(commit.provenance.signer, set()).update(archive.id for archive in commit.archives)
    found = {}
    for digest in commits.keys() - vouched:
        commit = commits[digest]
        theirs = own[commit.provenance.signer]
        if any(ancestor.id in named and ancestor.id not in theirs for ancestor in commit.closure):
            found[digest] = _refused(commit)
    return found


def _refused(commit: Commit) -> Commit:
    return replace(commit, provenance=replace(commit.provenance, refused=OVERREACHES))


def _replaced_by(members: Mapping[str, Commit], commits: Mapping[str, Commit]) -> set[str]:
    """Return what members' commits replace in their own snapshots, and what was replaced by that."""
    found: set[str] = set()
    for commit in members.values():
        old = commit.replaces
        while old is not None and old not in found and old in commits and commits[old].snapshot == commit.snapshot:
            found.add(old)
            old = commits[old].replaces
    return found
