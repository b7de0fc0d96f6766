"""The world's producers, driven by steps of a few bytes each, which Hypothesis makes and shrinks."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from binlog.envelope import Envelope
from binlog.log import Record
from binlog.testing.world.producers import FOUND_LATER, OPTIONS, PARAMS, PROCESSES, Producers
from tests.proofs.histories import small_event

STEP_BYTES = 6
TICKS = (
    *[1] * 10,
    *[3] * 10,
    *[7] * 8,
    *[15] * 6,
    30,
    30,
    45,
    85,
    85,
    90,
    120,
    319,
    321,
    399,
    401,
    600,
    999,
    1_002,
)
FATES = (
    *["land"] * 10,
    *["duplicate"] * 2,
    *["lose reply"] * 4,
    *["late"] * 4,
    *["lose"] * 3,
    *["throttle"] * 3,
    *[FOUND_LATER] * 3,
)
# Queues are long then, and frames grow old in them.
OPTIONS_OF_SMALL_FRAMES = tuple(
    msgspec.structs.replace(options, frame_bytes_goal=150, id_window=index != 1)
    for index, options in enumerate(OPTIONS)
)


class HostileProducers(Producers):
    """Their happenings, by numbers."""

    def __init__(
        self, *, kinesis: bool, make_event: Callable[[int, int, int], Envelope] | None = None
    ) -> None:
        super().__init__(kinesis=kinesis, options=OPTIONS_OF_SMALL_FRAMES)
        self.make_event = make_event or (lambda a, _b, _c: small_event(a))

    def step(self, step: bytes) -> None:
        op, who, a, b, c, d = step
        index = who % PROCESSES
        op %= 32
        if op == 0 and d % 2:
            self.leave_a_ghost(index, self.make_event(a, b, c))
        elif op == 1 and d % 4 == 0:
            self.grow_old(self.make_event(a, b, c))
        elif op < 9:
            seeds = ((a, b, c), (b, c, a), (c, a, b))[: 1 + d % 3]
            self.publish(index, [self.make_event(*seed) for seed in seeds])
        elif op < 22:
            self.work(index, (a, b), reply_at_once=c % 4 > 0)
        elif op < 24:
            self.answer(index)
        elif op < 27:
            self.tick(TICKS[a % len(TICKS)])
        elif op == 27:
            self.again(index, a)
        elif op == 28:
            self.land(a)
        elif op == 29:
            self.find_delayed()
        elif op == 30:
            self.reshard(a)
        elif a % 4 == 0:
            self.kill(index)
        else:
            self.forget(index)

    def work(self, index: int, fates: tuple[int, int], *, reply_at_once: bool) -> None:
        """One process makes its next call; two places among `FATES` say what its frames meet."""
        chosen = [FATES[(fates[i % 2] + i // 2) % len(FATES)] for i in range(PARAMS.partitions)]
        self.call(index, chosen, answered=reply_at_once)

    def leave_a_ghost(self, index: int, event: Envelope) -> None:
        """A frame is late, its session gives it up, and the next one goes on in its partition."""
        for fate, wait_ms in (("late", 410 if index == 2 else 85), ("land", 1)):
            self.publish(index, [event])
            self.tick(5)
            self.call(index, [fate])
            self.tick(wait_ms)
            self.call(index)

    def grow_old(self, event: Envelope) -> None:
        """A frame is refused for so long that its session is too old for it."""
        for fate, wait_ms in (("land", 300), ("throttle", 145), ("land", 1)):
            self.publish(2, [event])
            self.tick(5)
            self.call(2, [fate])
            self.tick(wait_ms)

    def overtake(self, index: int, event: Envelope) -> None:
        """An acknowledged frame is found behind the one that was sent after it."""
        for fate in (FOUND_LATER, "land"):
            self.publish(index, [event])
            self.tick(5)
            self.call(index, [fate])

    def records(self, partition: int) -> list[tuple[str, Record]]:
        return self.log.records(partition)
