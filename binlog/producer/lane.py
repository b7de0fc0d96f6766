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

import msgspec

from binlog.envelope import Envelope
from binlog.frame import Predecessor, Session
from binlog.producer.outcome import Frame
from binlog.producer.session import SessionState

_ENVELOPE_BYTES = 64  # what one adds to a body beside its id, key, data and meta: an upper bound


def sizes_of(envelopes: Sequence[Envelope]) -> list[int]:
    """About what each of them takes in a frame's body, and in our memory."""
    return [
        _ENVELOPE_BYTES
        + len(e.id)
        + len(e.key)
        + (0 if e.data is None else len(e.data))
        + (0 if e.meta is None else len(e.meta))
        for e in envelopes
    ]


class Chunk(msgspec.Struct, eq=False):
    """Consecutive events of one publish in one partition; the unit of all bookkeeping."""

    ticket: object
    indexes: Sequence[int]  # the events' places in what was published
    envelopes: list[Envelope]
    size: int
    deadline: float  # of being sent at all

    def split(self, count: int) -> Chunk:
        """Take off the first ``count`` events."""
        envelopes, indexes = self.envelopes[:count], self.indexes[:count]
        head = Chunk(self.ticket, indexes, envelopes, sum(sizes_of(envelopes)), self.deadline)
        self.envelopes = self.envelopes[count:]
        self.indexes = self.indexes[count:]
        self.size -= head.size
        return head

    def fitting(self, size_max: int) -> int:
        """How many of the first events stay within ``size_max`` together."""
        total = 0
        for count, size in enumerate(sizes_of(self.envelopes)):
            total += size
            if total > size_max:
                return count
        return len(self.envelopes)


class Flight(msgspec.Struct, eq=False):
    """A frame with its numbers taken and its outcome open. Numbers are inclusive."""

    partition: int
    session: SessionState
    first: int
    last: int
    chunks: list[Chunk]
    data: bytes  # every attempt sends these very bytes
    deadline: float  # of being decided
    attempts: int = 0
    tried: bool = False  # an attempt may have left something in the log
    call: int = 0  # the call that carries it; 0 between attempts
    retry_at: float = 0.0
    error: Exception | None = None  # of the last attempt

    def frame(self) -> Frame:
        """What has to be resolved if nobody can say what became of it."""
        return Frame(self.session.name, self.session.born_ms, self.partition, self.first, self.last)


class Lane:
    """One partition's queue and flight."""

    __slots__ = (
        "_landed",
        "_landed_session",
        "_next",
        "_session",
        "due",
        "flight",
        "is_awaited",
        "partition",
        "queue",
        "shard",
        "size",
    )

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.shard = ""  # that the last acknowledged frame went to
        self.queue: deque[Chunk] = deque()
        self.size = 0  # of what is queued
        self.due = 0.0  # when the first one must go at the latest
        self.is_awaited = False  # somebody waits for one of them
        self.flight: Flight | None = None
        self._session: SessionState | None = None
        self._next = 1
        self._landed = 0  # the last number that was acknowledged, and in which session
        self._landed_session: SessionState | None = None

    def add(self, chunk: Chunk) -> None:
        self.queue.append(chunk)
        self.size += chunk.size

    def take(self, size_max: int, count_max: int) -> list[Chunk]:
        """The next events, at least one, within both bounds if one event is."""
        chunk = self.queue[0]
        if len(self.queue) == 1 and chunk.size <= size_max and len(chunk.envelopes) <= count_max:
            self.size = 0
            return [self.queue.popleft()]
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
        landed = self._landed_session
        if landed is None or landed.name.family != session.family:
            return None
        return Predecessor(landed.name.generation, self._landed, landed.born_ms)

    def launch(self, flight: Flight) -> None:
        """Take the flight's numbers: from now on its outcome is open."""
        if self.flight is not None:
            raise RuntimeError(f"two frames in flight in partition {self.partition}")
        self.flight = flight
        self._next = flight.last + 1

    def land(self, flight: Flight) -> None:
        """The flight is acknowledged."""
        self.flight = None
        self._landed = flight.last
        self._landed_session = flight.session

    def cancel(self, flight: Flight) -> None:
        """The flight certainly never left, and its numbers are free again."""
        self.flight = None
        if self._session is flight.session:
            self._next = flight.first

    def abandon(self) -> None:
        """The flight's outcome is unknown, or its numbers are lost to the log; its session ends."""
        self.flight = None
