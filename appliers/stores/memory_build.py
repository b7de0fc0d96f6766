"""A generation being built in memory (B1), and the parts of it that other processes fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from appliers.store import Checkpoint, Generation, Part
from appliers.stores.generations import check_open, described, tables_of_letters, with_tables
from binlog.foreign import Foreign, Place

Rows = dict[bytes, Row]


class MemoryPart:
    """Rows that another process adds; they come back with it."""

    def __init__(self) -> None:
        self.tables: dict[str, Rows] = {}
        self.foreign: list[Foreign] = []
        self.relayed: list[Place] = []

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        _take_in(self.tables, table, rows)

    def keep(self, foreign: Iterable[Foreign], relayed: Iterable[Place] = ()) -> None:
        self.foreign += foreign
        self.relayed += relayed

    def close(self) -> None:
        pass


class MemoryBuild:
    """A private generation. Loading is one ``dict.update`` a call."""

    def __init__(self, generation: Generation, switch: Callable[..., None]) -> None:
        self.generation = generation.id
        self._made = generation
        self._switch = switch
        self._tables: dict[str, Rows] = {}
        self._rejections: list[Rejection] = []
        self._letters: list[DeadLetter] = []
        self._foreign: list[Foreign] = []
        self._relayed: list[Place] = []
        self._over = False

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        with_tables(self._made, [table])
        _take_in(self._tables, table, rows)

    def part(self) -> MemoryPart:
        return MemoryPart()

    def adopt(self, parts: Iterable[Part]) -> None:
        for part in parts:
            if not isinstance(part, MemoryPart):
                raise TypeError(f"{part!r} is no part of this build")
            for table, rows in part.tables.items():
                self.load(table, rows.items())
            self._foreign += part.foreign
            self._relayed += part.relayed

    def reject(self, rejections: Iterable[Rejection]) -> None:
        for rejection in rejections:
            self.load(rejection.table, ())
            self._rejections.append(rejection)

    def divert(self, letters: Iterable[DeadLetter]) -> None:
        found = list(letters)
        for table in tables_of_letters(found):
            self.load(table, ())
        self._letters += found

    def finish(
        self,
        checkpoints: Mapping[int, Checkpoint],
        *,
        tables: Iterable[str],
        types: Iterable[str] = (),
    ) -> None:
        check_open(over=self._over)
        generation = with_tables(self._made, self._tables, tables)
        generation = described(generation, generation.fingerprint, types)
        self._switch(
            generation,
            self._tables,
            checkpoints,
            self._rejections,
            self._letters,
            self._foreign,
            self._relayed,
        )
        self._over = True

    def abandon(self) -> None:
        self._over = True
        self._tables = {}
        self._rejections, self._letters = [], []
        self._foreign, self._relayed = [], []


def _take_in(tables: dict[str, Rows], table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
    target = tables.setdefault(table, {})
    before = len(target)
    target.update(rows)
    if isinstance(rows, Sized) and len(target) != before + len(rows):
        raise ValueError(f"a key of table {table} was loaded twice")
