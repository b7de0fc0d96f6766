"""Halts: what stops a partition, and the RESOLVE record that lifts it (S3).

A RESOLVE names everything the decision was taken on: log, partition, position, rule, session,
offset and digest. It counts only if all of that is so, and the first that counts decides, so every
reader decides alike, whenever it gets there. Later ones are events without effect.

| rule | what happened | decisions |
|---|---|---|
| undecodable | a record of ours that is no valid frame | skip |
| hold-bound | more frames wait than the pinned bound | hold, gap, skip |
| expired-held | a session expired while frames of it waited | accept, drop |
| foreign | a record of nobody of ours, where the log's policy is to halt | divert, skip |
"""

from __future__ import annotations

import msgspec

from binlog.errors import HaltedError, RefusedError
from binlog.log import Position

UNDECODABLE = "undecodable"
HOLD_BOUND = "hold-bound"
EXPIRED_HELD = "expired-held"
FOREIGN = "foreign"
DECISIONS = {
    UNDECODABLE: ("skip",),
    HOLD_BOUND: ("hold", "gap", "skip"),
    EXPIRED_HELD: ("accept", "drop"),
    FOREIGN: ("divert", "skip"),
}


class Halt(msgspec.Struct, frozen=True):
    """One halt. ``offset``, ``digest`` (hex) and ``mark`` are the sequencer's before the record."""

    log_id: str
    partition: int
    position: Position  # of the record that halts
    rule: str
    session: str | None
    offset: int
    digest: str
    mark: int
    detail: str
    numbers: tuple[int, int] | None = None  # missing, inclusive


class Halted(Exception):  # noqa: N818  (it is an outcome of the sequencer, not a failure of it)
    """Raised by the sequencer; what drives it searches a RESOLVE, or raises `halted_error`."""

    def __init__(self, halt: Halt) -> None:
        super().__init__(f"{halt.rule}: {halt.detail}")
        self.halt = halt


class Resolution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a RESOLVE record. ``position`` is ``shard:sequence``."""

    log_id: str
    partition: int
    position: str
    rule: str
    session: str | None
    offset: int
    digest: str
    decision: str

    def fits(self, halt: Halt) -> bool:
        """Whether this lifts ``halt``: every fact is the same, and the rule allows it."""
        return (
            self.log_id == halt.log_id
            and self.partition == halt.partition
            and self.position == str(halt.position)
            and self.rule == halt.rule
            and self.session == halt.session
            and self.offset == halt.offset
            and self.digest == halt.digest
            and self.decision in DECISIONS[halt.rule]
        )


def resolution_for(halt: Halt, decision: str) -> Resolution:
    """The RESOLVE that lifts ``halt``.

    Raises:
        RefusedError: the rule knows no such decision.
    """
    if decision not in DECISIONS[halt.rule]:
        raise RefusedError(
            f"{decision!r} does not lift a halt by {halt.rule}",
            f"partition {halt.partition}",
            f"choose one of: {', '.join(DECISIONS[halt.rule])}",
        )
    return Resolution(
        halt.log_id,
        halt.partition,
        str(halt.position),
        halt.rule,
        halt.session,
        halt.offset,
        halt.digest,
        decision,
    )


def halted_error(halt: Halt, place: str, *, log: str = "LOG") -> HaltedError:
    """The error for the operator; ``place`` is what the log calls the position.

    ``log`` is its address as the operator would type it.
    """
    return HaltedError(
        f"partition {halt.partition} is halted after offset {halt.offset}"
        f" ({halt.rule}: {halt.detail})",
        place,
        f"see `binlog halted {log}`, then `binlog resolve {log} {halt.partition} {halt.position}"
        f" {'|'.join(DECISIONS[halt.rule])}`",
        partition=halt.partition,
        offset=halt.offset,
        halt=halt,
    )
