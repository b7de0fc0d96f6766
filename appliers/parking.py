"""What a fold knows of parked items: which there are, up to where they wait, and their letters."""

from __future__ import annotations

from typing import TypeAlias

from appliers.counts import Counts
from appliers.letters import DeadLetter, LetterPlace, letter_of
from binlog.errors import PoisonError
from binlog.run import Run

Tails: TypeAlias = "dict[tuple[str, bytes], int]"  # of one partition, by table and key

_NONE: Tails = {}


class Parking:
    """The parked items of one fold. An item that is here is as it was before its first letter.

    ``parks``: a new poison event parks its item; without it, it is an error. What waits behind an
    item that was parked before waits either way.
    """

    def __init__(self, counts: Counts, *, parks: bool) -> None:
        """``counts.parked`` grows by each event that becomes a letter, or several."""
        self.parks = parks
        self.letters: list[DeadLetter] = []
        """Found so far; whoever takes them away may clear the list."""
        self.waiting: dict[int, set[bytes]] = {}
        """By partition the keys of items that are parked, of whichever table."""
        self.refused: dict[tuple[int, str], int] = {}
        """By partition and table the offset of the first rejection there was before this fold."""
        self._counts = counts
        self._tails: dict[int, Tails] = {}
        self._found: dict[int, Tails] = {}  # as they were when they were read
        self._alone: set[LetterPlace] = set()
        self._last = (-1, -1)  # partition and version of the last event that became a letter

    def note(self, partition: int, table: str, key: bytes, tail: int) -> None:
        """The item was read, and is parked."""
        self._found.setdefault(partition, {})[table, key] = tail
        self._mark(partition, table, key, tail)

    def tails(self, partition: int) -> Tails:
        """The items of ``partition`` that are parked, each with its tail."""
        return self._tails.get(partition, _NONE)

    def found(self, partition: int) -> Tails:
        """Those that were parked when they were read, with the tail that was read."""
        return self._found.get(partition, _NONE)

    def waits(self, run: Run, index: int, version: int, table: str, key: bytes) -> bool:
        """Whether the item is parked; then the event waits behind it, if it does not already."""
        tail = self.tails(run.partition).get((table, key))
        if tail is None:
            return False
        if version > tail:
            self._add(letter_of(run, index, version, table=table, key=key, reason=""))
            self._mark(run.partition, table, key, version)
        return True

    def park(
        self, run: Run, index: int, version: int, table: str, key: bytes, error: PoisonError
    ) -> None:
        """The first event of the item that cannot be applied."""
        reason = str(error.details["reason"])
        self._add(letter_of(run, index, version, table=table, key=key, reason=reason))
        self._mark(run.partition, table, key, version)

    def stand_alone(
        self, run: Run, index: int, version: int, table: str, error: PoisonError
    ) -> None:
        """An event that has no item to park."""
        key, reason = run.columns.keys[index], str(error.details["reason"])
        letter = letter_of(run, index, version, table=table, key=key, reason=reason, alone=True)
        if letter.place not in self._alone:  # of several items of a table it may touch none
            self._alone.add(letter.place)
            self._add(letter)

    def _add(self, letter: DeadLetter) -> None:
        self.letters.append(letter)
        event = letter.partition, letter.version
        if event != self._last:
            self._last = event
            self._counts.parked += 1

    def _mark(self, partition: int, table: str, key: bytes, tail: int) -> None:
        self._tails.setdefault(partition, {})[table, key] = tail
        self.waiting.setdefault(partition, set()).add(key)
