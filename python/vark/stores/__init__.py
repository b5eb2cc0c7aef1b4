"""Where the objects of a repository lie: one small protocol and its implementations."""

from vark.stores.base import ObjectEntry, ObjectWriter, Store
from vark.stores.local import LocalStore
from vark.stores.memory import MemoryStore

__all__ = ["LocalStore", "MemoryStore", "ObjectEntry", "ObjectWriter", "Store"]
