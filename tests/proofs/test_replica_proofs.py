"""One log in a directory, read in every way there is: the replicas are identical."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from appliers.store import Store
from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from appliers.summary import summarize
from binlog.clock import ManualClock
from binlog.envelope import Envelope
from binlog.log import Log, Position
from binlog.logs.directory import DirectoryLog
from binlog.logs.directory_genesis import create_directory_log
from binlog.params import Params
from binlog.producer.options import ProducerOptions
from binlog.producer.shell import Producer
from binlog.target import Target
from binlog.testing.world.item_events import item_event
from binlog.testing.world.operators import meaning_of
from binlog.testing.world.specification import Reference
from binlog.testing.world.tables import Tables
from binlog.vector import Vector
from consumers.local import Following, replicate
from snapshots.rebuild import Wanted, rebuild
from tests.proofs.budget import assert_met, examples
from tests.proofs.histories import limits_of
from tests.proofs.whole import assert_replica

PARAMS = Params(log_id="d1" * 16, partitions=5)
"""With the real bounds: what is small here is the number of events."""
seeds = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))


class Events:
    """The numbered events of a log, by the reference."""

    def __init__(self, log: Log) -> None:
        records = log.read(Position(log.shards()[0].id, -1), bytes_max=1 << 30).records
        self.by_partition: list[list[Envelope]] = []
        for partition in range(log.params.partitions):
            mine = [r for r in records if r.partition == partition][1:]
            verdict = Reference(limits_of(log.params), [meaning_of(r) for r in mine]).judge()
            assert verdict.trouble is None
            self.by_partition.append([t.event for t in verdict.sequenced if t.event is not None])

    def vector(self, share: Callable[[int], int] = lambda count: count) -> Vector:
        return {p: share(len(mine)) for p, mine in enumerate(self.by_partition) if share(len(mine))}

    def tables(self, vector: Vector) -> Tables:
        tables = Tables(partitions=PARAMS.partitions)
        for partition, mine in enumerate(self.by_partition):
            for offset, event in enumerate(mine[: vector.get(partition, 0)], 1):
                tables.apply(partition, offset, event)
        return tables


def write(log: Log, commits: list[list[tuple[int, int, int]]], clock: ManualClock) -> None:
    """Two processes write in turn; frames of very different sizes."""
    options = ProducerOptions(frame_bytes_goal=2_000)
    serial = 0
    with ExitStack() as stack:
        producers = [
            stack.enter_context(Producer(log, options=options, clock=clock)) for _ in range(2)
        ]
        for number, commit in enumerate(commits):
            events = []
            for seed in commit:
                serial += 1
                events.append(msgspec.structs.replace(item_event(*seed), time_ms=serial))
            producers[number % 2].append_many(events)
            clock.advance(60_000 if number % 8 == 7 else 10)


def stores(folder: Path) -> Iterator[tuple[str, Store]]:
    for number in range(1_000):
        kind = "sqlite" if number % 2 else "memory"
        yield kind, SQLiteStore(folder / f"{number}.db") if number % 2 else MemoryStore()


def test_every_way_to_read_a_log_ends_in_the_same_replica() -> None:
    """Invariants 15 and 19: workers, batch sizes, engines, cuts, restarts make no difference, and
    what all of them agree on is what the reference says."""
    met: Counter[str] = Counter()

    @examples(0.25)
    @given(
        commits=st.lists(st.lists(seeds, min_size=4, max_size=40), min_size=8, max_size=20),
        cut=st.integers(0, 6),
        workers=st.integers(2, 4),
        page_bytes=st.sampled_from([1, 700, 5_000, 1 << 22]),
    )
    def holds(
        commits: list[list[tuple[int, int, int]]], cut: int, workers: int, page_bytes: int
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="binlog-proofs-"))
        try:
            read_in_every_way(folder, commits, cut, workers, page_bytes, met)
        finally:
            shutil.rmtree(folder)

    holds()
    assert_met(met, ["rows", "tombstones", "rejections", "cut inside a frame"])


def read_in_every_way(
    folder: Path,
    commits: list[list[tuple[int, int, int]]],
    cut: int,
    workers: int,
    page_bytes: int,
    met: Counter[str],
) -> None:
    clock = ManualClock()
    create_directory_log(folder / "log", PARAMS, clock=clock)
    log = DirectoryLog(folder / "log", clock=clock, segment_bytes=4_096)
    write(log, commits, clock)
    events = Events(log)
    end, part = events.vector(), events.vector(lambda count: count * cut // 6)
    fresh = stores(folder)
    how = Following(once=True, page_bytes=page_bytes)
    for vector in (end, part):
        tables = events.tables(vector)
        summaries = []
        for number in (1, workers):
            _, store = next(fresh)
            target = Target() if vector is end else Target(vector=vector)
            rebuild(log, store, Wanted(target=target), workers=number)
            assert_replica(store, tables)
            summaries.append(summarize(store))
            [generation] = store.generations()
            places = store.checkpoints(generation.id).values()
            met["cut inside a frame"] += any(c.applied > c.offset for c in places)
            # A live consumer goes on from where the rebuild stopped, perhaps within a frame.
            replicate(log, store, how)
            assert_replica(store, events.tables(end))
            store.close()
        assert summaries[0] == summaries[1]
    for _ in range(2):
        _, store = next(fresh)
        replicate(log, store, how)
        assert_replica(store, events.tables(end))
        store.close()
    log.close()
    tables = events.tables(end)
    cells = [cell for _, _, cell in tables]
    met["rows"] += len(cells)
    met["tombstones"] += sum(cell.deleted for cell in cells)
    met["rejections"] += len(tables.refused)
    met["events"] += sum(map(len, events.by_partition))
