"""The directory log on a file system that fails at every step, in every way, one after the other.

Every step of the workload of `tests.log.directory_world` is made to fail in each way that such a
step can fail; each time the ledger of what the users were told is compared with what the log gives.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.log.directory_world import World
from tests.log.filesystem_double import FAULTS, LOSSES, Killed, Loss, PowerLost

# After an error that was survived, the power fails at the end: these losses differ most.
LATE_LOSSES = [
    Loss("none", "none"),
    Loss("all", "last"),
    Loss("zeros", "all"),
    Loss("second half", "none"),
    Loss("first torn", "all"),
]


def steps_of_the_workload() -> list[str]:
    world = World()
    world.workload()
    return world.machine.steps


STEPS = steps_of_the_workload()


def test_workload_without_faults_meets_every_path() -> None:
    """If the workload missed a path, the enumeration below would prove nothing about it."""
    world = World()
    world.workload()
    files = world.machine.root.names["data"].names["log"].names  # type: ignore[union-attr]
    assert sum(name.endswith(".seg") for name in files) == 2
    assert len(files["aside"].names) == 1  # type: ignore[union-attr]
    assert {"ftruncate", "create", "mkdir", "rename", "pwrite", "fsync", "fdatasync"} == set(STEPS)
    assert len(world.acknowledged) == 13
    assert len(world.delivered) == 2 + 13 + 2
    world.verify()


def test_power_failure_at_every_step_loses_nothing_acknowledged() -> None:
    """Whatever of the unsynced bytes, sizes and names survives, the log says what it promised."""
    states = 0
    for step in range(len(STEPS)):
        world = World({step: "power"})
        with pytest.raises(PowerLost):
            world.workload()
        for loss in LOSSES:
            _verify(world, {step: "power"}, loss)
            states += 1
    print(f"\n{len(STEPS)} steps, {states} power failures explored")


def test_error_or_death_at_every_step_loses_nothing_acknowledged() -> None:
    """The others go on, the power fails at the end or not: the ledger holds."""
    states = 0
    kinds: Counter[str] = Counter()
    for step, kind in enumerate(STEPS):
        for fault in FAULTS[kind]:
            if fault == "power":
                continue
            plan = {step: fault}
            world = _run(plan)
            _verify(world, plan)
            for loss in LATE_LOSSES:
                _verify(world, plan, loss)
            states += 1 + len(LATE_LOSSES)
            kinds[fault] += 1
    print(f"\n{len(STEPS)} steps, {states} states explored; faults: {dict(kinds)}")
    assert all(kinds.values())


@pytest.mark.parametrize("fault", ["dropped", "evicted", "half written"])
def test_power_failure_soon_after_a_failed_fsync(fault: str) -> None:
    """A second fsync proves nothing: what followed the failed one must have been written again."""
    states = 0
    for step, kind in enumerate(STEPS):
        if not kind.endswith("sync"):
            continue
        for later in range(step + 1, min(step + 16, len(STEPS) - 1)):
            plan = {step: fault, later: "power"}
            world = _run(plan)
            for loss in LATE_LOSSES:
                _verify(world, plan, loss)
                states += 1
    print(f"\n{states} states explored")
    assert states > 1_000


def _run(plan: dict[int, str]) -> World:
    world = World(plan)
    with _naming(plan), contextlib.suppress(PowerLost):
        world.workload()
    return world


def _verify(world: World, plan: dict[int, str], *losses: Loss) -> None:
    with _naming(plan, *losses):
        world.copy().verify(*losses)


@contextlib.contextmanager
def _naming(plan: dict[int, str], *losses: Loss) -> Iterator[None]:
    """Say with an error which faults led to it."""
    try:
        yield
    except (Exception, Killed) as error:
        steps = {step: (STEPS[step], fault) for step, fault in plan.items()}
        error.add_note(f"faults: {steps}; then {losses}")
        raise


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_every_fault_after_every_fault() -> None:
    """All pairs: what one fault leaves must not make the next one harmful."""
    states = 0
    for step, kind in enumerate(STEPS):
        for fault in FAULTS[kind]:
            for later in range(step + 1, len(STEPS)):
                for then in FAULTS[STEPS[later]] if fault != "power" else ():
                    plan = {step: fault, later: then}
                    world = _run(plan)
                    for loss in LATE_LOSSES[:1] if then != "power" else LATE_LOSSES:
                        _verify(world, plan, loss)
                        states += 1
    print(f"\n{states} states explored")
