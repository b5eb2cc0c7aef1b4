"""Forget, undelete, hold, release, tag, untag: each writes a mark, and nothing but marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vark.errors import InvalidArgumentError, RefusedError
from vark.repository.catalog import Catalog, Snapshot
from vark.repository.context import Context
from vark.repository.fields import TEXT_BYTES_MAX, tags_fault
from vark.repository.objects import now_unix_ms
from vark.repository.reports import Decision, ForgetReport
from vark.retention import Candidate, Policy, decide


def forget_snapshots(
    context: Context,
    catalog: Catalog,
    chosen: Sequence[Snapshot],
    *,
    confirm: bool,
    min_redundancy: int,
    reason: str,
) -> ForgetReport:
    """Forget these snapshots. Errors: RefusedError when one is held, or when too few of a name would be left."""
    check_reason(reason)
    ids = {snapshot.id for snapshot in chosen}
    for snapshot in chosen:
        if snapshot.held:
            why = f" ({snapshot.hold_reason})" if snapshot.hold_reason else ""
            raise RefusedError(f"snapshot {snapshot.id[:12]}: held{why}; release it first")
    complete = [snapshot for snapshot in chosen if snapshot.usable and not snapshot.partial]
    for name, writer in sorted({(snapshot.name, _writer(catalog, snapshot)) for snapshot in complete}):
        lasting = [item for item in _lasting(catalog) if item.name == name and _writer(catalog, item) == writer]
        kept = [item for item in lasting if item.id not in ids]
        left = sum(not item.partial for item in kept)
        if left < min_redundancy:
            raise RefusedError(
                f"name {name!r}: {left} complete snapshots would be left, at least {min_redundancy} have to stay; "
                "lower the least number (min_redundancy) if you mean it"
            )
        if confirm and min_redundancy:
            context.settle(catalog, kept)
    return write_decisions(
        context,
        catalog,
        [Decision(item.id, item.name, item.unix_ms, False, (reason or "asked for",)) for item in chosen],
        confirm=confirm,
        reason=reason,
    )


def forget_by_policy(
    context: Context, catalog: Catalog, policy: Policy, *, confirm: bool, min_redundancy: int, reason: str
) -> ForgetReport:
    """Forget what the policy does not keep. Errors: InvalidArgumentError (a policy that keeps nothing, bad values)."""
    check_reason(reason)
    policy = replace(policy, min_redundancy=max(policy.min_redundancy, min_redundancy))
    # Each writer by itself: what a write-only client adds, as often as it likes, must not push out what others have.
    writers: dict[str, list[Candidate]] = {}
    for item in _lasting(catalog):
        writers.setdefault(_writer(catalog, item), []).append(candidate_of(item))
    now_ms = now_unix_ms(context.store)
    decided = [found for _, group in sorted(writers.items()) for found in decide(group, policy, now_unix_ms=now_ms)]
    decided = decided or decide([], policy, now_unix_ms=now_ms)
    decisions = [
        Decision(
            snapshot=item.candidate.id,
            name=item.candidate.name,
            unix_ms=item.candidate.time_unix_ms,
            keep=item.keep,
            reasons=item.reasons or ("no rule keeps it",),
        )
        for item in decided
    ]
    decisions += [
        Decision(item.id, item.name, item.unix_ms, True, ("a collection may be freeing what it needs",))
        for item in catalog.snapshots
        if item.usable and catalog.in_doubt(item)
    ]
    going = {item.name for item in decisions if not item.keep}
    staying = {item.snapshot for item in decisions if item.keep and item.name in going}
    if confirm:
        context.settle(catalog, [item for item in catalog.snapshots if item.id in staying])
    return write_decisions(context, catalog, decisions, confirm=confirm, reason=reason or "policy")


def candidate_of(snapshot: Snapshot) -> Candidate:
    """Return a snapshot as retention sees it."""
    return Candidate(
        id=snapshot.id,
        name=snapshot.name,
        time_unix_ms=snapshot.unix_ms,
        host=snapshot.host,
        tags=snapshot.tags,
        partial=snapshot.partial,
        held=snapshot.held,
    )


def _writer(catalog: Catalog, snapshot: Snapshot) -> str:
    """Return the write-only signer that alone vouches for a snapshot, "" for any other writer."""
    commit = catalog.commits.get(snapshot.commit)  # gone where it was replaced since it was looked up
    return "" if commit is None or not commit.provenance.is_write_only else commit.provenance.signer


def write_decisions(
    context: Context, catalog: Catalog, decisions: Iterable[Decision], *, confirm: bool, reason: str
) -> ForgetReport:
    """Write a forget mark for each snapshot that goes, when confirmed."""
    decisions = tuple(decisions)
    known = {snapshot.id: snapshot for snapshot in catalog.snapshots}
    if confirm:
        for decision in decisions:
            snapshot = known[decision.snapshot]
            if not decision.keep and snapshot.forgotten_unix_ms is None:
                context.mark(catalog, "forget", snapshot.id, reason=reason)
            elif not decision.keep:
                context.settle(catalog, [snapshot])  # what somebody else has said is going to be relied on
    return ForgetReport(confirm, decisions)


def _lasting(catalog: Catalog) -> list[Snapshot]:
    """Return what others may go for: usable, and safe by W4 whoever made it. What is in doubt stays as it is."""
    return [item for item in catalog.snapshots if item.usable and not catalog.in_doubt(item)]


def undelete(context: Context, catalog: Catalog, snapshot: Snapshot) -> None:
    """Take a forgotten snapshot out of the trash. Errors: RefusedError when a collection was faster."""
    _refuse_void(snapshot)
    if snapshot.forgotten_unix_ms is None:
        # An undelete that failed leaves its mark: "not forgotten" must not sound safe when it is not.
        context.settle(catalog, [snapshot])
        _check_alive(context, snapshot)
        raise InvalidArgumentError(f"snapshot {snapshot.id[:12]}: it is not forgotten")
    context.mark(catalog, "undelete", snapshot.id)
    _check_alive(context, snapshot)  # W4: after the mark exists


def hold(context: Context, catalog: Catalog, snapshot: Snapshot, *, reason: str) -> None:
    """Hold a snapshot: no policy and no collection takes it away. Errors: RefusedError when it is gone already."""
    check_reason(reason)
    _refuse_void(snapshot)
    context.mark(catalog, "hold", snapshot.id, reason=reason)
    _check_alive(context, snapshot)


def release(context: Context, catalog: Catalog, snapshot: Snapshot) -> None:
    """Release a held snapshot. Errors: InvalidArgumentError when it is not held."""
    if not snapshot.held:
        raise InvalidArgumentError(f"snapshot {snapshot.id[:12]}: it is not held")
    context.mark(catalog, "release", snapshot.id)


def tag(
    context: Context, catalog: Catalog, snapshot: Snapshot, *, tags: Mapping[str, str], remove: Sequence[str]
) -> dict[str, str]:
    """Set and remove tags; return all that the snapshot has then. Errors: InvalidArgumentError."""
    left = {key: value for key, value in snapshot.tags.items() if key not in remove}
    fault = tags_fault(left | dict(tags)) or tags_fault(dict.fromkeys(remove, "x"))
    if fault is not None:
        raise InvalidArgumentError(f"tags: {fault}")
    unknown = [key for key in remove if key not in snapshot.tags]
    if unknown:
        raise InvalidArgumentError(f"snapshot {snapshot.id[:12]}: no tag {unknown[0]!r}")
    if remove:
        context.mark(catalog, "untag", snapshot.id, keys=remove)
        catalog = context.reader.read(strict=True)
    if tags:
        context.mark(catalog, "tag", snapshot.id, tags=tags)
    return dict(sorted((left | dict(tags)).items()))


def check_reason(reason: str) -> None:
    """Refuse a reason that a record cannot hold. Errors: InvalidArgumentError."""
    if len(reason.encode(errors="replace")) > TEXT_BYTES_MAX:
        raise InvalidArgumentError(f"reason: longer than {TEXT_BYTES_MAX} bytes")


def _refuse_void(snapshot: Snapshot) -> None:
    if snapshot.void:
        raise RefusedError(f"snapshot {snapshot.id[:12]}: a collection has freed what it needs; it cannot come back")


def _check_alive(context: Context, snapshot: Snapshot) -> None:
    if not context.safe(tuple(snapshot.needed())):
        raise RefusedError(
            f"snapshot {snapshot.id[:12]}: a collection is freeing what it needs; it may be lost. "
            "Look at `vark snapshots --all` when the collection is done"
        )
