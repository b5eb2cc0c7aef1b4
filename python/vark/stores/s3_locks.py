"""Object lock and versions of an S3 bucket, by boto3 (the extra `s3`): obstore has no call for them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from vark.errors import AccessDeniedError, NotFoundError, StorageError, StoreUnavailableError, VarkError
from vark.stores.base import check_object_name, check_prefix, object_name_fault
from vark.stores.counts import Counts
from vark.stores.locks import MODES, LockRules, ObjectVersion, Retention
from vark.stores.pace import NO_LIMITS, Paces
from vark.stores.s3_client import s3_client

NO_PACES = Paces(NO_LIMITS)
ATTEMPTS = 4  # some stores refuse retention of an object that has just been put
_PAUSE_SECONDS = 0.2
_MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})
_DENIED = frozenset({"AccessDenied", "403", "Forbidden", "UnauthorizedAccess"})
_NO_LOCK = frozenset(
    {"ObjectLockConfigurationNotFoundError", "ObjectLockConfigurationNotFound", "NoSuchObjectLockConfiguration"}
)
_NO_RETENTION = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})
_AGAIN = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "OperationAborted"}
)
# 412: nothing that is asked here has a condition. Not 409: of locks it may be a refusal; OperationAborted is the other.
_STATUSES_AGAIN = frozenset({408, 412, 425, 429, 500, 502, 503, 504})


def once() -> Iterator[bool]:
    """Of attempts at a request: one, and that is the last."""
    yield True


class S3Locks:
    """Locks of one bucket below a prefix.

    config: as an obstore S3 store has it; without credentials there those that boto3 finds. provider: of obstore.
    attempts: waits between attempts at a request, and yields whether each is the last: those of the store, for boto3
    repeats nothing here. client_options: of the store's connections; limits of bytes are kept by the proxy there.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        prefix: str | None,
        *,
        provider: Any,
        place: str,
        counts: Counts,
        paces: Paces = NO_PACES,
        attempts: Callable[[], Iterator[bool]] = once,
        client_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._config = {str(key): value for key, value in config.items()}
        self._bucket = self._config["bucket"]
        self._prefix = f"{prefix.strip('/')}/" if prefix else ""
        self._provider = provider
        self._place = place.rstrip("/")
        self._counts = counts
        self._paces = paces
        self._attempts = attempts
        self._client_options = client_options or {}

    def rules(self) -> LockRules:
        versioned = self._answer("get_bucket_versioning")
        if isinstance(versioned, str):
            return LockRules(None, self._object_lock()[0])
        return LockRules(versioned.get("Status") == "Enabled", *self._object_lock())

    def retained(self, name: str) -> Retention | None:
        if self._locks_nothing:
            return None
        try:
            found = self._ask("get_object_retention", name).get("Retention", {})
        except _RefusedError as refused:
            if refused.code in _NO_RETENTION:
                return None
            raise refused.error from None
        until, mode = found.get("RetainUntilDate"), str(found.get("Mode", "")).lower()
        if until is None:
            return None
        if mode not in MODES:
            expected = " or ".join(MODES)
            raise StorageError(f"{self._place}/{name}: retention of the mode {mode[:40]!r}, expected {expected}")
        return Retention(mode, int(until.timestamp() * 1000))

    def retain(self, name: str, retention: Retention) -> None:
        for attempt in range(ATTEMPTS):
            # Looked at first: one that lasts longer must not be shortened, and some stores would.
            found = self.retained(name)
            if found is not None and found.covers(retention):
                return
            wanted = retention if found is None else found.joined(retention)
            try:
                self._put_retention(name, wanted)
                return
            except _RefusedError as refused:
                if found is not None and found.mode != wanted.mode:
                    # Some stores never change the mode; then it is at least kept for as long.
                    with contextlib.suppress(_RefusedError):
                        self._put_retention(name, Retention(found.mode, wanted.until_unix_ms))
                if attempt == ATTEMPTS - 1:
                    raise refused.error from None
            time.sleep(_PAUSE_SECONDS)

    def _put_retention(self, name: str, wanted: Retention) -> None:
        until = datetime.fromtimestamp(-(-wanted.until_unix_ms // 1000), UTC)  # whole seconds, never earlier
        fields = {"Mode": wanted.mode.upper(), "RetainUntilDate": until}
        self._ask("put_object_retention", name, Retention=fields)

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        found: list[ObjectVersion] = []
        more: dict[str, Any] = {"Prefix": self._prefix + check_prefix(prefix)}
        while True:
            page = self._answer("list_object_versions", **more)
            if isinstance(page, str):
                raise self._error("list_object_versions", "", page)
            for kind in ("Versions", "DeleteMarkers"):
                for item in page.get(kind, ()):
                    name = str(item["Key"]).removeprefix(self._prefix)
                    if object_name_fault(name) is None:
                        found.append(_version(name, item, is_marker=kind == "DeleteMarkers"))
            if not page.get("IsTruncated"):
                break
            more["KeyMarker"] = page["NextKeyMarker"]
            if "NextVersionIdMarker" in page:
                more["VersionIdMarker"] = page["NextVersionIdMarker"]
        # Stable, and the newest first: within a second the order of the store decides.
        yield from sorted(found, key=lambda item: (item.name, not item.is_latest, -item.modified_unix_ms))

    def read_version(self, name: str, version: str) -> bytes:
        from botocore.exceptions import BotoCoreError

        try:
            data = bytes(self._ask("get_object", name, VersionId=version)["Body"].read())
        except _RefusedError as refused:
            raise refused.error from None
        except BotoCoreError as error:  # in the middle of the body
            raise self._lost("get_object", name, type(error).__name__) from None
        self._paces.receive(len(data))
        self._counts.add(bytes_down=len(data))
        return data

    def put_over(self, name: str, version: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._key(name), "VersionId": version}
        try:
            self._ask("copy_object", name, CopySource=source)
        except _RefusedError as refused:
            raise refused.error from None

    @cached_property
    def _locks_nothing(self) -> bool:
        """Whether the bucket has no object lock: then no object has to be asked about."""
        return self._object_lock()[0] is False

    def _object_lock(self) -> tuple[bool | None, str | None, int | None]:
        found = self._answer("get_object_lock_configuration")
        if isinstance(found, str):
            return (False if found in _NO_LOCK else None), None, None
        configuration = found.get("ObjectLockConfiguration", {})
        if configuration.get("ObjectLockEnabled") != "Enabled":
            return False, None, None
        default = configuration.get("Rule", {}).get("DefaultRetention", {})
        days = default.get("Days") or 365 * default.get("Years", 0)
        return True, str(default["Mode"]).lower() if default.get("Mode") else None, days or None

    def _answer(self, what: str, **fields: Any) -> Any:
        """Return what the bucket says, or the code of its refusal. Errors: StoreUnavailableError."""
        from botocore.exceptions import ClientError

        try:
            return self._call(what, "", fields)
        except ClientError as error:
            return _code_of(error)

    def _ask(self, what: str, name: str, **fields: Any) -> Any:
        """Ask for one object. Errors: NotFoundError, StoreUnavailableError, _RefusedError."""
        from botocore.exceptions import ClientError

        try:
            return self._call(what, name, {"Key": self._key(name), **fields})
        except ClientError as error:
            code = _code_of(error)
            said = self._error(what, name, code)
            if isinstance(said, NotFoundError):
                raise said from None
            raise _RefusedError(code, said) from None

    def _call(self, what: str, name: str, fields: Mapping[str, Any]) -> Any:
        """Ask, and again while the store is busy or out of reach. Errors: StoreUnavailableError, ClientError."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.exceptions import ConnectionError as NotConnectedError

        kind = "lists" if what.startswith("list") else "gets" if what.startswith("get") else "puts"
        for is_last in self._attempts():
            self._paces.ask()
            self._counts.add(**{kind: 1})
            try:
                return getattr(self._client, what)(Bucket=self._bucket, **fields)
            except ClientError as error:
                if not _is_busy(error):
                    raise
                why = _code_of(error)
            except BotoCoreError as error:
                why = type(error).__name__
                if not isinstance(error, (NotConnectedError, HTTPClientError)):  # no credentials, say
                    raise self._lost(what, name, why) from None
            if is_last:
                raise self._lost(what, name, why)
        raise AssertionError("unreachable")

    def _error(self, what: str, name: str, code: str) -> VarkError:
        place, words = f"{self._place}/{name}", what.replace("_", " ")
        if code in _MISSING:
            return NotFoundError(f"{place}: does not exist")
        if code in _DENIED:
            return AccessDeniedError(f"{place}: {words} is refused ({code}); check what the credentials allow")
        return StorageError(f"{place}: {words} failed ({code}); look whether the bucket has object lock")

    def _lost(self, what: str, name: str, why: str) -> StoreUnavailableError:
        detail = f"{what.replace('_', ' ')}: no usable reply ({why})"
        return StoreUnavailableError(f"{self._place}/{name}: {detail}; run it again later")

    def _key(self, name: str) -> str:
        return self._prefix + check_object_name(name)

    @cached_property
    def _client(self) -> Any:
        return s3_client(self._config, self._client_options, self._provider)


class _RefusedError(Exception):
    """A refusal, by its code, and what to say of it."""

    def __init__(self, code: str, error: VarkError) -> None:
        super().__init__(code)
        self.code = code
        self.error = error


def s3_locks(
    store: Any, *, place: str, counts: Counts, paces: Paces, attempts: Callable[[], Iterator[bool]]
) -> S3Locks | None:
    """Return the locks of an obstore S3 store, None where boto3 is not installed. The rest as in `S3Locks`."""
    try:
        import boto3  # noqa: F401 - whether it is there
    except ImportError:
        return None
    return S3Locks(
        store.config,
        store.prefix,
        provider=getattr(store, "credential_provider", None),
        place=place,
        counts=counts,
        paces=paces,
        attempts=attempts,
        client_options=store.client_options,
    )


def _version(name: str, item: Mapping[str, Any], *, is_marker: bool) -> ObjectVersion:
    return ObjectVersion(
        name=name,
        version=str(item["VersionId"]),
        byte_count=int(item.get("Size", 0)),
        modified_unix_ms=int(item["LastModified"].timestamp() * 1000),
        is_latest=bool(item["IsLatest"]),
        is_marker=is_marker,
        tag=str(item.get("ETag", "")),
    )


def _code_of(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "") or "no code")


def _is_busy(error: Any) -> bool:
    """Return whether a reply says nothing, so that it is worth asking again."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return _code_of(error) in _AGAIN or status in _STATUSES_AGAIN
