"""S7 under restarts, reshards, targets and several consumers: no foreign record is ever lost.

A state machine over a log that others write to as well. Consumers each carry some partitions, are
killed after any step of a commit, and start again; a rebuild and the real engine run beside them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from appliers.applier import NO_RULES
from appliers.starts import starts_of
from appliers.stores import MemoryStore
from binlog.clock import ManualClock
from binlog.foreign import Foreign
from binlog.log import Shard
from binlog.reader import Reader
from binlog.target import END, Target
from binlog.testing.world.store import Crashed, Kept, Moved, WorldStore
from consumers.engine import Engine
from snapshots.rebuild import Wanted, checkpoint_of, rebuild
from tests.relay.foreign_world import (
    KEYS,
    PARTITIONS,
    all_foreign,
    append_native,
    distance,
    expected_home,
    must_be_kept,
    new_log,
)

SHARES = [(0, 2), (1,), (3,)]  # of the consumers that share a store
met: Counter[str] = Counter()


class ForeignMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1_000_000)
        self.log = new_log(self.clock)
        self.sessions = 0
        # One store that three consumers share, and one that the engine carries.
        self.shared, self.whole = WorldStore(), WorldStore("memory:whole")
        self.generations = []
        for store in (self.shared, self.whole):
            store.bind(self.log.genesis)
            made = store.create(tables=None, fingerprint="f", excluded=())
            self.generations.append(made)
        self.engine: Engine | None = None

    @initialize(cuts=st.lists(st.integers(0, PARTITIONS), max_size=4))
    def begin(self, cuts: list[int]) -> None:
        """Some shards of the beginning, of any width, that of no partition too."""
        for cut in cuts:
            self.log.split(self.open_shards()[cut % len(self.open_shards())], cut)

    def open_shards(self) -> list[str]:
        return [shard.id for shard in self.log.shards() if not shard.closed]

    # -- who writes ------------------------------------------------------------------------------

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def publish(self, partition: int) -> None:
        self.sessions += 1
        append_native(self.log, partition, self.sessions)

    @rule(
        data=st.data(),
        key=st.sampled_from(KEYS),
        count=st.integers(1, 3),
        where=st.sampled_from(["its own", "another's", "nobody's", "anywhere"]),
    )
    def put_foreign(self, data: st.DataObject, key: str, count: int, where: str) -> None:
        held = {s.id: s for s in self.log.shards() if not s.closed}
        fits = [id_ for id_, shard in held.items() if where == _whose(shard, key)]
        shard = data.draw(st.sampled_from(fits or sorted(held)))
        for _ in range(count):
            self.log.inject_foreign(key, data.draw(st.binary(max_size=40)), shard=shard)
        home = expected_home(held[shard], key, PARTITIONS)
        met["foreign"] += count
        met["foreign where there is no partition"] += home is None
        met["foreign off its slice"] += home is not None and distance(home, key, PARTITIONS) > 0
        self.clock.advance(1)

    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        if len(self.open_shards()) < 7:
            shard = data.draw(st.sampled_from(self.open_shards()))
            self.log.split(shard, data.draw(st.integers(0, PARTITIONS)))
            met["split"] += 1

    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        if len(self.open_shards()) > 1:
            pair = data.draw(st.permutations(self.open_shards()))[:2]
            self.log.merge(*pair)
            met["merge"] += 1

    # -- who reads -------------------------------------------------------------------------------

    @rule(
        share=st.sampled_from(SHARES),
        pages=st.integers(1, 6),
        page_bytes=st.sampled_from([1, 200, 1 << 20]),
        crash_after=st.none() | st.integers(0, 4),
        limits=st.none() | st.lists(st.integers(0, 6), min_size=PARTITIONS, max_size=PARTITIONS),
    )
    def consume(
        self,
        share: tuple[int, ...],
        pages: int,
        page_bytes: int,
        crash_after: int | None,
        limits: list[int] | None,
    ) -> None:
        """A process begins at the store's checkpoints, carries its partitions on, and ends."""
        store, generation = self.shared, self.generations[0].id
        target = END if limits is None else Target(vector=dict(enumerate(limits)))
        reader = Reader(
            self.log,
            partitions=share,
            starts=starts_of(self.log, store.name, store.checkpoints(generation)),
            target=target,
            page_bytes=page_bytes,
        )
        store.crash_after = crash_after
        with suppress(Crashed):
            for _ in range(pages):
                runs = reader.read()
                moved = [checkpoint_of(reader, p) for p in reader.partitions]
                known = store.checkpoints(generation)
                places = [c for c in moved if known.get(c.partition) != c]
                store.commit(generation, [], places, foreign=reader.foreign)
                if runs is None:
                    met["consumer at the end"] += 1
                    break
        met["target"] += target is not END
        met["killed"] += crash_after is not None and store.crash_after is None
        store.crash_after = None

    @rule(pages=st.integers(1, 4), crash_after=st.none() | st.integers(0, 5))
    def carry(self, pages: int, crash_after: int | None) -> None:
        """The engine goes on, or is killed and replaced."""
        if self.engine is None:
            self.engine = Engine(
                self.log, self.whole, self.generations[1], NO_RULES, page_bytes=150
            )
        self.whole.crash_after = crash_after
        try:
            for _ in range(pages):
                self.engine.step()
        except Crashed:
            met["engine killed"] += 1
            self.engine = None
        self.whole.crash_after = None

    @rule(back_ms=st.none() | st.integers(0, 3))
    def rebuild_elsewhere(self, back_ms: int | None) -> None:
        """A rebuild finds again what its checkpoints go by; to the end, all there is."""
        target = END if back_ms is None else Target(time_ms=self.log.now_ms() - back_ms)
        store = MemoryStore()
        rebuild(self.log, store, Wanted(target=target))
        [generation] = store.generations()
        found = set(store.foreign())
        everything = {record for _, record in all_foreign(self.log)}
        assert must_be_kept(self.log, store.checkpoints(generation.id)) <= found <= everything
        assert target is not END or found == everything
        store.close()

    # -- what holds ------------------------------------------------------------------------------

    @invariant()
    def nothing_that_was_passed_is_missing(self) -> None:
        everything = {record for _, record in all_foreign(self.log)}
        for store, generation in zip((self.shared, self.whole), self.generations, strict=True):
            kept = list(store.foreign())
            assert set(kept) <= everything, "kept what is not in the log"
            assert len({record.place for record in kept}) == len(kept)
            missing = must_be_kept(self.log, store.checkpoints(generation.id)) - set(kept)
            assert not missing, f"passed and not kept: {missing}"
            self.check_journal(store)

    def check_journal(self, store: WorldStore) -> None:
        """At every moment: the record is durable before the checkpoint that goes by it."""
        kept: set[Foreign] = set()
        standing: dict[int, Any] = {}
        for entry in store.journal:
            if isinstance(entry, Kept):
                assert entry.foreign.place not in {record.place for record in kept}
                kept.add(entry.foreign)
            elif isinstance(entry, Moved):
                standing[entry.checkpoint.partition] = entry.checkpoint
        assert must_be_kept(self.log, standing) <= kept

    def teardown(self) -> None:
        """At rest: every record is kept, by the shared consumers together and by the engine."""
        for share in SHARES:
            self._finish(share)
        engine = Engine(self.log, self.whole, self.generations[1], NO_RULES)
        while engine.step() is not None:
            pass
        engine.checkpoint()
        everything = sorted((record for _, record in all_foreign(self.log)), key=lambda r: r.place)
        assert list(self.shared.foreign()) == everything
        assert list(self.whole.foreign()) == everything

    def _finish(self, share: tuple[int, ...]) -> None:
        store, generation = self.shared, self.generations[0].id
        starts = starts_of(self.log, store.name, store.checkpoints(generation))
        reader = Reader(self.log, partitions=share, starts=starts)
        while reader.read() is not None:
            store.commit(generation, [], [], foreign=reader.foreign)
        known = store.checkpoints(generation)
        places = [checkpoint_of(reader, p) for p in reader.partitions]
        store.commit(generation, [], [c for c in places if known.get(c.partition) != c])


def _whose(shard: Shard, key: str) -> str:
    home = expected_home(shard, key, PARTITIONS)
    if home is None:
        return "nobody's"
    return "another's" if distance(home, key, PARTITIONS) else "its own"


SITUATIONS = [
    "foreign",
    "foreign where there is no partition",
    "foreign off its slice",
    "split",
    "merge",
    "consumer at the end",
    "target",
    "killed",
    "engine killed",
]


def test_no_foreign_record_is_lost_whatever_happens_to_its_readers() -> None:
    """S7, and every situation that the rule is for is met."""
    met.clear()
    run_machine(ForeignMachine, settings=settings(max_examples=60, stateful_step_count=30))
    print(dict(met))
    assert not [name for name in SITUATIONS if not met[name]]
