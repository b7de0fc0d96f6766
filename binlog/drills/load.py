"""Producers that do not stop: in threads of the drill's process, paced, each with keys of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from random import Random

from binlog.drills.action import Action, Source
from binlog.drills.ledger import Book
from binlog.log import Log
from binlog.producer import Producer, ProducerOptions

TICK_S = 0.05
JOIN_S = 60.0


class Load:
    """``producers`` threads that append ``rate`` events a second together, until `stop`.

    Each does so every ``every_s``, what is due then at once.

    A producer that is held up (a log that is away, a queue that is full) does not catch up afterwards:
    an application behind it would not, either.
    """

    def __init__(
        self,
        book: Book,
        open_log: Callable[[], Log],
        source: Source,
        *,
        rate: float,
        producers: int,
        seed: str,
        options: ProducerOptions | None = None,
        tag: str = "",
        every_s: float = TICK_S,
    ) -> None:
        self._every_s = every_s
        self._book = book
        self._open_log = open_log
        self._source = source
        self.rate = rate
        self._options = options
        self._tag = tag
        self._stop = threading.Event()
        self.failed: list[BaseException] = []
        self._threads = [
            threading.Thread(
                target=self._guarded,
                args=(f"{seed}p{number}", rate / producers),
                name=f"load-{number}",
                daemon=True,
            )
            for number in range(producers)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """On return every event has its outcome.

        Raises:
            TimeoutError: a producer does not come to an end.
            BaseException: what a producer failed with.
        """
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_S)
            if thread.is_alive():
                raise TimeoutError(f"{thread.name} has not ended after {JOIN_S:.0f} s")
        self.check()

    def check(self) -> None:
        """Raise what a producer has failed with."""
        if self.failed:
            raise self.failed[0]

    @property
    def is_running(self) -> bool:
        return not self._stop.is_set()

    def _guarded(self, name: str, rate: float) -> None:
        try:
            self._publish(name, rate)
        except BaseException as error:  # noqa: BLE001 - raised where somebody looks
            self.failed.append(error)

    def _publish(self, name: str, rate: float) -> None:
        actions = self._source(Random(name), name)
        with (
            contextlib.closing(self._open_log()) as log,
            Producer(log, options=self._options) as producer,
        ):
            due = 0.0
            last = time.monotonic()
            while not self._stop.is_set():
                now = time.monotonic()
                due += (min(now - last, 2 * self._every_s)) * rate
                last = now
                if (count := int(due)) > 0:
                    due -= count
                    self._book.publish(producer, name, list(islice(actions, count)), tag=self._tag)
                self._stop.wait(self._every_s)
            self._book.resolve(producer)


def append(
    book: Book,
    log: Log,
    name: str,
    actions: Sequence[Action],
    *,
    options: ProducerOptions | None = None,
    tag: str = "",
) -> str:
    """Append these at once, by a producer of their own; its session, as `--exclude` names it."""
    with Producer(log, options=options) as producer:
        made = book.publish(producer, name, actions, tag=tag)
        book.resolve(producer)
    return next((entry.session for entry in made if entry.session), "")
