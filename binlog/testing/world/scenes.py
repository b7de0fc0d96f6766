"""What happens in a run: scenes, drawn one after the other, and written as steps of plain data.

A scene is a few happenings that belong together, since what is rare takes several steps in order: a
frame that is late, given up, overtaken by the next session's, and then lands.

Not every run has every trouble. Each draws a few (a swarm), since troubles hide each other: a log
that is halted all the time shows nothing of zombies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeAlias

import msgspec

from binlog.testing.world.producers import PARAMS, PROCESSES
from binlog.testing.world.truth import PARTITIONS

EVENTS_MIN = 500

Step: TypeAlias = tuple[str, tuple[Any, ...]]


class Parameters(msgspec.Struct, frozen=True):
    """What is fixed about a run before its first step."""

    kinesis: bool
    domain: bool  # a quarter of the events is of `binlog.testing.world.domain`


class Dice:
    """Small random numbers, the same everywhere."""

    def __init__(self, seed: int) -> None:
        self.bits = Random(seed).getrandbits

    def below(self, bound: int) -> int:
        """From 0 to ``bound`` - 1."""
        return self.bits(32) * bound >> 32

    def one_in(self, count: int) -> bool:
        return not self.below(count)

    def of(self, values: Sequence[Any]) -> Any:
        """One of them."""
        return values[self.below(len(values))]


_WAITS = (1, 3, 3, 7, 15, 30, 45, 85, 90, 120, 319, 321, 401, 600, 999, 1_002)
_OTHER_PARTITIONS = ((1, 0), (1, 8), (0, 9), (8, 17))  # first numbers of events
_TROUBLES = ("duplicate", "lose reply", "late", "lose", "throttle", "found later")
_TURNS = ((1, 1), (3, 1), (2, 2), (1, 5), (1_000, 20), (1_000, 1_000), (1_000, 1_000))
_STRAYS = (  # generations and numbers, in order
    ((1, 2),),
    ((1, 2), (1, 3), (1, 1)),
    ((1, 3), (1, 2), (1, 5)),
    ((2, 1),),
    ((1, 1), (2, 1), (2, 2)),
    ((2, 1), (1, 1), (1, 2)),
    ((1, 2), (2, 1), (2, 2)),
    ((2, 2), (2, 1), (1, 3), (1, 1)),
    ((1, 2), (2, 2), (3, 1), (3, 2)),
    ((2, 1), (3, 1), (1, 1), (1, 2)),
    ((3, 1), (2, 1), (2, 2), (1, 1), (1, 2)),
    tuple((1, number) for number in range(2, 11)),
    ((1, 1), *((1, number) for number in range(3, 10))),
    tuple((2, number) for number in range(1, 9)),
)
_SIZES = (1, 1, 2, 4, 8, 32, 80, 200)


class Writer:
    """Writes the steps of one run."""

    def __init__(self, dice: Dice, parameters: Parameters) -> None:
        self._dice = dice
        self._domain = parameters.domain
        self._steps: list[Step] = []
        self._events = 0
        self._damages = 0
        self._strays = 0
        self._poisons = dice.one_in(4)
        # A swarm: of the troubles some, and of these some often.
        self._fates = [fate for fate in _TROUBLES if dice.below(2)] or ["late"]
        self._trouble = dice.of((0, 2, 4, 8))  # frames of 16 that meet one
        self._scenes: list[Callable[[], None]] = [self._work] * 16 + [self._consume] * 6
        for scene, often in (
            (self._ghost, 2),
            (self._overtaken_frame, 1),
            (self._wait, 2),
            (self._overtaken_session, 1),
            (self._retries, 2),
            (self._refused, 1),
            (self._late_answer, 1),
            (self._grow_old, 1),
            (self._crash, 3),
            (self._race, 2),
            (self._late_zombie, 1),
            (self._restart, 1),
            (self._kill, 1),
            (self._forget, 1),
            (self._again, 2),
            (self._reshard, 1),
            (self._hold_back, 1),
            (self._damage, 1),
            (self._stray, 2),
            (self._rebuild, 1),
            (self._drill, 1),
        ):
            if dice.below(3):
                continue
            self._scenes += [scene] * (often * (1 + dice.below(2)))

    def write(self) -> list[Step]:
        """All of them; some more events than `EVENTS_MIN`."""
        while self._events < EVENTS_MIN:
            self._dice.of(self._scenes)()
        return self._steps

    def _add(self, name: str, *args: Any) -> None:
        self._steps.append((name, args))

    def _call(self, process: int, *fates: str, answered: bool = True) -> None:
        self._steps.append(("call", (process, [*fates], answered)))

    # -- scenes ----------------------------------------------------------------------------------

    def _publish(self, process: int, count: int) -> None:
        below, bits = self._dice.below, self._dice.bits
        seeds = [
            [
                int(self._domain and drawn >> 24 < 64),
                drawn >> 16 & 255,
                drawn >> 8 & 255,
                drawn & 255,
            ]
            for drawn in (bits(32) for _ in range(count))
        ]
        if self._poisons and not below(16):
            seeds[below(count)][0] = 2
        self._events += count
        self._add("publish", process, seeds)

    def _fate(self) -> str:
        dice = self._dice
        return dice.of(self._fates) if dice.below(16) < self._trouble else "land"

    def _work(self) -> None:
        """Somebody publishes a little or a lot, and it is sent."""
        dice, process = self._dice, self._dice.below(PROCESSES)
        count = dice.of(_SIZES)
        self._publish(process, count)
        self._add("tick", 5)
        for _ in range(1 + dice.below(2) + count // 40):
            self._call(process, *[self._fate() for _ in range(1 + dice.below(2))])

    def _ghost(self) -> None:
        """A frame is late, its session gives it up, the next one goes on; then it may land."""
        dice, process = self._dice, self._dice.below(PROCESSES)
        for fate, wait_ms in (("late", 410 if process == 2 else 85), ("land", 1)):
            self._publish(process, 1)
            self._add("tick", 5)
            self._call(process, fate)
            self._add("tick", wait_ms)
            self._call(process, "land")
        if dice.one_in(3):
            self._add("tick", dice.of((50, 700, 1_050)))
            self._add("noop", dice.below(PARAMS.partitions))
        if dice.below(3):  # else it may never land
            self._add("land", dice.below(3))

    def _overtaken_frame(self) -> None:
        """An acknowledged frame is found behind the one that was sent after it."""
        process = self._dice.below(PROCESSES)
        for fate in ("found later", "land"):
            self._publish(process, 1)
            self._add("tick", 5)
            self._call(process, fate)
        if self._dice.one_in(2):
            self._consume()
            self._add("find_delayed")

    def _grow_old(self) -> None:
        """A frame is refused for so long that its session is too old for it."""
        for fate, wait_ms in (("land", 300), ("throttle", 145), ("land", 1)):
            self._publish(2, 1)
            self._publish(2, 1)
            self._add("tick", 5)
            self._call(2, fate)
            self._add("tick", wait_ms)

    def _refused(self) -> None:
        """A frame is refused until it is given up: it never left, and its session goes on."""
        dice, process = self._dice, self._dice.below(2)
        for fate, wait_ms in (("land", 1), ("throttle", 85), ("land", 1))[dice.below(2) :]:
            self._publish(process, 1)
            self._add("tick", 5)
            self._call(process, fate)
            self._add("tick", wait_ms)

    def _retries(self) -> None:
        """A frame is sent again and again, and perhaps given up before any of it is heard."""
        dice, process = self._dice, self._dice.below(PROCESSES)
        self._publish(process, dice.of((1, 4)))
        self._add("tick", 5)
        self._call(process, dice.of(("lose reply", "late")))
        for _ in range(1 + dice.below(2)):
            self._add("tick", 20)
            self._call(process, dice.of(("throttle", *_TROUBLES)))
        self._add("tick", dice.of((1, 85, 410)))
        self._call(process)

    def _overtaken_session(self) -> None:
        """An acknowledged frame is found behind one of the next generation of its family."""
        dice, process = self._dice, self._dice.below(2)
        lost, found = dice.of(_OTHER_PARTITIONS)
        for place, wait_ms, fates in (
            (found, 1, ("land",)),
            (lost, 68, ("late",)),
            (found, 12, ("lose", "found later")),
            (None, 1, ()),  # the first one is given up, which ends the session
            (found, 1, ("land",)),
        ):
            if place is not None:
                self._events += 1
                self._add("publish", process, [[0, place, dice.below(256), dice.below(256)]])
                self._add("tick", 5)
            self._call(process, *fates)
            self._add("tick", wait_ms)
        if dice.one_in(2):
            self._consume()
        self._add("find_delayed")

    def _late_answer(self) -> None:
        process = self._dice.below(PROCESSES)
        self._publish(process, 2)
        self._add("tick", 5)
        self._call(process, self._fate(), answered=False)
        self._add("tick", self._dice.of((3, 30, 90, 401)))
        if self._dice.one_in(2):  # it finds out that it is late, or goes on with other partitions
            self._call(process, self._fate())
        self._add("answer", process)

    def _wait(self) -> None:
        self._add("tick", self._dice.of(_WAITS))

    def _consume(self) -> None:
        dice = self._dice
        self._add("consume", dice.below(2), *dice.of(_TURNS))

    def _crash(self) -> None:
        dice = self._dice
        self._add("crash", dice.below(2), dice.below(8), dice.one_in(2))

    def _race(self) -> None:
        """Two consumers of one store, one amid the other."""
        dice, replica = self._dice, self._dice.below(2)
        self._add("zombie", replica, dice.of((1, 1_000)))
        self._work()
        for _ in range(1 + dice.below(2)):
            by, at = dice.of(("zombie", "consumer")), dice.of(("read", "write"))
            self._add("overtake", replica, by, at, dice.of((1, 2, 1_000)))
        if dice.one_in(2):
            self._add("wake", replica, 1 + dice.below(3))

    def _late_zombie(self) -> None:
        """It writes what it read when it was alone, record by record, about the same items."""
        dice, replica = self._dice, self._dice.below(2)
        self._add("consume", replica, 1_000, 1_000)
        self._add("zombie", replica, 1)
        a, b, c = dice.below(2) * 8 + 1, dice.below(16), dice.below(16)
        for number in range(4):
            self._events += 1
            self._add("publish", 0, [[0, a, b + number, c + number]])
            self._add("tick", 5)
            self._call(0, "land")
        if dice.one_in(2):
            self._add("consume", replica, 1_000, 1_000)
            self._add("wake", replica, 1 + dice.below(4))
        else:
            self._add("overtake", replica, "zombie", "write", 1 + dice.below(4))

    def _restart(self) -> None:
        self._add("restart", 0)

    def _kill(self) -> None:
        self._add("kill", self._dice.below(PROCESSES))

    def _forget(self) -> None:
        self._add("forget", self._dice.below(PROCESSES))

    def _again(self) -> None:
        dice, process = self._dice, self._dice.below(PROCESSES)
        self._add("again", process, dice.below(8))
        self._add("tick", 5)
        self._call(process, "land")

    def _reshard(self) -> None:
        self._add("reshard", self._dice.below(2))

    def _hold_back(self) -> None:
        self._add("hold_back")
        self._work()
        self._consume()
        self._add("release")

    def _damage(self) -> None:
        """At most two in a run: what is halted shows nothing else."""
        dice = self._dice
        if self._damages < 2 and dice.one_in(2):
            self._damages += 1
            self._add("damage", dice.below(PARAMS.partitions), dice.below(64))
            self._work()
            self._consume()
            if dice.one_in(3):  # who is halted stays where it is
                self._add("reshard", dice.below(2))
                self._work()
                self._consume()
        self._add("resolve", dice.below(2), dice.below(4))

    def _stray(self) -> None:
        """Frames that wait for others, which may never come; then somebody decides on them."""
        dice, partition = self._dice, self._dice.below(PARAMS.partitions)
        if self._strays < 2 and dice.below(2):
            self._strays += 1
            for generation, number in dice.of(_STRAYS):
                self._add("stray", partition, self._strays, generation, number)
            self._work()
            self._consume()
            if dice.one_in(3):
                self._add("reshard", dice.below(2))
            if dice.one_in(2):
                self._add("tick", dice.of((500, 1_002)))
                self._add("noop", partition)
                self._consume()
        elif self._strays:
            self._add("stray", partition, self._strays, 1, 1)
        self._add("resolve", dice.below(2), dice.below(4))
        self._consume()

    def _rebuild(self) -> None:
        if self._dice.one_in(2):
            replica = self._dice.below(2)
            self._add("rebuild", replica)
            self._work()
            self._add("wake", replica, 2)

    def _drill(self) -> None:
        if self._dice.one_in(3):
            self._add("drill", *[self._dice.below(8) for _ in PARTITIONS])
