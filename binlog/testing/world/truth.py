"""What is true of a world's log: which event has which offset, and each item at each version.

The model reads the records, the reference tables apply the events that it numbers. An event that
no applier can apply is left out here, as the operator leaves it out of the replicas. Each record
and each event is looked at once, however often `look` is called.
"""

from __future__ import annotations

from typing import Any

from appliers.applier import Rules
from binlog.envelope import Envelope
from binlog.frame import Session
from binlog.testing.world.cell import Cell, Poison
from binlog.testing.world.log import WorldLog
from binlog.testing.world.model import Model
from binlog.testing.world.operators import Operators
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.records import Frame, Resolve
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

    def names_at(self, vector: Vector) -> set[str]:
        """The tables that any event up to a vector was meant for, refused ones too."""
        refused = {
            each.table
            for (partition, offset), found in self.refused.items()
            if offset <= vector.get(partition, 0)
            for each in found
        }
        return {*self.rows_at(vector), *refused}


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

    def read(self) -> list[Taken]:
        """What is numbered by now."""
        model, arrivals = self.model, self._arrivals
        for _, record in self._records[1 + model.read_count :]:  # the first is the genesis
            rec = self._operators.meaning(record)
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


def item_of(cell: Cell) -> Any:
    """A copy of an item, the caller's own; ``None`` where it is deleted."""
    return None if cell.data is None else decode_value(cell.data)
