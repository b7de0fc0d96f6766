"""A DynamoDB store's tables in the service: looked up, made, compared, removed.

A table that this code makes carries the tags of its log, store and table from its first moment
(they are part of CreateTable), and only what carries them is ever changed or deleted. One that is
there without them is somebody's: declared as ``owned`` it is used as it is, otherwise refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from appliers.stores.dynamodb_tables_spec import (
    KeySchema,
    Specification,
    TableSpec,
    Units,
)
from binlog.clock import Clock

__all__ = ["KeySchema", "Specification", "TableSpec", "Units", "ensure", "remove", "resolve"]


def resolve(client: Any, specification: Specification, where: str) -> Specification:
    """With the key schemas of the tables that are declared as ``like`` or ``owned``, looked up.

    Needs no call where nothing is to be looked up.

    Raises:
        RefusedError: there is no such table; BinlogError: as `trouble` says.
    """
    raise NotImplementedError


def ensure(
    client: Any,
    spec: TableSpec,
    where: str,
    *,
    clock: Clock | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """The table is there, active and as it is to be; made if it is not, unless it is owned.

    Safe to call at once in several processes. Waits up to `READY_S`.

    Raises:
        RefusedError: an owned table is not there; a TTL; another key schema.
        MismatchError: the table is another log's, store's or table's.
        StorageError: not ready in time; BinlogError: as `trouble` says.
    """
    raise NotImplementedError


def remove(client: Any, spec: TableSpec, where: str = "", *, wait: bool = False) -> None:
    """Delete the table, if it is there and ours; deletion protection is taken off before.

    Raises:
        MismatchError: its tags say that it is another's. BinlogError: as `trouble` says.
    """
    raise NotImplementedError
