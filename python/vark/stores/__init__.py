"""Where the objects of a repository lie: one small protocol and its implementations."""

from vark.stores.base import ObjectEntry, ObjectWriter, Store
from vark.stores.counts import Traffic
from vark.stores.local import LocalStore
from vark.stores.memory import MemoryStore
from vark.stores.remote import RemoteStore
from vark.stores.urls import open_store

__all__ = [
    "LocalStore",
    "MemoryStore",
    "ObjectEntry",
    "ObjectWriter",
    "RemoteStore",
    "Store",
    "Traffic",
    "open_store",
]
