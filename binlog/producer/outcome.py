"""What becomes of a published event: acknowledged, failed before any attempt, or unknown (P5).

There is no fourth outcome and no guess. *Acknowledged*: in the log, and every reader will number
it. *Failed*: certainly not in the log, now or later. *Unknown*: tried, and nobody can say yet;
it stays so until it is resolved, whatever arrives later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import overload

import msgspec

from binlog.errors import BinlogError, NotSentError, UnknownOutcomeError
from binlog.frame import Session


class Outcome(Enum):
    """One of three, and final."""

    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    UNKNOWN = "unknown"


_ACKNOWLEDGED = Outcome.ACKNOWLEDGED


class Frame(msgspec.Struct, frozen=True, gc=False):
    """Which numbers of a session one frame took: 'first' to 'last', both inclusive.

    ``born_ms`` is the session's, in the log's time; 0 where no reply ever told it.
    """

    session: Session
    born_ms: int
    partition: int
    first: int
    last: int


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """The outcome of consecutive events of one publish in one partition.

    ``indexes`` are their places in what was published, ascending; event ``indexes[i]`` has number
    ``first + i`` of ``session``. A failed one has no session and number 0. An unknown one names
    the ``frame`` that has to be resolved: all that travelled with them.
    """

    outcome: Outcome
    partition: int
    indexes: Sequence[int]
    session: Session | None = None
    first: int = 0
    frame: Frame | None = None
    error: BinlogError | None = None


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The event is durable: it is ``number`` of ``session`` in ``partition``."""

    partition: int
    session: Session
    number: int


class Acks(Sequence[Ack]):
    """The acknowledgements of one `publish_many`, in the order in which it was given.

    Kept frame by frame, and spread out only for who asks: most callers want to know that all
    is durable, not where.
    """

    def __init__(self, count: int, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        """Frame by frame, in the order of acknowledgement."""
        self._count = count
        self._spread: list[Ack] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Ack: ...
    @overload
    def __getitem__(self, index: slice) -> list[Ack]: ...
    def __getitem__(self, index: int | slice) -> Ack | list[Ack]:
        return self._acks()[index]

    def __iter__(self) -> Iterator[Ack]:
        return iter(self._acks())

    def __repr__(self) -> str:
        return f"Acks({self._count} events in {len(self.deliveries)} frames)"

    def _acks(self) -> list[Ack]:
        if self._spread is None:
            placed: dict[int, Ack] = {}
            for delivery in self.deliveries:
                session, partition = delivery.session, delivery.partition
                if session is None:
                    raise ValueError(f"a delivery without a session: {delivery}")
                for number, index in enumerate(delivery.indexes, delivery.first):
                    placed[index] = Ack(partition, session, number)
            self._spread = [placed[index] for index in range(self._count)]
        return self._spread


def error_of(deliveries: Iterable[Delivery]) -> BinlogError | None:
    """The error that a publish ends in, or ``None`` if all of it is acknowledged.

    `UnknownOutcomeError` if anything is unknown, else `NotSentError`; either one carries all
    ``deliveries``, the acknowledged ones too.
    """
    deliveries = tuple(deliveries)
    if all(delivery.outcome is _ACKNOWLEDGED for delivery in deliveries):
        return None
    counts = dict.fromkeys(Outcome, 0)
    first: dict[Outcome, Delivery] = {}
    for delivery in deliveries:
        counts[delivery.outcome] += len(delivery.indexes)
        first.setdefault(delivery.outcome, delivery)
    for outcome, kind, do in (
        (Outcome.UNKNOWN, UnknownOutcomeError, "ask Producer.resolve"),
        (Outcome.FAILED, NotSentError, "publish again"),
    ):
        if counts[outcome]:
            delivery = first[outcome]
            cause = delivery.error
            total = sum(counts.values())
            of = f"{counts[outcome]} of {total} events" if total > 1 else "the event"
            what = "may or may not be in the log" if outcome is Outcome.UNKNOWN else "not sent"
            error = kind(
                f"{of} {what}" + (f" ({cause})" if cause else ""),
                _where(delivery),
                do,
                deliveries=deliveries,
            )
            error.__cause__ = cause
            return error
    return None


def _where(delivery: Delivery) -> str:
    if delivery.frame is None:
        return f"partition {delivery.partition}"
    frame = delivery.frame
    return f"partition {frame.partition}, session {frame.session}, {frame.first} to {frame.last}"
