"""What somebody was promised stays, whatever marks and commits of processes that died or were slow come beside it."""

import pytest

from repositories import fake_repository, now_ms, put_archive, put_commit, put_mark, readable
from vark.errors import InvalidArgumentError, RefusedError
from vark.retention import Policy


@pytest.fixture
def repository():
    return fake_repository()


def advance(repository, phase, archives):
    """Go on with the root as a collector would that has condemned these archives."""
    administrations = repository._context.reader.administrations
    found = {archive.id: archive.bytes for archive in archives}
    assert administrations.advance(administrations.read(), phase, found) is not None


def unsafe_commit(repository, name="n"):
    """Make a commit whose writer died before W4, and whose archive a collector has condemned."""
    archive = put_archive(repository.store)
    advance(repository, "condemned", [archive])
    _, commit = put_commit(repository, [archive], name=name)
    return archive, commit


def test_a_policy_forgets_nothing_for_the_sake_of_a_commit_that_is_not_safe(repository):
    old = repository.backup("one", name="n")
    archive, commit = unsafe_commit(repository)
    report = repository.forget(Policy(keep_last=1), confirm=True, min_redundancy=1)
    assert old.snapshot not in report.forgotten
    assert commit.snapshot not in report.forgotten
    reasons = {item.snapshot: item.reasons for item in report.decisions}
    assert reasons[commit.snapshot] == ("a collection may be freeing what it needs",)
    advance(repository, "sweep", [archive])
    assert [item.id for item in repository.snapshots()] == [old.snapshot]
    repository.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    assert readable(repository, repository.snapshot(old.snapshot))


def test_the_floor_counts_no_commit_that_is_not_safe(repository):
    old = repository.backup("one", name="n")
    unsafe_commit(repository)
    with pytest.raises(RefusedError, match="at least 1"):
        repository.forget(old.snapshot, confirm=True, min_redundancy=1)
    assert repository.forget(old.snapshot, confirm=True, min_redundancy=0).forgotten == (old.snapshot,)


def test_undelete_of_what_is_not_forgotten_says_when_it_is_not_safe(repository):
    with pytest.raises(InvalidArgumentError):
        repository.undelete(repository.backup("one", name="n").snapshot)
    _, commit = unsafe_commit(repository)
    with pytest.raises(RefusedError):
        repository.undelete(commit.snapshot)


def test_a_late_mark_of_compact_takes_nothing_back_that_was_undeleted(repository):
    base = put_archive(repository.store)
    first, commit = put_commit(
        repository, [put_archive(repository.store)], [base.as_ancestor()], unix_ms=now_ms() - 100
    )
    # Compact passes W4 with a second commit and stalls; the snapshot is forgotten, and what only the second needs swept.
    full = put_archive(repository.store)
    advance(repository, "condemned", [full])
    put_commit(repository, [full], snapshot=commit.snapshot, unix_ms=commit.created_unix_ms, replaces=first)
    put_mark(repository, "forget", commit.snapshot, now_ms())
    advance(repository, "sweep", [full])
    repository.undelete(commit.snapshot)
    # Now compact goes on, with a clock ahead of all others.
    put_mark(repository, "forget", commit.snapshot, now_ms() + 10_000, commit=first, reason="compacted")
    assert [item.id for item in repository.snapshots()] == [commit.snapshot]
    repository.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    repository.gc(confirm=True, trash=0, grace=0, min_redundancy=0)
    assert readable(repository, repository.snapshot(commit.snapshot))


def test_marks_of_all_single_commits_do_not_forget_a_snapshot(repository):
    first, commit = put_commit(repository, [put_archive(repository.store)], unix_ms=now_ms() - 100)
    second, _ = put_commit(repository, [put_archive(repository.store)], snapshot=commit.snapshot, replaces=first)
    for digest in (first, second):
        put_mark(repository, "forget", commit.snapshot, now_ms(), commit=digest)
    assert [item.id for item in repository.snapshots()] == [commit.snapshot]
    put_mark(repository, "forget", commit.snapshot, now_ms() + 1)
    assert repository.snapshots() == ()
