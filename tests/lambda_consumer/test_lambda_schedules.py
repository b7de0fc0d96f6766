"""The function behind the mapping, through everything that AWS does to it, by seeds.

A seed decides on the mapping's settings, on when shards split and merge, on what is published
between two invocations and by whom, and on what becomes of every call of a store: refused, done and
its reply lost, the environment killed before or after it, or the batch delivered again to another
environment in the middle of it, which is what overlaps after a time-out come to. At the end
everything acknowledged is there exactly once, and the store is what a rebuild of the log makes.

That every situation was met is checked over all seeds: a run that met none proves nothing. Pages are
short, so that a batch is several commits, and may fail or run out of time between two of them.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from binlog.errors import StorageError
from consumers.aws_lambda_function import Function
from tests.lambda_consumer.event_source_mapping import FailedError, Mapping, Settings
from tests.lambda_consumer.function_world import (
    KEYS,
    Context,
    FunctionWorld,
    HookedStore,
    KilledError,
)

SEEDS = range(150)
SITUATIONS = (
    *("refused", "reply lost", "killed before", "killed after", "overlap", "overlap of a zombie"),
    *(
        "split",
        "merge",
        "restart",
        "partial report",
        "foreign",
        "slow",
        "out of time",
        "cold start",
    ),
)


class Schedule:
    """One seed's history."""

    def __init__(self, seed: int, world: FunctionWorld | None = None) -> None:
        self.random = Random(seed)
        self.met: Counter[str] = Counter()
        self.world = world or FunctionWorld(
            shards=self.random.choice([1, 2]), mapping=self.random.choice(["check", "trust"])
        )
        self.calm = False
        self.trouble = self.random.choice([0.0, 0.05, 0.15])
        self.environments: list[Function] = []
        self.event: dict[str, Any] | None = None
        self.depth = 0
        self.answers: list[Any] = []

    # -- what becomes of a store's call ------------------------------------------------------------

    def hook(self, name: str) -> None:
        if self.calm or self.random.random() >= self.trouble:
            return
        is_after, is_commit = name.endswith(" done"), name.startswith("commit")
        kinds = ["refused", "killed before"] if not is_after else ["reply lost", "killed after"]
        if is_commit and self.depth < 2:
            kinds += ["overlap", "overlap of a zombie"]
        kinds.append("slow")
        kind = self.random.choice(kinds)
        self.met[kind] += 1
        if kind == "slow":
            self.world.world.clock.advance(self.random.choice([700, 20_000]))
            return
        if kind.startswith("killed"):
            raise KilledError
        if kind in {"refused", "reply lost"}:
            raise StorageError(kind, "memory:live")
        # The service gave this invocation up, and delivers its batch again while it goes on.
        event = self.event
        self.answers.append(self.invoke_in(self.cold(), event))
        self.event = event
        if kind == "overlap":
            raise KilledError  # it is killed at last; a zombie goes on to its end

    def cold(self) -> Function:
        self.met["cold start"] += 1
        store = HookedStore(self.world.store, self.hook)
        function = self.world.environment(store)
        self.environments.append(function)
        return function

    def invoke_in(self, function: Function, event: Any) -> Any:
        """The response, or the error that it ends in."""
        self.event = event
        self.depth += 1
        seconds = self.random.choice([60.0, 60.0, 3.0, 1.001])
        try:
            response = function.handle(json.loads(json.dumps(event)), Context(seconds))
        except KilledError as error:
            self.environments.remove(function)
            return FailedError(str(error))
        except Exception as error:  # noqa: BLE001 - the service does not look at the kind
            return FailedError(str(error))
        finally:
            self.depth -= 1
        return json.loads(json.dumps(response))

    def invoke(self, event: dict[str, Any]) -> Any:
        """As the mapping: where the batch was given to another one meanwhile, its answer counts."""
        self.answers.clear()
        if not self.environments or self.random.random() < 0.1:
            self.cold()
        answer = self.invoke_in(self.random.choice(self.environments), event)
        if self.answers:
            answer = self.random.choice(self.answers)
        if isinstance(answer, FailedError):
            raise answer
        for failure in answer["batchItemFailures"]:
            numbers = [each["kinesis"]["sequenceNumber"] for each in event["Records"]]
            self.met["partial report"] += numbers.index(failure["itemIdentifier"]) > 0
        return answer

    # -- what happens to the stream ----------------------------------------------------------------

    def happen(self, mapping: Mapping) -> None:
        """Something between two invocations."""
        stream, now = self.world.stream, self.world.clock.now_ms()
        what = self.random.random()
        if what < 0.45:
            self.world.publish(self.random.choices(KEYS, k=self.random.randint(1, 30)))
        elif what < 0.5:
            self.met["foreign"] += 1
            self.world.world.foreign(
                self.random.choice(KEYS), hash_key=self.random.getrandbits(128)
            )
        elif what < 0.56:
            open_shards = [s for s in stream.shards.values() if s.closed_ms is None]
            shard = self.random.choice(open_shards)
            if shard.high - shard.low > 2**126:
                self.met["split"] += 1
                stream.split(shard.id, (shard.low + shard.high + 1) // 2, now)
        elif what < 0.62:
            open_shards = sorted(
                (s for s in stream.shards.values() if s.closed_ms is None), key=lambda s: s.low
            )
            if len(open_shards) > 1:
                at = self.random.randrange(len(open_shards) - 1)
                self.met["merge"] += 1
                stream.merge(open_shards[at].id, open_shards[at + 1].id, now)
        elif what < 0.66:
            self.met["restart"] += 1
            mapping.restart(self.settings())
        self.world.world.clock.advance(self.random.choice([0, 1, 900, 30_000]))

    def settings(self) -> Settings:
        return Settings(
            batch_size=self.random.choice([1, 2, 3, 100]),
            window_s=self.random.choice([0.0, 0.0, 1.0]),
            parallelization=self.random.randint(1, 10),
            bisect=self.random.random() < 0.5,
        )

    def run(self) -> None:
        mapping = self.world.mapping(self.invoke, seed=self.random.getrandbits(32))
        mapping.restart(self.settings())
        for _ in range(self.random.randint(5, 40)):
            self.happen(mapping)
            mapping.step()
        self.calm = True
        mapping.run(3_000)
        while mapping.is_due():  # for its window
            self.world.world.clock.advance(1_000)
            mapping.run(3_000)
        self.met["out of time"] += sum(
            "time" in each.get("Error", "") for each in self.world.told()
        )


def check(schedule: Schedule) -> None:
    """Everything acknowledged is applied once, and every foreign record kept once."""
    schedule.run()
    schedule.world.check_complete()
    assert len(list(schedule.world.store.foreign())) == schedule.met["foreign"]


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.budget.FIRST_BYTES", 700)
    monkeypatch.setattr("consumers.budget.LEAST_BYTES", 300)


def test_whatever_happens_everything_is_applied_once() -> None:
    met: Counter[str] = Counter()
    for seed in SEEDS:
        schedule = Schedule(seed)
        try:
            check(schedule)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        met.update(schedule.met)
    missing = [name for name in SITUATIONS if not met[name]]
    assert not missing, dict(met)


def report_nothing(function: Function) -> None:
    """A sabotage: whatever failed is passed over."""
    vars(function)["_report"] = lambda *_: {"batchItemFailures": []}


def test_a_function_that_passes_over_failures_is_found_out() -> None:
    """The canary: the same schedules with one mistake do not come out right."""

    class Broken(Schedule):
        def cold(self) -> Function:
            function = super().cold()
            report_nothing(function)
            return function

    found = 0
    for seed in SEEDS[:25]:
        try:
            check(Broken(seed))
        except AssertionError:
            found += 1
    assert found
