"""Audit: of each source, how many copies there are, on how many media, how many off site, and how old each is.

Copies are told by what they are of: mirrors by the id of the repository, copies by the commit that they name, and both
by the id of their snapshots, which goes along. Two repositories that only have names in common have two sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vark.errors import CancelledError, VarkError
from vark.repository.base import volume_sizes
from vark.repository.catalog import Snapshot
from vark.repository.context import Context
from vark.repository.copy_reports import AuditedSource, AuditReport, CopyFound
from vark.repository.ledger import Ledger, read_ledger


@dataclass(frozen=True, slots=True)
class AuditRule:
    """What each source is to have. max_age_seconds: an older newest snapshot counts for nothing; None for any age."""

    copies: int = 3
    media: int = 2
    offsite: int = 1
    max_age_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class AuditedPlace:
    """A place that was looked at. context: None where it cannot be opened, for the reason in `problem`."""

    place: str
    medium: str
    offsite: bool
    context: Context | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Held:
    """What a place has of one name."""

    place: AuditedPlace
    name: str
    repository: str
    snapshots: tuple[Snapshot, ...]
    related: frozenset[str]  # repositories that these were copied from
    problem: str
    verified_unix_ms: int | None


def audit(places: Sequence[AuditedPlace], rule: AuditRule, now_ms: int) -> AuditReport:
    """Look at the places, and compare what they have with the rule. Reads records and listings, no archive."""
    held, problems = list[_Held](), dict[str, str]()
    for place in places:
        try:
            if place.context is None:
                problems[place.place] = place.problem
            else:
                held += _look(place, place.context)
        except CancelledError:
            raise
        except (VarkError, OSError) as error:
            problems[place.place] = str(error)
    sources = [_judge(group, rule, now_ms) for group in _families(held)]
    return AuditReport(
        copies_wanted=rule.copies,
        media_wanted=rule.media,
        offsite_wanted=rule.offsite,
        max_age_seconds=rule.max_age_seconds,
        sources=tuple(sorted(sources, key=lambda source: source.name)),
        problems=tuple(sorted(problems.items())),
    )


def _look(place: AuditedPlace, context: Context) -> list[_Held]:
    catalog = context.reader.read()
    ledger = read_ledger(context.store, context.envelope)
    by_name: dict[str, list[Snapshot]] = {}
    for snapshot in catalog.snapshots:
        if snapshot.usable:
            by_name.setdefault(snapshot.name, []).append(snapshot)
    found = []
    for name, snapshots in by_name.items():
        newest = snapshots[-1]
        related = frozenset(item.copy_of.repository for item in snapshots if item.copy_of is not None)
        problem = _fault(context, ledger, newest)
        verified = [ledger.verified_unix_ms(one.id, "stored") for one in newest.needed()]
        oldest = None if None in verified else min(one or 0 for one in verified)
        found.append(_Held(place, name, context.id, tuple(snapshots), related, problem, oldest))
    return found


def _fault(context: Context, ledger: Ledger, snapshot: Snapshot) -> str:
    """Return why a snapshot cannot be restored as it is, as far as listings and the ledger say; "" where it can."""
    for archive in snapshot.archives:
        if volume_sizes(context.store, archive.id) != archive.volumes:
            return f"archive {archive.id}: a volume is missing, or is not as long as its commit says"
    try:
        context.sizes_of(snapshot.closure)
    except VarkError as error:
        return error.message
    damaged = sorted({one.id for one in snapshot.needed()} & ledger.damaged())
    return f"archive {damaged[0]}: a verification has found it damaged" if damaged else ""


def _families(held: Sequence[_Held]) -> list[list[_Held]]:
    """Return what is of one source: one name, and mirrors, copies, or snapshots in common, over others if need be."""
    groups: list[list[_Held]] = []
    for item in held:
        mine = [group for group in groups if any(_is_kin(item, other) for other in group)]
        groups = [group for group in groups if group not in mine]
        groups.append([item, *(other for group in mine for other in group)])
    order = {id(item): number for number, item in enumerate(held)}
    return [sorted(group, key=lambda item: order[id(item)]) for group in groups]


def _is_kin(one: _Held, other: _Held) -> bool:
    if one.name != other.name:
        return False
    if one.repository == other.repository or one.repository in other.related or other.repository in one.related:
        return True
    return bool({item.id for item in one.snapshots} & {item.id for item in other.snapshots})


def _judge(group: Sequence[_Held], rule: AuditRule, now_ms: int) -> AuditedSource:
    newest_ms = max(item.snapshots[-1].unix_ms for item in group)
    seen: set[str] = set()
    copies = []
    for item in group:
        snapshot = item.snapshots[-1]
        age = (now_ms - snapshot.unix_ms) / 1000
        problem = item.problem
        if not problem and rule.max_age_seconds is not None and age > rule.max_age_seconds:
            problem = "its newest snapshot is too old"
        copy_of = snapshot.copy_of
        copies.append(
            CopyFound(
                place=item.place.place,
                repository=item.repository,
                relation="mirror" if item.repository in seen else "copy" if copy_of is not None else "home",
                copy_of=None if copy_of is None else copy_of.repository,
                medium=item.place.medium,
                offsite=item.place.offsite,
                snapshot=snapshot.id,
                unix_ms=snapshot.unix_ms,
                age_seconds=age,
                behind_seconds=(newest_ms - snapshot.unix_ms) / 1000,
                snapshot_count=len(item.snapshots),
                verified_unix_ms=item.verified_unix_ms,
                counts=not problem,
                problem=problem,
            )
        )
        seen.add(item.repository)
    counted = [item for item in copies if item.counts]
    media = {item.medium for item in counted}
    offsite = sum(item.offsite for item in counted)
    lacking = [
        f"{found} of {wanted} {what}"
        for found, wanted, what in (
            (len(counted), rule.copies, "copies"),
            (len(media), rule.media, "media"),
            (offsite, rule.offsite, "off site"),
        )
        if found < wanted
    ]
    return AuditedSource(
        name=group[0].name,
        newest_unix_ms=newest_ms,
        copy_count=len(counted),
        media=tuple(sorted(media)),
        offsite_count=offsite,
        copies=tuple(copies),
        lacking=tuple(lacking),
    )
