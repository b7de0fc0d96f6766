"""What a worker is told, and what it says of a batch."""

from __future__ import annotations

from typing import Literal

import msgspec

from appliers.applier import NO_RULES, Rules
from binlog.errors import BinlogError
from binlog.halt import Halt


class Working(msgspec.Struct, frozen=True):
    """How to apply."""

    rules: Rules = NO_RULES
    excluded: tuple[str, ...] = ()  # for a generation that is made here
    same_meaning: bool = False  # changed source of the rules computes what it did
    poison: Literal["park", "stop"] = "park"


class Outcome(msgspec.Struct, frozen=True):
    """What became of a batch.

    ``first_failed`` is the sequence number of its first record that is not durable and checkpointed;
    ``None``: all are. Whatever comes after it is to be delivered again, though some may be done.
    ``error`` says why; it is there wherever anything is not as it should be.
    """

    first_failed: int | None
    error: BinlogError | None
    events: int = 0
    writes: int = 0
    rejected: int = 0
    parked: int = 0
    duplicates: int = 0
    foreign: int = 0
    halted: tuple[Halt, ...] = ()
