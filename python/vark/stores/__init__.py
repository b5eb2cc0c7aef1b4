"""Where the objects of a repository lie: one small protocol and its implementations."""

from vark.stores.base import ObjectEntry, ObjectWriter, Store
from vark.stores.counts import Traffic
from vark.stores.local import LocalStore
from vark.stores.locked_memory import LockedMemoryStore
from vark.stores.locks import LockRules, Retention
from vark.stores.memory import MemoryStore
from vark.stores.remote import RemoteStore
from vark.stores.urls import open_store

__all__ = [
    "LocalStore",
    "LockRules",
    "LockedMemoryStore",
    "MemoryStore",
    "ObjectEntry",
    "ObjectWriter",
    "RemoteStore",
    "Retention",
    "Store",
    "Traffic",
    "open_store",
]
