"""The stores: one file a technology, `memory` the reference."""

from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore

__all__ = ["MemoryStore", "SQLiteStore"]
