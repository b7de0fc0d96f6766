"""What a store holds for one item, and what one write asks of it.

Reserved on every stored item, whatever the engine: version, partition, tombstone mark, parked mark
and tail. A deleted item stays as a tombstone with its version, so that a late writer cannot bring
it back (I4).
"""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, frozen=True, gc=False):
    """The content of one item key."""

    version: int  # of the last event folded into it
    partition: int  # whose events may touch it
    data: bytes | None  # canonical bytes of the whole item, key included; None: a tombstone
    parked: bool = False  # an event of it could not be applied; later ones wait behind
    tail: int = 0  # version of the last event that waits


class Write(msgspec.Struct, frozen=True, gc=False):
    """One conditional write of one item: at most one a batch and item (I3).

    ``base`` is the condition. ``None`` is a blind put (I1): write iff the item is absent, or of
    the same partition, older and not parked. Otherwise a fold (I2): write iff the item's version
    is still ``base`` (0: still absent), below the new one, of the same partition and not parked.
    """

    table: str
    key: bytes  # canonical bytes of the map of key attributes
    row: Row
    base: int | None


def condition_holds(write: Write, found: Row | None) -> bool:
    """Whether ``write`` may replace ``found`` (I1, I2). Every store's own form must agree."""
    if found is None:
        return not write.base
    new = write.row
    if found.parked or found.partition != new.partition or found.version >= new.version:
        return False
    return write.base is None or write.base == found.version


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """An event whose expected version was not the item's: it moved nothing (I5)."""

    partition: int
    offset: int
    table: str
    key: bytes
    id: str
    expected: int
    found: int  # 0: absent or deleted
