"""What a store holds for one item, and what one write asks of it.

Reserved on every stored item, whatever the engine: version, partition, tombstone mark, parked mark
and tail. A deleted item stays as a tombstone with its version, so that a late writer cannot bring
it back (I4). A key whose first event could not be applied has a row too: of version 0, parked.
"""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, frozen=True, gc=False):
    """The content of one item key."""

    version: int  # of the last event folded into it
    partition: int  # whose events may touch it
    data: bytes | None  # canonical bytes of the whole item, key included; None: a tombstone
    parked: bool = False  # an event of it could not be applied; later ones wait behind
    tail: int = 0  # version of the last event that waits; 0 where nothing does


class Write(msgspec.Struct, frozen=True, gc=False):
    """One conditional write of one item: at most one a batch and item (I3).

    ``base`` is the condition. ``None`` is a blind put (I1): write iff the item is absent, or of
    the same partition, older and not parked. Otherwise a fold (I2): write iff the item's version
    is still ``base`` (0: still absent) and below the new one, of the same partition, and parked or
    not as it was read: ``tail`` is the tail of a parked one, which must still be the same.

    A write that parks, or moves the tail of what is parked, may leave the version as it is; what
    it moves then is the tail. So (version, tail) never goes back but by a redrive, which ends the
    tail, on the condition of both. Its version has moved since the item was parked: so nobody who
    read the item before that can mark it again.
    """

    table: str
    key: bytes  # canonical bytes of the map of key attributes
    row: Row
    base: int | None
    tail: int | None = None  # as read of a parked item; None: it was not parked

    @property
    def moves_on(self) -> bool:
        """Whether it stores something newer than what it was folded on; if not it fails."""
        if self.base is None or self.row.version > self.base:
            return True
        if self.row.version < self.base:
            return False
        return self.row.tail > (self.tail or 0) if self.row.parked else self.tail is not None


def condition_holds(write: Write, found: Row | None) -> bool:
    """Whether ``write`` may replace ``found`` (I1, I2). Every store's own form must agree."""
    if found is None:
        return not write.base and write.tail is None
    new = write.row
    if found.partition != new.partition or write.tail != (found.tail if found.parked else None):
        return False
    if write.base is None:
        return found.version < new.version
    return write.base == found.version and write.moves_on


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """An event whose expected version was not the item's: it moved nothing (I5)."""

    partition: int
    offset: int
    table: str
    key: bytes
    id: str
    expected: int
    found: int  # 0: absent or deleted
