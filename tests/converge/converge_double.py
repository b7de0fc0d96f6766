"""The drivers over one stream in this process, by seeds: Lambda's function, KCL's processor, the pull.

A seed decides on everything: what producers publish and what their calls meet (lost replies, copies,
ghosts of given-up frames), how the stream is cut, what the mapping and the library deliver and to
whom, what becomes of every call of a store, when an applier that cannot apply one key's events is
mended, and when somebody redrives, also in the middle of a commit. At the end the ledger and the
reference judge, as in `tests.converge.converge_story`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from random import Random
from typing import Any

from appliers.applier import ApplierError, Appliers
from appliers.store import Store
from binlog.envelope import Event
from binlog.errors import BinlogError
from consumers.local import Following, replicate
from consumers.redrive import Redrive
from scripts.standins.proxy_faults import Fault
from tests.converge.converge_judge import differences
from tests.converge.converge_rules import POISONED, event_of
from tests.faults.fault_judge import check_ledger, truth_of
from tests.faults.fault_senders import SteppedProducer
from tests.faults.fault_story import Killed, Mortal, Story
from tests.faults.fault_strategies import CONTROL, OUTAGES, PUTS, READS
from tests.faults.kinesis_double_place import DoublePlace, MemoryReplica
from tests.kcl import test_kcl_schedules as kcl
from tests.lambda_consumer import test_lambda_schedules as function
from tests.lambda_consumer.event_source_mapping import Mapping as EventSource
from tests.lambda_consumer.function_world import FunctionWorld
from tests.log.kinesis_ledger import Ledger
from tests.log.log_frames import PARAMS

NAMES = ("lambda", "kcl", "pull")
REST_MAX = 3_000  # turns until everybody is at the end
KINDS = (
    *("refused", "reply lost", "killed before", "killed after", "overlap", "overlap of a zombie"),
    *("taken in the middle", "taken", "worker killed", "shut down", "zombie", "shard ended"),
    *("split", "merge", "restart", "foreign", "out of time", "partial report", "throttled"),
    *("consumer killed before", "consumer killed between", "consumer killed after"),
    *("parked: lambda", "parked: kcl", "parked: pull", "redriven", "redriven within a commit"),
    *("unknown, there", "unknown, not there", "acknowledged", "copies", "producer died"),
    "paced",
)


class Mood:
    """Whether the appliers are those that cannot apply one key's events; of the running schedule."""

    broken = False


def rules_of(mood: Mood) -> Any:
    """The appliers, by the mood: what is deployed at the moment."""
    appliers = Appliers()

    @appliers.on("Counted", table="counts", version=1)
    def counted(item: Mapping[str, Any] | None, event: Event) -> Mapping[str, Any]:
        if mood.broken and event.key["id"] == POISONED:
            raise ApplierError("it cannot be counted")
        before = {**event.key, "n": 0} if item is None else item
        return {
            **before,
            "n": before["n"] + 1,
            "last": event.data["id"],
            "trail": event.offset % 7,
        }

    return appliers.build()


class World(FunctionWorld):
    """One store's side of the stream; its log meets the faults."""

    def __init__(self, place: DoublePlace, rules: Any, **settings: Any) -> None:
        super().__init__(world=place.world, rules=rules, **settings)
        self._place = place
        self.faults = True

    def open_log(self) -> Any:
        return self._place.open(faults=self.faults)


class KclSide(kcl.Schedule):
    """The library and its workers."""

    world: World

    def __init__(self, seed: int, world: World, between: Callable[[], object]) -> None:
        super().__init__(seed, world)
        self._between = between

    def hook(self, name: str) -> None:
        if not self.calm and name == "commit":
            self._between()
        super().hook(name)

    def check_covered(self, shard: str, at: tuple[int, int]) -> None:
        kept, self.world.faults = self.world.faults, False
        try:
            super().check_covered(shard, at)
        finally:
            self.world.faults = kept


class LambdaSide(function.Schedule):
    """The mapping and its environments."""

    def __init__(self, seed: int, world: World, between: Callable[[], object]) -> None:
        super().__init__(seed, world)
        self._between = between

    def hook(self, name: str) -> None:
        if not self.calm and name == "commit":
            self._between()
        super().hook(name)


class Together:
    """One seed's history."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.met: Counter[str] = Counter()
        self.mood = Mood()
        self.mood.broken = random.random() < 0.8
        self.rules = rules_of(self.mood)
        story = Story([], list(_faults(random)), shards=random.randint(1, 2))
        self.pulled = MemoryReplica()
        self.place = DoublePlace(story, [self.pulled])
        self.clock = self.place.clock
        mapping = random.choice(["check", "trust"])
        self.lambda_ = LambdaSide(
            random.getrandbits(32),
            World(self.place, self.rules, mapping=mapping),
            lambda: self._redrive_within("lambda"),
        )
        self.kcl = KclSide(
            random.getrandbits(32),
            World(self.place, self.rules),
            lambda: self._redrive_within("kcl"),
        )
        self.ledger = Ledger(event_of)
        self._lives: dict[int, tuple[str, Any, SteppedProducer]] = {}
        self._numbers: Counter[str] = Counter()
        self._begun = 0
        self._redriving = False

    @contextmanager
    def store(self, name: str) -> Iterator[Store]:
        """A handle of its own."""
        content = {
            "lambda": self.lambda_.world.store.open,
            "kcl": self.kcl.world.store.open,
            "pull": self.pulled.open,
        }
        with closing(content[name]()) as store:
            yield store

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> Counter[str]:
        """All of it; what occurred.

        Raises:
            AssertionError: what is not as it has to be.
        """
        mapping = self.lambda_.world.mapping(self.lambda_.invoke, seed=self.random.getrandbits(32))
        mapping.restart(self.lambda_.settings())
        for _ in range(self.random.randint(10, 40)):
            self.happen(mapping)
        self.come_to_rest(mapping)
        self.judge()
        return self.met + self.lambda_.met + self.kcl.met

    def happen(self, mapping: EventSource) -> None:
        """Something."""
        what = self.random.choice(
            [
                *("publish", "publish", "publish", "lambda", "lambda", "lambda", "kcl", "kcl"),
                *("pull", "reshard", "foreign", "restart", "die", "lease", "mend", "redrive"),
                "land",
            ]
        )
        match what:
            case "publish":
                self.publish()
            case "lambda":
                for _ in range(self.random.randint(1, 4)):
                    mapping.step()
            case "kcl":
                self.kcl.turn()
            case "pull":
                self.pull(self.random.choice(["", "", "before", "between", "after"]))
            case "reshard":
                self.kcl.reshard(self.clock.now_ms())
            case "foreign":
                self.met["foreign"] += 1
                self.place.world.foreign("k0", hash_key=self.random.getrandbits(128))
            case "restart":
                self.met["restart"] += 1
                mapping.restart(self.lambda_.settings())
            case "die":
                self.end_producer(self.random.randrange(2), dies=self.random.random() < 0.7)
            case "lease":
                self.trouble_a_lease()
            case "mend":
                self.mend()
            case "redrive":
                name = self.random.choice(NAMES)
                self.met["redriven"] += self.redrive(name)
            case "land":
                self.place.intruder.land_all()
        self.clock.advance(self.random.choice([0, 1, 900, 12_000]))

    def trouble_a_lease(self) -> None:
        library = self.kcl.library
        if not library.processes:
            return
        process = self.random.choice(library.processes)
        match self.random.choice(["taken", "shut down", "worker killed"]):
            case "taken":
                self.kcl.met["taken"] += 1
                self.kcl.take(process.shard)
            case "shut down":
                self.kcl.met["shut down"] += 1
                library.shut_down(process)
            case _:
                self.kcl.met["worker killed"] += 1
                library.kill(process.worker)

    def mend(self) -> None:
        if self.random.random() < 0.5:
            self.note_parked()
            self.mood.broken = False

    def note_parked(self) -> None:
        for name in NAMES:
            with self.store(name) as store:
                self.met[f"parked: {name}"] += sum(1 for _ in store.letters())

    # -- producers ---------------------------------------------------------------------------------

    def publish(self) -> None:
        by = self.random.randrange(2)
        if by not in self._lives:
            try:
                log = self.place.open(faults=True)
            except BinlogError as error:
                if not self.place.is_expected(error):
                    raise
                return
            self._begun += 1
            producer = self.place.producer(log, self._begun)
            self._lives[by] = f"p{by}.{self._begun}", log, producer
        name, _, producer = self._lives[by]
        first, count = self._numbers[name], self.random.randint(1, 30)
        self._numbers[name] += count
        self.ledger.publish(producer, name, range(first, first + count))
        producer.call(self.random.choice([0, 1, 2, 99, 99]))

    def end_producer(self, by: int, *, dies: bool) -> None:
        if by not in self._lives:
            return
        name, log, producer = self._lives.pop(by)
        if not dies:
            producer.call(1_000_000)
        elif self.ledger.died(name):
            self.met["producer died"] += 1
        log.close()

    # -- consumers ---------------------------------------------------------------------------------

    def pull(self, dies: Any, *, faults: bool = True) -> bool:
        """One life of the local consumer; whether it came to the end."""
        how = Following(
            once=True, rules=self.rules, poison="park", page_bytes=self.random.choice([500, 4_000])
        )
        try:
            with (
                closing(self.place.open(faults=faults)) as log,
                closing(self.pulled.open()) as store,
            ):
                replicate(log, Mortal(store, dies), how)
        except Killed:
            self.met[f"consumer killed {dies}"] += 1
        except BinlogError as error:
            if not self.place.is_expected(error):
                raise
            self.met["consumer stopped"] += 1
        else:
            return True
        return False

    def redrive(self, name: str) -> int:
        """Events that were put back."""
        with self.store(name) as store:
            if store.genesis() is None:
                return 0
            done = list(Redrive(store, self.rules, dry_run=False).run())
        return sum(each.applied for each in done)

    def _redrive_within(self, name: str) -> None:
        """Somebody does it while a consumer is about to commit."""
        if self._redriving or self.random.random() >= 0.2:
            return
        self._redriving = True
        try:
            self.met["redriven within a commit"] += self.redrive(name)
        finally:
            self._redriving = False

    # -- the end -----------------------------------------------------------------------------------

    def come_to_rest(self, mapping: EventSource) -> None:
        for by in list(self._lives):
            self.end_producer(by, dies=False)
        self.place.intruder.quiet()
        self.note_parked()
        self.mood.broken = False
        self.lambda_.calm = self.kcl.calm = True
        mapping.run(REST_MAX)
        while mapping.is_due():
            self.clock.advance(1_000)
            mapping.run(REST_MAX)
        for process in list(self.kcl.library.processes):
            if process.consumer.has_left:  # it was told so because its worker is to end
                self.kcl.library.kill(process.worker)
        for _ in range(REST_MAX):
            if not self.kcl.turn():
                break
        else:
            raise AssertionError("the KCL does not come to an end")
        assert self.pull("", faults=False), "the pull does not come to an end"
        for name in NAMES:
            self.met["redriven"] += self.redrive(name)
        self.lambda_.met["out of time"] += sum(
            "time" in each.get("Error", "") for each in self.lambda_.world.told()
        )

    def judge(self) -> None:
        with closing(self.place.open(faults=False)) as log:
            self.ledger.check(log)
        truth = truth_of(self.place.client, self.place.stream, PARAMS, rules=self.rules)
        self.met.update(check_ledger(truth, self.ledger))
        self.met["copies"] += truth.met["copies"]
        for name in NAMES:
            with self.store(name) as store:
                wrong = next(differences(truth, store), None)
                assert wrong is None, f"{name}: {wrong}"
                kept = len(list(store.foreign()))
                assert kept == self.met["foreign"], f"{name}: {kept} foreign records"


def _faults(random: Random) -> Iterator[Fault]:
    """Some, placed on calls that are made."""
    kinds = [*PUTS, *PUTS, *OUTAGES, *READS, *CONTROL]
    for _ in range(random.choice([0, 8, 16])):
        kind = random.choice(kinds)
        of = (random.randrange(3),) if kind.kind.startswith(("partial", "unprocessed")) else ()
        yield kind._replace(at=random.randint(1, 40), of=of)


@contextmanager
def short_pages() -> Iterator[None]:
    """So that a batch is several commits, and may fail between two of them."""
    from consumers import budget

    kept = budget.FIRST_BYTES, budget.LEAST_BYTES
    budget.FIRST_BYTES, budget.LEAST_BYTES = 700, 300
    try:
        yield
    finally:
        budget.FIRST_BYTES, budget.LEAST_BYTES = kept


def run_seeds(seeds: Sequence[int], make: Callable[[int], Together] = Together) -> Counter[str]:
    """What occurred in all of them; whatever fails names its seed."""
    met: Counter[str] = Counter()
    with short_pages():
        for seed in seeds:
            try:
                met.update(make(seed).run())
            except BaseException as error:
                error.add_note(f"converge_double: seed {seed}")
                raise
            met["schedules"] += 1
    return met
