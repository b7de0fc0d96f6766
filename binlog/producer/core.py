"""The producer as a state machine: events, replies and time in; calls and outcomes out (P1-P5, P7).

No thread, file, clock or sleep is in here, so that a simulated world runs the real thing. Time is
an argument: seconds that never go back. Randomness is a passed `Random`. What it guarantees:

* at most one frame of a partition is undecided at any time, and every attempt to send it sends
  identical bytes;
* within a session and a partition numbers are 1, 2, 3, .. in the order in which the events came,
  and no number is used again unless the frame that had it certainly never left;
* each event gets exactly one outcome. *Acknowledged* only if the log said so, in the log's own
  time, before the session was too old. *Failed* only if it certainly is not in the log. Else
  *unknown*, which ends the session and which no later reply changes;
* the first frame of a generation in a partition names the last generation acknowledged there.

One call carries frames of different partitions. Several calls may be out at once; they are of
different partitions, since a partition has one flight. Where only the log can tell a session's
birth, stamping it into what it stores, the first frame travels alone, and the reply brings the
birth. Where the log tells the birth of a session that begins (``birth_ms``), it is in every
attempt's bytes, and no frame waits for another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import msgspec

from binlog.envelope import Envelope
from binlog.errors import BinlogError, NotSentError, UnknownOutcomeError
from binlog.frame import Session
from binlog.log import Appended, Expired, Failed, Put, Reply
from binlog.params import Params
from binlog.producer.budget import Budget
from binlog.producer.lane import Chunk, Flight, Lane, sizes_of
from binlog.producer.options import ProducerOptions
from binlog.producer.outcome import Delivery, Frame, Outcome
from binlog.producer.packer import Packer
from binlog.producer.resting import Resting
from binlog.producer.router import Router
from binlog.producer.session import Lineage, SessionState

_NEVER = float("inf")


class Send(msgspec.Struct, frozen=True, gc=False):
    """One `Log.append` to make; its replies go to `ProducerCore.reply` under ``call``."""

    call: int
    puts: list[Put]


class ProducerCore:
    """See the module. Not thread-safe: whoever owns it calls one method at a time."""

    def __init__(
        self,
        params: Params,
        genesis: bytes,
        *,
        options: ProducerOptions,
        lineage: Lineage,
        random: Random,
        birth_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._params = params
        self._options = options
        self._lineage = lineage
        self._birth_ms = birth_ms
        self._calls_max = options.calls_max or 1
        self._call_at = 0.0  # when the last call began
        self._budget = Budget(options.frames_per_s) if options.frames_per_s else None
        self._packer = Packer(
            params,
            genesis,
            frame_bytes_goal=options.frame_bytes_goal,
            id_window=options.id_window,
        )
        self._router = Router(params.partitions)
        self._session: SessionState | None = None
        self._lanes: dict[int, Lane] = {}
        self._queued: dict[int, Lane] = {}  # those with a queue, the longest waiting first
        self._flights: dict[int, Flight] = {}  # by partition
        self._calls: dict[int, list[Flight]] = {}
        self._call = 0
        self._resting = Resting(options, random, self._budget)  # in no call, between two attempts
        self._first_deadline = _NEVER  # of all that is open, or earlier
        self._done: list[tuple[object, Delivery]] = []
        self.pending_bytes = 0
        """Of all events without an outcome, queued and in flight."""
        self.pending_events = 0

    # -- in --------------------------------------------------------------------------------------

    def offer(
        self,
        ticket: object,
        envelopes: Sequence[Envelope],
        now: float,
        *,
        is_urgent: bool = False,
    ) -> bool:
        """Queue events, in order, all or none; ``False`` if there is no room for them now.

        Their deliveries come back with ``ticket``. Urgent ones do not linger. What is larger than
        the whole queue is taken when nothing else is pending.

        Raises:
            TooLargeError: one of them fits no frame of this log.
        """
        if not envelopes:
            return True
        sizes = sizes_of(envelopes)
        size = sum(sizes)
        if self.pending_bytes and self.pending_bytes + size > self._options.queue_bytes_max:
            return False
        self._packer.check(envelopes, sizes)
        groups = self._router.group(envelopes)
        due = now if is_urgent else now + self._options.linger_s
        deadline = now + self._options.queue_wait_s
        self._first_deadline = min(self._first_deadline, deadline)
        for partition, indexes in groups.items():
            chunk = Chunk(
                ticket,
                indexes,
                [envelopes[index] for index in indexes],
                sum([sizes[index] for index in indexes]),
                deadline,
            )
            self._enqueue(partition, chunk, due, is_urgent=is_urgent)
        self.pending_bytes += size
        self.pending_events += len(sizes)
        return True

    def flush(self, now: float) -> None:
        """Let nothing that is queued now wait for company."""
        for lane in self._queued.values():
            lane.due = now
            lane.is_awaited = True

    def reply(self, call: int, replies: Sequence[Reply], now: float) -> None:
        """The replies to the frames of a call, in their order; see `outcomes`.

        Of a frame that was given up meanwhile nothing changes any more (P5).
        """
        flights = self._calls.pop(call)
        if len(replies) != len(flights):
            raise ValueError(f"{len(replies)} replies to {len(flights)} frames")
        if self._budget is not None:
            shards = [self._lanes[flight.partition].shard for flight in flights]
            self._budget.hear(zip(shards, replies, strict=True), now)
        for flight, reply in zip(flights, replies, strict=True):
            if flight.call != call:
                continue
            flight.call = 0
            if isinstance(reply, Appended):
                self._appended(flight, reply)
            elif isinstance(reply, Expired):
                self._expired(flight, now)
            else:
                self._failed(flight, reply, now)

    # -- out -------------------------------------------------------------------------------------

    def poll(self, now: float) -> Send | None:
        """The next call to make, or ``None``: nothing to do before a reply, or before `wakeup`.

        Time passes here: what is past its deadline gets its outcome.
        """
        self._pass_deadlines(now)
        if len(self._calls) >= self._calls_max or now < self._next_call_at():
            return None
        flights = self._resting.take(now, self._options.call_frames_max)
        if self._queued:
            self._launch_due(flights, now)
        if not flights:
            return None
        self._call += 1
        self._call_at = now
        self._calls[self._call] = flights
        for flight in flights:
            flight.call = self._call
            flight.attempts += 1
        return Send(self._call, [Put(f.partition, f.data, f.tried) for f in flights])

    def outcomes(self) -> list[tuple[object, Delivery]]:
        """(ticket, delivery) of all that was decided since the last call, in order."""
        done, self._done = self._done, []
        return done

    def wakeup(self) -> float | None:
        """When `poll` has something to do although nothing comes in; ``None``: never."""
        may_call = len(self._calls) < self._calls_max
        next_call_at = self._next_call_at()
        session, launch_from = self._session, next_call_at
        if session is not None and session.is_waiting and not session.ended:
            # Nothing else of it before the reply, but of a next one.
            launch_from = max(launch_from, session.renew_at)
        times = [f.deadline for f in self._flights.values()]
        if may_call:
            times += [max(time, next_call_at) for time in self._resting.times()]
        for lane in self._queued.values():
            times.append(lane.queue[0].deadline)
            if may_call and lane.flight is None:
                due = lane.due if lane.size < self._packer.body_bytes_goal else 0.0
                times.append(max(due, self._ready_at(lane), launch_from))
        return min(times, default=None)

    def _next_call_at(self) -> float:
        """From when on a call may begin: at once, unless another one is out that has just begun."""
        return self._call_at + (self._options.call_spacing_s or 0.0) if self._calls else 0.0

    def is_under_way(self, frame: Frame) -> bool:
        """Whether a call that carries the frame has not been replied to: it may land any time."""
        place = frame.session, frame.partition, frame.first
        return any(
            (flight.session.name, flight.partition, flight.first) == place
            for flights in self._calls.values()
            for flight in flights
        )

    def abandon(self, why: str = "the producer was closed") -> None:
        """Decide all that is open: queued events fail, what may have left becomes unknown."""
        for flight in list(self._flights.values()):
            self._end(flight)
        for lane in list(self._queued.values()):
            self._fail_queue(lane, len(lane.queue), why)

    # -- sending ---------------------------------------------------------------------------------

    def _enqueue(self, partition: int, chunk: Chunk, due: float, *, is_urgent: bool) -> None:
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = Lane(partition)
        if not lane.queue:
            self._queued[partition] = lane
            lane.due = due
            lane.is_awaited = is_urgent
        else:
            lane.due = min(lane.due, due)
            lane.is_awaited |= is_urgent
        lane.add(chunk)

    def _launch_due(self, flights: list[Flight], now: float) -> None:
        """Add a new flight for each partition whose turn it is."""
        frames_max, bytes_max = self._options.call_frames_max, self._options.call_bytes_max
        size = sum([len(f.data) for f in flights])
        full = self._packer.body_bytes_goal
        session: SessionState | None = None
        for lane in list(self._queued.values()):
            if lane.flight is not None or (lane.due > now and lane.size < full):
                continue
            if len(flights) >= frames_max or size >= bytes_max:
                return
            if self._ready_at(lane) > now:
                continue
            if session is None:
                session = self._session_at(now)
            if session.launched and not session.born_ms:
                return  # its first frame travels alone, until a reply tells its birth
            flight = self._launch(lane, session, now)
            flights.append(flight)
            size += len(flight.data)

    def _ready_at(self, lane: Lane) -> float:
        budget = self._budget
        return budget.ready_at(lane.shard, is_awaited=lane.is_awaited) if budget else 0.0

    def _session_at(self, now: float) -> SessionState:
        """The session that new frames belong to; a new one where the last has ended or aged."""
        session = self._session
        if session is None or not session.takes_events(now) or self._lineage.is_foreign():
            name, born_ms = self._lineage.begin(), self._birth_ms()
            session = self._session = SessionState(name, self._params, now, born_ms)
        return session

    def _launch(self, lane: Lane, session: SessionState, now: float) -> Flight:
        """Make the next frame of a lane; this is where its events get their numbers."""
        first = lane.next_number(session)
        chunks, count, data = self._packer.pack(lane, session, first)
        last, deadline = first + count - 1, now + self._options.give_up_s
        self._first_deadline = min(self._first_deadline, deadline)
        flight = Flight(lane.partition, session, first, last, chunks, data, deadline)
        lane.launch(flight)
        if self._budget is not None:
            self._budget.spend(lane.shard, now)
        session.launched = True
        self._flights[lane.partition] = flight
        if not lane.queue:
            del self._queued[lane.partition]
        return flight

    # -- replies ---------------------------------------------------------------------------------

    def _appended(self, flight: Flight, reply: Appended) -> None:
        session = flight.session
        if not session.born_ms:
            session.born_ms = reply.born_ms
        if session.in_time(reply.arrival_ms):
            lane = self._lanes[flight.partition]
            lane.land(flight)
            lane.shard = reply.position.shard
            self._decide(flight, Outcome.ACKNOWLEDGED, flight.session.name, None)
        else:
            age_ms = reply.arrival_ms - session.born_ms
            self._give_up(flight, f"arrived {age_ms} ms after its session's birth")

    def _expired(self, flight: Flight, now: float) -> None:
        """Refused for its age, and certainly not in the log: the events go into a new session."""
        flight.session.ended = True
        lane = self._lanes[flight.partition]
        lane.abandon()
        del self._flights[flight.partition]
        if lane.queue:
            del self._queued[flight.partition]
        lane.put_back(flight.chunks)
        self._first_deadline = min(self._first_deadline, flight.chunks[0].deadline)
        lane.due = now
        self._queued = {flight.partition: lane, **self._queued}  # they have waited longest

    def _failed(self, flight: Flight, reply: Failed, now: float) -> None:
        flight.tried = flight.tried or not reply.untouched
        flight.error = reply.error
        if reply.final or now >= flight.deadline:
            self._end(flight)
            return
        shard = self._lanes[flight.partition].shard if reply.throttled else None
        self._resting.add(flight, now, throttled_by=shard)

    # -- outcomes --------------------------------------------------------------------------------

    def _pass_deadlines(self, now: float) -> None:
        if now < self._first_deadline:
            return
        for flight in [f for f in self._flights.values() if f.deadline <= now]:
            self._end(flight)
        for lane in [lane for lane in self._queued.values() if lane.queue[0].deadline <= now]:
            count = sum(1 for chunk in lane.queue if chunk.deadline <= now)
            self._fail_queue(lane, count, f"not sent in {self._options.queue_wait_s:g} s")
        self._first_deadline = min(
            [f.deadline for f in self._flights.values()]
            + [lane.queue[0].deadline for lane in self._queued.values()],
            default=_NEVER,
        )

    def _end(self, flight: Flight) -> None:
        """Out of time or hope: an attempt that is out now may land whatever came before."""
        if flight.tried or flight.call:
            self._give_up(flight, "given up")
        else:
            self._not_sent(flight)

    def _give_up(self, flight: Flight, why: str) -> None:
        """Nobody can say; the session ends, and what comes later of this frame is not heard."""
        flight.session.ended = True
        self._lanes[flight.partition].abandon()
        error = UnknownOutcomeError(why, str(flight.error or ""))
        error.__cause__ = flight.error
        self._decide(flight, Outcome.UNKNOWN, flight.session.name, error)

    def _not_sent(self, flight: Flight) -> None:
        """It certainly never left, so its numbers are free again and the session goes on."""
        self._lanes[flight.partition].cancel(flight)
        session = flight.session
        if not session.born_ms:
            session.launched = False
        error = NotSentError("not sent", str(flight.error or ""))
        error.__cause__ = flight.error
        self._decide(flight, Outcome.FAILED, None, error)

    def _decide(
        self, flight: Flight, outcome: Outcome, session: Session | None, error: BinlogError | None
    ) -> None:
        """Tell the outcome to each publish that has events in the frame."""
        flight.call = 0
        partition = flight.partition
        self._resting.drop(partition)
        del self._flights[partition]
        frame = flight.frame() if outcome is Outcome.UNKNOWN else None
        first = flight.first if session is not None else 0
        for chunk in flight.chunks:
            delivery = Delivery(outcome, partition, chunk.indexes, session, first, frame, error)
            self._done.append((chunk.ticket, delivery))
            self.pending_bytes -= chunk.size
            self.pending_events -= len(chunk.indexes)
            if first:
                first += len(chunk.indexes)

    def _fail_queue(self, lane: Lane, count: int, why: str) -> None:
        """The first ``count`` chunks of a queue fail: they were never sent."""
        chunks = [lane.queue.popleft() for _ in range(count)]
        lane.size -= sum([chunk.size for chunk in chunks])
        if not lane.queue:
            del self._queued[lane.partition]
        error = NotSentError(why)
        for chunk in chunks:
            delivery = Delivery(Outcome.FAILED, lane.partition, chunk.indexes, error=error)
            self._done.append((chunk.ticket, delivery))
            self.pending_bytes -= chunk.size
            self.pending_events -= len(chunk.indexes)
