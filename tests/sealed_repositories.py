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


ROWS, DIM = 3_000, 32


def rows(seed=5):
    return np.random.default_rng(seed).standard_normal((ROWS, DIM), dtype=np.float32)


def changed(data, day):
    """One row in a hundred is another."""
    result = data.copy()
    chosen = np.random.default_rng(day).choice(ROWS, ROWS // 100, replace=False)
    result[chosen] = np.random.default_rng(1000 + day).standard_normal((len(chosen), DIM), dtype=np.float32)
    return result


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
