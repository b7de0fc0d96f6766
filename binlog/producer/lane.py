"""One partition as the producer sees it: a queue, and at most one frame on its way.

Invariants, of every lane:

* events leave it in the order in which they came, frame after frame;
* ``flight`` is the only frame whose outcome is open: nothing newer of this partition is sent
  before it is decided, whatever session it belongs to (P3, and P7 across generations: an older
  session's frame still under way would be closed by the newer one's, and lost if it landed);
* the numbers of a session are consecutive from 1; they are taken when a frame is first sent, and
  given back only if it certainly never left (P1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from binlog.envelope import Envelope
from binlog.frame import Predecessor, Session
from binlog.producer.outcome import Frame
from binlog.producer.session import SessionState

ENVELOPE_BYTES = 64
"""What an envelope adds to a body beside its id, key, data and meta: an upper bound."""


def envelope_bytes(envelope: Envelope) -> int:
    """About what it takes in a frame's body, and in our memory."""
    size = ENVELOPE_BYTES + len(envelope.id) + len(envelope.key)
    if envelope.data is not None:
        size += len(envelope.data)
    if envelope.meta is not None:
        size += len(envelope.meta)
    return size


class Chunk:
    """Consecutive events of one publish in one partition; the unit of all bookkeeping.

    ``indexes`` are the events' places in what was published.
    """

    __slots__ = ("deadline", "envelopes", "indexes", "size", "ticket")

    def __init__(
        self,
        ticket: object,
        indexes: Sequence[int],
        envelopes: list[Envelope],
        size: int,
        deadline: float,
    ) -> None:
        self.ticket = ticket
        self.indexes = indexes
        self.envelopes = envelopes
        self.size = size
        self.deadline = deadline  # of being sent at all

    def split(self, count: int) -> Chunk:
        """Take off the first ``count`` events."""
        envelopes, indexes = self.envelopes[:count], self.indexes[:count]
        head = Chunk(
            self.ticket, indexes, envelopes, sum(map(envelope_bytes, envelopes)), self.deadline
        )
        self.envelopes = self.envelopes[count:]
        self.indexes = self.indexes[count:]
        self.size -= head.size
        return head

    def fitting(self, size_max: int) -> int:
        """How many of the first events stay within ``size_max`` together."""
        size = 0
        for count, envelope in enumerate(self.envelopes):
            size += envelope_bytes(envelope)
            if size > size_max:
                return count
        return len(self.envelopes)


class Flight:
    """A frame with its numbers taken and its outcome open."""

    __slots__ = (
        "attempts",
        "call",
        "chunks",
        "data",
        "deadline",
        "error",
        "first",
        "last",
        "partition",
        "retry_at",
        "session",
        "size",
        "tried",
    )

    def __init__(
        self,
        partition: int,
        session: SessionState,
        first: int,
        last: int,
        chunks: list[Chunk],
        data: bytes,
        deadline: float,
    ) -> None:
        self.partition = partition
        self.session = session
        self.first = first
        self.last = last
        self.chunks = chunks
        self.size = sum([chunk.size for chunk in chunks])
        self.data = data  # every attempt sends these very bytes
        self.deadline = deadline  # of being decided
        self.attempts = 0
        self.error: Exception | None = None  # of the last attempt
        self.tried = False  # an attempt may have left something in the log
        self.call = 0  # the call that carries it; 0 between attempts
        self.retry_at = 0.0

    def frame(self) -> Frame:
        return Frame(self.session.name, self.session.born_ms, self.partition, self.first, self.last)


class Lane:
    """One partition's queue and flight."""

    __slots__ = (
        "_family",
        "_next",
        "_predecessor",
        "_session",
        "due",
        "flight",
        "partition",
        "queue",
        "size",
    )

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.queue: deque[Chunk] = deque()
        self.size = 0  # of what is queued
        self.due = 0.0  # when the first one must go at the latest
        self.flight: Flight | None = None
        self._session: SessionState | None = None
        self._next = 1
        self._family = b""
        self._predecessor: Predecessor | None = None

    def add(self, chunk: Chunk) -> None:
        self.queue.append(chunk)
        self.size += chunk.size

    def take(self, size_max: int, count_max: int) -> list[Chunk]:
        """The next events, at least one, within both bounds if one event is."""
        taken: list[Chunk] = []
        size = count = 0
        while self.queue:
            chunk = self.queue[0]
            fits = len(chunk.envelopes)
            if size + chunk.size > size_max:
                fits = chunk.fitting(size_max - size)
            fits = min(fits, count_max - count)
            if not fits and not taken:
                fits = 1
            if not fits:
                break
            if fits < len(chunk.envelopes):
                taken.append(chunk.split(fits))
                self.size -= taken[-1].size
                break
            taken.append(self.queue.popleft())
            self.size -= chunk.size
            size += chunk.size
            count += fits
        return taken

    def put_back(self, chunks: list[Chunk]) -> None:
        """Undo `take`: they go first again."""
        for chunk in reversed(chunks):
            self.queue.appendleft(chunk)
            self.size += chunk.size

    # -- numbers ---------------------------------------------------------------------------------

    def next_number(self, session: SessionState) -> int:
        """The number that the next envelope sent in ``session`` gets; it is not yet taken."""
        if session is not self._session:
            self._session = session
            self._next = 1
        return self._next

    def predecessor(self, session: Session) -> Predecessor | None:
        """The generation that the session's first frame here has to wait for (P7)."""
        return self._predecessor if self._family == session.family else None

    def launch(self, flight: Flight) -> None:
        """Take the flight's numbers: from now on its outcome is open."""
        if self.flight is not None:
            raise RuntimeError(f"two frames in flight in partition {self.partition}")
        self.flight = flight
        self._next = flight.last + 1

    def land(self, flight: Flight) -> None:
        """The flight is acknowledged."""
        self.flight = None
        name = flight.session.name
        self._family = name.family
        self._predecessor = Predecessor(name.generation, flight.last, flight.session.born_ms)

    def cancel(self, flight: Flight) -> None:
        """The flight certainly never left, and its numbers are free again."""
        self.flight = None
        if self._session is flight.session:
            self._next = flight.first

    def abandon(self) -> None:
        """The flight's outcome is unknown, or its numbers are lost to the log; its session ends."""
        self.flight = None
