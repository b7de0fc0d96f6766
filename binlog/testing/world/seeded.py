"""A run of the world from one seed: the same steps and the same outcome on every machine.

A seed is written ``w1-HEX``; 1 is the version of the generator here, so that a seed never silently
means another run. From it follow a run's `Parameters` and its steps, plain data of a name and
arguments: some can be left out, or made smaller, and `play` still takes them.

Only those methods of `random.Random` are used whose results are the same in all Python versions.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from appliers.applier import NO_RULES
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.testing.world.domain import CARTS, cart_event
from binlog.testing.world.item_events import item_event, poison_event
from binlog.testing.world.outcome import digest_of
from binlog.testing.world.scenes import Dice, Parameters, Step, Writer
from binlog.testing.world.world import World

__all__ = [
    "VERSION",
    "Outcome",
    "Parameters",
    "Step",
    "event_of",
    "happen",
    "parse_seed",
    "play",
    "run",
    "seed_text",
    "steps_of",
]

VERSION = 1
"""Raised whenever a seed comes to mean another run."""
_SEED = re.compile(r"w([0-9]+)-([0-9a-f]{1,32})", re.ASCII)


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


def steps_of(seed: str) -> tuple[Parameters, list[Step]]:
    """What a seed means.

    Raises:
        RefusedError: see `parse_seed`.
    """
    dice = Dice(parse_seed(seed))
    parameters = Parameters(kinesis=dice.one_in(2), domain=dice.one_in(2))
    return parameters, Writer(dice, parameters).write()
