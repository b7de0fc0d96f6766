"""What waits in a store behind items that are parked, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Literal, TypeAlias

import msgspec

from appliers.letters import DeadLetter
from appliers.store import Reader

Outcome: TypeAlias = Literal["back", "partly", "stays", "gone", "rebuild"]
"""All is applied; some is; nothing is; nothing was left to apply; only a rebuild can."""


class Waiting(msgspec.Struct, frozen=True):
    """What waits of one item, or stands alone under a key."""

    table: str
    partition: int
    key: bytes
    alone: bool
    count: int
    first: DeadLetter  # without its event
    last_offset: int

    @property
    def reason(self) -> str:
        """Why the first of them could not be applied."""
        return self.first.reason


class Redriven(msgspec.Struct, frozen=True):
    """What became of one item's letters, or would."""

    waiting: Waiting
    outcome: Outcome
    applied: int = 0  # letters, rejected ones among them
    rejected: int = 0
    left: int = 0
    stopped: DeadLetter | None = None  # that still cannot be applied; with the reason of now

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self.outcome in ("back", "gone")


def waiting_in(reader: Reader, table: str | None = None) -> Iterator[Waiting]:
    """What waits, by table, partition and key; one key's letters are never in memory together."""
    for (name, partition, key, alone), group in groupby(
        reader.letters(table), key=lambda x: (x.table, x.partition, x.key, x.alone)
    ):
        first, count, last_offset = None, 0, 0
        for count, letter in enumerate(group, 1):  # noqa: B007 - the last one counts
            first = first or msgspec.structs.replace(letter, event=b"")
            last_offset = letter.offset
        assert first is not None
        yield Waiting(name, partition, key, alone, count, first, last_offset)
