"""Frames of a broken program, which wait for others that may never come: halts, and decisions."""

from __future__ import annotations

import pytest

from binlog.errors import RefusedError
from binlog.halt import EXPIRED_HELD, HOLD_BOUND
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.world import World


def stray(world: World, *places: tuple[int, int], partition: int = 0) -> None:
    """Frames of one family, by generation and number."""
    for generation, number in places:
        world.stray(partition, 0, generation, number)


def lifted(world: World) -> list[tuple[str, str]]:
    return [(trouble.rule, decision) for trouble, decision in world.truth.verdict(0).lifted]


def test_one_record_that_halts_for_two_sessions_names_the_one_that_is_undecided() -> None:
    """Found by a seed: the first halt was reported again, and its decision asked for for ever."""
    world = World()
    stray(world, (1, 2), (2, 2))
    world.tick(PARAMS.session_life_ms + 1)
    world.noop(0)
    halted = []
    for _ in range(2):
        world.consume(0)
        [halt] = world.replicas[0].halts
        halted.append(halt.session)
        world.resolve(0)
    assert [session and session[-2:] for session in halted] == [".1", ".2"]
    world.settle()
    assert lifted(world) == [(EXPIRED_HELD, "accept")] * 2


@pytest.mark.parametrize(
    ("which", "decision", "events"), [(0, "hold", 7), (1, "gap", 7), (2, "skip", 6)]
)
def test_too_many_that_wait_are_decided_upon(which: int, decision: str, events: int) -> None:
    """What comes after a gap that is given up is there, and so is all that was waited for."""
    world = World()
    stray(world, *((1, number) for number in range(2, 3 + PARAMS.hold_frames_max)))
    world.consume(0)
    world.resolve(0, which)
    world.consume(0)
    world.check()
    assert lifted(world) == [(HOLD_BOUND, decision)]
    stray(world, (1, 1))  # it comes after all; if it was given up, it is too late
    world.settle()
    strays = [t for t in world.truth.verdict(0).sequenced if t.session.generation == 1]
    numbers = {t.number for t in strays if t.event and t.event.id.startswith("0.0.1.")}
    assert len(numbers) == events + (decision != "gap")


def test_a_generation_waits_for_the_one_before_it_until_that_has_expired() -> None:
    """And closes it when it begins."""
    world = World()
    stray(world, (2, 1), (1, 1))
    world.consume(0)
    world.check()
    assert [t.session.generation for t in world.truth.verdict(0).sequenced] == [1]
    stray(world, (1, 2), (1, 3))
    world.settle()
    assert world.met["closed"] == 1


def test_refuses_what_no_session_has() -> None:
    with pytest.raises(RefusedError, match="each from 1 on"):
        World().stray(0, 0, 0, 1)
