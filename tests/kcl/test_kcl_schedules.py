"""The processor under KCL, through everything that KCL does to it, by seeds.

A seed decides on batches, parts of aggregates, leases that are taken while their owner is at work,
workers that die, checkpoints that are refused, shards that split and merge, and on what becomes of
every call of a store: refused, done and its reply lost, the worker killed before or after it, or the
lease taken and the batch applied by another in the middle of it. Whenever KCL is told a checkpoint,
all that it covers is in the store. At the end everything acknowledged is there once, and the store
is what a rebuild of the log makes.

That every situation was met is checked over all seeds: a run that met none proves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from binlog.errors import StorageError
from binlog.log import Record
from consumers.delivery import Worker, Working
from consumers.kcl_health import Health
from consumers.kcl_pace import ShardPace
from consumers.kcl_records import Records
from consumers.kcl_shard import Applies, Delivered, Paces, ShardConsumer
from consumers.pace import Setting
from tests.kcl.kcl_library import END, Library, Process
from tests.lambda_consumer.function_world import KEYS, FunctionWorld, HookedStore, KilledError

pytestmark = pytest.mark.timeout(600)  # hundreds of schedules, on a machine that may be busy

SEEDS = range(60)
SITUATIONS = (
    *("refused", "reply lost", "killed before", "killed after", "taken in the middle", "taken"),
    *(
        "split",
        "merge",
        "foreign",
        "aggregate",
        "throttled",
        "shut down",
        "worker killed",
        "zombie",
    ),
    "shard ended",
    *("paced", "left", "left for good"),
)
AGGREGATE = b"aggregate:"


def parts_of(record: Any) -> list[Delivered]:
    """As KCL takes a record of the Kinesis Producer Library apart; others as they are."""
    if not record.data.startswith(AGGREGATE):
        return [Delivered(record.sequence, 0, record.arrival_ms, record.key, record.data)]
    count = int(record.data.removeprefix(AGGREGATE))
    # Among the inner keys one that looks like a partition's.
    return [
        Delivered(record.sequence, sub, record.arrival_ms, f"p{sub:04d}", b"inner")
        for sub in range(count)
    ]


class Schedule:
    """One seed's history."""

    def __init__(self, seed: int, world: FunctionWorld | None = None) -> None:
        self.random = Random(seed)
        self.met: Counter[str] = Counter()
        self.world = world or FunctionWorld(shards=self.random.choice([1, 2]))
        self.stream = self.world.stream
        self.how = Working(rules=self.world.settings.rules)
        self.calm = False
        self.waits = 0
        self.trouble = self.random.choice([0.0, 0.05, 0.15])
        self.library = Library(self.stream, self.consumer, parts_of)
        self.library.refusals = self.refusal
        self.library.on_checkpoint = self.check_covered
        self.at_work: list[Process] = []
        self.clock = self.world.world.clock
        self.setting = self.random.choice(
            [
                None,
                Setting(rate=40.0),
                Setting(rate=100.0, unit="events"),
                Setting(max_behind_s=9.0),
            ]
        )

    # -- a process of ours -------------------------------------------------------------------------

    def consumer(self) -> ShardConsumer:
        return ShardConsumer(self, Health(None, self.clock))

    def wait(self, seconds: float) -> bool:
        self.clock.advance(round(seconds * 1000))
        self.waits += 1
        assert self.waits < 5_000, "somebody waits for ever"
        return not (self.at_work and self.at_work[-1].over)

    def pace(self, shard: str) -> Paces | None:
        if self.setting is None:
            return None
        log = self.world.open_log()
        [found] = [each for each in log.shards() if each.id == shard]
        return ShardPace(log, self.world.store, self.setting, found, self.clock)

    def is_ending(self) -> bool:
        self.met["paced"] += 1
        if self.calm or self.random.random() >= 0.1:
            return False
        self.met["left"] += 1
        return True

    def open(
        self, shard: str, after: int
    ) -> tuple[Applies, Callable[[Sequence[Delivered]], list[Record]]]:
        log = self.world.open_log()
        store, how = HookedStore(self.world.store, self.hook), self.how
        worker = Worker(log, store, how, clock=self.clock)
        return worker, Records(log, worker.shard(shard), after)

    def hook(self, name: str) -> None:
        """What becomes of a store's call."""
        process = self.at_work[-1] if self.at_work else None
        if self.calm or process is None or self.random.random() >= self.trouble:
            return
        kinds = (
            ["reply lost", "killed after"]
            if name.endswith(" done")
            else ["refused", "killed before"]
        )
        if name.startswith("commit") and len(self.at_work) < 3:
            kinds.append("taken in the middle")
        kind = self.random.choice(kinds)
        self.met[kind] += 1
        if kind.startswith("killed"):
            raise KilledError
        if kind != "taken in the middle":
            raise StorageError(kind, "memory:live")
        # The process hung, its lease was taken, and it goes on.
        if self.take(process.shard):
            self.met["zombie"] += 1

    def refusal(self) -> str | None:
        if self.calm or self.random.random() >= 0.2:
            return None
        self.met["throttled"] += 1
        return "ThrottlingException"

    def check_covered(self, shard: str, at: tuple[int, int]) -> None:
        """C3: what KCL is told to be done is in our rows."""
        if at == END:
            self.met["shard ended"] += 1
        log = self.world.open_log()
        found = {known.id: known for known in log.shards()}
        last: dict[int, int] = {}
        for record in self.stream.shards[shard].records:
            partition = int(record.key[1:]) if record.key[:1] == "p" else None
            if record.sequence <= at[0] and partition in found[shard].partitions:
                last[partition] = record.sequence
        for generation in self.world.store.generations():
            rows = self.world.store.checkpoints(generation.id)
            for partition, sequence in last.items():
                row = rows[partition]
                assert row.shard != shard or row.sequence >= sequence, (partition, row, sequence)
                assert row.shard == shard or shard in ancestors(found, row.shard)

    # -- what happens ------------------------------------------------------------------------------

    def step(self, process: Process) -> bool:
        self.at_work.append(process)
        left = process.consumer.has_left
        try:
            gave = self.library.deliver(process, self.random.choice([1, 2, 3, 50]))
            self.met["left for good"] += left and gave
            return gave
        except KilledError:
            self.library.kill(process.worker)
            return True
        finally:
            self.at_work.pop()

    def take(self, shard: str) -> bool:
        """Another worker takes the lease, and is given a batch or two."""
        try:
            process = self.library.take(self.library.leases[shard], self.random.choice("abc") + "2")
        except KilledError:
            return True
        for _ in range(self.random.randint(0, 2)):
            if process is not None and not process.over:
                self.step(process)
        return process is not None

    def happen(self) -> None:
        """Something between two messages."""
        what, now = self.random.random(), self.clock.now_ms()
        if what < 0.35:
            self.world.publish(self.random.choices(KEYS, k=self.random.randint(1, 25)))
        elif what < 0.42:
            self.met["foreign"] += 1
            data = b"hello"
            if self.random.random() < 0.5:
                self.met["aggregate"] += 1
                data = AGGREGATE + str(self.random.randint(1, 4)).encode()
            self.world.world.foreign("k0", data, hash_key=self.random.getrandbits(128))
        elif what < 0.48:
            self.reshard(now)
        elif what < 0.56 and self.library.processes:
            self.met["taken"] += 1
            self.take(self.random.choice(self.library.processes).shard)
        elif what < 0.6 and self.library.processes:
            self.met["shut down"] += 1
            self.library.shut_down(self.random.choice(self.library.processes))
        elif what < 0.64 and self.library.processes:
            self.met["worker killed"] += 1
            self.library.kill(self.random.choice(self.library.processes).worker)
        self.clock.advance(self.random.choice([0, 1, 900, 12_000]))

    def reshard(self, now: int) -> None:
        shards = sorted(
            (s for s in self.stream.shards.values() if s.closed_ms is None), key=lambda s: s.low
        )
        at = self.random.randrange(len(shards))
        if self.random.random() < 0.5 or len(shards) == 1:
            if shards[at].high - shards[at].low > 2**126:
                self.met["split"] += 1
                self.stream.split(shards[at].id, (shards[at].low + shards[at].high + 1) // 2, now)
        elif at + 1 < len(shards):
            self.met["merge"] += 1
            self.stream.merge(shards[at].id, shards[at + 1].id, now)

    def turn(self) -> bool:
        """Leases without an owner get one, and everybody a batch; ``False`` if nobody had any."""
        for lease in self.library.free():
            try:
                self.library.take(lease, self.random.choice("abc"))
            except KilledError:
                continue
        gave = False
        for process in list(self.library.processes):
            gave = self.step(process) or gave
        return gave

    def run(self) -> None:
        for _ in range(self.random.randint(5, 40)):
            self.happen()
            self.turn()
        self.calm = True
        for process in list(self.library.processes):
            if process.consumer.has_left:  # it was told so because its worker is to end
                self.library.kill(process.worker)
        for _ in range(3_000):
            if not self.turn():
                break
        else:
            raise AssertionError("it does not come to an end")

    def check(self) -> None:
        self.world.check_complete()
        kept = list(self.world.store.foreign())
        assert len(kept) == self.met["foreign"]
        assert sum(each.data.startswith(AGGREGATE) for each in kept) == self.met["aggregate"]


def ancestors(shards: dict[str, Any], shard: str) -> set[str]:
    found: set[str] = set()
    left = [shard]
    while left:
        for parent in shards[left.pop()].parents:
            found.add(parent)
            left.append(parent)
    return found


def run_all(make: Callable[[int], Schedule], seeds: Sequence[int]) -> Counter[str]:
    met: Counter[str] = Counter()
    for seed in seeds:
        schedule = make(seed)
        try:
            schedule.run()
            schedule.check()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        met.update(schedule.met)
    return met


def test_whatever_kcl_does_everything_is_applied_once() -> None:
    met = run_all(Schedule, SEEDS)
    missing = [name for name in SITUATIONS if not met[name]]
    assert not missing, dict(met)


class Swallows(Schedule):
    """A sabotage: what failed is passed over, as amazon_kclpy would."""

    def consumer(self) -> ShardConsumer:
        consumer = super().consumer()

        def retry(step: Callable[[], object], *_: object) -> None:
            try:
                step()
            except StorageError:
                return

        vars(consumer)["_retry"] = retry
        return consumer


class EndsAtOnce(Schedule):
    """A sabotage: the end of a shard is told whatever our rows say."""

    def consumer(self) -> ShardConsumer:
        consumer = super().consumer()
        apply = consumer._apply

        def skip(delivered: Sequence[Delivered]) -> None:
            if self.random.random() < 0.9:
                apply(delivered)

        vars(consumer)["_apply"] = skip
        return consumer


@pytest.mark.parametrize("broken", [Swallows, EndsAtOnce])
def test_a_processor_that_passes_over_something_is_found_out(broken: type[Schedule]) -> None:
    """The canary: the same schedules with one mistake do not come out right."""
    found = 0
    for seed in SEEDS[:30]:
        try:
            run_all(broken, [seed])
        except (AssertionError, KeyError):
            found += 1
    assert found
