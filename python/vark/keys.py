"""Secrets of encrypted archives on their way to the engine, which wipes its copies and repeats none of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike

from vark import _core
from vark._core import Keyring, NewRecord, Signer
from vark.errors import InvalidArgumentError, error_from_os
from vark.kms import KmsSlot

__all__ = [
    "Identity",
    "Keyring",
    "NewRecord",
    "Secrets",
    "Signer",
    "SignerEntry",
    "new_identity",
    "new_recovery_code",
    "protection",
    "signer_of",
    "unlocking",
]

# As in the engine: what is longer is a mistaken file.
IDENTITY_FILE_BYTES_MAX = 65_536
Identity = str | bytes | PathLike[str]
# Name, Ed25519 public key, write only, when it was revoked.
SignerEntry = tuple[str, bytes, bool, int | None]
# As the engine takes them: passphrase; recipients, or contents of identity files; recovery code; slots of a KMS.
Secrets = tuple[bytes | None, Sequence[bytes], str | None, Sequence[KmsSlot]]
NO_SECRETS: Secrets = (None, (), None, ())


def protection(passphrase: str | bytes | None, recipients: Sequence[str], recovery_code: str | None) -> Secrets | None:
    """Return what seals a new archive; None when nothing was asked for."""
    if isinstance(recipients, str):
        raise InvalidArgumentError("recipients: one text; give a list of age recipients (age1…)")
    if passphrase is None and not recipients and recovery_code is None:
        return None
    return _bytes_of(passphrase), [recipient.encode() for recipient in recipients], recovery_code, ()


def unlocking(
    passphrase: str | bytes | None, identities: Sequence[Identity], recovery_code: str | None
) -> Secrets | None:
    """Return what may open an archive; None when nothing was given."""
    if isinstance(identities, (str, bytes, PathLike)):
        raise InvalidArgumentError("identities: one value; give a list of identity files or of their contents")
    if passphrase is None and not identities and recovery_code is None:
        return None
    return _bytes_of(passphrase), [_identity(identity) for identity in identities], recovery_code, ()


def signer_of(signer: Identity | None) -> Signer | None:
    """Return the signer of a file, given by path or content. Errors: InvalidArgumentError, NotFoundError."""
    if signer is None:
        return None
    if isinstance(signer, bytes):
        return Signer.parse(signer)
    if is_signer_content(signer):
        # Never a path, however mistyped it is: a path stands in messages.
        return Signer.parse(os.fspath(signer).encode())
    try:
        with open(signer, "rb") as file:
            return Signer.parse(file.read(IDENTITY_FILE_BYTES_MAX + 1))
    except OSError as error:
        raise error_from_os(error, f"signer file {os.fspath(signer)}") from error


def is_signer_content(signer: str | PathLike[str]) -> bool:
    """Return whether this is what stands in a signer's file rather than its path."""
    return "signing_key" in os.fspath(signer)


def new_recovery_code() -> str:
    """Return a random recovery code for `recovery_code=` of `write_archive`; note it before anything is written."""
    return _core.new_recovery_code()


def new_identity() -> tuple[str, str]:
    """Return a random identity, as a line of an identity file of age, and its recipient."""
    return _core.new_identity()


def _bytes_of(passphrase: str | bytes | None) -> bytes | None:
    return passphrase.encode() if isinstance(passphrase, str) else passphrase


def _identity(identity: Identity) -> bytes:
    """Return the content of an identity file; bytes, and a text that looks like an identity, are the content itself."""
    if isinstance(identity, bytes):
        return identity
    if isinstance(identity, str) and "SECRET-KEY" in identity.upper():
        # Never a path, however mistyped it is: a path stands in messages.
        return identity.encode()
    try:
        with open(identity, "rb") as file:
            return file.read(IDENTITY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise error_from_os(error, f"identity file {os.fspath(identity)}") from error
