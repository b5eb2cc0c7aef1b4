"""A client of boto3 that connects as an obstore S3 store does: endpoint, credentials, proxy, certificates, headers."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vark.errors import InvalidArgumentError

CONNECTIONS_MAX = 16


def s3_client(config: Mapping[str, Any], client_options: Mapping[str, Any], provider: Any) -> Any:
    """Return the client; it repeats nothing by itself.

    config, client_options: as the store has them; what only makes connections faster there is not taken over.
    provider: of obstore; without one and without keys the credentials are those that boto3 finds.
    Errors: InvalidArgumentError for what decides where requests go, and boto3 cannot do.
    """
    import boto3
    from botocore.config import Config

    if client_options.get("proxy_excludes"):
        raise InvalidArgumentError(
            "client_options: proxy_excludes: object lock and versions are asked about by boto3, which has no such "
            "option; set proxy_url only where all requests go by it, or use HTTPS_PROXY and NO_PROXY instead of both"
        )
    files: list[Any] = []
    proxy, proxy_authority = client_options.get("proxy_url"), client_options.get("proxy_ca_certificate")
    endpoint = config.get("endpoint") or config.get("endpoint_url")
    virtual = _is_true(config.get("virtual_hosted_style_request"))
    style = "virtual" if virtual else "path" if endpoint else "auto"
    session = boto3.Session()
    client = session.client(
        "s3",
        endpoint_url=endpoint,
        region_name=config.get("region") or session.region_name or "us-east-1",
        verify=_trusted(client_options, files),
        config=Config(
            s3={"addressing_style": style},
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=CONNECTIONS_MAX,
            proxies={"http": proxy, "https": proxy} if proxy else None,
            proxies_config={"proxy_ca_bundle": _file_of(files, proxy_authority)} if proxy_authority else None,
            user_agent_extra=client_options.get("user_agent"),
        ),
        **_keys(config, provider),
    )
    _send_headers(client, client_options.get("default_headers") or {})
    for file in files:
        weakref.finalize(client, file.close)  # each new connection reads it
    return client


def _keys(config: Mapping[str, Any], provider: Any) -> dict[str, Any]:
    found = config if provider is None else provider()
    given = {
        "aws_access_key_id": found.get("access_key_id"),
        "aws_secret_access_key": found.get("secret_access_key"),
        "aws_session_token": found.get("token") or found.get("session_token"),
    }
    return {key: value for key, value in given.items() if value}


def _trusted(client_options: Mapping[str, Any], files: list[Any]) -> bool | str | None:
    """Return what boto3 takes for `verify`: None for its own choice; the store adds certificates to the usual ones."""
    if _is_true(client_options.get("allow_invalid_certificates")):
        return False
    authority = client_options.get("root_certificate")
    if not authority:
        return None
    from botocore.httpsession import get_cert_path

    return _file_of(files, Path(get_cert_path(True)).read_bytes() + b"\n" + _bytes_of(authority))


def _file_of(files: list[Any], certificates: str | bytes) -> str:
    """Write certificates to a file, as boto3 takes no others; it is there as long as it is open."""
    file = tempfile.NamedTemporaryFile(prefix="vark-", suffix=".pem")  # noqa: SIM115 - closed with the client
    file.write(_bytes_of(certificates))
    file.flush()
    files.append(file)
    return file.name


def _send_headers(client: Any, headers: Mapping[str, Any]) -> None:
    """Send headers with each request, not signed, as the store does."""
    fixed = {str(name): _bytes_of(value).decode("latin-1") for name, value in headers.items()}

    def add(request: Any, **_: Any) -> None:
        for name, value in fixed.items():
            request.headers.setdefault(name, value)

    if fixed:
        client.meta.events.register("before-send.s3", add)


def _bytes_of(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
