"""A producer process in a world without threads: the real core, driven call by call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

from binlog.clock import ManualClock
from binlog.envelope import Envelope
from binlog.errors import BinlogError, RefusedError
from binlog.log import Failed, Reply
from binlog.logs.kinesis import KinesisLog
from binlog.producer import Delivery, ProducerOptions
from binlog.producer.core import ProducerCore, Send
from binlog.producer.session import Lineage

OPTIONS = ProducerOptions(
    linger_s=0.01,
    frame_bytes_goal=400,
    retry_first_s=0.05,
    retry_most_s=1,
    give_up_s=20,
    queue_wait_s=90,
    calls_max=2,
)


class SteppedProducer:
    """`ProducerCore` on a log; nothing happens but in `call`, and time is the clock's."""

    def __init__(self, log: KinesisLog, clock: ManualClock, random: Random) -> None:
        self._log = log
        self._clock = clock
        self.core = ProducerCore(
            log.params,
            log.genesis,
            options=OPTIONS,
            lineage=Lineage(entropy=random.randbytes, pid=lambda: 1),
            random=random,
            birth_ms=log.birth_ms,
        )

    def publish_many(
        self, envelopes: Sequence[Envelope], *, on_delivery: Callable[[Delivery], None]
    ) -> None:
        taken = self.core.offer(on_delivery, envelopes, self._clock.monotonic())
        assert taken, "the queue is full"

    def call(self, calls_max: int) -> int:
        """Make so many calls, fewer if all is decided before; time passes where it has to wait.

        Two calls may be under way at once; the later one is answered first.
        """
        made = 0
        while made < calls_max and self.core.pending_events:
            sends: list[Send] = []
            while len(sends) < calls_max - made:
                send = self.core.poll(self._clock.monotonic())
                if send is None:
                    break
                sends.append(send)
            self._tell()
            if not sends:
                self._wait()
                continue
            made += len(sends)
            answered = [(send, self._append(send)) for send in sends]
            for send, replies in reversed(answered):
                self.core.reply(send.call, replies, self._clock.monotonic())
            self._tell()
        return made

    def _wait(self) -> None:
        wakeup = self.core.wakeup()
        if wakeup is not None:
            seconds = wakeup - self._clock.monotonic()
            self._clock.advance(max(1, math.ceil(seconds * 1_000)))
        else:
            assert not self.core.pending_events, "it waits for nothing"

    def _append(self, send: Send) -> list[Reply]:
        """As the producer's shell does it."""
        try:
            return self._log.append(send.puts)
        except RefusedError as error:
            failed = Failed(error, untouched=True, final=True)
        except BinlogError as error:
            failed = Failed(error, final=not error.retriable)
        return [failed] * len(send.puts)

    def _tell(self) -> None:
        for on_delivery, delivery in self.core.outcomes():
            assert callable(on_delivery)
            on_delivery(delivery)
