"""A paced shard's process: its share, its parts, and that it lets go when nobody waits for it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import consumers.kcl_child
import consumers.pacer
from appliers.stores.memory import MemoryStore
from binlog.clock import ManualClock
from binlog.errors import RefusedError
from binlog.log import Record, Shard
from consumers.delivery import Outcome
from consumers.kcl_daemon import Supervised
from consumers.kcl_health import STOPPING, WORKER, is_stopping
from consumers.kcl_pace import ShardPace, share_of
from consumers.kcl_settings import Settings, settings_of
from consumers.kcl_shard import EXIT_FAILED, LEASE_LOST, Delivered
from consumers.metrics import write_json
from consumers.pace import Setting
from consumers.pacer import write_setting
from tests.cli.running import binlog
from tests.kcl.kcl_doubles import Checkpoints, ScriptedWays, ScriptedWorker, sequences, started
from tests.lambda_consumer.function_world import FunctionWorld

ARRIVED_MS = 1_700_000_000_000
EACH = 10  # events of a record


def records(first: int, count: int, *, size: int = 100) -> list[Delivered]:
    return [Delivered(first + n, 0, ARRIVED_MS + n, "p0000", b"x" * size) for n in range(count)]


class Counting(ScriptedWorker):
    """Every record has ten events, of which each makes an item; remembers when."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.done: list[float] = []  # when each event was applied

    def apply(self, shard: str, records: Sequence[Record], *, closed: bool = False) -> Outcome:
        super().apply(shard, records, closed=closed)
        self.clock.advance(5)
        self.done += [self.clock.monotonic()] * (EACH * len(records))
        return Outcome(None, None, events=EACH * len(records), writes=EACH * len(records))


class FakeLog:
    """As much of a log as a pace asks."""

    name = "kinesis://orders"

    def __init__(self, clock: ManualClock) -> None:
        self.now_ms = clock.now_ms


@pytest.fixture
def world() -> FunctionWorld:
    return FunctionWorld(shards=1)


@pytest.fixture
def ways() -> ScriptedWays:
    made = ScriptedWays()
    made.worker = Counting(made.clock)
    return made


def pace(
    ways: ScriptedWays,
    setting: Setting,
    *,
    share: float = 1.0,
    store: Any = None,
    reads: float | None = None,
) -> ShardPace:
    """A shard's, which has that share of 64 partitions."""
    log: Any = FakeLog(ways.clock)
    log.params = type("Params", (), {"partitions": 64})
    shard = Shard("shardId-0", (), frozenset(range(round(64 * share))))
    kept = MemoryStore() if store is None else store
    return ShardPace(log, kept, setting, shard, ways.clock, reads=reads)


def applied(ways: ScriptedWays) -> list[float]:
    worker = ways.worker
    assert isinstance(worker, Counting)
    return worker.done


# -- how fast ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_shard_keeps_to_its_share_within_batches_and_from_one_to_the_next(
    ways: ScriptedWays, share: float
) -> None:
    """No second has much more than the rate: parts of a batch are about half a second's."""
    ways.paced = pace(ways, Setting(rate=800.0, unit="events"), share=share)
    shard, rate = started(ways), 800.0 * share
    begun = ways.clock.monotonic()
    for batch in range(40):
        shard.process(records(1 + 200 * batch, 200), 0, Checkpoints())
        if ways.clock.monotonic() - begun > 62:
            break
    done = [when - begun for when in applied(ways)]
    assert sum(when < 60 for when in done) == pytest.approx(60 * rate, rel=0.03)
    for second in range(60):
        assert sum(second <= when < second + 1 for when in done) <= 1.6 * rate
    assert shard.health.now.rested_ms > 50_000


def test_the_shares_of_shards_at_work_are_one_through_splits_and_merges(
    world: FunctionWorld,
) -> None:
    """So all workers together keep to the rate, and none has to know of another."""
    log, stream = world.open_log(), world.stream
    for step in range(4):
        shards = {each.id: each for each in world.open_log().shards()}
        alive = [each for each in shards.values() if not each.closed]
        assert sum(share_of(log, each) for each in alive) == pytest.approx(1)
        open_ = sorted(
            (s for s in stream.shards.values() if s.closed_ms is None), key=lambda s: s.low
        )
        now = world.world.clock.now_ms()
        if step < 2:
            stream.split(open_[0].id, (open_[0].low + open_[0].high + 1) // 2, now)
        else:
            stream.merge(open_[0].id, open_[1].id, now)
        world.world.clock.advance(1_000)


def test_what_is_set_in_the_store_is_found_by_a_process_at_work(ways: ScriptedWays) -> None:
    """In the middle of a batch: it may be an hour long by what was set before."""
    store = MemoryStore()
    write_setting(store, Setting(rate=20.0, unit="events"))
    ways.paced = pace(ways, Setting(), store=store)
    shard = started(ways)
    begun = ways.clock.monotonic()

    def faster(seconds: float, wait: Any = ways.wait) -> bool:
        if ways.clock.monotonic() - begun > 100:
            write_setting(store, None)
        return bool(wait(seconds))

    vars(ways)["wait"] = faster
    shard.process(records(1, 2_000), 0, Checkpoints())
    assert 100 < ways.clock.monotonic() - begun < 140
    assert sum(when - begun < 100 for when in applied(ways)) == pytest.approx(2_000, rel=0.05)


def test_unpaced_nothing_waits_and_batches_stay_whole(ways: ScriptedWays) -> None:
    ways.paced = pace(ways, Setting())
    shard = started(ways)
    shard.process(records(1, 500), 0, Checkpoints())
    assert ways.waits == []
    assert len(ways.worker.calls) == 1


def test_kcl_is_told_of_what_is_done_while_the_rest_waits(ways: ScriptedWays) -> None:
    """A process that is killed in a batch of an hour begins where it was, give or take seconds."""
    ways.paced = pace(ways, Setting(rate=10.0, unit="events"))
    shard, kcl = started(ways), Checkpoints()
    shard.process(records(1, 100), 0, kcl)
    told = [sequence for sequence, _ in kcl.told if sequence is not None]
    assert len(told) >= 7
    assert told == sorted(set(told))
    assert set(told) <= set(ways.worker.durable)


def test_the_health_file_says_how_old_what_comes_next_is_and_how_long_it_is_kept(
    monkeypatch: pytest.MonkeyPatch, ways: ScriptedWays
) -> None:
    """While it waits too: KCL's own figure is of when it fetched the batch."""
    monkeypatch.setattr(consumers.pacer, "retention_of", lambda _: 86_400.0)
    ways.paced = pace(ways, Setting(rate=2.0, unit="events"))
    ways.clock.advance(50_000_000)
    shard = started(ways)
    seen: list[tuple[int, int]] = []

    def watched(seconds: float, wait: Any = ways.wait) -> bool:
        seen.append((shard.health.now.behind_ms or 0, shard.health.now.runway_ms or 0))
        return bool(wait(seconds))

    vars(ways)["wait"] = watched
    shard.process(records(1, 20), 40_000, Checkpoints())
    assert seen[0][0] == pytest.approx(50_000_000, abs=10_000)
    assert all(behind + left == 86_400_000 for behind, left in seen)
    ages = [behind for behind, _ in seen]
    assert len(ages) > 3 * 20  # each of the records was waited for several times
    assert all(older > age for age, older in itertools.pairwise(ages))
    shard.process([], 0, Checkpoints())
    assert (shard.health.now.behind_ms, shard.health.now.runway_ms) == (0, 86_400_000)


# -- letting go ----------------------------------------------------------------------------------


def test_leaves_the_rest_of_a_batch_when_the_worker_is_to_end(ways: ScriptedWays) -> None:
    """The daemon's end waits for a batch at work, and kills after seconds."""
    ways.paced = pace(ways, Setting(rate=10.0, unit="events"))
    shard, kcl = started(ways), Checkpoints()

    def ending(seconds: float, wait: Any = ways.wait) -> bool:
        ways.ending = len(ways.worker.durable) >= 5
        return bool(wait(seconds))

    vars(ways)["wait"] = ending
    shard.process(records(1, 1_000), 0, kcl)
    assert 5 <= len(ways.worker.durable) < 10
    shard.shutdown_requested(kcl)
    assert kcl.told[-1] == (ways.worker.durable[-1], 0)
    assert shard.health.now.state == "stopped"


@pytest.mark.parametrize("message", ["process", "shard_ended"])
def test_takes_nothing_behind_what_it_left(ways: ScriptedWays, message: str) -> None:
    """It would be a gap; and a shard's end would have its children begin before its records."""
    ways.paced = pace(ways, Setting(rate=10.0, unit="events"))
    ways.ending = True
    shard, kcl = started(ways), Checkpoints()
    shard.process(records(1, 50), 0, kcl)
    before = list(ways.worker.calls)
    assert len(ways.worker.durable) < 50
    if message == "process":  # while it is ending KCL still has some that it fetched before
        shard.process(records(51, 1), 0, kcl)
        assert ways.worker.calls == before
    ways.ending = False
    calls = {
        "process": lambda: shard.process(records(51, 1), 0, kcl),
        "shard_ended": lambda: shard.shard_ended(kcl),
    }
    with pytest.raises(SystemExit) as ended:
        calls[message]()
    assert ended.value.code == EXIT_FAILED
    assert ways.worker.calls == before
    assert (None, None) not in kcl.told


def test_a_lost_lease_ends_a_paced_batch(ways: ScriptedWays) -> None:
    """Else a zombie would spend the rate of whoever has the shard now, for as long as the batch."""
    ways.paced = pace(ways, Setting(rate=10.0, unit="events"))
    shard = started(ways)
    shard.process(records(1, 10_000), 0, Checkpoints(LEASE_LOST))
    assert 10 <= len(ways.worker.durable) <= 20
    shard.lease_lost()
    assert shard.health.now.state == "lost"


def test_a_part_ends_where_a_record_does(ways: ScriptedWays) -> None:
    """What KCL took apart goes on together, however small a part is."""
    ways.paced = pace(ways, Setting(rate=20.0, unit="events"))
    shard = started(ways)
    batch = records(1, 6)
    parted = [Delivered(3, sub, ARRIVED_MS, "p0000", b"x" * 100) for sub in range(1, 4)]
    shard.process([*batch[:3], *parted, *batch[3:]], 0, Checkpoints())
    flat = sequences(ways.worker.calls)
    assert len(flat) > 2
    assert [3, 3, 3, 3] in flat or [2, 3, 3, 3, 3] in flat or [1, 2, 3, 3, 3, 3] in flat


def test_only_the_daemon_that_is_to_end_is_told_so(tmp_path: Path) -> None:
    """What an earlier supervisor left in the folder would end every batch of the next daemon."""
    assert not is_stopping(tmp_path, 7)
    write_json(tmp_path / WORKER, Supervised(worker="w", state=STOPPING, daemon=7))
    assert is_stopping(tmp_path, 7)
    assert not is_stopping(tmp_path, 8)
    write_json(tmp_path / WORKER, Supervised(worker="w", state="running", daemon=7))
    assert not is_stopping(tmp_path, 7)
    (tmp_path / WORKER).write_text("{")
    assert not is_stopping(tmp_path, 7)


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        Setting(),
        Setting(rate=0.1 + 0.2),
        Setting(12.5, "events", 43_200.0),
        Setting(max_behind_s=9),
    ],
)
def test_what_a_worker_is_told_its_processes_are(setting: Setting) -> None:
    """The environment is all that the daemon hands on."""
    settings = Settings(log="kinesis://s", store="dynamodb://d", setting=setting)
    assert settings_of(settings.environment()).setting == setting


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BINLOG_RATE", "fast"),
        ("BINLOG_RATE", "0"),
        ("BINLOG_RATE", "nan"),
        ("BINLOG_MAX_BEHIND", "-1"),
        ("BINLOG_MAX_BEHIND", "12h"),
        ("BINLOG_RATE_OF", "records"),
    ],
)
def test_refuses_a_pace_that_is_none(name: str, value: str) -> None:
    environment = {"BINLOG_LOG": "kinesis://s", "BINLOG_STORE": "dynamodb://d", name: value}
    with pytest.raises(RefusedError, match=name):
        settings_of(environment)


# -- what is read of the stream --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "reads", "bytes_per_s"),
    [
        (Setting(rate=1e9), None, 1_000_000),
        (Setting(max_behind_s=3_600.0), None, 1_000_000),
        (Setting(rate=1e9), 1.0, 400_000),
        (Setting(), 1.0, 400_000),
    ],
)
def test_a_shard_that_is_caught_up_with_has_as_much_left_for_others(
    ways: ScriptedWays, setting: Setting, reads: float | None, bytes_per_s: int
) -> None:
    """A shard gives 2 MB a second to all of its readers: half, or what the address says, is ours.

    What is handed over arrived long ago, beyond every bound: nothing but the budget holds it back.
    """
    ways.paced = pace(ways, setting, reads=reads)
    shard = started(ways)
    begun, taken, passed_s = ways.clock.monotonic(), 0, 0.0
    while passed_s < 20 and taken < 60_000_000:
        shard.process(records(1 + taken, 100, size=24_000), 0, Checkpoints())
        taken, passed_s = taken + 100 * 24_000, ways.clock.monotonic() - begun
    assert taken / passed_s == pytest.approx(bytes_per_s, rel=0.1)
    tenths = [round(10 * (when - begun)) for when in applied(ways)]
    most = max(tenths.count(tenth) for tenth in set(tenths)) / EACH * 24_000
    assert most <= 0.6 * bytes_per_s  # no whole batch at once


def test_a_worker_that_nobody_slows_down_takes_what_it_is_given(ways: ScriptedWays) -> None:
    ways.paced = pace(ways, Setting())
    begun = ways.clock.monotonic()
    started(ways).process(records(1, 400, size=24_000), 0, Checkpoints())
    assert ways.clock.monotonic() - begun < 0.1


@pytest.mark.parametrize(
    ("log", "options", "read"),
    [
        ("kinesis://s", [], (1000, 400)),
        ("kinesis://s", ["--rate", "50"], (400, 400)),
        ("kinesis://s", ["--max-behind", "6h"], (400, 400)),
        ("kinesis://s?reads=1", [], (1000, 1000)),
        ("kinesis://s?reads=0.5", ["--rate", "50"], (1000, 2000)),
        ("kinesis://s?reads=5", ["--rate", "50"], (200, 200)),
        ("kinesis://s?reads=9", ["--profile", "test"], (200, 200)),
        ("kinesis://s", ["--profile", "test"], (1000, 250)),
    ],
)
def test_a_worker_keeps_to_its_calls_and_reads_all_that_may_be_written(
    monkeypatch: pytest.MonkeyPatch, log: str, options: list[str], read: tuple[int, int]
) -> None:
    """Records are let wait together, so few at a time; but a shard takes 1,000 of them a second."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    words = ["kcl", "properties", log, "dynamodb://d", "--worker", "w", "--json", *options]
    [said] = binlog(*words).lines
    records_max, idle_ms = read
    assert said["properties"]["maxRecords"] == str(records_max)
    assert said["properties"]["idleTimeBetweenReadsInMillis"] == str(idle_ms)
    assert records_max * 1000 / idle_ms >= 1_000 or "0.5" in log
    assert ("BINLOG_RATE" in said["environment"]) is ("--rate" in options)
    assert ("BINLOG_MAX_BEHIND" in said["environment"]) is ("--max-behind" in options)
    [said] = binlog(*words, "--set", "maxRecords=7").lines
    assert said["properties"]["maxRecords"] == "7"


def test_the_address_of_the_log_says_so_to_the_process_of_a_shard(
    world: FunctionWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What `?reads=` bounds for every other reader bounds the KCL's processes, too."""
    given: list[object] = []

    class Remembered(ShardPace):
        def __init__(self, *of: Any, reads: float | None = None) -> None:
            given.append(reads)
            super().__init__(*of, reads=reads)

    monkeypatch.setattr(consumers.kcl_child, "ShardPace", Remembered)
    monkeypatch.setattr(consumers.kcl_child, "open_log", lambda *_, **__: world.open_log())
    monkeypatch.setattr(consumers.kcl_child, "open_store", lambda _: world.store.open())
    for log in ("kinesis://shop", "kinesis://shop?reads=1.5"):
        settings = Settings(log=log, store="dynamodb://live", folder=tmp_path)
        messages, _ = os.pipe()
        consumers.kcl_child.Surroundings(settings, messages).open("shardId-000000000000", -1)
    assert given == [None, 1.5]
