"""Collection: the collector's side of the protocol, C1 to C6 (spec, section 4.2). Nothing else deletes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vark.errors import AccessDeniedError, ConflictError, DamagedError
from vark.repository import sessions
from vark.repository.bundles import old_bundles
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.context import Context
from vark.repository.layout import ARCHIVES, COMMITS, MARKS, SESSIONS, content_of_name, root_name, session_of, volume_of
from vark.repository.locking import retained_archives
from vark.repository.objects import now_unix_ms, remove, settle
from vark.repository.reports import CollectReport
from vark.repository.root import LIST_ARCHIVES_MAX, Administration

DAY_MS = 24 * 60 * 60 * 1000
TRASH_MS = 7 * DAY_MS
GRACE_MS = DAY_MS
FLOOR = 1
ATTEMPTS = 24  # steps; a collection takes three


@dataclass(frozen=True, slots=True)
class CollectRequest:
    """What is asked for.

    trash_ms: how long what was forgotten can be taken back. grace_ms: how long archives that no commit names yet are
    left to their writers. floor: complete snapshots of each name that stay whatever was forgotten. may_delete: whether
    the store lets these credentials delete; where it does not, nothing is begun that others would have to finish.
    """

    confirm: bool = False
    trash_ms: int = TRASH_MS
    grace_ms: int = GRACE_MS
    floor: int = FLOOR
    may_delete: bool = True


@dataclass(slots=True)
class _Plan:
    """left: archives that were swept, but are there: the store did not let them go then, or a writer was late.

    retained: those that a lock keeps, until when.
    """

    condemned: dict[str, int]
    left: dict[str, int]
    retained: dict[str, int]
    young: dict[str, int]
    snapshots: tuple[str, ...]
    in_trash: dict[str, int]
    more: bool


@dataclass(slots=True)
class _Run:
    """What a run has done so far."""

    swept: dict[str, int] = field(default_factory=dict)
    rescued: list[str] = field(default_factory=list)
    continued: bool = False
    own_epochs: int = 0
    refused: dict[str, int] = field(default_factory=dict)


def collect(context: Context, request: CollectRequest) -> CollectReport:
    """Free what no snapshot needs; without `confirm` only say what would go.

    A collection that was left behind is continued first. What a lock keeps is left alone until that ends, and what the
    store refuses to delete is counted: neither is an error. Errors: DamagedError where a record cannot be read (what it
    needs is unknown, so nothing is freed), ConflictError.
    """
    run = _Run()
    if not request.confirm or not request.may_delete:
        planned = replace(request, confirm=False)
        report = _finish(context, planned, context.reader.administrations.read(), _plan(context, request), run)
        if not request.confirm:
            return report
        return replace(report, confirmed=True, archives={}, archive_bytes=0, snapshots=(), refused=report.archives)
    _forget_superseded(context)
    for _ in range(ATTEMPTS):
        administration = context.reader.administrations.read()
        if administration.phase == "condemned":
            run.continued = run.continued or not run.own_epochs
            _to_sweep(context, request, administration, run)
        elif administration.phase == "sweep":
            run.continued = run.continued or not run.own_epochs
            _sweep(context, administration, run)
        else:
            plan = _plan(context, request)
            if run.own_epochs or not plan.condemned:
                for archive in plan.left.keys() - run.refused.keys():
                    _free(context, archive, plan.left[archive], run)
                return _finish(context, request, administration, plan, run)
            if context.reader.administrations.advance(administration, "condemned", plan.condemned) is not None:
                run.own_epochs += 1
    raise ConflictError("gc: other collectors were in the way again and again; nothing is lost, run it again")


def live_archives(catalog: Catalog, request: CollectRequest, now_ms: int) -> set[str]:
    """Return every archive that a commit needs which is neither void nor forgotten for longer than the trash window.

    Holds and the floor are obeyed here, whatever marks were written.
    """
    kept = {snapshot.commit for snapshot in catalog.snapshots if snapshot.held and not snapshot.void}
    kept |= {snapshot.commit for snapshot in _floor(catalog, request.floor)}
    live: set[str] = set()
    for digest, commit in catalog.commits.items():
        if catalog.is_void(commit):
            continue
        forgotten = catalog.forgotten(digest)
        # Marks may be dated a little ahead of the clock, to come after what they speak of: without a trash window
        # that makes no difference.
        in_trash = forgotten is not None and request.trash_ms > 0 and forgotten > now_ms - request.trash_ms
        if forgotten is None or in_trash or digest in kept:
            live.update(archive.id for archive in commit.needed())
    return live


def _floor(catalog: Catalog, floor: int) -> list[Snapshot]:
    """Return forgotten snapshots that have to stay, so that each name keeps `floor` complete ones, the newest."""
    names: dict[str, list[Snapshot]] = {}
    for snapshot in catalog.snapshots:
        if not snapshot.void and not snapshot.partial:
            names.setdefault(snapshot.name, []).append(snapshot)
    kept = []
    for snapshots in names.values():
        forgotten = [snapshot for snapshot in snapshots if snapshot.forgotten_unix_ms is not None]
        missing = max(floor - (len(snapshots) - len(forgotten)), 0)
        kept += forgotten[::-1][:missing]
    return kept


def _read(context: Context) -> Catalog:
    """Return a catalog without a fault: what a record that cannot be read needs is unknown."""
    catalog = context.reader.read(strict=True)
    for name, error in catalog.faults.items():
        raise DamagedError(
            f"gc: {len(catalog.faults)} records cannot be used, such as {name} ({error}); nothing is freed before they "
            "are restored from another copy or taken away",
            layer="record",
        )
    return catalog


def _plan(context: Context, request: CollectRequest) -> _Plan:
    """C1: what is there, less what is needed, less what is too young to tell."""
    there: dict[str, tuple[int, int, list[str]]] = {}
    for entry in context.store.list(ARCHIVES):
        found = volume_of(entry.name)
        if found is not None:
            size, newest, names = there.get(found[0], (0, 0, []))
            there[found[0]] = (size + entry.byte_count, max(newest, entry.modified_unix_ms), [*names, entry.name])
    catalog = _read(context)
    now_ms = now_unix_ms(context.store)
    live = live_archives(catalog, request, now_ms)
    committed = {archive.id for commit in catalog.commits.values() for archive in commit.archives}
    condemned, young = dict[str, int](), {}
    for archive, (size, newest, _) in sorted(there.items()):
        if archive in live:
            continue
        if archive not in committed and newest > now_ms - request.grace_ms:
            young[archive] = size
        else:
            condemned[archive] = size
    retained = retained_archives(context.store, {archive: there[archive][2] for archive in condemned})
    condemned = {archive: size for archive, size in condemned.items() if archive not in retained}
    gone = catalog.administration.swept - catalog.administration.sweep.keys()
    left = {archive: condemned.pop(archive) for archive in list(condemned) if archive in gone}
    chosen = dict(list(condemned.items())[:LIST_ARCHIVES_MAX])
    snapshots = tuple(
        snapshot.id for snapshot in catalog.snapshots if any(archive.id in chosen for archive in snapshot.archives)
    )
    in_trash = {
        snapshot.id: snapshot.forgotten_unix_ms + request.trash_ms
        for snapshot in catalog.snapshots
        if not snapshot.void and snapshot.forgotten_unix_ms is not None
    }
    if request.trash_ms == 0:
        in_trash = {}  # marks may be dated a little ahead, as above
    in_trash = {snapshot: until for snapshot, until in in_trash.items() if until > now_ms}
    return _Plan(chosen, left, retained, young, snapshots, in_trash, len(chosen) < len(condemned))


def _to_sweep(context: Context, request: CollectRequest, found: Administration, run: _Run) -> None:
    """C2, C3: with the condemned list out, look again; what is needed now is taken off the list."""
    catalog = _read(context)
    live = live_archives(catalog, request, now_unix_ms(context.store))
    rescued = sorted(found.condemned.keys() & live)
    sweep = {archive: size for archive, size in found.condemned.items() if archive not in live}
    context.settle(catalog, _grounds(catalog, request, sweep))
    if context.reader.administrations.advance(found, "sweep", sweep) is not None:
        run.rescued += rescued


def _grounds(catalog: Catalog, request: CollectRequest, sweep: Mapping[str, int]) -> list[Snapshot]:
    """Return the snapshots whose records let a sweep go ahead: those that lose something, and those that the floor
    counts in their place.
    """
    going = {
        commit.snapshot
        for commit in catalog.commits.values()
        if not catalog.is_void(commit) and any(archive.id in sweep for archive in commit.needed())
    }
    losing = [snapshot for snapshot in catalog.snapshots if snapshot.id in going]
    counted = []
    for name in {snapshot.name for snapshot in losing}:
        complete = [item for item in catalog.snapshots if item.name == name and item.usable and not item.partial]
        counted += complete[::-1][: request.floor]
    return losing + counted


def _sweep(context: Context, found: Administration, run: _Run) -> None:
    """C5, C6: delete the volumes of the archives on the sweep list, and say that it is done."""
    settle(context.store, root_name(found.generation))  # whoever created it may have died before it was durable
    for archive, size in found.sweep.items():
        _free(context, archive, size, run)
    context.reader.administrations.advance(found, "idle")


def _free(context: Context, archive: str, size: int, run: _Run) -> None:
    """Delete the volumes of an archive that is on a sweep list: it is dead for ever, whoever comes back to it when."""
    try:
        for entry in context.store.list(f"{ARCHIVES}/{archive}"):
            if volume_of(entry.name) is not None:
                context.store.delete(entry.name)
    except AccessDeniedError:
        run.refused[archive] = size
    else:
        run.swept[archive] = size


def _finish(
    context: Context, request: CollectRequest, administration: Administration, plan: _Plan, run: _Run
) -> CollectReport:
    commits = marks = intents = temporary = 0
    if request.confirm:
        commits, marks = _remove_records(context)
        for name in old_bundles(context.store.list(MARKS)):
            remove(context.store, name)
        intents = _remove_sessions(context, request)
        sweep_temporary = getattr(context.store, "sweep_temporary", None)
        temporary = 0 if sweep_temporary is None else int(sweep_temporary())
    pending: Mapping[str, int] = administration.condemned or administration.sweep
    archives = run.swept if request.confirm else {**pending, **plan.condemned, **plan.left}
    return CollectReport(
        confirmed=request.confirm,
        generation=context.reader.administrations.read().generation,
        continued=run.continued,
        archives=archives,
        archive_bytes=sum(archives.values()),
        rescued=tuple(run.rescued),
        snapshots=plan.snapshots if not request.confirm else (),
        kept_young=plan.young,
        in_trash=plan.in_trash,
        commits_removed=commits,
        marks_removed=marks,
        sessions_removed=intents,
        temporary_removed=temporary,
        more=plan.more or bool(request.confirm and plan.condemned),
        retained=plan.retained,
        refused=run.refused,
    )


def _forget_superseded(context: Context) -> None:
    """Forget commits that another of the same snapshot has replaced, where their writer did not get to it.

    The one that stands must be safe by W4, for else the old one may be all that is left.
    """
    catalog = _read(context)
    for snapshot in catalog.snapshots:
        old = [digest for digest in snapshot.superseded if catalog.forgotten(digest) is None]
        if old and snapshot.forgotten_unix_ms is None and context.safe(tuple(snapshot.needed())):
            context.settle(catalog, [snapshot])
            for digest in old:
                context.mark(catalog, "forget", snapshot.id, commit=digest, reason="superseded")


def _remove_records(context: Context) -> tuple[int, int]:
    """Remove commits that are void and whose archives are gone, then marks of snapshots without any commit."""
    there = {found[0] for entry in context.store.list(ARCHIVES) if (found := volume_of(entry.name)) is not None}
    mark_entries = context.store.list(MARKS)  # before the commits: a mark follows the commit that it speaks of
    commit_entries = context.store.list(COMMITS)
    catalog = _read(context)
    gone, commits = set(), 0
    for digest, commit in [*catalog.commits.items(), *catalog.refused.items()]:
        ids = {archive.id for archive in commit.archives}
        if ids <= catalog.administration.swept and not ids & there:
            gone.add(digest)
    for entry in commit_entries:
        if content_of_name(entry.name) in gone:
            commits += remove(context.store, entry.name)
    # Again: a commit that somebody makes of a snapshot whose others have gone (compact) must not lose its marks. One
    # that comes later finds the others gone, and its writer knows what that means.
    catalog = _read(context)
    left = {commit.snapshot for commit in catalog.commits.values()}
    removed = 0
    for entry in mark_entries:
        mark = catalog.marks.get(entry.name)
        if mark is not None and mark.snapshot not in left:
            removed += remove(context.store, entry.name)
    return commits, removed


def _remove_sessions(context: Context, request: CollectRequest) -> int:
    """Remove intents that are fulfilled, or too old to be taken up."""
    catalog = context.reader.read(strict=True)
    known = {session.id: session for session in sessions.all_sessions(context.store, context.envelope)}
    oldest = now_unix_ms(context.store) - request.grace_ms
    removed = 0
    for entry in context.store.list(SESSIONS):
        session = known.get(session_of(entry.name) or "")
        fulfilled = session is not None and sessions.is_fulfilled(session, catalog)
        running = session is not None and not session.is_past and sessions.is_running(session)
        if fulfilled or (entry.modified_unix_ms <= oldest and not running):
            removed += remove(context.store, entry.name)
    return removed
