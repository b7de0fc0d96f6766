"""From a store's address to the store: ``sqlite:FILE``, ``dynamodb://PREFIX`` or ``memory:``."""

from __future__ import annotations

from pathlib import Path

from appliers.store import Store
from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from binlog.address import Address, parse_address
from binlog.errors import RefusedError

_FORMS = "write sqlite:FILE, dynamodb://PREFIX, or memory:"


def open_store(address: str, *, must_exist: bool = False) -> Store:
    """The store at ``address``; one that is not there yet is made by the first write.

    ``must_exist`` is for who only reads: a store that is not there is then a mistake.

    Raises:
        RefusedError: no address of a store, or nothing there that must exist.
        MismatchError: the file is something else; UpgradeError: of a newer format.
        BinlogError: what a service says, where ``must_exist`` asks it.
    """
    where = parse_address(address)
    if where.scheme == "memory":
        return MemoryStore()
    if where.scheme == "dynamodb":
        return _dynamodb(where, must_exist=must_exist)
    if where.scheme != "sqlite":
        raise RefusedError(f"{address!r} is no store's address", do=_FORMS)
    path = Path(where.path)
    if path.is_dir():
        raise RefusedError("a directory, not a file", address, _FORMS)
    store = SQLiteStore(path, name=str(where))
    if must_exist and not store.exists:
        raise _no_store(address)
    return store


def _dynamodb(where: Address, *, must_exist: bool) -> Store:
    from appliers.stores.dynamodb import DynamoDBStore  # not for `--help`
    from appliers.stores.dynamodb_tables_spec import Specification

    specification = Specification.load(where.tables, where.path)
    store = DynamoDBStore(specification, account=where.account, name=str(where))
    if must_exist and not store.exists:
        store.close()
        raise _no_store(str(where))
    return store


def _no_store(where: str) -> RefusedError:
    do = "make one: binlog rebuild LOG STORE"
    if where.startswith("dynamodb:"):
        do = "are region and prefix right? " + do
    return RefusedError("there is no store", where, do)
