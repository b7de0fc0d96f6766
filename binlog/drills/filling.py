"""Events by the million: put into a log before a drill, and kept in the ledger without an object each.

Their actions are a pure function of a name: whoever needs them makes them once more. What producers
were told of each is kept in 25 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import sha256
from inspect import signature
from itertools import islice
from random import Random

from binlog.drills.action import Action, Source

KEYS_EACH = 40  # that a source makes which cannot be told how many
EVENTS_PER_KEY = 10


class Fill:
    """``events`` of a source, of about ``keys`` keys; ids are ``NAME.N``, from 0.

    A source that takes ``keys=`` makes that many; of another one as many run side by side as it takes.
    It has to be a pure function of its random numbers and its name: the judge would tell otherwise.
    """

    def __init__(self, name: str, source: Source, events: int, keys: int) -> None:
        self.name = name
        self.events = events
        self.keys = keys
        self._source = source
        self.told = bytearray()  # of each, a place in `binlog.drills.ledger.TOLD`
        self.at_s = array("d")
        self.partitions = array("i")
        self.numbers = array("Q")
        self._sessions = array("I")
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.told)

    def actions(self) -> Iterator[Action]:
        """All of them, the same ones each time."""
        return islice(self._endless(), self.events)

    def _endless(self) -> Iterator[Action]:
        if "keys" in signature(self._source).parameters:
            return self._source(Random(self.name), self.name, keys=self.keys)  # type: ignore[call-arg]
        return self._side_by_side()

    def _side_by_side(self) -> Iterator[Action]:
        names = [f"{self.name}k{n}" for n in range(max(1, self.keys // KEYS_EACH))]
        streams = [self._source(Random(name), name) for name in names]
        choose = Random(self.name).choice
        while True:
            yield next(choose(streams))

    # -- what became of them ---------------------------------------------------------------------

    def grow(self, count: int) -> int:
        """Room for so many more, of no outcome yet; the number of the first."""
        first = len(self.told)
        self.told += bytes(count)
        for each in (self.at_s, self.partitions, self.numbers, self._sessions):
            each.frombytes(bytes(count * each.itemsize))
        return first

    def tell(
        self, index: int, told: int, at_s: float, *, partition: int, session: str, number: int
    ) -> None:
        """The outcome of one."""
        if self.told[index]:
            raise ValueError(f"two outcomes of {self.name}.{index}")
        at = self._numbers.get(session)
        if at is None:
            at = self._numbers[session] = len(self._names)
            self._names.append(session)
        self.told[index], self.at_s[index] = told, at_s
        self.partitions[index], self.numbers[index], self._sessions[index] = partition, number, at

    def session(self, index: int) -> str:
        return self._names[self._sessions[index]]

    def index_of(self, event_id: str) -> int | None:
        """Which event of this an id is of; ``None``: of none."""
        name, _, digits = event_id.rpartition(".")
        if name != self.name or not digits.isdecimal() or (digits[0] == "0" and digits != "0"):
            return None
        return index if (index := int(digits)) < len(self.told) else None

    def sha256(self, acknowledged: int) -> bytes:
        """Of ids and places of those that are acknowledged."""
        total = sha256()
        for index, told in enumerate(self.told):
            if told == acknowledged:
                place = f"{self.partitions[index]} {self.session(index)} {self.numbers[index]}"
                total.update(f"{self.name}.{index} {place}\n".encode())
        return total.digest()
