"""From a store's address to the store: ``sqlite:FILE`` or ``memory:``."""

from __future__ import annotations

from pathlib import Path

from appliers.store import Store
from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from binlog.errors import RefusedError

_FORMS = "write it as sqlite:FILE, or memory:"


def open_store(address: str, *, must_exist: bool = False) -> Store:
    """The store at ``address``; a file that is not there yet is made by the first write.

    ``must_exist`` is for who only reads: a store that is not there is then a mistake.

    Raises:
        RefusedError: no address of a store, or nothing there that must exist.
        MismatchError: the file is something else; UpgradeError: of a newer format.
    """
    scheme, colon, rest = address.partition(":")
    if not colon or scheme not in ("memory", "sqlite"):
        raise RefusedError(f"{address!r} is no store's address", do=_FORMS)
    if scheme == "memory":
        if rest:
            raise RefusedError(f"{address!r}: a store in memory has no name", do=_FORMS)
        return MemoryStore()
    path = Path(rest.removeprefix("//"))
    if not rest or path.is_dir():
        raise RefusedError(f"{address!r} names no file", do=_FORMS)
    store = SQLiteStore(path, name=address)
    if must_exist and not store.exists:
        raise RefusedError("there is no store", address, "make one: binlog rebuild LOG STORE")
    return store
