"""One sorted list of a sequencer state, sessions or closings, as the difference to another one.

Rows are kept as their msgpack bytes: a commit changes a few of thousands, and comparing two lists
of bytes costs a hundredth of decoding them. Only rows that differ are looked into.

A row is *plain* if it is a family and a few numbers. From one list to the next,

* *counted* rows differ in their last number only: places, and by how much;
* *renewed* ones differ in any: a family's next generation, in the place of the last;
* *removed* ones are gone: places; *added* ones have a family that the other list lacks;
* *literal* is what is not plain, a session that holds frames for one: removed, and put in whole.

Rows of a list are in byte order, which is that of (family, generation): both begin a row, and
msgpack's shortest integers sort as their numbers do. So a list is put together by sorting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress, pairwise
from operator import add, lt, ne, sub
from typing import Any, TypeAlias

import msgspec

from appliers.number_columns import gaps, pack_numbers, ungap, unpack_numbers
from binlog.errors import DamageError

FAMILY_BYTES = 16
NUMBER_MAX = (1 << 63) - 1

Column: TypeAlias = "Sequence[int]"
_encode = msgspec.msgpack.Encoder().encode


class Moved(msgspec.Struct, array_like=True, frozen=True):
    """Columns of numbers, each above its least, packed (`appliers.number_columns`)."""

    lowest: list[int] = []
    packed: list[bytes] = []

    @classmethod
    def of(cls, columns: Iterable[Column]) -> Moved:
        """``columns`` must not be empty ones."""
        moved = cls([], [])
        for column in columns:
            lowest = min(column)
            moved.lowest.append(lowest)
            moved.packed.append(pack_numbers([number - lowest for number in column]))
        return moved

    def columns(self) -> list[list[int]]:
        """What it was made of."""
        return [
            [lowest + number for number in unpack_numbers(packed)]
            for lowest, packed in zip(self.lowest, self.packed, strict=True)
        ]


class Edit(msgspec.Struct, array_like=True):
    """See the module. Places are gaps, packed."""

    removed: bytes = b""
    counted: bytes = b""  # places
    counts: Moved = Moved()
    renewed: bytes = b""  # places
    renewals: Moved = Moved()
    families: bytes = b""  # of what was added, 16 bytes each
    additions: Moved = Moved()
    literals: list[bytes] = []  # rows


class Plain(msgspec.Struct):
    """Plain rows by column."""

    families: list[bytes]
    columns: list[Column]

    def at(self, places: Sequence[int]) -> Plain:
        """Some of the rows."""
        return Plain(
            [self.families[place] for place in places],
            [[column[place] for place in places] for column in self.columns],
        )


class Change(msgspec.Struct):
    """What an edit does, as far as other lists follow from it."""

    gone: list[bytes]  # families whose rows were removed
    fresh: list[Plain]  # rows that were renewed or added


class Rows:
    """One kind of list: how its rows begin and end, and their numbers."""

    def __init__(
        self,
        start: bytes,
        end: bytes,
        decode: Callable[[bytes], Sequence[Any]],
        columns: Callable[[Sequence[Any]], Plain],
        values: Callable[[Plain], Iterable[Any]],
    ) -> None:
        """``decode`` is that of a msgpack list of plain rows; the other two go there and back."""
        self._start = start
        self._end = end
        self._decode = decode
        self._columns = columns
        self._values = values

    def is_usual(self, rows: Sequence[bytes]) -> bool:
        """Whether they are sorted, each once, and begin as rows do."""
        start = self._start
        return all(map(lt, rows, rows[1:])) and all(row.startswith(start) for row in rows)

    def families(self, rows: Sequence[bytes]) -> list[bytes]:
        """The family of each."""
        begin = len(self._start)
        end = begin + FAMILY_BYTES
        return [row[begin:end] for row in rows]

    def plain(self, rows: Sequence[bytes]) -> Plain | None:
        """The columns of plain rows; ``None`` if one of them only looks plain."""
        data = array_header(len(rows)) + b"".join(rows)
        try:
            values = self._decode(data)
        except (msgspec.DecodeError, ValueError):
            return None
        if len(values) != len(rows) or _encode(values) != data:
            return None
        found = self._columns(values)
        usual = all(min(c) >= 0 and max(c) <= NUMBER_MAX for c in found.columns if c)
        return found if usual else None

    def rows_of(self, plain: Plain) -> list[bytes]:
        """Plain rows."""
        return [_encode(value) for value in self._values(plain)]

    # -- there -----------------------------------------------------------------------------------

    def diff(
        self, new: list[bytes], old: list[bytes], old_families: list[bytes] | None = None
    ) -> tuple[Edit, Change] | None:
        """What makes ``new`` of ``old``, both usual; ``None`` if a row only looks plain."""
        if new == old:
            return Edit(), Change([], [])
        removed, pairs, added = self._align(new, old, old_families or self.families(old))
        end = self._end
        plain = [(a, b) for a, b in pairs if old[a].endswith(end) and new[b].endswith(end)]
        edit = Edit(literals=[new[place] for place in added if not new[place].endswith(end)])
        if len(plain) < len(pairs):
            odd = sorted(set(pairs) - set(plain))
            removed = sorted([*removed, *[before for before, _ in odd]])
            edit.literals += [new[after] for _, after in odd]
        was = self.plain([old[before] for before, _ in plain])
        now = self.plain([new[after] for _, after in plain])
        more = self.plain([new[place] for place in added if new[place].endswith(end)])
        if was is None or now is None or more is None:
            return None
        edit.removed = pack_numbers(gaps(removed))
        change = Change(self.families([old[place] for place in removed]), [])
        if more.families:
            edit.families, edit.additions = b"".join(more.families), Moved.of(more.columns)
            change.fresh.append(more)
        if plain:
            self._moved(edit, change, [before for before, _ in plain], was, now)
        return edit, change

    @staticmethod
    def _moved(edit: Edit, change: Change, places: list[int], was: Plain, now: Plain) -> None:
        """Tell counted and renewed rows apart."""
        moved = [list(map(sub, b, a)) for a, b in zip(was.columns, now.columns, strict=True)]
        is_renewed = [any(column) for column in zip(*moved[:-1], strict=True)]
        counted = [i for i, renewed in enumerate(is_renewed) if not renewed]
        renewed = [i for i, renewed in enumerate(is_renewed) if renewed]
        if counted:
            edit.counted = pack_numbers(gaps([places[i] for i in counted]))
            edit.counts = Moved.of([[moved[-1][i] for i in counted]])
        if renewed:
            edit.renewed = pack_numbers(gaps([places[i] for i in renewed]))
            edit.renewals = Moved.of([[column[i] for i in renewed] for column in moved])
            change.fresh.append(now.at(renewed))

    def _align(
        self, new: list[bytes], old: list[bytes], old_families: list[bytes]
    ) -> tuple[list[int], list[tuple[int, int]], list[int]]:
        """Old places that go; old and new places of one family whose rows differ; new ones."""
        families = self.families(new)
        if families == old_families:
            differing = compress(range(len(new)), map(ne, new, old))
            return [], [(place, place) for place in differing], []
        # Several generations of a family at once, while the older one's late frames are let in:
        # no pairs, since either could be the one that changed.
        several = _repeated(families) | _repeated(old_families)
        there = {family: place for place, family in enumerate(old_families)}
        here = set(families)
        kept = set(new) & {old[p] for p, f in enumerate(old_families) if f in several}
        pairs, added = [], []
        for place, family in enumerate(families):
            if family in several:
                if new[place] not in kept:
                    added.append(place)
            elif (before := there.get(family)) is None:
                added.append(place)
            elif new[place] != old[before]:
                pairs.append((before, place))
        removed = [
            place
            for place, family in enumerate(old_families)
            if (old[place] not in kept if family in several else family not in here)
        ]
        return removed, pairs, added

    # -- and back --------------------------------------------------------------------------------

    def apply(self, edit: Edit, old: list[bytes]) -> tuple[list[bytes], Change]:
        """What ``edit`` makes of ``old``.

        Raises:
            DamageError: it does not fit.
            ValueError, IndexError: it is none.
        """
        rows = list(old)
        removed = _places(edit.removed, len(old))
        change = Change(self.families([old[place] for place in removed]), [])
        added: list[bytes] = list(edit.literals)
        if edit.families:
            data = edit.families
            families = [data[at : at + FAMILY_BYTES] for at in range(0, len(data), FAMILY_BYTES)]
            more = Plain(families, list(edit.additions.columns()))
            added += self.rows_of(more)
            change.fresh.append(more)
        if edit.counted:
            self._move(rows, old, edit.counted, edit.counts.columns())
        if edit.renewed:
            change.fresh.append(self._move(rows, old, edit.renewed, edit.renewals.columns()))
        if removed:
            gone = set(removed)
            rows = [row for place, row in enumerate(rows) if place not in gone]
        return sorted(rows + added), change

    def _move(
        self, rows: list[bytes], old: list[bytes], packed: bytes, moved: list[list[int]]
    ) -> Plain:
        """Move the last columns of the rows at those places."""
        places = _places(packed, len(old))
        plain = self.plain([old[place] for place in places])
        if plain is None or any(len(column) != len(places) for column in moved):
            raise DamageError("a delta that moves what is no plain row")
        stay = len(plain.columns) - len(moved)
        plain.columns[stay:] = [
            list(map(add, column, by))
            for column, by in zip(plain.columns[stay:], moved, strict=True)
        ]
        for place, row in zip(places, self.rows_of(plain), strict=True):
            rows[place] = row
        return plain


def array_header(count: int) -> bytes:
    """How msgpack begins a list of ``count``."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def _repeated(families: Sequence[bytes]) -> set[bytes]:
    """Families that come more than once, in a sorted list."""
    return {family for family, after in pairwise(families) if family == after}


def _places(packed: bytes, count: int) -> list[int]:
    places = ungap(unpack_numbers(packed))
    if places and places[-1] >= count:
        raise DamageError(f"a delta for row {places[-1]} of {count}")
    return places
