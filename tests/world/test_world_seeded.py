"""A seed is one run, on any machine, and every rare thing happens in some of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from binlog.errors import RefusedError
from binlog.testing.world.outcome import digest_of
from binlog.testing.world.seeded import VERSION, play, run, seed_text, steps_of
from tests.proofs.budget import assert_met

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/golden/world_seeds.json").read_text())
EVENTS_MIN = 200
RUNS = 80
MUST_HAPPEN = (
    "ACKNOWLEDGED",
    "UNKNOWN",
    "FAILED",
    "Expired",
    "broken in the middle of a commit",
    "closed",
    "commit timed out",
    "condition failed",
    "consumer crashed",
    "copies",
    "damaged",
    "duplicate",
    "emitted again",
    "expired",
    "forgotten family",
    "found later",
    "ghost landed",
    "halted",
    "held",
    "id_reused",
    "killed",
    "poison",
    "rebuild halted",
    "rebuilt",
    "rebuilt elsewhere",
    "rebuilt generation lost by the old consumer",
    "rejected expectation",
    "reply lost",
    "resharded in the middle",
    "resolved",
    "stale read",
    "throttle",
    "tombstone",
    "zombie write",
)


@pytest.mark.parametrize("seed", GOLDEN)
def test_a_seed_is_one_run_on_any_machine(seed: str) -> None:
    """Log, journals and ledger are those of the machine that noted them down; another generator
    needs another version."""
    assert seed.startswith(f"w{VERSION}-")
    assert run(seed).digest == GOLDEN[seed]


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_the_order_of_sets_and_dicts_changes_no_run(hash_seed: str) -> None:
    """Text is hashed otherwise in every process."""
    seeds = list(GOLDEN)[:4]
    code = (
        "import sys; from binlog.testing.world.seeded import run\n"
        "print(*[run(seed).digest for seed in sys.argv[1:]])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, *seeds],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [GOLDEN[seed] for seed in seeds]


def test_every_rare_thing_happens() -> None:
    """Invariant 24: a run that never met it proves nothing of it. And each run is long enough."""
    met: Counter[str] = Counter()
    for number in range(RUNS):
        outcome = run(seed_text(number))
        assert outcome.events >= EVENTS_MIN
        met.update(outcome.met)
    assert_met(met, MUST_HAPPEN)


def test_steps_are_plain_data_of_which_any_may_be_left_out() -> None:
    """A failure is made small by leaving steps out, and kept as text."""
    parameters, steps = steps_of(seed_text(3))
    again = [(name, tuple(args)) for name, args in json.loads(json.dumps(steps))]
    assert digest_of(play(parameters, again)) == digest_of(play(parameters, steps))
    for keep in range(3):
        play(parameters, [step for place, step in enumerate(steps) if place % 3 != keep])


@pytest.mark.parametrize(
    ("seed", "says"),
    [
        ("w2-1f", "is of version 2 of the simulated world, this is version 1"),
        ("w0-1", "with the release of binlog that printed it"),
        ("1f", "write it as w1-HEX"),
        ("w1-", "write it as w1-HEX"),
        ("w1-1F", "write it as w1-HEX"),
        ("w1-xyz", "write it as w1-HEX"),
    ],
)
def test_refuses_what_is_no_seed_of_this_version(seed: str, says: str) -> None:
    """It would be another run, and nobody would know."""
    with pytest.raises(RefusedError, match=says):
        run(seed)
