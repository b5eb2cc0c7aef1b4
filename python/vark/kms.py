"""Key management services: each wraps a key slot's secret under a key that never leaves it.

Which service, endpoint and credentials are used is for this client's own configuration, never for a repository.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from vark.errors import InvalidArgumentError, KeyUnavailableError, WrongKeyError

SECRET_BYTES = 32
KEY_BYTES_MAX = 2_048
WRAPPED_CHARACTERS_MAX = 8_192
PROVIDERS = ("aws-kms",)
# Slot id, secret, provider, key, wrapped secret: as the engine takes them.
KmsSlot = tuple[bytes, bytes, str, str, str]


@runtime_checkable
class KeyService(Protocol):
    """A key of a key management service. provider: what its slots are called. key: which key it is, for the slot."""

    provider: str
    key: str

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """Return `secret` encrypted under the key, bound to `context`. Errors: KeyUnavailableError, WrongKeyError."""
        ...

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Return what `wrap` was given. Errors: KeyUnavailableError (not reached), WrongKeyError (refused)."""
        ...


class AwsKms:
    """A symmetric key of AWS KMS, by `boto3` (`vark[aws]`), whose usual configuration says region and credentials.

    key: id, ARN or alias. options: of `boto3.client`, such as region_name or endpoint_url.
    """

    provider = "aws-kms"

    def __init__(self, key: str, **options: Any) -> None:
        self.key = key
        self._options = options
        self._client: Any = None

    def __repr__(self) -> str:
        return f"AwsKms({self.key!r})"

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        reply = self._call("encrypt", context, KeyId=self.key, Plaintext=secret, EncryptionContext=dict(context))
        return bytes(reply["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        reply = self._call("decrypt", context, KeyId=self.key, CiphertextBlob=wrapped, EncryptionContext=dict(context))
        return bytes(reply["Plaintext"])

    def _call(self, action: str, context: Mapping[str, str], **arguments: Any) -> Any:
        try:
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise InvalidArgumentError("AWS KMS: needs boto3; install vark[aws]") from error
        try:
            return getattr(self._connected(), action)(**arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _RETRYABLE or code.startswith("5"):
                raise _unavailable(self.key, code) from error
            raise WrongKeyError(
                f"the KMS key {self.key} refused to {action} slot {context.get('vark-slot', '')[:12]}: {code}"
            ) from error
        except BotoCoreError as error:
            raise _unavailable(self.key, type(error).__name__) from error

    def _connected(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            limits = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2})
            self._client = boto3.client("kms", **{"config": limits, **self._options})
        return self._client


_RETRYABLE = frozenset(
    {"ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "ServiceUnavailableException"}
)


def service_of(text: str) -> KeyService:
    """Return the service that `PROVIDER:KEY` names. Errors: InvalidArgumentError."""
    provider, colon, key = text.partition(":")
    if provider != AwsKms.provider or not colon or not key:
        raise InvalidArgumentError(f"KMS {text[:80]!r}: expected PROVIDER:KEY with one of {', '.join(PROVIDERS)}")
    return AwsKms(key)


def new_slots(services: Sequence[KeyService], repository: str) -> list[KmsSlot]:
    """Return a new slot for each service: a fresh secret, wrapped by it. Errors: as `KeyService.wrap`."""
    made = []
    for service in services:
        if not 1 <= len(service.key.encode()) <= KEY_BYTES_MAX:
            raise InvalidArgumentError(f"KMS key {service.key[:80]!r}: expected 1 to {KEY_BYTES_MAX} bytes")
        slot, secret = secrets.token_bytes(16), secrets.token_bytes(SECRET_BYTES)
        wrapped = base64.b64encode(service.wrap(secret, context_of(repository, slot.hex()))).decode()
        if len(wrapped) > WRAPPED_CHARACTERS_MAX:
            raise InvalidArgumentError(f"KMS key {service.key}: wraps to more than {WRAPPED_CHARACTERS_MAX} characters")
        made.append((slot, secret, service.provider, service.key, wrapped))
    return made


def opened_slots(services: Sequence[KeyService], repository: str, slots: Sequence[Mapping[str, Any]]) -> list[KmsSlot]:
    """Return the secrets of those slots that one of the services unwraps. slots: as they are stored, hostile.

    Errors: KeyUnavailableError, WrongKeyError: of the first, when none is unwrapped.
    """
    opened: list[KmsSlot] = []
    failures: list[Exception] = []
    for slot in slots:
        fields = slot.get("kms")
        slot_id = slot.get("slot")
        if slot.get("type") != "kms" or not isinstance(fields, dict) or not isinstance(slot_id, str):
            continue
        for service in services:
            if service.provider != fields.get("provider"):
                continue
            try:
                wrapped = base64.b64decode(str(fields.get("wrapped"))[: WRAPPED_CHARACTERS_MAX + 1], validate=True)
                secret = service.unwrap(wrapped, context_of(repository, slot_id))
                opened.append((bytes.fromhex(slot_id), secret, service.provider, service.key, ""))
            except (KeyUnavailableError, WrongKeyError) as error:
                failures.append(error)
            except (ValueError, binascii.Error):
                failures.append(WrongKeyError(f"key slot {slot_id[:12]}: what a KMS is to unwrap was altered"))
    if failures and not opened:
        raise failures[0]
    return opened


def context_of(repository: str, slot: str) -> dict[str, str]:
    """Return what a wrapped secret is bound to (spec CRYPTO 6.4)."""
    return {"vark-repository": repository, "vark-slot": slot}


def _unavailable(key: str, why: str) -> KeyUnavailableError:
    return KeyUnavailableError(
        f"the KMS key {key} could not be reached ({why}); try again, or open with another key slot"
    )
