"""What a hostile log does to a frame, by script or by chance; `binlog.logs.memory` does it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from random import Random

import msgspec

from binlog.log import Put


class Fate(Enum):
    """What becomes of one frame."""

    LAND = "land"
    DUPLICATE = "duplicate"  # lands twice, acknowledged once: a retry inside somebody's SDK
    LOSE_REPLY = "lose reply"  # lands; the caller hears of a failure
    LATE = "late"  # does not land yet; the caller hears of a failure
    LOSE = "lose"  # never lands; the caller hears of a failure
    THROTTLE = "throttle"  # refused before anything happened


class Ghost(msgspec.Struct, frozen=True, gc=False):
    """A frame under way: its caller has been told of a failure, and it may land yet."""

    partition: int
    data: bytes


class Chaos(msgspec.Struct):
    """Fates by chance, as weights against ``land``; `land_ghost`, `shuffle` are probabilities."""

    random: Random
    land: float = 8.0
    duplicate: float = 1.0
    lose_reply: float = 1.0
    late: float = 1.0
    lose: float = 1.0
    throttle: float = 1.0
    land_ghost: float = 0.3  # before each call, for each ghost under way
    shuffle: float = 0.5  # of the frames of a call, those of one partition in their order

    def fate(self) -> Fate:
        weights = [getattr(self, fate.name.lower()) for fate in Fate]
        return self.random.choices(list(Fate), weights)[0]

    def landing_order(self, puts: Sequence[Put]) -> list[int]:
        """Indexes of ``puts``; those of one partition keep their order among themselves."""
        order = list(range(len(puts)))
        if self.random.random() < self.shuffle:
            self.random.shuffle(order)
            queues: dict[int, deque[int]] = {}
            for index, put in enumerate(puts):
                queues.setdefault(put.partition, deque()).append(index)
            order = [queues[puts[index].partition].popleft() for index in order]
        return order
