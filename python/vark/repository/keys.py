"""The public face of keys: who can open an encrypted repository, and who signs in it."""

from __future__ import annotations

from collections.abc import Sequence

from vark.archive import ProgressCallback
from vark.errors import InvalidArgumentError
from vark.keys import NO_SECRETS, protection
from vark.kms import KeyService, new_slots
from vark.repository.context import Context
from vark.repository.reencrypt import ReencryptReport, reencrypt
from vark.repository.rotation import (
    KeyChangeReport,
    KeysReport,
    RevokeReport,
    SignerReport,
    add_signer,
    change_keys,
    keys_report,
    revoke_signer,
)


class Keys:
    """Keys of an open repository; `Repository.keys`. A change writes a new generation of keys; data stay as they are.

    Errors of all methods: InvalidArgumentError (it is not encrypted), ConflictError (another change was faster).
    """

    def __init__(self, context: Context) -> None:
        context.sealed_keys()
        self._context = context

    def report(self) -> KeysReport:
        """Tell who can open it, and since when, and who signs."""
        return keys_report(self._context)

    def add(
        self,
        *,
        passphrase: str | bytes | None = None,
        recipients: Sequence[str] = (),
        recovery_code: str | None = None,
        kms: Sequence[KeyService] = (),
        label: str = "",
    ) -> KeyChangeReport:
        """Add ways to open an encrypted repository; nothing is encrypted anew. Errors: InvalidArgumentError."""
        add = protection(passphrase, recipients, recovery_code)
        if add is None and not kms:
            raise InvalidArgumentError("nothing to add; give a passphrase, recipients, a recovery code or a KMS key")
        context = self._context.writable()
        add = (*(add or NO_SECRETS)[:3], new_slots(kms, context.id))
        return change_keys(context, add=add, label=label)

    def remove(self, *slots: str) -> KeyChangeReport:
        """Remove ways to open an encrypted repository, by id, its first digits or label.

        What is written from now on is protected from whoever had them; what was written before is not.
        Errors: InvalidArgumentError (no such slot, or the last one).
        """
        if not slots:
            raise InvalidArgumentError("no key slot; name one by its id or label")
        return change_keys(self._context.writable(), remove=slots)

    def reencrypt(
        self, *, confirm: bool = False, threads: int | None = None, progress: ProgressCallback | None = None
    ) -> ReencryptReport:
        """Write all that is kept again under the newest epoch, only telling what unless `confirm`; can be interrupted.

        Snapshots keep their ids, times, tags and holds; what was replaced is freed by `gc`. After `remove`, or
        `new_epoch`, this is what protects old data. Errors: DamagedError, ConflictError.
        """
        return reencrypt(self._context.writable(), confirm=confirm, threads=threads, progress=progress)

    def add_signer(self, name: str, *, write_only: bool = False) -> SignerReport:
        """Enter who may sign snapshots, and return the content of its file, which is secret and kept nowhere else.

        write_only: it needs no other key, can add snapshots, and can read nothing back.
        """
        return add_signer(self._context.writable(), name, write_only=write_only)

    def revoke_signer(self, name: str, *, keep: bool = True) -> RevokeReport:
        """Revoke a signer. keep: first vouch for the snapshots that a write-only one has made.

        Those that nobody vouched for are refused from then on, and freed by `gc`.
        """
        return revoke_signer(self._context.writable(), name, keep=keep)

    def new_epoch(self) -> KeyChangeReport:
        """Encrypt what is written from now on under a new root key."""
        return change_keys(self._context.writable(), new_epoch=True)
