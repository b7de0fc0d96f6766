"""Calls of DynamoDB: one attempt each, repeated by us, many at once, and counted.

The SDK repeats nothing: behind its back a conditional write whose reply was lost is made twice, and
comes back as a failed condition on the caller's own write. What may be repeated blindly `Calls.call`
repeats; who cannot, uses `Calls.once` and `Calls.tries`.

How many calls are under way at a time goes by what the service takes: one more after each round
without a throttle, half as many after one (`Calls.width`).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, TypeVar

import msgspec

from appliers.stores.dynamodb_rate import WriteRate
from binlog.aws.errors import THROTTLES, error_code, trouble, was_refused
from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError, SpentError

_Item = TypeVar("_Item")

WIDTH = 24
"""Most calls at a time. One process of Python makes some 2,000 puts a second, each 3 to 8 ms long."""
WIDTH_FIRST = 8
PATIENCE_S = 60.0  # with one call that does not come through
UNREACHED_S = 8.0  # where nothing answers at all
_PAUSE_FIRST_S, _PAUSE_MOST_S = 0.025, 3.0

MISSING = "ResourceNotFoundException"
CONDITION = "ConditionalCheckFailedException"
INVALID = "ValidationException"


class Units(msgspec.Struct):
    """Consumed capacity units, as the service says them; and calls that were made for them."""

    read: float = 0.0
    write: float = 0.0
    calls: int = 0
    throttled: int = 0  # calls, or parts of one, that were not done for want of capacity


class Calls:
    """The calls of one handle of a store. Any thread may make one."""

    def __init__(
        self,
        connect: Callable[[], Any],
        name: str,
        *,
        clock: Clock | None = None,
        pause: Callable[[float], None] = time.sleep,
        random: Random | None = None,
        width: int = WIDTH,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``connect`` makes a client whose calls are made once."""
        self.name = name
        self.units = Units()
        self.write_units_max = math.inf
        self.write_rate = WriteRate()  # of rows that are loaded, see `keep_rate`
        self.clock = clock or SystemClock()
        self._pause = pause
        self._ends = threading.Event()  # what is under way is not begun anew
        self.width_max = width
        self._connect = connect
        self._random = random or Random()
        self._patience_s = patience_s
        self._width = float(min(width, WIDTH_FIRST))
        self._narrowed = 0  # by a throttle, so many times
        self._lock = threading.Lock()
        self._pid = 0
        self._client: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._heard = 0, 0.0  # the last Date, ms, and when it came

    def pause(self, seconds: float) -> None:
        """Let time go by, unless it is over (`hasty`)."""
        if self._pause is time.sleep:
            self._ends.wait(seconds)
        elif not self._ends.is_set():
            self._pause(seconds)

    @contextmanager
    def hasty(self) -> Iterator[None]:
        """Meanwhile no call is made again: what it takes at most is one time-out."""
        self._ends.set()
        try:
            yield
        finally:
            self._ends.clear()

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """Meanwhile a call is made again for so long at most."""
        before, self._patience_s = self._patience_s, min(self._patience_s, seconds)
        try:
            yield
        finally:
            self._patience_s = before

    # -- one call ------------------------------------------------------------------------------

    def check_unspent(self) -> None:
        """Before items are written; what is under way by then may go beyond by `WIDTH` writes.

        Raises:
            SpentError: so many write units are consumed.
        """
        if self.units.write >= self.write_units_max:
            raise SpentError(
                f"{self.units.write:,.0f} write units are consumed, as many as were allowed",
                self.name,
                "allow more: --max-units (a replicate goes on where it was, a rebuild begins anew)",
                consumed=self.units.write,
                limit=self.write_units_max,
            )

    def keep_rate(self) -> None:
        """Before rows are loaded: wait, if more is consumed than the rate allows."""
        while True:
            with self._lock:
                wait_s = self.write_rate.wait_s(self.units.write, self.clock.monotonic())
            if wait_s <= 0 or self._ends.is_set():
                return
            self.pause(wait_s)

    @property
    def unspent(self) -> float:
        """Write units that may still be consumed."""
        return max(0.0, self.write_units_max - self.units.write)

    @property
    def client(self) -> Any:
        """This process's."""
        if self._pid != os.getpid():
            # Neither connections nor a lock that somebody holds go over a fork.
            self._lock, self._pool, self._client = threading.Lock(), None, None
            self._pid = os.getpid()
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def once(self, operation: str, **request: Any) -> Any:
        """One attempt; what goes wrong is the SDK's own error."""
        reply = getattr(self.client, operation)(**request)
        self._hear(operation, reply)
        return reply

    def call(self, operation: str, *tolerated: str, **request: Any) -> Any:
        """A call that may be made any number of times; ``None`` if it ends in a ``tolerated`` code.

        Raises:
            StorageError: it did not come through in `PATIENCE_S`.
            BinlogError: as `trouble` says.
        """
        for again in self.tries():
            try:
                return self.once(operation, **request)
            except BinlogError:
                raise
            except Exception as error:  # noqa: BLE001 - the SDK's, told apart by `tries`
                if error_code(error) in tolerated:
                    return None
                again(error)
        raise AssertionError("unreachable")

    def tries(self) -> Iterator[Callable[[BaseException], None]]:
        """One try after the other, each with what to call when it failed: raises if that is final.

        Pauses are drawn from 0 to a bound that doubles ("full jitter"): those that were throttled
        together do not come back together.
        """
        begun, bound_s = self.clock.monotonic(), _PAUSE_FIRST_S
        failed: list[BaseException] = []
        while True:
            yield failed.append
            if not failed:
                return
            error = failed.pop()
            said = trouble(error, self.name)
            if error_code(error) in THROTTLES:
                self.throttled()
            elif not said.retriable or (was_refused(error) and error_code(error)):
                raise said from error
            # Of a call that was never made a person is to hear soon: the endpoint may be wrong.
            is_refused = was_refused(error) and error_code(error) not in THROTTLES
            patience_s = min(UNREACHED_S, self._patience_s) if is_refused else self._patience_s
            if self.clock.monotonic() - begun >= patience_s or self._ends.is_set():
                raise said from error
            self.pause(self._random.uniform(0, bound_s))
            bound_s = min(2 * bound_s, _PAUSE_MOST_S)

    def unprocessed(self, begun: float, attempt: int) -> None:
        """Wait before what a batch left out is sent again.

        Raises:
            StorageError: this went on for `PATIENCE_S`.
        """
        self.throttled()
        if self.clock.monotonic() - begun >= self._patience_s or self._ends.is_set():
            raise trouble(_UnprocessedError(), self.name)
        bound_s = min(_PAUSE_FIRST_S * 2 ** min(attempt, 10), _PAUSE_MOST_S)
        self.pause(self._random.uniform(0, bound_s))

    # -- many ----------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """Calls at a time, at the moment."""
        return max(1, int(self._width))

    def throttled(self) -> None:
        with self._lock:
            self.units.throttled += 1
            self._narrowed += 1
            self._width = max(1.0, self._width / 2)

    def each(self, work: Callable[[_Item], object], items: Iterable[_Item]) -> None:
        """Do ``work`` for each, `width` at a time, in no order; raises what one of them raises.

        On return, whatever way, nothing is under way. Ctrl-C waits for that as long as one call may
        take, whose outcome is then unknown: no call is made again.
        """
        left = deque(items)
        narrowed = self._narrowed
        if len(left) == 1 or self.width_max == 1:
            while left:
                work(left.popleft())
            return
        errors: list[BaseException] = []

        def run(number: int) -> None:
            # One that is beyond the width of the moment stops, and its share is the others'.
            while not errors and (number == 0 or number < self.width):
                try:
                    item = left.popleft()
                except IndexError:
                    return
                try:
                    work(item)
                except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                    errors.append(error)

        if left:
            pool = self._threads()
            futures = [pool.submit(run, n) for n in range(min(self.width, len(left)))]
            try:
                wait(futures)
            except BaseException:  # Ctrl-C
                left.clear()
                with self.hasty():
                    wait(futures)
                raise
        if errors:
            raise errors[0]
        with self._lock:
            if self._narrowed == narrowed:
                wider = self._width + 1 if narrowed else self._width * 2
                self._width = min(float(self.width_max), wider)

    def _threads(self) -> ThreadPoolExecutor:
        _ = self.client  # forgets a pool of the parent's
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.width_max, "dynamodb")
            return self._pool

    def rest(self) -> None:
        """End the threads; a later call makes new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.shutdown()

    def close(self) -> None:
        """End the threads and connections of this process; a later call makes new ones."""
        self.rest()
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    # -- what replies say beside their content ---------------------------------------------------

    def now_ms(self) -> int:
        """The service's time by its replies' Date, to the second; before the first, our own."""
        date_ms, at = self._heard
        if not date_ms:
            return self.clock.now_ms()
        return date_ms + int(max(0.0, self.clock.monotonic() - at) * 1000)

    def _hear(self, operation: str, reply: Mapping[str, Any]) -> None:
        consumed = reply.get("ConsumedCapacity", ())
        consumed = [consumed] if isinstance(consumed, Mapping) else consumed or ()
        units = sum(float(each.get("CapacityUnits", 0.0)) for each in consumed)
        with self._lock:
            self.units.calls += 1
            if operation in _READS:
                self.units.read += units
            else:
                self.units.write += units
        headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        date = headers.get("date")
        if date is not None and self.clock.monotonic() - self._heard[1] >= 1:
            try:
                moment = parsedate_to_datetime(date)
            except (TypeError, ValueError):
                return
            moment = moment.replace(tzinfo=moment.tzinfo or UTC)
            self._heard = int(moment.timestamp()) * 1000, self.clock.monotonic()


_READS = frozenset({"batch_get_item", "get_item", "query", "scan"})


class _UnprocessedError(Exception):
    """What the service does not do, and gives no error for."""

    def __init__(self) -> None:
        self.response = {
            "Error": {
                "Code": "ProvisionedThroughputExceededException",
                "Message": "items of a batch were left out again and again",
            },
            "ResponseMetadata": {"HTTPStatusCode": 400},
        }
        super().__init__("unprocessed")
