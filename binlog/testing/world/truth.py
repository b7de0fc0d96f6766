"""What is true of a world's log: which event has which offset, and each item at each version.

The model reads the records, the reference tables apply the events that it numbers. An event that
no applier can apply is left out here, as the operator leaves it out of the replicas. Each record
and each event is looked at once, however often `look` is called.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from appliers.applier import Rules
from binlog.envelope import CONTROL_PREFIX, ITEM_TYPES, Envelope
from binlog.frame import Predecessor, Session
from binlog.testing.world.cell import Cell, Poison
from binlog.testing.world.digests import digest_of
from binlog.testing.world.log import WorldLog
from binlog.testing.world.model import Model
from binlog.testing.world.operators import Operators
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.records import Frame, Garbage, Resolve
from binlog.testing.world.specification import Limits, Taken, Verdict
from binlog.testing.world.tables import Place, Refused, Tables
from binlog.values import decode_value
from binlog.vector import Vector, without_zeros

LIMITS = Limits(
    PARAMS.session_life_ms, PARAMS.id_window, PARAMS.hold_frames_max, PARAMS.hold_bytes_max
)
PARTITIONS = range(PARAMS.partitions)


class Truth:
    """See the module."""

    def __init__(self, log: WorldLog, operators: Operators, rules: Rules) -> None:
        self.tables = Tables(rules, PARAMS.partitions)
        self.cells: dict[tuple[str, bytes, int], Cell] = {}
        """Every version of every item."""
        self.moved: list[list[tuple[Place, ...]]] = [[] for _ in PARTITIONS]
        """By partition and offset (from 1, at index 0): the items whose version it is."""
        self.refused: dict[tuple[int, int], list[Refused]] = {}
        """By partition and offset: the expectations that were not met."""
        self.poison: dict[tuple[int, int], Poison] = {}
        self._log = log
        self._operators = operators
        asked = bool(rules.by_type)
        self._numbers = [_Numbers(log, operators, p, asked=asked) for p in PARTITIONS]

    def look(self) -> None:
        """Read what the log has by now."""
        for partition, numbers in enumerate(self._numbers):
            moved = self.moved[partition]
            for taken in numbers.read()[len(moved) :]:
                moved.append(self._apply(partition, len(moved) + 1, taken, numbers))

    def _apply(
        self, partition: int, offset: int, taken: Taken, numbers: _Numbers
    ) -> tuple[Place, ...]:
        tables, event = self.tables, taken.event
        assert event is not None
        refused = len(tables.refused)
        try:
            places = tables.apply(
                partition,
                offset,
                event,
                numbers.arrival_of(taken),
                taken.session,
                taken.number,
            )
        except Poison as poison:
            self.poison[partition, offset] = poison
            return ()
        for place in places:
            self.cells[*place, offset] = tables.cells[place[0]][place[1]]
        if len(tables.refused) > refused:
            self.refused[partition, offset] = tables.refused[refused:]
        return places

    def offsets_at(self, partition: int, shard: str, sequence: int) -> tuple[int, int] | None:
        """Events up to a place of the log, and up to the end of the record behind it.

        ``None``: nobody can have read that far, for the log halts its readers before.
        """
        return self._numbers[partition].offsets_at(shard, sequence)

    def record_start(self, partition: int, offset: int) -> int:
        """Events up to the beginning of the record that made this one an event."""
        ends = self._numbers[partition].model.ends
        place = bisect_right(ends, offset - 1)
        return ends[place - 1] if place else 0

    def predecessors(self, partition: int) -> list[tuple[Session, Predecessor]]:
        """What the sessions of producers wait for in a partition, a line a record."""
        strays = self._operators.stray_families()
        found = self._numbers[partition].predecessors
        return [(session, before) for session, before in found if session.family not in strays]

    def digest(self, partition: int) -> bytes:
        """What a reader's digest is at the partition's end (S6)."""
        return self._numbers[partition].digest()

    def types_at(self, vector: Vector) -> set[str]:
        """The types of the domain's events up to a vector, those that were left out not counted."""
        types: set[str] = set()
        for partition, through in vector.items():
            taken = self._numbers[partition].model.sequenced[:through]
            if self.poison:
                taken = [t for o, t in enumerate(taken, 1) if (partition, o) not in self.poison]
            types.update([each.event.type for each in taken if each.event is not None])
        return {t for t in types if t not in ITEM_TYPES and not t.startswith(CONTROL_PREFIX)}

    def verdict(self, partition: int) -> Verdict:
        """All that the model says of a partition, as of the last `look`."""
        return self._numbers[partition].model.verdict()

    @property
    def troubled(self) -> bool:
        """Whether the log halts its readers somewhere."""
        return any(numbers.model.trouble is not None for numbers in self._numbers)

    def end(self) -> Vector:
        """The vector of the log's end."""
        return without_zeros({p: len(moved) for p, moved in enumerate(self.moved)})

    def exclusions(self) -> tuple[str, ...]:
        """The RULEs that leave out the events that cannot be applied."""
        return tuple(sorted(f"offsets={p}:{o}-{o}" for p, o in self.poison))

    def rows_at(self, vector: Vector) -> dict[str, dict[bytes, Cell]]:
        """The items of all tables at a vector, by table and key, tombstones too."""
        if vector == self.end():
            return self.tables.cells
        rows: dict[str, dict[bytes, Cell]] = {}
        for partition, through in vector.items():
            for offset, places in enumerate(self.moved[partition][:through], 1):
                for table, key in places:
                    rows.setdefault(table, {})[key] = self.cells[table, key, offset]
        return rows

    def refused_at(self, vector: Vector) -> list[Refused]:
        """The expectations of events up to a vector that were not met."""
        return [
            each
            for (partition, offset), found in self.refused.items()
            if offset <= vector.get(partition, 0)
            for each in found
        ]

    def names_at(self, vector: Vector) -> set[str]:
        """The tables that any event up to a vector was meant for, refused ones too."""
        return {*self.rows_at(vector), *[each.table for each in self.refused_at(vector)]}


class _Numbers:
    """The model of one partition, and when what it read arrived."""

    def __init__(self, log: WorldLog, operators: Operators, partition: int, *, asked: bool) -> None:
        """``asked``: somebody wants to know when events arrived: the user's rules may."""
        self._asked = asked
        self._events: dict[Session, Envelope] = {}  # that RESOLVEs are
        self.model = Model(LIMITS, self._events)
        self._records = log.records(partition)
        self._operators = operators
        self._arrivals: dict[tuple[Session, int], int] = {}
        self._log = log
        self._shards: dict[str, int] = {}  # by name: a partition's go on in this order
        self._places: list[tuple[int, int]] = []  # of the records that were read
        self.predecessors: list[tuple[Session, Predecessor]] = []
        self._digest: tuple[int, bytes] = (0, bytes(32))  # of so many events

    def read(self) -> list[Taken]:
        """What is numbered by now."""
        model, arrivals = self.model, self._arrivals
        for shard, record in self._records[1 + model.read_count :]:  # the first is the genesis
            self._places.append((self._order_of(shard), record.sequence))
            rec = self._operators.meaning(record)
            if isinstance(rec, Frame) and rec.predecessor is not None:
                self.predecessors.append((rec.session, rec.predecessor))
            if isinstance(rec, Resolve):
                self._events[rec.session] = self._operators.resolvable(record)
            elif self._asked and isinstance(rec, Frame):
                for number in range(rec.first, rec.last + 1):
                    arrivals.setdefault((rec.session, number), rec.arrival)
            model.read(rec)
        return model.sequenced

    def arrival_of(self, taken: Taken) -> int:
        """When the record arrived that carries it: the first one that does."""
        return self._arrivals.get((taken.session, taken.number), 0)

    def _order_of(self, shard: str) -> int:
        if shard not in self._shards:  # parents come before their children
            self._shards = {each.id: order for order, each in enumerate(self._log.shards())}
        return self._shards[shard]

    def offsets_at(self, shard: str, sequence: int) -> tuple[int, int] | None:
        ends = self.model.ends
        count = bisect_right(self._places, (self._order_of(shard), sequence))
        if count > len(ends):
            return None
        return ends[count - 1] if count else 0, ends[min(count, len(ends) - 1)] if ends else 0

    def _bodies(self) -> Iterator[tuple[Frame | Resolve, bytes]]:
        for _, record in self._records[1:]:
            rec = self._operators.meaning(record)
            if not isinstance(rec, Garbage):
                yield rec, self._operators.body(record)

    def digest(self) -> bytes:
        """Worked out anew from what is numbered and the records' bytes."""
        sequenced = self.model.sequenced
        if self._digest[0] != len(sequenced):
            self._digest = len(sequenced), digest_of(sequenced, self._bodies())
        return self._digest[1]


def item_of(cell: Cell) -> Any:
    """A copy of an item, the caller's own; ``None`` where it is deleted."""
    return None if cell.data is None else decode_value(cell.data)
