"""What was written between an adoption and the log: kept for the log, and taken out of the table.

For each stray (`snapshots.adopt_base.Stray`) what stands in the table becomes a line of a file, an action as
``binlog append --format dynamodb`` takes it, durable before anything is changed. Then the base's
item is put back, on the condition that the table still holds what was kept. Appended, the lines
bring the changes in by the log, in their order there, so that every replica has them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path

import msgspec

from appliers.stores.dynamodb_items import attributes_of
from appliers.stores.dynamodb_physical import PhysicalTable
from binlog.adoption import Adoption
from binlog.errors import RefusedError
from binlog.json_values import encode_json, typed_item
from binlog.values import decode_value
from snapshots.adopt_base import Stray

_BATCH = 200  # strays that are kept by one sync


class Restored(msgspec.Struct):
    """What became of them. ``moved`` were changed again meanwhile, or have marks by now."""

    kept: int = 0
    restored: int = 0
    moved: int = 0


def action_of(adoption: Adoption, stray: Stray) -> bytes:
    """The line that does again what was done to the table. The same stray has the same id."""
    content = stray.found or b""
    digest = sha256(adoption.base.encode() + stray.key + b"\0" + content).hexdigest()[:32]
    line = {
        "Action": "DeleteItem" if stray.found is None else "PutItem",
        "Id": f"stray/{digest}",
        "Table": adoption.table,
        "Key": typed_item(decode_value(stray.key)),
    }
    if stray.found is not None:
        line["Data"] = typed_item(decode_value(stray.found))
    return encode_json(line)


def restore(
    strays: Iterable[Stray],
    adoption: Adoption,
    table: PhysicalTable,
    path: Path,
    *,
    tell: Callable[[Stray], None] = lambda _: None,
) -> Restored:
    """Keep every stray in ``path``, which is made, and put the base back.

    Raises:
        RefusedError: the file is there already, or cannot be written.
    """
    done = Restored()
    try:
        file = path.open("xb")
    except OSError as error:
        raise RefusedError(
            f"{path}: {error.strerror or error}", do="name a file that is not there yet"
        ) from error
    with file:
        for some in _batches(strays):
            file.write(b"".join(action_of(adoption, stray) + b"\n" for stray in some))
            file.flush()
            os.fsync(file.fileno())
            done.kept += len(some)
            for stray in some:
                tell(stray)
                found = None if stray.found is None else attributes_of(decode_value(stray.found))
                if table.replace(found, stray.base, stray.key):
                    done.restored += 1
                else:
                    done.moved += 1
    return done


def _batches(strays: Iterable[Stray]) -> Iterator[list[Stray]]:
    rest = iter(strays)
    while some := list(islice(rest, _BATCH)):
        yield some
