"""The producer for applications: `ProducerCore` with a lock, a clock and a log.

Group commit by leader and follower: of all the threads that wait for an outcome one does the I/O,
for everybody's events; when it returns, the next one leads with what has gathered meanwhile. A
blocking `append` therefore costs no hand-off between threads. Only `publish`, which does not
wait, needs a thread of its own; it is started at the first one. Where several calls are made at
once (``calls_max``) the leader hands them to `Callers`, and what it does is to tell the outcomes.

Fork: a child begins with an empty queue, a family, a lock and a thread of its own. What the parent
had published belongs to the parent, which goes on with it; its futures never finish in the child.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from random import Random
from types import TracebackType
from typing import Any, Self, cast

from binlog.checked import check_envelopes
from binlog.clock import Clock, SystemClock
from binlog.envelope import Envelope
from binlog.errors import BinlogError, NotSentError, RefusedError, StorageError
from binlog.log import Failed, Log, Put, Remote, Reply
from binlog.producer.callers import Callers
from binlog.producer.core import ProducerCore, Send
from binlog.producer.lives import PRODUCERS
from binlog.producer.options import ProducerOptions
from binlog.producer.outcome import Ack, Acks, Delivery, Frame, Outcome
from binlog.producer.resolve import Resolved, Verdict, resolve
from binlog.producer.session import Lineage
from binlog.producer.ticket import OnDelivery, Ticket
from binlog.reader import Start


def get_logger(name: str) -> Any:
    """Imported where something is logged: structlog takes a third of a short command's start."""
    from binlog import logger

    return logger.get_logger(name)


class Producer:
    """Puts events into a log, from any number of threads, and says what became of each.

    `append` and `append_many` return when all is durable; `publish` and `publish_many` return a
    future at once. Events of one thread keep their order within a partition; events of one key
    are in one partition. All four check what they are given before anything has a number, all
    or nothing, and raise:

        RefusedError: an envelope that no reader would take; `TooLargeError` with the limit.
        NotSentError: no room in the queue (see `ProducerOptions.when_full`), or closed.

    The outcome of an event, raised or set on the future, is an acknowledgement, a `NotSentError`
    or an `UnknownOutcomeError`; the latter two hold the ``deliveries`` of the whole publish.

    ``on_delivery`` gets each frame's outcome before the call returns or the future finishes. It
    runs in whichever thread does the I/O and must not wait for this producer.

    Use it as a context manager, or `close` it. The log stays the caller's. Where ``has_thread`` is
    false, what was published goes only while somebody waits: in `flush`, for room, at the end.
    """

    def __init__(
        self,
        log: Log,
        *,
        options: ProducerOptions | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        lineage: Lineage | None = None,
        has_thread: bool = True,
    ) -> None:
        self._log = log
        self._remote = log if isinstance(log, Remote) else None
        self._options = (options or ProducerOptions()).settled(self._remote)
        self._calls_max = self._options.calls_max or 1
        self._clock = clock or SystemClock()
        self._random = random or Random()
        self._lineage = lineage or Lineage()
        self._has_thread = has_thread
        self._closed = False
        self._begin()
        PRODUCERS.add(self)

    def begin_again(self) -> None:
        """Forget whose memory this was, in a copy of it; see `binlog.producer.lives`."""
        # Not left to the process id: a grandchild may be given that of the family's owner.
        self._lineage.forget()
        self._begin()

    def _begin(self) -> None:
        """State of this process alone: at the start, and in a child after a fork."""
        self._pid = os.getpid()
        self._changed = threading.Condition(threading.Lock())
        self._core = ProducerCore(
            self._log.params,
            self._log.genesis,
            options=self._options,
            lineage=self._lineage,
            random=self._random,
            birth_ms=self._remote.birth_ms if self._remote else lambda: 0,
        )
        self._callers = Callers(self._calls_max)
        self._leader: int | None = None  # the thread that does I/O or tells outcomes
        self._open: dict[Ticket, None] = {}  # in the order of publishing
        self._untold: deque[tuple[object, Delivery]] = deque()  # decided, not yet told
        self._told: list[Ticket] = []  # all of it told, not yet finished
        self._thread: threading.Thread | None = None
        # Frames to resolve; of those whose birth no reply told, when it was at the latest.
        self._unknown: dict[Frame, int] = {}

    # -- publishing ------------------------------------------------------------------------------

    def append(self, envelope: Envelope) -> Ack:
        """Return when the event is durable."""
        ticket = Ticket(1, is_single=True)
        self._offer(ticket, [envelope], is_urgent=True)
        self._pump(lambda: ticket.done)
        return cast(Ack, ticket.result())

    def append_many(
        self, envelopes: Sequence[Envelope], *, on_delivery: OnDelivery | None = None
    ) -> Acks:
        """Return when all the events are durable: one commit, if they fit."""
        ticket = Ticket(len(envelopes), on_delivery=on_delivery)
        if envelopes:
            self._offer(ticket, envelopes, is_urgent=True)
            self._pump(lambda: ticket.done)
        return cast(Acks, ticket.result())

    def publish(self, envelope: Envelope) -> Future[Ack]:
        """One future for one event. For many events `publish_many` costs a fraction of it."""
        future: Future[Ack] = Future()
        self._offer(Ticket(1, is_single=True, future=future), [envelope])
        self._wake_sender()
        return future

    def publish_many(
        self, envelopes: Sequence[Envelope], *, on_delivery: OnDelivery | None = None
    ) -> Future[Acks]:
        """One future for all of them."""
        future: Future[Acks] = Future()
        ticket = Ticket(len(envelopes), future=future, on_delivery=on_delivery)
        if not envelopes:
            ticket.finish()
            return future
        self._offer(ticket, envelopes)
        self._wake_sender()
        return future

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when everything published before has its outcome; doing the I/O itself.

        A call to the log that hangs is not interrupted, whatever ``timeout_s`` says.

        Raises:
            TimeoutError: something has none yet. It goes on.
        """
        if self._pid != os.getpid():
            return  # what there was is the parent's
        with self._changed:
            self._core.flush(self._clock.monotonic())
            waited_for = list(self._open)
        if not self._pump(lambda: all(ticket.done for ticket in waited_for), timeout_s):
            count = sum(ticket.open for ticket in waited_for)
            raise TimeoutError(f"{count} events without an outcome after {timeout_s} s")

    def resolve(
        self,
        frames: Iterable[Frame] | None = None,
        *,
        starts: Mapping[int, Start] | None = None,
    ) -> dict[Frame, Resolved]:
        """Decide unknown outcomes: all that this producer has met, or the ``frames`` given.

        ``delivery.frame`` names an event's frame. What is decided is forgotten here, what is not
        may be asked again; see `binlog.producer.resolve`.
        """
        with self._changed:
            wanted = list(self._unknown if frames is None else frames)
            for frame in wanted:
                if not frame.born_ms and not self._unknown.get(frame):
                    # Never acknowledged: it was stamped before now, if at all.
                    self._unknown[frame] = self._log.now_ms()
            # Given up by time while `Log.append` had not returned: the log cannot know of it yet.
            under_way = [frame for frame in wanted if self._core.is_under_way(frame)]
            born_by = dict(self._unknown)
        found = dict.fromkeys(
            under_way, Resolved(Verdict.UNDECIDED, "an attempt to send it has not ended")
        )
        others = [frame for frame in wanted if frame not in found]
        found |= resolve(self._log, others, starts=starts, born_by=born_by)
        with self._changed:
            for frame, resolved in found.items():
                if resolved.verdict is not Verdict.UNDECIDED:
                    self._unknown.pop(frame, None)
        return found

    def abandon(self, why: str = "the producer was closed") -> None:
        """Decide all that is open: unknown if it was tried, else failed, and then certainly."""
        with self._changed:
            self._core.abandon(why)
            self._untold += self._core.outcomes()
        self._tell()

    def close(self, timeout_s: float | None = None) -> None:
        """Flush, then refuse all that comes later. Repeats do nothing.

        What has no outcome after ``timeout_s`` gets one: unknown if it was tried, else failed.
        """
        if self._closed:
            return
        self._closed = True
        if self._pid != os.getpid():
            return
        try:
            self.flush(timeout_s)
        except TimeoutError:
            self.abandon()
        self._callers.close()
        with self._changed:
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- the queue -------------------------------------------------------------------------------

    def _offer(
        self, ticket: Ticket, envelopes: Sequence[Envelope], *, is_urgent: bool = False
    ) -> None:
        check_envelopes(envelopes)
        if self._pid != os.getpid():
            self._begin()  # a fork that Python did not see

        def offered() -> bool:
            if self._closed:
                raise NotSentError("the producer is closed", self._log.name, "make another one")
            now = self._clock.monotonic()
            if not self._core.offer(ticket, envelopes, now, is_urgent=is_urgent):
                return False
            self._open[ticket] = None
            return True

        with self._changed:
            if offered():
                return
        # For want of a better use of the time a blocked publisher does the I/O itself.
        blocks = self._options.when_full == "block"
        if not blocks or not self._pump(offered, self._options.full_wait_s):
            raise NotSentError(
                f"no room: {self._core.pending_bytes} bytes wait for their outcome",
                self._log.name,
                f"publish again later (queue_bytes_max is {self._options.queue_bytes_max})",
            )

    def _wake_sender(self) -> None:
        if not self._has_thread:
            return
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._send_until_closed, name="binlog-producer", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def _send_until_closed(self) -> None:
        self._pump(lambda: self._closed and not self._open)

    # -- leader and followers --------------------------------------------------------------------

    def _pump(self, done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Lead or follow until ``done``, which is asked under the lock; ``False`` after the time.

        Raises:
            RuntimeError: called by the leader itself, from within an ``on_delivery``.
        """
        monotonic = self._clock.monotonic
        until = None if timeout_s is None else monotonic() + timeout_s
        me = threading.get_ident()
        with self._changed:
            while not done():
                now = monotonic()
                if until is not None and now >= until:
                    return False
                if self._leader == me:
                    raise RuntimeError("on_delivery waits for the producer that calls it")
                if self._leader is None and self._lead(me, now):
                    continue
                times = [until]
                if self._leader is None:
                    times.append(self._core.wakeup())
                wait_until = min((time for time in times if time is not None), default=None)
                self._changed.wait(None if wait_until is None else max(0.0, wait_until - now))
        return True

    def _lead(self, me: int, now: float) -> bool:
        """Do what there is to do now, without the lock; ``False`` if there is nothing."""
        send = self._core.poll(now)
        self._untold += self._core.outcomes()
        if send is None and not self._untold:
            return False
        if send is not None and self._callers.hand_over(self._call, send):
            return True
        self._leader = me
        self._changed.release()
        try:
            if send is not None:
                self._call(send)
            self._tell()
        finally:
            self._changed.acquire()
            self._leader = None
            self._changed.notify_all()
        return True

    def _call(self, send: Send) -> None:
        """Make the call and hear its replies."""
        replies: list[Reply] | None = None
        try:
            replies = self._append(send.puts)
        finally:
            if replies is None:  # interrupted: the frames are in doubt, not lost
                in_doubt = Failed(StorageError("interrupted", self._log.name))
                replies = [in_doubt] * len(send.puts)
            with self._changed:
                self._core.reply(send.call, replies, self._clock.monotonic())
                self._untold += self._core.outcomes()
                self._changed.notify_all()  # who leads then tells it

    def _append(self, puts: list[Put]) -> list[Reply]:
        failed: Failed
        try:
            return self._log.append(puts)
        except RefusedError as error:  # before anything was written: the log's contract
            failed = Failed(error, untouched=True, final=True)
        except BinlogError as error:
            failed = Failed(error, final=not error.retriable)
        except Exception as error:  # noqa: BLE001 - whatever it was, the frames are in doubt
            failed = Failed(error, final=True)
        return [failed] * len(puts)

    def _tell(self) -> None:
        """Give outcomes to whom they belong: in order, since only the leader does it.

        What an interrupt leaves untold is told by the next leader.
        """
        while self._untold:
            owner, delivery = self._untold.popleft()
            ticket = cast(Ticket, owner)
            ticket.add(delivery)
            if delivery.outcome is Outcome.UNKNOWN and delivery.frame is not None:
                self._unknown[delivery.frame] = 0
            if not ticket.open:
                self._told.append(ticket)
            if ticket.on_delivery is not None:
                try:
                    ticket.on_delivery(delivery)
                except Exception as error:  # noqa: BLE001 - the caller's; the outcome stands
                    get_logger("binlog.producer").error("delivery.untold", error=repr(error))
        while self._told:  # after the whole commit: a thread that wakes up finds all of it
            ticket = self._told.pop()
            ticket.finish()
            del self._open[ticket]
