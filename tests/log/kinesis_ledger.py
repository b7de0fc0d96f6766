"""Producers at work on a stream, and the ledger of what they were told as judge of what is read."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Session
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.producer import Acks, Delivery, Outcome
from binlog.producer.outcome import Frame
from binlog.reader import Reader
from binlog.values import encode_value

KEYS = 12


def event(name: str, number: int) -> Envelope:
    key = {"id": f"{name}-{number % KEYS}"}
    data = encode_value({**key, "n": number})
    return Envelope(f"{name}/{number}", PUT_ITEM, 1, "tab", encode_value(key), data)


class Publishes(Protocol):
    """A `Producer`, or what a test has in its place."""

    def publish_many(
        self, envelopes: Sequence[Envelope], *, on_delivery: Callable[[Delivery], None]
    ) -> Future[Acks] | None: ...


class Ledger:
    """What was published, and what became of it. Any thread may write."""

    def __init__(self, make: Callable[[str, int], Envelope] = event) -> None:
        """``make`` gives an event of a name and a number, with the id ``NAME/NUMBER``."""
        self._make = make
        self._lock = threading.Lock()
        self._published: dict[str, Envelope] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.in_doubt: dict[Frame, list[str]] = defaultdict(list)  # ids by frame

    def publish(self, producer: Publishes, name: str, numbers: Sequence[int]) -> None:
        """One publish that nobody waits for; its outcomes are written down as they come."""
        events = [self._make(name, number) for number in numbers]
        with self._lock:
            self._published |= {each.id: each for each in events}

        def decided(delivery: Delivery) -> None:
            ids = [events[index].id for index in delivery.indexes]
            with self._lock:
                assert not self.outcomes.keys() & ids, "an event with two outcomes"
                self.outcomes |= dict.fromkeys(ids, delivery.outcome)
                if delivery.frame is not None:
                    self.in_doubt[delivery.frame] += ids

        producer.publish_many(events, on_delivery=decided)

    def died(self, name: str) -> int:
        """A process is gone: what had no outcome may be in the log or not; how many."""
        with self._lock:
            open_ = [i for i in self._published if i.startswith(f"{name}/")]
            open_ = [i for i in open_ if i not in self.outcomes]
            self.outcomes |= dict.fromkeys(open_, Outcome.UNKNOWN)
        return len(open_)

    def count(self, outcome: Outcome) -> int:
        return sum(found is outcome for found in self.outcomes.values())

    def check(self, log: Log) -> Counter[str]:
        """Every acknowledged event is there once, in the order of its key; nothing alien is.

        Returns what the sequencers met, so that a test can claim that something happened.
        """
        # Without it a shard that is closed may seem to be read out before its end is told.
        reader = Reader(log, horizon=horizon_of(log))
        found: list[tuple[Session, Envelope]] = []
        offsets: dict[int, int] = Counter()
        while (runs := reader.read()) is not None:
            for run in runs:
                assert run.first_offset == offsets[run.partition] + 1, "a gap in the offsets"
                offsets[run.partition] = run.last_offset
                found += [
                    (run.session, envelope)
                    for envelope in run.columns.envelopes()
                    if not envelope.is_control
                ]
        reader.raise_halts()
        assert self.outcomes.keys() == self._published.keys(), "an event without an outcome"
        seen = Counter(envelope.id for _, envelope in found)
        assert max(seen.values(), default=1) == 1, "an event twice"
        for name, outcome in self.outcomes.items():
            if outcome is Outcome.ACKNOWLEDGED:
                assert name in seen, f"{name} was acknowledged, and is lost"
            if outcome is Outcome.FAILED:
                assert name not in seen, f"{name} was reported as never sent"
        assert seen.keys() <= self._published.keys(), "an event that nobody published"
        last: dict[tuple[str, bytes], int] = {}
        for _, envelope in found:
            name, _, number = envelope.id.partition("/")
            place = name, envelope.key
            assert last.get(place, -1) < int(number), f"{envelope.id} before its elder"
            last[place] = int(number)
        met: Counter[str] = Counter()
        for sequencer in reader.sequencers.values():
            counters = sequencer.counters
            for field in type(counters).__struct_fields__:
                met[field] += getattr(counters, field)
        return met
