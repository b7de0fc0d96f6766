"""The proofs of archive, snapshots and rebuilds as stories, each of one seed: the same on any machine.

Hypothesis shrinks what it finds, and needs a hundred times as long for an example; these are for many.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from unittest.mock import patch

from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from binlog.testing.world.producers import PARAMS
from snapshots.snapshot_manifest import Manifest
from tests.proofs import adopted, rebuilt
from tests.proofs.archived import CUTS, MOODS, Archived
from tests.proofs.damaged import damage_archive, damage_snapshot
from tests.proofs.hostile import STEP_BYTES
from tests.proofs.kept import KINDS, Kept
from tests.proofs.kept import MOODS as TAKERS
from tests.proofs.parked import Seed
from tests.proofs.whole import PAGE_BYTES

ARCHIVE_RARE = (
    "archived to the end",
    "archiver died",
    "archiver was given no answer",
    "race lost",
    "late",
    "lost after",
    "crash after",
    "segment without events",
    "reshard within a segment",
    "foreign record in a segment",
    "duplicate",
    "duplicate at a cut",
    "forgotten",
    "gone on with in the archive",
    "rebuilt from both",
    "rebuilt from the archive alone",
    "archived while halted",
    "kept decompressed",
    "archive: flipped",
    "archive: cut",
    "archive: gone",
    "archive: not served",
)
SNAPSHOT_RARE = (
    "snapshot",
    "fuzzy snapshot",
    "parked row in a snapshot",
    "tombstone in a snapshot",
    "restored",
    "written while a snapshot was taken",
    "redriven while a snapshot was taken",
    "died while it took a snapshot",
    "gone on with a snapshot",
    "snapshot: flipped",
    "snapshot: cut",
    "snapshot: gone",
    "snapshot: not served",
)
ADOPTION_RARE = (
    "too late",
    "adopted again",
    "base row never touched",
    "base row updated",
    "base row deleted",
    "consumer crashed",
    "broken in the middle of a commit",
    "fuzzy snapshot",
    "begun at a snapshot",
    "rebuilt",
)
REBUILD_RARE = (
    "rebuilt",
    "rebuild killed",
    "rebuild gone on with",
    "begun at the beginning",
    "begun at a snapshot, from stream",
    "begun at a snapshot, from both",
    "begun at a snapshot, from archive",
    "begun at a fuzzy snapshot",
    "begun with exclusions",
    "stopped by poison",
    "base row deleted",
    "base row updated",
    "base row never touched",
    "base row a tombstone",
)


def commits_of(random: Random) -> list[list[Seed]]:
    """Events for `Parked`, in commits."""
    return [
        [_seed(random) for _ in range(random.randrange(2, 9))]
        for _ in range(random.randrange(3, 9))
    ]


def _seed(random: Random) -> Seed:
    return random.randrange(256), random.randrange(256), random.randrange(256)


def archive_story(random: Random) -> Counter[str]:
    """A stream, its archivers, and readers who come late (15, 18, 19)."""
    size = random.choice([1, 1 << 20])  # from which on a frame is compressed
    with tempfile.TemporaryDirectory() as folder, patch("binlog.frame.COMPRESS_FROM_BYTES", size):
        kind = random.choice(["memory", "loose"])
        whole = Archived(kind=kind, kinesis=random.random() < 0.5, folder=Path(folder))
        for _ in range(random.randrange(5, 40)):
            _archive_step(whole, random)
        whole.settle()
        if random.random() < 0.2:
            whole.met.update(damage_archive(whole, random))
        return whole.met


def _archive_step(whole: Archived, random: Random) -> None:
    op = random.randrange(14)
    if op < 5:
        for _ in range(random.randrange(1, 12)):
            whole.producers.step(bytes(random.randrange(256) for _ in range(STEP_BYTES)))
    elif op < 8:
        whole.run_archiver(
            random.randrange(len(MOODS)), random.randrange(len(CUTS)), random.randrange(1 << 16)
        )
        whole.check_archive()
    elif op == 8:
        whole.put_foreign(random.randrange(8))
    elif op == 9:
        if random.random() < 0.3:
            whole.damage(random.randrange(PARAMS.partitions), random.randrange(8))
    elif op == 10:
        whole.forget(random.choice([0, 30, 300, 1_500]))
    elif op == 11:
        whole.replicate(random.randrange(1, 6), random.choice(PAGE_BYTES))
        whole.check_store()
        if random.random() < 0.5:
            whole.resolve(random.randrange(8))
    elif op == 12:
        whole.check_rebuild_alone()
    elif random.random() < 0.5:
        whole.replica.engine = None
    elif not whole.troubled():
        whole.check_rebuild(None)


def snapshot_story(random: Random) -> Counter[str]:
    """A store at work, and what is taken of it (12, 15, 17)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kind = random.choice([*KINDS, "dynamodb", "dynamodb"])
        kept = Kept(commits_of(random), kind=kind, folder=folder)
        taken: list[Manifest] = []
        for number in range(random.randrange(2, 9)):
            if random.random() < 0.5:
                kept.live(random.randrange(8))
                continue
            ops = [random.randrange(8) for _ in range(random.randrange(7))]
            manifest = kept.snapshot(ops, random.randrange(len(TAKERS)), number)
            if manifest is not None:
                kept.check_manifest(manifest)
                taken.append(manifest)
        kept.settle()
        for number, manifest in enumerate(taken[:2]):
            target = SQLiteStore(folder / f"{number}.db") if number else MemoryStore()
            kept.check_restored(kept.check_manifest(manifest), target)
            target.close()
        if taken and random.random() < 0.3:
            kept.met.update(damage_snapshot(kept, taken[-1], random))
        kept.store.close()
        return kept.met


def rebuild_story(random: Random) -> Counter[str]:
    """Tables at a moment, without this and that, from wherever they can begin (15, 19)."""
    # Else a log as small as this one would be one group.
    with patch("snapshots.rebuild.KEPT_BYTES", 1), patch("snapshots.rebuild.GROUP_BYTES", 1):
        return rebuilt.tell(commits_of(random), random, steps=12, checks=4)


STORIES: dict[str, tuple[Callable[[Random], Counter[str]], tuple[str, ...]]] = {
    "archive": (archive_story, ARCHIVE_RARE),
    "snapshot": (snapshot_story, SNAPSHOT_RARE),
    "rebuild": (rebuild_story, REBUILD_RARE),
    "adoption": (adopted.tell, ADOPTION_RARE),
}
"""By name: the story of a seed, and what has to happen in some of them."""


def tell(story: str, seed: int) -> Counter[str]:
    """The story of that seed; what was met.

    Raises:
        AssertionError, BinlogError: something is not what the specification says.
    """
    run, _ = STORIES[story]
    return +run(Random(f"{story} {seed}"))
