"""What producers were given, and what they were told of it: the judge's only witness.

Invariants:
- an event has one outcome at most, and an outcome never changes, but for an unknown one that is
  resolved;
- entries of one key are in the order in which its one producer published them;
- events that were filled in by the million are as good as any other, but have no object each.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import Literal, get_args

import msgspec

from binlog.drills import result
from binlog.drills.action import Action
from binlog.drills.filling import Fill
from binlog.envelope import Envelope
from binlog.errors import NotSentError, UnknownOutcomeError
from binlog.producer import Delivery, Outcome, Producer
from binlog.producer.outcome import Frame
from binlog.producer.resolve import Verdict

Told = Literal["open", "acknowledged", "failed", "unknown", "never"]
TOLD: tuple[Told, ...] = get_args(Told)
BATCH = 10_000
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
        self.fills: list[Fill] = []
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

    def fill(self, producer: Producer, fill: Fill) -> None:
        """Publish all events of it, `BATCH` at a time.

        Raises:
            BinlogError: one of them was not acknowledged; those up to there are in the ledger.
        """
        self.fills.append(fill)
        actions = fill.actions()
        while batch := list(islice(actions, BATCH)):
            first = fill.grow(len(batch))
            producer.append_many(
                [a.envelope(f"{fill.name}.{n}") for n, a in enumerate(batch, first)],
                on_delivery=partial(self._filled, fill, first),
            )

    def _filled(self, fill: Fill, first: int, delivery: Delivery) -> None:
        now, told = self._clock(), _TOLD[delivery.outcome]
        code, session = TOLD.index(told), str(delivery.session or "")
        for number, index in enumerate(delivery.indexes, delivery.first):
            fill.tell(
                first + index,
                code,
                now,
                partition=delivery.partition,
                session=session,
                number=number,
            )
        if told == "acknowledged":
            with self._lock:
                self._acknowledged += len(delivery.indexes)

    def resolve(self, producer: Producer) -> Counter[str]:
        """Ask what became of the unknown ones; how many of each verdict."""
        unknown = [entry for entry in self._entered() if entry.told == "unknown"]
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

    def entries(self, *, told: Told | None = None, tag: str | None = None) -> Iterator[Entry]:
        """All, or those of an outcome or a tag, each key's in the order of publishing."""
        for fill in self.fills if not tag else ():
            for index, action in enumerate(islice(fill.actions(), len(fill))):
                entry = _entry(fill, index, action)
                if told is None or entry.told == told:
                    yield entry
        for entry in self._entered():
            if (told is None or entry.told == told) and (tag is None or entry.tag == tag):
                yield entry

    def times(self) -> Iterator[float]:
        """When each that is acknowledged was told to be."""
        code = TOLD.index("acknowledged")
        for fill in self.fills:
            yield from (at for at, told in zip(fill.at_s, fill.told, strict=True) if told == code)
        yield from (entry.at_s for entry in self._entered() if entry.told == "acknowledged")

    def __len__(self) -> int:
        return len(self._entries) + sum(map(len, self.fills))

    def summary(self) -> result.Ledger:
        """For the result."""
        counts: Counter[str] = Counter(entry.told for entry in self._entered())
        for fill in self.fills:
            counts.update({told: fill.told.count(code) for code, told in enumerate(TOLD)})
        return result.Ledger(
            acknowledged=counts["acknowledged"],
            failed=counts["failed"] + counts["never"],
            unknown=counts["unknown"] + counts["open"],
            sha256=self._hash(),
        )

    def _entered(self) -> list[Entry]:
        """Those that have an object each."""
        with self._lock:
            return list(self._entries)

    def _hash(self) -> str:
        """Of ids and places: of each fill, then of the others in the order of acknowledgement."""
        total = sha256()
        for fill in self.fills:
            total.update(fill.sha256(TOLD.index("acknowledged")))
        told = [entry for entry in self._entered() if entry.told == "acknowledged"]
        for entry in sorted(told, key=lambda entry: (entry.at_s, entry.id)):
            place = f"{entry.id} {entry.partition} {entry.session} {entry.number}\n"
            total.update(place.encode())
        return total.hexdigest()


def _entry(fill: Fill, index: int, action: Action) -> Entry:
    return Entry(
        id=f"{fill.name}.{index}",
        action=action,
        tag="",
        told=TOLD[fill.told[index]],
        at_s=fill.at_s[index],
        partition=fill.partitions[index],
        session=fill.session(index) if fill.numbers[index] else "",
        number=fill.numbers[index],
    )
