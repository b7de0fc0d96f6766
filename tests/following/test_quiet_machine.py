"""Whatever a stream forgets, and whoever looks at it when: nothing is passed over in silence.

Hypothesis writes, waits for hours or days, splits, merges, and lowers and raises the retention,
while stores are looked at daily or hourly, followed, and killed. Judged by what was published:

* a look that succeeds leaves the store at the end of the log, with every event ever published;
* a look that comes soon enough after the last one always succeeds, however quiet the log was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from appliers.stores import MemoryStore
from binlog.errors import BinlogError, MismatchError, TrimmedError
from binlog.logs.kinesis_stream import EDGE_MS, RETENTION_MIN_MS
from consumers.engine import Engine
from consumers.rows import REFRESH_MS
from consumers.thrift import IDLE_S
from tests.following.quiet_world import Counting, QuietWorld, settle
from tests.log.kinesis_double import HASH_MAX
from tests.log.log_frames import PARAMS

reached: Counter[str] = Counter()
LONGEST_MS = RETENTION_MIN_MS - EDGE_MS - 60_000  # less whole seconds, and the calls of a look
SITUATIONS = (
    "went on, its place forgotten",
    "went on after days of looks without a record",
    "refused, with records in between",
    "refused, with none in between",
    "killed and gone on with",
    "retention lowered",
    "resharded",
)


class QuietStream(RuleBasedStateMachine):
    """One store of one stream, and at most one consumer that follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.begin(paid=True, how="skipped", kinesalite=False)

    @initialize(
        paid=st.booleans(), how=st.sampled_from(["skipped", "refused"]), kinesalite=st.booleans()
    )
    def begin(self, paid: bool, how: str, kinesalite: bool) -> None:
        self.begun = paid, how, kinesalite
        self.world = QuietWorld()
        self.world.double.trimmed_is = how  # type: ignore[assignment]
        if kinesalite:
            self.world.double.behind_is_always_0 = self.world.double.counts_forgotten = True
        self.store: MemoryStore = Counting(paid=paid)
        self.engine: Engine | None = None
        self.was_killed = False
        self.looked_ms = self.world.clock.now_ms()  # what the rows know at least
        self.silent_looks = 0
        self.new = 0  # events since the last look
        self.look()

    # -- the world -------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([0.2, 1, 6, 12, 20, 23.5, 26]))
    def wait(self, hours: float) -> None:
        self.world.hours(hours)

    @rule(partition=st.integers(0, PARAMS.partitions - 1), count=st.integers(1, 3))
    def publish(self, partition: int, count: int) -> None:
        self.world.publish(partition, count)
        self.new += count
        self.silent_looks = 0

    @rule(hours=st.sampled_from([24, 48, 168]))
    def keep_for(self, hours: int) -> None:
        stream = self.world.stream
        if hours < stream.retention_hours:
            reached["retention lowered"] += 1
            stream.retention_hours = hours
            stream.trim(self.world.clock.now_ms())
        stream.retention_hours = hours

    @rule(data=st.data())
    def reshard(self, data: st.DataObject) -> None:
        stream, now_ms = self.world.stream, self.world.clock.now_ms()
        shards = sorted(
            (s for s in stream.shards.values() if s.closed_ms is None), key=lambda s: s.low
        )
        if len(shards) > 1 and data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(shards) - 2))
            stream.merge(shards[at].id, shards[at + 1].id, now_ms)
        elif len(shards) < 3:
            shard = data.draw(st.sampled_from(shards))
            at = (shard.low + min(shard.high, HASH_MAX)) // 2 + 1
            stream.split(shard.id, at, now_ms)
        reached["resharded"] += 1

    # -- who looks -------------------------------------------------------------------------------

    @rule()
    def look(self) -> None:
        """A process of its own; where one followed, that was killed."""
        self.kill()
        self.judged(lambda: self.world.look(self.store))

    @rule(hours=st.sampled_from([1, 12, 22]), count=st.integers(2, 5), stays=st.booleans())
    def look_now_and_then(self, hours: int, count: int, stays: bool) -> None:
        """Nothing is written meanwhile: days may go by."""
        for _ in range(count):
            self.wait(hours)
            (self.follow if stays else self.look)()

    @rule(partition=st.integers(0, PARAMS.partitions - 1), hours=st.sampled_from([20, 23.9, 26]))
    def be_away(self, partition: int, hours: float) -> None:
        """Something comes, and may be gone again before anybody looks."""
        self.kill()
        self.publish(partition, 1)
        self.wait(hours)
        self.look()

    @rule()
    def follow(self) -> None:
        """Some polls, until nothing comes any more; it writes what rows it wants."""

        def polls() -> None:
            if self.engine is None:
                self.engine = self.world.follower(self.store)
            settle(self.engine)
            self.world.clock.advance(round(IDLE_S * 1000))
            settle(self.engine)

        self.judged(polls)

    @rule()
    def kill(self) -> None:
        self.was_killed |= self.engine is not None
        self.engine = None

    def judged(self, look: Callable[[], None]) -> None:
        world, now_ms = self.world, self.world.clock.now_ms()
        known_ms = self.looked_ms - (REFRESH_MS if self.engine is None else 0)
        try:
            look()
        except (TrimmedError, MismatchError) as error:
            if now_ms <= known_ms + LONGEST_MS:
                hours = (now_ms - known_ms) / 3_600_000
                raise AssertionError(f"refused {hours:.2f} h after the last look") from error
            reached[f"refused, with {'records' if self.new else 'none'} in between"] += 1
            self.begin(*self.begun)
            return
        if self.engine is None:
            have = world.applied(self.store)
        else:
            have = self.engine.reader.vector()
        assert have == world.vector, f"{have}, published {world.vector}"
        rows = world.rows(self.store).values()
        stream = world.stream
        edge_ms = stream.edge_ms(now_ms)
        places = {row.sequence for row in rows if row.sequence >= 0}
        there = {
            r.sequence for s in stream.shards.values() for r in s.records if r.arrival_ms >= edge_ms
        }
        if places and not places & there:
            reached["went on, its place forgotten"] += 1
        self.silent_looks += 1
        if self.silent_looks > 3 and places and not places & there:
            reached["went on after days of looks without a record"] += 1
        if self.was_killed:
            reached["killed and gone on with"] += 1
            self.was_killed = False
        self.new = 0
        self.looked_ms = now_ms

    def teardown(self) -> None:
        self.store.close()


def test_nothing_is_passed_over_and_who_looks_often_enough_goes_on() -> None:
    reached.clear()
    long = settings.get_current_profile_name() == "long"
    run_state_machine_as_test(
        QuietStream,
        settings=settings(max_examples=400 if long else 30, stateful_step_count=40),
    )
    print(dict(reached))
    missing = [situation for situation in SITUATIONS if reached[situation] < 3]
    assert not missing, f"hardly ever reached: {missing} of {dict(reached)}"


def test_a_failure_of_the_judge_is_no_refusal() -> None:
    """What the machine takes for a refusal is one of two errors, and no assertion."""
    assert issubclass(TrimmedError, BinlogError)
    assert not issubclass(AssertionError, BinlogError)
