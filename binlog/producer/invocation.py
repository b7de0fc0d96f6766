"""The producer inside Lambda: nothing of it is at work between two invocations (P8).

A function's environment is frozen when its handler returns, for a second or for hours, and thawed or
thrown away. Invariants:

* no thread, and nothing open: when `LambdaProducer.invocation` is left each event that was published
  in it has its outcome, whatever the time costs. What is not acknowledged is raised, with the
  deliveries, and so given back to the caller: an unknown is his to resolve, or to publish again;
* no attempt is begun that could outlast the invocation: it takes ``attempt_s`` at most, and what
  remains must hold that and ``reserve_s``, in which the handler answers. What was not tried fails,
  certainly; what was is unknown. Neither is guessed;
* a session is as old as the longer of two clocks says: while the environment is frozen the monotonic
  one may stand, and the wall clock may be set. If the wall clock went back nobody knows how long it
  was, and the next session begins. A session's birth is the service's time (P2), and that is asked
  for again after a sleep: reckoned on from before it, it would be too old to be taken;
* what makes two environments different, family and randomness, is taken in the first invocation: a
  snapshot of the initialised function, restored many times (SnapStart), holds neither.

Between invocations the queue is empty, so a frozen environment that never wakes up loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import msgspec

from binlog.clock import Clock, SystemClock
from binlog.envelope import Envelope
from binlog.errors import BinlogError, NotSentError, RefusedError
from binlog.log import AsksTime, Failed, Log, Put, Reply
from binlog.producer.options import ProducerOptions
from binlog.producer.outcome import Delivery, error_of
from binlog.producer.shell import Producer

RESERVE_S = 0.5
ATTEMPT_S = 3.0  # one put's time-outs, see `binlog.logs.kinesis`
ASLEEP_S = (
    60.0  # after which the service's time is asked for: a session may lose so much of its age
)


_OVER = "the invocation's time is over"
_DELEGATED = (
    *("birth_ms", "call_spacing_s", "calls_max", "close", "expect", "frames_per_s", "genesis"),
    *("locate", "name", "now_ms", "params", "read", "settle", "shards", "size_bytes", "stamp"),
)


class Context(Protocol):
    """Lambda's second argument, as far as it is needed."""

    def get_remaining_time_in_millis(self) -> int: ...


class LambdaProducer:
    """Publishes from the handler of a Lambda function; make it outside, once an environment.

    ``reserve_s`` is left of an invocation's time for the handler's own answer; ``attempt_s`` is what
    one attempt takes at most. Not for several threads at once.
    """

    def __init__(
        self,
        log: Log,
        *,
        options: ProducerOptions | None = None,
        reserve_s: float = RESERVE_S,
        attempt_s: float = ATTEMPT_S,
        clock: Clock | None = None,
        **parts: Any,
    ) -> None:
        self._log = log
        self._options = msgspec.structs.replace(options or ProducerOptions(), calls_max=1)
        self._reserve_s = reserve_s
        self._attempt_s = attempt_s
        self._clock = _WakingClock(clock or SystemClock())
        self._clock.leave()
        self._parts = parts
        self._producer: Producer | None = None
        self._current: Invocation | None = None

    @contextmanager
    def invocation(self, context: Context) -> Iterator[Invocation]:
        """What is published inside has its outcome when it is left.

        Raises:
            UnknownOutcomeError, NotSentError: not all of it is acknowledged; with ``deliveries``.
                What the body raises comes first, with a note of these.
            StorageError: the service's time had to be asked for, and there was no answer.
        """
        if self._current is not None:
            raise RuntimeError("an invocation is under way: one environment has one at a time")
        producer = self._awake()
        current = self._current = Invocation(producer, self._window(context), self._log.name)
        try:
            try:
                yield current
            except BaseException as error:
                if (ours := current.finish()) is not None:
                    error.add_note(f"of what was published: {ours}")
                raise
            if (ours := current.finish()) is not None:
                raise ours
        finally:
            self._current = None
            self._clock.leave()

    def _awake(self) -> Producer:
        """The producer, its clocks set after whatever sleep there was."""
        slept_s = self._clock.wake(self._log.params.session_age_ms / 1000)
        if self._producer is None:
            self._producer = Producer(
                cast(Log, _InTime(self._log, self)),
                options=self._options,
                clock=self._clock,
                has_thread=False,
                **self._parts,
            )
        if slept_s >= ASLEEP_S and isinstance(self._log, AsksTime):
            self._log.ask_time()
        return self._producer

    def _window(self, context: Context) -> _Window:
        return _Window(context, self._reserve_s, self._attempt_s)

    def may_try(self) -> bool:
        """Whether an attempt that begins now ends in time."""
        return self._current is not None and self._current.window.holds_an_attempt()


class Invocation:
    """One invocation: what is published in it. See `LambdaProducer.invocation`."""

    def __init__(self, producer: Producer, window: _Window, where: str) -> None:
        self.deliveries: list[Delivery] = []
        """Of all that was published, the ``indexes`` counted through the invocation."""
        self.window = window
        self._producer = producer
        self._where = where
        self._published = 0
        self._told = 0  # deliveries of which `flush` has raised or returned
        self._is_over = False

    def publish(self, envelope: Envelope) -> None:
        """Queue one event; see `publish_many`."""
        self.publish_many([envelope])

    def publish_many(self, envelopes: Sequence[Envelope]) -> None:
        """Queue events, in order. They go when the queue is full, at `flush`, and at the end.

        Raises:
            RefusedError: an envelope that no reader would take; none of them is queued.
            NotSentError: no room, and no time to make any.
        """
        if self._is_over:
            raise RefusedError("the invocation is over", self._where, "publish inside of `with`")
        first = self._published

        def deliver(delivery: Delivery) -> None:
            indexes = [first + index for index in delivery.indexes]
            self.deliveries.append(msgspec.structs.replace(delivery, indexes=indexes))

        self._producer.publish_many(envelopes, on_delivery=deliver)
        self._published += len(envelopes)

    def flush(self) -> list[Delivery]:
        """Return when all that was published before is acknowledged: its deliveries.

        Raises:
            UnknownOutcomeError, NotSentError: it is not, and there is no time left.
        """
        self._flush()
        return self._tell()

    def finish(self) -> BinlogError | None:
        """The end: every event gets its outcome; what `flush` has not told yet, if it is an error."""
        self._is_over = True
        self._flush()
        return error_of(self.deliveries[self._told :])

    def _flush(self) -> None:
        try:
            self._producer.flush(self.window.left_s())
        except TimeoutError:
            self._producer.abandon(_OVER)

    def _tell(self) -> list[Delivery]:
        deliveries = self.deliveries[self._told :]
        self._told = len(self.deliveries)
        error = error_of(deliveries)
        if error is not None:
            raise error
        return deliveries


class _Window:
    """The time that an invocation has for sending."""

    def __init__(self, context: Context, reserve_s: float, attempt_s: float) -> None:
        self._context = context
        self._reserve_s = reserve_s
        self._attempt_s = attempt_s

    def left_s(self) -> float:
        return max(0.0, self._context.get_remaining_time_in_millis() / 1000 - self._reserve_s)

    def holds_an_attempt(self) -> bool:
        return self.left_s() >= self._attempt_s


class _InTime:
    """The log, but that no call is begun that might not end in time."""

    def __init__(self, log: Log, owner: LambdaProducer) -> None:
        for name in _DELEGATED:  # what it does not have it is not asked for
            if hasattr(log, name):
                setattr(self, name, getattr(log, name))
        self._log = log
        self._owner = owner

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        if self._owner.may_try():
            return self._log.append(frames)
        late = NotSentError(
            _OVER,
            self._log.name,
            "give the function a longer timeout, or publish earlier",
        )
        return [Failed(late, untouched=True, final=True)] * len(frames)


class _WakingClock:
    """The machine's clock, whose monotonic time goes on while the environment is frozen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slept_s = 0.0
        self._left = 0.0, 0

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._slept_s

    def leave(self) -> None:
        self._left = self._clock.monotonic(), self._clock.now_ms()

    def wake(self, unknown_s: float) -> float:
        """Seconds since `leave`, by the longer clock; ``unknown_s`` if the wall clock went back."""
        before_s, before_ms = self._left
        ran_s = self._clock.monotonic() - before_s
        passed_s = (self._clock.now_ms() - before_ms) / 1000
        if passed_s < ran_s - 1.0:
            passed_s = max(ran_s, unknown_s)
        self._slept_s += max(0.0, passed_s - ran_s)
        return max(passed_s, ran_s)
