"""A log with a past: events by the million, put there at once before anything else happens."""

from __future__ import annotations

import contextlib
import time

import msgspec

from binlog.drills.action import Source, orders
from binlog.drills.filling import EVENTS_PER_KEY, Fill
from binlog.drills.holding import Holding
from binlog.drills.record import Record
from binlog.drills.target import Target
from binlog.producer import Producer

EVENTS_S_MIN = 20_000.0  # whoever waits for a consumer or a command waits longer by that


class Scale(msgspec.Struct, frozen=True):
    """What ``--events`` and ``--keys`` ask for; 0: nothing in particular."""

    events: int = 0
    keys: int = 0


class Filled(Holding):
    """The part of a `Drill` that makes its log long."""

    def __init__(self, target: Target, record: Record, *, seed: int, scale: Scale) -> None:
        super().__init__(target, record)
        self.seed = seed
        self.scale = scale

    def fill(self, events: int, *, keys: int = 0, source: Source = orders) -> None:
        """Put so many events into the log, of about ``keys`` keys (a tenth as many, if not given).

        They are acknowledged, and in the ledger as any other. ``--events`` and ``--keys`` overrule it;
        a drill that fills nothing is filled by what its first load is of.

        Raises:
            BinlogError: one was not acknowledged.
        """
        events = self.scale.events or events
        keys = self.scale.keys or keys or max(1, events // EVENTS_PER_KEY)
        made = Fill(f"s{self.seed}f{len(self.book.fills)}", source, events, keys)
        began = time.monotonic()
        with (
            self._record.during("given", f"{events:,} events of some {keys:,} keys"),
            contextlib.closing(self.target.open_log()) as log,
            Producer(log) as producer,
        ):
            self.book.fill(producer, made)
        seconds = time.monotonic() - began
        self.expect(
            "what was filled in was acknowledged",
            len(made) == events,
            f"{len(made):,} events in {seconds:.1f} s, {len(made) / seconds:,.0f}/s",
            by="ledger",
        )

    def fill_first(self, source: Source) -> None:
        """If many events are asked for, and there are none so far."""
        if self.scale.events and not self.book.fills:
            self.fill(self.scale.events, source=source)

    @property
    def more_s(self) -> float:
        """How much longer than usual it may take, since there is more of it."""
        return len(self.book) / EVENTS_S_MIN
