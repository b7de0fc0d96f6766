"""A record on its way through the sequencer: what it is, and what was decided about it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from binlog.halt import Halt, Halted
from binlog.log import Position, Record

Decisions = Mapping[tuple[str, str | None], str]
"""Of RESOLVE records, by (rule, session)."""


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """The record being fed, where it stands, and the decisions that lift its halts."""

    log_id: str
    partition: int
    shard: str
    record: Record
    decisions: Decisions

    def decision(self, rule: str, session: object = None) -> str | None:
        """What was decided about a halt of this record, if it was."""
        return self.decisions.get((rule, None if session is None else str(session)))

    def halted(
        self,
        rule: str,
        session: object,
        detail: str,
        numbers: tuple[int, int] | None = None,
    ) -> Halted:
        """The halt to raise; `Sequencer.feed` adds offset, digest and mark before the record."""
        return Halted(
            Halt(
                log_id=self.log_id,
                partition=self.partition,
                position=Position(self.shard, self.record.sequence),
                rule=rule,
                session=None if session is None else str(session),
                offset=0,
                digest="",
                mark=0,
                detail=detail,
                numbers=numbers,
            )
        )
