"""A run of the world from one seed: the same steps and the same outcome on every machine.

A seed is written ``w1-HEX``; 1 is the version of the generator here, so that a seed never silently
means another run. From it follow a run's `Parameters` and its steps, plain data of a name and
arguments: some can be left out, or made smaller, and `play` still takes them.

Not every run has every trouble. Each draws a few (a swarm), since troubles hide each other: a log
that is halted all the time shows nothing of zombies.

Only those methods of `random.Random` are used whose results are the same in all Python versions.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeAlias

import msgspec

from appliers.applier import NO_RULES
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.testing.world.domain import CARTS, cart_event
from binlog.testing.world.item_events import item_event, poison_event
from binlog.testing.world.outcome import digest_of
from binlog.testing.world.producers import PARAMS, PROCESSES
from binlog.testing.world.truth import PARTITIONS
from binlog.testing.world.world import World

VERSION = 1
"""Raised whenever a seed comes to mean another run."""
EVENTS_MIN = 500
_SEED = re.compile(r"w([0-9]+)-([0-9a-f]{1,32})", re.ASCII)

Step: TypeAlias = tuple[str, tuple[Any, ...]]


class Parameters(msgspec.Struct, frozen=True):
    """What is fixed about a run before its first step."""

    kinesis: bool
    domain: bool  # a quarter of the events is of `binlog.testing.world.domain`


class Outcome(msgspec.Struct, frozen=True):
    """What a run came to. ``digest`` covers log, journals and ledger."""

    seed: str
    events: int
    met: Counter[str]
    digest: str


def seed_text(number: int) -> str:
    """The seed of a number, as it is shown to people."""
    return f"w{VERSION}-{number:x}"


def parse_seed(text: str) -> int:
    """The number of a seed.

    Raises:
        RefusedError: no seed, or one of another version of the generator.
    """
    found = _SEED.fullmatch(text)
    if not found:
        raise RefusedError(f"the seed {text!r}", do=f"write it as w{VERSION}-HEX")
    if int(found[1]) != VERSION:
        raise RefusedError(
            f"the seed {text!r} is of version {found[1]} of the simulated world, this is version"
            f" {VERSION}: here it would be another run",
            do=f"repeat it with the release of binlog that printed it, or run one of w{VERSION}-HEX",
        )
    return int(found[2], 16)


def run(seed: str) -> Outcome:
    """The whole run of a seed, judged.

    Raises:
        RefusedError: see `parse_seed`.
        Violation: a law is broken.
    """
    parameters, steps = steps_of(seed)
    collects = gc.isenabled()
    gc.disable()  # nothing of a run is garbage before its end
    try:
        world = play(parameters, steps)
        return Outcome(seed, world.events, +world.met, digest_of(world))
    finally:
        if collects:
            gc.enable()


def play(parameters: Parameters, steps: Sequence[Step], *, tell: bool = False) -> World:
    """A world in which ``steps`` have happened and all has come to rest.

    Raises:
        Violation: a law is broken; with story and test if ``tell``.
    """
    world = World(
        CARTS if parameters.domain else NO_RULES,
        kinesis=parameters.kinesis,
        tell=tell,
        name="CARTS",
    )
    for name, args in steps:
        happen(world, name, args)
    world.settle()
    return world


def happen(world: World, name: str, args: tuple[Any, ...]) -> None:
    """One step."""
    if name == "publish":
        process, seeds = args
        world.publish(process, [event_of(*seed) for seed in seeds])
    elif name == "call":
        process, fates, answered = args
        world.call(process, *fates, answered=answered)
    elif name == "crash":
        replica, after, heard = args
        world.crash(replica, after, heard=heard)
    else:
        getattr(world, name)(*args)


def event_of(kind: int, a: int, b: int, c: int) -> Envelope:
    """The event of four small numbers. ``kind`` 1: of the domain, 2: one that nothing can take."""
    if kind == 1:
        return cart_event(a, b, c)
    return poison_event(a, c) if kind == 2 else item_event(a, b, c)


# -- from a seed to steps ------------------------------------------------------------------------


def steps_of(seed: str) -> tuple[Parameters, list[Step]]:
    """What a seed means.

    Raises:
        RefusedError: see `parse_seed`.
    """
    dice = Dice(parse_seed(seed))
    parameters = Parameters(kinesis=dice.one_in(2), domain=dice.one_in(2))
    return parameters, _Writer(dice, parameters).write()


class Dice:
    """Small random numbers, the same everywhere."""

    def __init__(self, seed: int) -> None:
        self._bits = Random(seed).getrandbits

    def below(self, bound: int) -> int:
        """From 0 to ``bound`` - 1."""
        return self._bits(32) * bound >> 32

    def one_in(self, count: int) -> bool:
        return not self.below(count)

    def of(self, values: Sequence[Any]) -> Any:
        """One of them."""
        return values[self.below(len(values))]


_WAITS = (1, 3, 3, 7, 15, 30, 45, 85, 90, 120, 319, 321, 401, 600, 999, 1_002)
_TROUBLES = ("duplicate", "lose reply", "late", "lose", "throttle", "found later")
_TURNS = ((1, 1), (3, 1), (2, 2), (1, 5), (1_000, 20), (1_000, 1_000), (1_000, 1_000))
_SIZES = (1, 1, 2, 4, 8, 32, 80, 200)


class _Writer:
    """Writes the steps of one run."""

    def __init__(self, dice: Dice, parameters: Parameters) -> None:
        self._dice = dice
        self._domain = parameters.domain
        self._steps: list[Step] = []
        self._events = 0
        self._damages = 0
        self._poisons = dice.one_in(4)
        # A swarm: of the troubles some, and of these some often.
        self._fates = [fate for fate in _TROUBLES if dice.below(2)] or ["late"]
        self._trouble = dice.of((0, 2, 4, 8))  # frames of 16 that meet one
        self._scenes: list[Callable[[], None]] = [self._work] * 10 + [self._consume] * 5
        for scene, often in (
            (self._ghost, 2),
            (self._overtaken_frame, 1),
            (self._wait, 2),
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
            (self._rebuild, 1),
            (self._drill, 1),
        ):
            if dice.below(3):
                continue
            self._scenes += [scene] * (often * (1 + dice.below(2)))

    def write(self) -> list[Step]:
        while self._events < EVENTS_MIN:
            self._dice.of(self._scenes)()
        return self._steps

    def _add(self, name: str, *args: Any) -> None:
        self._steps.append((name, args))

    def _call(self, process: int, *fates: str, answered: bool = True) -> None:
        self._steps.append(("call", (process, [*fates], answered)))

    # -- scenes ----------------------------------------------------------------------------------

    def _publish(self, process: int, count: int) -> None:
        below = self._dice.below
        seeds = [
            [int(self._domain and below(4) == 0), below(256), below(256), below(256)]
            for _ in range(count)
        ]
        if self._poisons and not below(8):
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
            self._add("tick", 5)
            self._call(2, fate)
            self._add("tick", wait_ms)

    def _late_answer(self) -> None:
        process = self._dice.below(PROCESSES)
        self._publish(process, 2)
        self._add("tick", 5)
        self._call(process, self._fate(), answered=False)
        self._add("tick", self._dice.of((3, 30, 90, 401)))
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
        self._add("resolve", dice.below(2), dice.below(4))

    def _rebuild(self) -> None:
        if self._dice.one_in(2):
            replica = self._dice.below(2)
            self._add("rebuild", replica)
            self._work()
            self._add("wake", replica, 2)

    def _drill(self) -> None:
        if self._dice.one_in(3):
            self._add("drill", *[self._dice.below(8) for _ in PARTITIONS])
