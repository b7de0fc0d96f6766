"""What producers were given, and what they were told of it: the judge's only witness.

Invariants:
- an event has one outcome at most, and an outcome never changes, but for an unknown one that is
  resolved;
- entries of one key are in the order in which its one producer published them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Literal

import msgspec

from binlog.drills import result
from binlog.drills.action import Action
from binlog.envelope import Envelope
from binlog.errors import NotSentError, UnknownOutcomeError
from binlog.producer import Delivery, Outcome, Producer
from binlog.producer.outcome import Frame
from binlog.producer.resolve import Verdict

Told = Literal["open", "acknowledged", "failed", "unknown", "never"]
_TOLD: dict[Outcome, Told] = {
    Outcome.ACKNOWLEDGED: "acknowledged",
    Outcome.FAILED: "failed",
    Outcome.UNKNOWN: "unknown",
}


class Entry(msgspec.Struct, kw_only=True):
    """An event, and what became of it. ``at_s`` is when it was told, on the drill's clock."""

    id: str
    action: Action
    tag: str  # "" for the ordinary load
    told: Told = "open"
    at_s: float = 0.0
    partition: int = -1
    session: str = ""
    number: int = 0
    frame: Frame | None = None  # of an unknown one


class Book:
    """The ledger of a drill. Any thread may write."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._acknowledged = 0

    def publish(
        self, producer: Producer, name: str, actions: Sequence[Action], *, tag: str = ""
    ) -> list[Entry]:
        """Publish, wait for all outcomes and write them down; ``name`` is the producer's.

        Ids are ``NAME.N``, N counting all entries. What was not sent or is unknown is no error.
        """
        with self._lock:
            first = len(self._entries)
            made = [
                Entry(id=f"{name}.{number}", action=action, tag=tag)
                for number, action in enumerate(actions, first)
            ]
            self._entries += made
        envelopes: list[Envelope] = [entry.action.envelope(entry.id) for entry in made]

        def decided(delivery: Delivery) -> None:
            now = self._clock()
            told = _TOLD[delivery.outcome]
            with self._lock:
                for number, index in enumerate(delivery.indexes, delivery.first):
                    entry = made[index]
                    if entry.told != "open":
                        raise ValueError(f"two outcomes of {entry.id}: {entry.told} and {told}")
                    entry.told, entry.at_s, entry.frame = told, now, delivery.frame
                    entry.partition, entry.number = delivery.partition, number
                    entry.session = str(delivery.session or "")
                if told == "acknowledged":
                    self._acknowledged += len(delivery.indexes)

        try:
            producer.append_many(envelopes, on_delivery=decided)
        except (NotSentError, UnknownOutcomeError):
            now = self._clock()
            with self._lock:
                for entry in made:  # refused before anything had a number: no delivery tells it
                    if entry.told == "open":
                        entry.told, entry.at_s = "failed", now
        return made

    def resolve(self, producer: Producer) -> Counter[str]:
        """Ask what became of the unknown ones; how many of each verdict."""
        unknown = [entry for entry in self.entries() if entry.told == "unknown"]
        frames = {entry.frame for entry in unknown if entry.frame is not None}
        found = producer.resolve(frames) if frames else {}
        counts: Counter[str] = Counter()
        with self._lock:
            for entry in unknown:
                if entry.told != "unknown":
                    continue  # another producer's thread was first
                verdict = found[entry.frame].verdict if entry.frame in found else None
                counts[verdict.value if verdict else "undecided"] += 1
                if verdict is Verdict.ACKNOWLEDGED:
                    entry.told, entry.at_s = "acknowledged", self._clock()
                    self._acknowledged += 1
                elif verdict is Verdict.NEVER:
                    entry.told = "never"
        return counts

    # -- what it says ----------------------------------------------------------------------------

    @property
    def acknowledged(self) -> int:
        """So far."""
        return self._acknowledged

    def entries(self, *, told: Told | None = None) -> list[Entry]:
        """All, or those of an outcome, in the order of publishing."""
        with self._lock:
            return [entry for entry in self._entries if told is None or entry.told == told]

    def summary(self) -> result.Ledger:
        """For the result."""
        counts: Counter[str] = Counter(entry.told for entry in self.entries())
        return result.Ledger(
            acknowledged=counts["acknowledged"],
            failed=counts["failed"] + counts["never"],
            unknown=counts["unknown"] + counts["open"],
            sha256=hash_of(self.entries(told="acknowledged")),
        )


def hash_of(entries: Iterable[Entry]) -> str:
    """Of ids and places, in the order of acknowledgement."""
    total = sha256()
    for entry in sorted(entries, key=lambda entry: (entry.at_s, entry.id)):
        place = f"{entry.id} {entry.partition} {entry.session} {entry.number}\n"
        total.update(place.encode())
    return total.hexdigest()
