"""The parts of a snapshot being taken: chains of objects, each created if it is absent.

Invariants:

* the key of a part follows from the chain before it, and a part says where the scan goes on after it;
* what stands under a key is never replaced: whoever finds another part there takes it in, and goes on
  after it. So any number of processes may take one snapshot at once, or one after the other, and each
  finishes it;
* a chain is complete when its last part says that nothing follows.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from binlog.objects.objects import Objects
from snapshots.snapshot_manifest import Part, damaged, part_key
from snapshots.snapshot_part import Index, key_of, read_index


class Chain:
    """The parts of one kind, of one segment of a table."""

    def __init__(
        self, objects: Objects, id_: str, kind: str, table: int = 0, segment: int = 0
    ) -> None:
        self._objects = objects
        self._id = id_
        self._place = kind, table, segment
        self.kind = kind
        self.indexes: list[Index] = []
        self.parts: list[Part] = []

    @property
    def through(self) -> bytes | None:
        """Where the scan goes on; ``None`` at its beginning, too."""
        return self.indexes[-1].through if self.indexes else None

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be read."""
        return bool(self.indexes) and self.indexes[-1].through is None

    @property
    def key(self) -> str:
        """Of the next part."""
        return key_of(self._id, *self._place, len(self.parts))

    def put(self, data: bytes, index: Index, part: Part) -> bool:
        """Add a part, durably; if not, another one is there by now and was taken in.

        Raises:
            DamageError: what is there cannot be read.
        """
        if self._objects.put_new(part.key, data):
            self._add(index, part)
            return True
        self.take_in()
        return False

    def take_in(self) -> None:
        """Take in what stands there beyond the end."""
        while not self.is_complete:
            found = read_index(self._objects, self.key, self._id)
            if found is None:
                return
            self._add(*found)

    def _add(self, index: Index, part: Part) -> None:
        if index.kind != self.kind:
            raise damaged(f"a part of {index.kind}", f"{self._objects.name}/{part.key}")
        # Where its records are in it, nobody asks here, and there may be tens of thousands of parts.
        self.indexes.append(msgspec.structs.replace(index, sections=()))
        self.parts.append(part)


def remove(objects: Objects, keys: Iterable[str]) -> None:
    """Delete objects, a thousand at a time."""
    some: list[str] = []
    for key in keys:
        some.append(key)
        if len(some) == 1000:
            objects.delete(some)
            some = []
    if some:
        objects.delete(some)


def keys_of(objects: Objects, id_: str) -> list[str]:
    """All objects of a snapshot but its manifest."""
    return [entry.key for entry in objects.list(part_key(id_, ""))]
