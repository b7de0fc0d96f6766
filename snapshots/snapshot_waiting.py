"""Which rows of a snapshot are parked, and behind which of them which letters wait.

In a store that others write to, letters are put down before their item is marked, and removed when a
redrive has put them back, so neither order of reading the two is right by itself: letters after rows
lack those of a row that was put back in between, letters before rows those of one that was parked in
between. Letters are read *before* the rows, and a row counts as parked only up to the checkpoints that
were read before both:

* an event up to the checkpoint that waits behind a row as it was read had its letter before the
  checkpoint was durable, and had not been put back when the row was read: so it is among those read;
* an event beyond the checkpoint comes again, by the replay that makes such a snapshot exact, and waits
  again, or parks its item again, by the same rules. Its mark and its letter are left out.

A letter that was put back between the two readings is told by its row, which has moved on.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from binlog.errors import DamageError
from binlog.vector import Vector, offset_of


class Waiting:
    """The letters read, and the parked rows met after them. Memory: some bytes each."""

    def __init__(self, vector: Vector, name: str) -> None:
        self._vector = vector
        self._name = name
        self._versions: dict[tuple[str, int, bytes], array[int]] = {}
        self._rows: dict[tuple[str, int, bytes], tuple[int, int]] = {}  # version, tail as served

    def read(self, letters: Iterable[tuple[str, int, bytes, int, bool]]) -> None:
        """Note letters, by their places, in the order of `appliers.letters.letter_order`."""
        for table, partition, key, version, alone in letters:
            if not alone and offset_of(version) <= self._vector.get(partition, 0):
                self._versions.setdefault((table, partition, key), array("Q")).append(version)

    def settle(self, table: str, key: bytes, row: Row) -> Row:
        """The row as it is served: parked by what waited at the checkpoints.

        Raises:
            DamageError: it is parked by an event whose letter is not there.
        """
        if not row.parked:
            return row
        limit = self._vector.get(row.partition, 0)
        versions = self._versions.get((table, row.partition, key), array("Q"))
        begin, end = bisect_right(versions, row.version), bisect_right(versions, row.tail)
        if offset_of(row.tail) <= limit and (begin == end or versions[end - 1] != row.tail):
            raise DamageError(
                f"a row of table {table} is parked, and the event that waits behind it is not kept",
                f"{self._name}, partition {row.partition}, offset {offset_of(row.tail)}",
                "see `binlog check LOG STORE`, rebuild the table",
                table=table,
                key=key,
            )
        if begin == end:
            return msgspec.structs.replace(row, parked=False, tail=0)
        return msgspec.structs.replace(row, tail=versions[end - 1])

    def note(self, table: str, partition: int, key: bytes, version: int, tail: int) -> None:
        """A row that is served as parked."""
        self._rows[table, partition, key] = version, tail

    def keeps(self, letter: DeadLetter) -> bool:
        """Whether a letter is served: its row is, behind which it waits."""
        if letter.alone:
            return letter.offset <= self._vector.get(letter.partition, 0)
        row = self._rows.get((letter.table, letter.partition, letter.key))
        return row is not None and row[0] < letter.version <= row[1]

    def has_answered(self, rejection: Rejection) -> bool:
        """Whether the event of a rejection waits no longer: else a redrive rejected it since."""
        place = rejection.table, rejection.partition, rejection.key
        row = self._rows.get(place)
        if row is None:
            return True
        versions = self._versions.get(place, array("Q"))
        found = bisect_left(versions, rejection.offset, key=offset_of)
        waits = found < len(versions) and offset_of(versions[found]) == rejection.offset
        return not (waits and row[0] < versions[found] <= row[1])
