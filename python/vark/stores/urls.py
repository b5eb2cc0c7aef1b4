"""Stores by address: `s3://bucket/prefix`, `gs://…`, `az://container/prefix`, `https://…`, `file:///…`, `memory://name`.

Credentials come from where the provider's own tools look for them: environment, profiles, the machine's identity.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from vark.cache import blocks_of
from vark.errors import InvalidArgumentError
from vark.stores.base import Store
from vark.stores.blocks import KeptBlocks, limit_of
from vark.stores.counts import Traffic
from vark.stores.local import LocalStore
from vark.stores.memory import MemoryStore
from vark.stores.pace import LIMITS, Limits, Pace, Paces
from vark.stores.remote import RemoteStore
from vark.units import parse_bytes, parse_duration

S3, GCS, AZURE, WEB = ("s3", "s3a"), ("gs",), ("az", "azure", "abfs", "abfss"), ("http", "https")
SCHEMES = (*S3, *GCS, *AZURE, *WEB, "file", "memory")
_OWN_OPTIONS = ("retry", "requests_max", "cache", "disk_cache", *LIMITS)
_PREFIXES = ("aws_", "azure_", "google_")
# fmt: off
_CLIENT_OPTIONS = frozenset({
    "allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type", "default_headers",
    "http1_only", "http2_only", "http2_keep_alive_interval", "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle", "pool_idle_timeout", "pool_max_idle_per_host", "proxy_ca_certificate",
    "proxy_excludes", "proxy_url", "randomize_addresses", "read_timeout", "root_certificate", "timeout", "user_agent",
})
# fmt: on
_RELAYED_TIMEOUT = "7d"  # of a request: how long it takes is what was asked for; the relay ends what does not move
_SHARED: dict[Any, RemoteStore] = {}  # for archives by address: connections and cache are kept
_MEMORY: dict[str, MemoryStore] = {}  # of this process
_RELAYS = threading.Lock()  # one of each, also where threads open stores at once
_DEFAULTS: dict[str, Any] = {}  # of our own options; what a command was given


@runtime_checkable
class Ranges(Protocol):
    """What the engine reads an archive from when it is no file."""

    name: str
    byte_count: int

    def read(self, offset: int, byte_count: int) -> memoryview | bytes:
        """Return bytes of the archive."""
        ...


def is_url(place: object) -> bool:
    """Return whether a place is the address of a store."""
    return isinstance(place, str) and place.partition("://")[0].lower() in SCHEMES and "://" in place


def open_store(place: str, options: Mapping[str, Any] | None = None) -> Store:
    """Return the store at an address.

    options: of the provider, by the names of `obstore` (endpoint, region, access_key_id …), `client_options`; and ours:
    retry (how long a request is repeated, e.g. "2m"), requests_max (at once), cache ("144MiB" of ranges in memory),
    disk_cache (bytes for blocks of archives that are read in part, on this machine; False or 0 for none),
    limit_upload, limit_download (bytes a second, "10MB/s"), limit_requests ("50/s"): stores of this process that are
    given the same limits share them.
    Errors: InvalidArgumentError.
    """
    address, scheme = urlsplit(place), place.partition("://")[0].lower()
    given = dict(options or {})
    if address.username or address.password or address.query or address.fragment:
        raise InvalidArgumentError(
            f"{scheme}://{address.hostname or ''}…: an address has no user, password or query here, for it is shown in "
            "messages; use the provider's environment variables or store_options"
        )
    if scheme in ("file", "memory"):
        if given:
            raise InvalidArgumentError(f"store_options: {scheme}:// has none; leave {min(given)!r} out")
        if scheme == "file":
            return LocalStore(_path_of(place, address.netloc, address.path))
        return _MEMORY.setdefault(address.netloc + address.path.rstrip("/"), MemoryStore())
    own = {**_DEFAULTS, **{key: given.pop(key) for key in _OWN_OPTIONS if key in given}}
    given["client_options"] = _client_options(given)
    limits = Limits.parse(own)
    own["paces"] = _paces_of(limits, _relay(limits, given, place))
    return RemoteStore(_library_store(scheme, address.netloc, address.path, place, given), **_facts(scheme, place, own))


@contextlib.contextmanager
def defaults(options: Mapping[str, Any]) -> Iterator[None]:
    """Have these options of ours where a remote store is opened without them: by a command, for all that it opens."""
    before = dict(_DEFAULTS)
    _DEFAULTS.update({key: value for key, value in options.items() if value is not None})
    try:
        yield
    finally:
        _DEFAULTS.clear()
        _DEFAULTS.update(before)


def is_remote(place: object) -> bool:
    """Return whether a place is the address of a remote store, or a store object that is one."""
    if is_library_store(place):
        return True
    return is_url(place) and str(place).partition("://")[0].lower() not in ("file", "memory")


def traffic_of_addresses() -> Traffic | None:
    """Return what archives by address have cost in this process; None where there was none."""
    if not _SHARED:
        return None
    return sum((store.counts.total() for store in _SHARED.values()), Traffic())


def ranges_at(address: str) -> Ranges | str:
    """Return what reads the object at an address, or its path. Errors: NotFoundError, InvalidArgumentError."""
    folder, _, name = address.rpartition("/")
    if folder.endswith("/") or not name:
        raise InvalidArgumentError(f"{address}: no object; expected an address such as s3://BUCKET/NAME.vark")
    shared = folder, tuple(sorted(_DEFAULTS.items()))
    store = _SHARED.get(shared) or open_store(folder)
    if isinstance(store, RemoteStore):
        _SHARED[shared] = store
        byte_count, version = store.version_of(name)
        kept = blocks_of(hashlib.md5(folder.encode(), usedforsecurity=False).hexdigest(), store) if version else None
        blocks = None if kept is None else KeptBlocks(kept, f"{address} {byte_count} {version}", byte_count)
        return store.open_ranges(address, [(name, byte_count)], kept=blocks)
    path = store.local_path(name)
    if path is None:
        raise InvalidArgumentError(f"{address}: an archive is opened from a file or a remote store; use a repository")
    return str(path)


def adopt_store(store: Any, options: Mapping[str, Any] | None = None) -> Store:
    """Return a store of vark for one of obstore; what that one repeats by itself is not counted.

    options: ours, as in `open_store`. Bytes are limited request by request, for its connections are not ours.
    Errors: InvalidArgumentError for others.
    """
    unknown = sorted((options or {}).keys() - set(_OWN_OPTIONS))
    if unknown:
        raise InvalidArgumentError(
            f"store_options: {unknown[0]!r} belongs to the store object; give it when it is made"
        )
    scheme = {"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az", "HTTPStore": "https"}.get(type(store).__name__, "")
    where = getattr(store, "url", None) or getattr(store, "config", {}).get("bucket", "")
    prefix = getattr(store, "prefix", None)
    place = f"{type(store).__name__}({'/'.join(str(part) for part in (where, prefix) if part)})"
    own = {**_DEFAULTS, **(options or {})}
    own["paces"] = _paces_of(Limits.parse(own), False)
    return RemoteStore(store, **_facts(scheme, place, own))


def is_library_store(place: object) -> bool:
    """Return whether a place is a store object of obstore."""
    return type(place).__module__.partition(".")[0] == "obstore"


def _facts(scheme: str, place: str, own: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"place": place, "paces": own["paces"], "disk_bytes": limit_of(own.get("disk_cache"))}
    if scheme in WEB:
        path = unquote(urlsplit(place).path).strip("/")
        facts["listed_below"] = f"{path}/" if path else ""
        facts["read_only"] = "a web server is only read from; write to the bucket or folder that it serves"
    facts["md5_etags"] = scheme in GCS
    if "retry" in own:
        facts["retry_seconds"] = parse_duration(own["retry"], name="retry")
    if "cache" in own:
        facts["cache_bytes"] = parse_bytes(own["cache"], name="cache")
    if "requests_max" in own:
        facts["requests_max"] = max(int(own["requests_max"]), 1)
    return facts


def _client_options(given: dict[str, Any]) -> dict[str, Any]:
    """Take the options of connections out of others and return them all, by their lower-case names.

    The library takes them in any case and beside `client_options`, too, where its stores cannot tell them any more.
    """
    found = {str(key).lower(): value for key, value in dict(given.pop("client_options", None) or {}).items()}
    for key in list(given):
        name = key.lower().partition("_")[2] if key.lower().startswith(_PREFIXES) else key.lower()
        if name in _CLIENT_OPTIONS:
            found.setdefault(name, given.pop(key))
    return found


def _relay(limits: Limits, given: dict[str, Any], place: str) -> bool:
    """Put a relay between the library and the network where bytes are limited; return whether there is one."""
    if limits.upload is None and limits.download is None:
        return False
    client = given["client_options"]
    if "proxy_excludes" in client:
        raise InvalidArgumentError("client_options: proxy_excludes, and a limit of bytes; leave one of them out")
    proxy = client.get("proxy_url")
    _check_proxy(proxy, str(given.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL") or place))
    with _RELAYS:
        client["proxy_url"] = _relay_of(limits.upload, limits.download, proxy)
    client.setdefault("timeout", _RELAYED_TIMEOUT)
    return True


def _check_proxy(proxy: str | None, address: str) -> None:
    from vark.stores.relay import check_proxy, proxy_for

    parts = urlsplit(address)
    where = "client_options: proxy_url" if proxy else "the proxy of the environment"
    try:
        found = proxy or proxy_for("http" if parts.scheme == "http" else "https", parts.hostname or "")
        if found:
            check_proxy(found)
    except ValueError as error:
        raise InvalidArgumentError(f"{where}: {error}; use another, or leave the limits of bytes out") from None


@functools.cache  # shared, and there for as long as the process is
def _relay_of(upload: float | None, download: float | None, proxy: str | None) -> str:
    from vark.stores.relay import Relay  # asyncio takes a while to import

    up, down = (None if rate is None else Pace(rate) for rate in (upload, download))
    return Relay(up=up, down=down, proxy=proxy).url


@functools.cache
def _paces_of(limits: Limits, is_relayed: bool) -> Paces:
    return Paces(limits, is_relayed=is_relayed)


def _library_store(scheme: str, bucket: str, path: str, place: str, given: dict[str, Any]) -> Any:
    try:
        from obstore import store as stores
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise InvalidArgumentError(f"{place}: needs the package obstore; install vark[stores]") from error
    if not bucket:
        raise InvalidArgumentError(f"{place}: no bucket; expected {scheme}://BUCKET/PREFIX")
    prefix = unquote(path).strip("/") or None
    client = {"timeout": "60s", **given.pop("client_options", {})}
    common: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}, **given}
    try:
        if scheme in S3:
            _allow_http(client, common.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL", ""), "AWS_ALLOW_HTTP")
            # The store compares it, and keeps it; beside the SHA-256 that signs the body, for next to nothing.
            common.setdefault("checksum_algorithm", "CRC64NVME")
            _profile(common)
            return stores.S3Store(bucket, prefix=prefix, **common)
        if scheme in GCS:
            return stores.GCSStore(bucket, prefix=prefix, **common)
        if scheme in AZURE:
            endpoint = common.get("endpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT", "")
            _allow_http(client, endpoint, "AZURE_ALLOW_HTTP")
            return stores.AzureStore(bucket, prefix=prefix, **common)
        if scheme == "http":
            client["allow_http"] = True
        return stores.HTTPStore.from_url(place, **common)
    except (BaseError, TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{place}: {str(error).splitlines()[0][:200]}; check the options") from None


def _allow_http(client: dict[str, Any], endpoint: str, variable: str) -> None:
    """Speak plainly with this machine; with others only when told to, for everything could be read on the way."""
    local = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
    if local or os.environ.get(variable, "").lower() == "true":
        client.setdefault("allow_http", True)


def _profile(common: dict[str, Any]) -> None:
    """Use the profiles and the chain of boto3 where it is installed and the environment has no key of its own."""
    given = {"access_key_id", "aws_access_key_id", "credential_provider", "skip_signature"} & common.keys()
    if given or os.environ.get("AWS_ACCESS_KEY_ID"):
        return
    if os.environ.get("AWS_PROFILE") or os.path.exists(os.path.expanduser("~/.aws/credentials")):
        with contextlib.suppress(ImportError, ValueError):
            import boto3
            from obstore.auth.boto3 import Boto3CredentialProvider

            common["credential_provider"] = Boto3CredentialProvider(boto3.Session())


def _path_of(place: str, host: str, path: str) -> str:
    if host not in ("", "localhost") or not path.startswith("/"):
        raise InvalidArgumentError(f"{place}: expected file:///PATH")
    return unquote(path)
