"""Encrypted repositories for tests: in memory, opened by an identity, which takes no time."""

import numpy as np
import reader_seal

from vark.repository import Repository
from vark.stores import MemoryStore


def identity(seed):
    """An age identity and its recipient."""
    secret = np.random.default_rng(seed).bytes(32)
    recipient = reader_seal.bech32_encode("age", reader_seal.recipient_of(secret))
    return reader_seal.bech32_encode("age-secret-key-", secret).upper(), recipient


OWN, RECIPIENT = identity(1)
OTHER, OTHER_RECIPIENT = identity(2)


def sealed_repository(store=None, **options):
    return Repository.create(MemoryStore() if store is None else store, **{"recipients": [RECIPIENT], **options})


def reopened(repository, secret=OWN, **options):
    return Repository.open(repository.store, identities=[secret], **options)


def objects(store):
    """Name -> bytes of every object of a store in memory."""
    return {entry.name: store.read(entry.name) for entry in store.list("")}


def put_back(store, kept):
    """Make a store in memory hold exactly these objects."""
    store._objects.clear()
    store._objects.update({name: (data, 0) for name, data in kept.items()})
