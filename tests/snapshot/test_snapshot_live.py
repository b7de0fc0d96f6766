"""Snapshots of a store that others write to, put back, rebuild, and that is read by two at once."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from appliers.stores import MemoryStore
from binlog.target import Target
from snapshots.rebuild import Wanted, rebuild
from snapshots.restore import restore
from tests.snapshot.live_world import (
    BROKEN,
    RULES,
    LiveWorld,
    content,
    opened,
    settled,
)

SEEDS = 75
SHARE = 15


@cache
def lived(begin: int) -> Counter[str]:
    """What happened in a share of the seeds; each is judged on the way."""
    seen: Counter[str] = Counter()
    for seed in range(begin, begin + SHARE):
        with TemporaryDirectory() as directory:
            seen += live(Path(directory), seed)
    return seen


def live(directory: Path, seed: int) -> Counter[str]:
    world = LiveWorld(directory / "log", seed)
    world.append(20)
    world.carry(world.random.randrange(30))
    manifest = world.finished()
    seen = world.seen
    seen["inexact"] += not manifest.is_exact
    seen["letters"] += bool(manifest.letters)
    seen["rejections"] += bool(manifest.rejections)
    restored = MemoryStore()
    BROKEN.clear()
    BROKEN.add(2)
    report = restore(opened(world, manifest), restored, log=world.log, rules=RULES)
    assert report.vector == {p: o for p, o in manifest.exact.items() if o}, seed
    if not seen["put back"]:
        # What was put back is not in the log, and so in no other replica at that vector.
        reference = MemoryStore()
        target = Target(vector=manifest.exact)
        rebuild(world.log, reference, Wanted(rules=RULES, poison="park", target=target))
        found, wanted = content(restored), content(reference)
        for table in manifest.generation.tables:
            wanted[1].setdefault(table, {})
        assert found == wanted, f"seed {seed}: not what a replica is at {manifest.exact}"
        seen["compared where it stood"] += 1
    assert settled(world, restored) == world.at_the_end(), f"seed {seed}: not live's end"
    return seen


@pytest.mark.parametrize("begin", range(0, SEEDS, SHARE))
def test_a_snapshot_and_what_follows_is_what_live_becomes(begin: int) -> None:
    """Exact where it stands, and at the log's end every event is in, those that waited too (N1, N2)."""
    assert lived(begin)


def test_every_rare_situation_happens() -> None:
    """Else the test above proves less than it says."""
    seen = sum((lived(begin) for begin in range(0, SEEDS, SHARE)), Counter[str]())
    for what in (
        *("inexact", "letters", "rejections", "compared where it stood"),
        *("put back", "killed", "beside", "rebuilt", "team"),
    ):
        assert seen[what] > 3, f"{what}: {seen}"
