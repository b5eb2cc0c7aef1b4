"""Audit of the places where a repository and its copies lie: what each is by itself, and what a file says of it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vark.errors import InvalidArgumentError, error_from_os
from vark.repository import Repository
from vark.repository.auditing import AuditedPlace, AuditRule, audit
from vark.repository.copy_reports import AuditReport
from vark.repository.objects import now_unix_ms
from vark.stores import LocalStore, RemoteStore, Store
from vark.units import parse_duration

__all__ = ["AuditConfig", "AuditRule", "PlaceFacts", "audit_repositories", "facts_of", "read_audit_config"]

FILE_BYTES_MAX = 1 << 20
_PLACE_KEYS = {"place": str, "medium": str, "offsite": bool, "encryption": str, "identity": str}
_PLACE_KEYS |= dict.fromkeys(("password_file", "password_command", "recovery_code_file"), str)
_RULE_KEYS = {"copies": int, "media": int, "offsite": int, "max_age": str}


@dataclass(frozen=True, slots=True)
class PlaceFacts:
    """What is known of a place. keys: how it is opened, by the names of the command line's options."""

    place: str
    medium: str = ""
    offsite: bool | None = None
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """A file: the places, and the rule."""

    places: tuple[PlaceFacts, ...]
    rule: AuditRule


def read_audit_config(path: str | PathLike[str]) -> AuditConfig:
    """Read a TOML file: `[rule]` (copies, media, offsite, max_age) and `[[repository]]` (place, medium, offsite …).

    Errors: InvalidArgumentError, NotFoundError.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise error_from_os(error, name) from error
    if len(data) > FILE_BYTES_MAX:
        raise InvalidArgumentError(f"{name}: more than {FILE_BYTES_MAX} bytes; expected a list of repositories")
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits
        raise InvalidArgumentError(f"{name}: not TOML: {error}") from None
    unknown = sorted(tables.keys() - {"rule", "repository"})
    if unknown:
        raise InvalidArgumentError(f"{name}: [{unknown[0]}]: expected [rule] and [[repository]]")
    rule = _checked(tables.get("rule", {}), _RULE_KEYS, f"{name}: [rule]")
    age = rule.pop("max_age", None)
    if age is not None:
        rule["max_age_seconds"] = parse_duration(age, name=f"{name}: max_age")
    entries = tables.get("repository", [])
    if not isinstance(entries, list) or not entries:
        raise InvalidArgumentError(f"{name}: no [[repository]]; name each place where one lies")
    places = []
    for number, entry in enumerate(entries, 1):
        found = _checked(entry, _PLACE_KEYS, f"{name}: [[repository]] {number}")
        if "place" not in found:
            raise InvalidArgumentError(f"{name}: [[repository]] {number}: has no place")
        own = {key: found.pop(key) for key in ("place", "medium", "offsite") if key in found}
        places.append(PlaceFacts(**own, keys=found))
    return AuditConfig(tuple(places), AuditRule(**rule))


def _checked(table: Any, kinds: Mapping[str, type], place: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InvalidArgumentError(f"{place}: expected a table")
    for key, value in table.items():
        if key not in kinds:
            raise InvalidArgumentError(f"{place}: {key}: expected one of {', '.join(kinds)}")
        if type(value) is not kinds[key] or (isinstance(value, int) and value < 0) or value == "":
            raise InvalidArgumentError(f"{place}: {key}: {value!r}; expected a {kinds[key].__name__}")
    return dict(table)


def facts_of(store: Store, facts: PlaceFacts) -> PlaceFacts:
    """Fill in what nobody said: a folder is on its disk and not off site, a bucket at its provider.

    A provider is what the address and the endpoint in the environment name; one on this machine is not off site.
    """
    if isinstance(store, LocalStore):
        found = Path(store.root)
        while not found.exists() and found != found.parent:
            found = found.parent
        medium, offsite = f"disk {found.stat().st_dev}", False
    elif isinstance(store, RemoteStore):
        address = urlsplit(store.root)
        variables = {"s3": "AWS_ENDPOINT_URL", "s3a": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ENDPOINT"}
        endpoint = urlsplit(os.environ.get(variables.get(address.scheme, ""), "")).netloc
        host = endpoint or (address.netloc if address.scheme in ("http", "https") else "")
        medium = f"{address.scheme or store.root} {host}".strip()
        offsite = urlsplit(f"//{host}").hostname not in ("127.0.0.1", "localhost", "::1")
    else:
        medium, offsite = "memory", False
    return replace(facts, medium=facts.medium or medium, offsite=offsite if facts.offsite is None else facts.offsite)


def _identity(store: Store) -> Any:
    """Return what two names of one place have in common."""
    if isinstance(store, LocalStore):
        found = Path(store.root).stat()
        return found.st_dev, found.st_ino
    return store.root.rstrip("/") if isinstance(store, RemoteStore) else id(store)


def audit_repositories(
    places: Sequence[tuple[PlaceFacts, Repository | str]], rule: AuditRule | None = None
) -> AuditReport:
    """Tell of each source how many copies there are, on how many media, how many off site, and how old each is.

    places: what is known of each, and the open repository (of a mirror that is behind opened with `forgetful=True`), or
    why it cannot be opened. A place counts once for a source, by its newest snapshot, when all that this needs is there
    with its length, no verification has found it damaged, and it is young enough. The source itself is no copy. One
    place under two names counts once, and is a problem.
    """
    looked, seen = [], dict[Any, str]()
    now_ms = None
    for facts, repository in places:
        if isinstance(repository, str):
            medium, offsite = facts.medium or "unknown", bool(facts.offsite)
            looked.append(AuditedPlace(facts.place, medium, offsite, None, repository))
            continue
        known = facts_of(repository.store, facts)
        first = seen.setdefault(_identity(repository.store), facts.place)
        if first != facts.place:
            looked.append(AuditedPlace(facts.place, known.medium, bool(known.offsite), None, f"is the same as {first}"))
            continue
        looked.append(AuditedPlace(known.place, known.medium, bool(known.offsite), repository.context))
        now_ms = now_unix_ms(repository.store) if now_ms is None else now_ms
    return audit(looked, rule or AuditRule(), now_ms or 0)
