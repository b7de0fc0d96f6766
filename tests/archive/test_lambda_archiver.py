"""Lambda archives: a batch is a success only when it is in the chains, whatever the mapping does."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from binlog.archive import Archive
from binlog.archive.archiver import Archiving, archive
from binlog.errors import HaltedError, RefusedError, StorageError
from binlog.objects.memory import MemoryObjects
from consumers.aws_lambda_function import Function
from consumers.aws_lambda_settings import settings_of
from tests.archive.archive_world import archived, places
from tests.lambda_consumer.event_source_mapping import FailedError
from tests.lambda_consumer.function_world import KEYS, MAPPING, Context, FunctionWorld, KilledError
from tests.log.kinesis_world import read_lineage

ARCHIVE = {"BINLOG_LOG": "kinesis://orders", "BINLOG_ARCHIVE": "s3://kept/orders"}


class Trouble(MemoryObjects):
    """A bucket whose calls may fail, and environments that end in the middle of one."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.rate = 0.0
        self.overlap: Any = None

    def put_new(self, key: str, data: bytes) -> bool:
        if self.random.random() >= self.rate:
            return super().put_new(key, data)
        kind = self.random.choice(["refused", "lost reply", "killed", "killed after", "overlap"])
        if kind == "overlap" and self.overlap is not None:
            overlap, self.overlap = self.overlap, None
            overlap()
            return super().put_new(key, data)
        if kind in ("lost reply", "killed after"):
            super().put_new(key, data)
        if kind.startswith("killed"):
            raise KilledError
        raise StorageError(kind, self.name, "try again")


class ArchiveWorld(FunctionWorld):
    """A stream, an archive, and environments of a function between them."""

    def __init__(self, shards: int = 1, *, seed: int = 0, **settings: Any) -> None:
        super().__init__(shards, **settings)
        self.settings = replace(self.settings, store="", archive="s3://kept/s")
        self.objects = Trouble(Random(seed))

    def environment(self, store: Any = None, **more: Any) -> Function:
        del store
        return super().environment(open_objects=lambda _: self.objects, **more)

    def kept(self) -> Archive:
        return Archive.open(self.objects)

    def check_all_archived(self) -> None:
        """Every record of the stream is in the chain of its partition, once and in order."""
        log = self.world.open()
        expected = read_lineage(log)
        for partition in range(log.params.partitions):
            found = archived(self.kept(), partition)
            own = [r for r in expected if r.partition == partition]
            kept = [r for _, r in found if r.partition >= 0]
            assert [r.sequence for r in kept] == [r.sequence for r in own]
            assert len(places(found)) == len(set(places(found)))
        foreign = sorted(r.sequence for r in expected if r.partition < 0)
        assert foreign == sorted(
            record.sequence
            for partition in range(log.params.partitions)
            for _, record in archived(self.kept(), partition)
            if record.partition < 0
        )


def test_what_the_mapping_delivers_is_archived() -> None:
    """The archive is made by whoever is first."""
    world = ArchiveWorld()
    world.publish(KEYS)
    mapping = world.mapping(world.environment())
    mapping.run()
    world.check_all_archived()
    world.publish(KEYS)
    mapping.run()
    world.check_all_archived()
    told = world.told()
    assert sum(each["Events"] for each in told) == 2 * len(KEYS)
    assert told[-1]["Writes"] <= 4


def test_a_bucket_that_refuses_fails_the_batch() -> None:
    """Nothing is reported as done that is not in the chain; an environment's end reports nothing."""
    world = ArchiveWorld()
    world.publish(KEYS)
    world.objects.rate = 1.0
    event = next_event(world)
    first = event["Records"][0]["kinesis"]["sequenceNumber"]
    reported = 0
    for seed in range(20):
        world.objects.random = Random(seed)
        answer = handled(world.environment(), event)
        if not isinstance(answer, FailedError) and (failures := answer["batchItemFailures"]):
            reported += 1
            assert failures[0]["itemIdentifier"] >= first
    assert reported > 3


def next_event(world: ArchiveWorld) -> dict[str, Any]:
    """What the mapping would deliver first."""
    caught: list[dict[str, Any]] = []

    def catch(event: dict[str, Any]) -> Any:
        caught.append(event)
        raise FailedError

    mapping = world.mapping(catch)
    mapping.step()
    return caught[0]


def test_a_halted_partition_is_reported_and_nothing_after_it() -> None:
    """The shard stops there, and somebody has to decide."""
    world = ArchiveWorld()
    world.publish(KEYS)
    world.world.stream.land(
        {"PartitionKey": "p0001", "ExplicitHashKey": str(2**126 + 2**125), "Data": b"garbage"},
        world.clock.now_ms(),
    )
    function = world.environment()
    response = function.handle(next_event(world), Context())
    [failure] = response["batchItemFailures"]
    last = read_lineage(world.world.open())[-1]
    assert failure["itemIdentifier"] == str(last.sequence)
    with pytest.raises(HaltedError):
        archive(world.world.open(), world.kept(), Archiving(once=True))


@pytest.mark.parametrize("seed", range(24))
def test_nothing_is_lost_through_everything_that_a_mapping_does(seed: int) -> None:
    """Lanes, splits, zombies, kills, lost replies, cold starts, another archiver beside it."""
    random = Random(seed)
    world = ArchiveWorld(shards=random.choice([1, 2]), seed=seed)
    world.objects.rate = random.choice([0.0, 0.1, 0.3])
    lanes = random.choice([1, 1, 2, 10])
    world.mappings = [{**MAPPING, "ParallelizationFactor": lanes}]
    environments = [world.environment()]

    def invoke(event: dict[str, Any]) -> Any:
        if random.random() < 0.1 or not environments:
            environments.append(world.environment())
        one = random.choice(environments)
        # Given up, and delivered to another one while it goes on: that one's answer counts.
        answers: list[Any] = []
        world.objects.overlap = lambda: answers.append(handled(world.environment(), event))
        answer = handled(one, event)
        if isinstance(answer, FailedError) and one in environments and random.random() < 0.5:
            environments.remove(one)
        answer = answers[-1] if answers else answer
        if isinstance(answer, FailedError):
            raise answer
        return answer

    mapping = world.mapping(
        invoke,
        seed=seed,
        parallelization=lanes,
        batch_size=random.choice([1, 3, 10]),
        bisect=random.random() < 0.5,
    )
    for _ in range(25):
        world.publish(random.sample(KEYS, random.randrange(4)))
        if random.random() < 0.1:
            world.world.foreign(f"k{random.randrange(9)}")
        if random.random() < 0.05:
            split(world, random)
        if random.random() < 0.1:
            mapping.restart()
        world.clock.advance(random.choice([10, 1_000, 700_000]))  # type: ignore[attr-defined]
        mapping.step()
        if random.random() < 0.05:
            world.objects.rate, rate = 0.0, world.objects.rate
            archive(world.world.open(), world.kept(), Archiving(once=True), clock=world.clock)
            world.objects.rate = rate
    world.objects.rate = 0.0
    mapping.run()
    world.check_all_archived()


def handled(function: Function, event: dict[str, Any]) -> Any:
    try:
        response = function.handle(json.loads(json.dumps(event)), Context())
    except (Exception, KilledError) as error:  # noqa: BLE001 - the service does not look at the kind
        return FailedError(str(error))
    return json.loads(json.dumps(response))


def split(world: ArchiveWorld, random: Random) -> None:
    """The stream splits by itself, as one on demand does."""
    able = [
        s
        for s in world.stream.shards.values()
        if s.closed_ms is None and s.high - s.low > 2**126  # of two partitions or more
    ]
    if able:
        shard = random.choice(able)
        middle = (shard.low + shard.high + 1) // 2
        world.stream.split(shard.id, middle, world.clock.now_ms())


def test_an_archive_is_named_in_place_of_a_store() -> None:
    """On S3: what is on a function's disk ends with it."""
    settings = settings_of(ARCHIVE)
    assert (settings.archive, settings.store, settings.target) == (
        "s3://kept/orders",
        "",
        "s3://kept/orders",
    )
    for more, match in (
        ({"BINLOG_ARCHIVE": "file:here"}, "s3://BUCKET/PREFIX"),
        ({"BINLOG_ARCHIVE": "s3:"}, "BINLOG_ARCHIVE"),
        ({"BINLOG_POISON": "stop"}, "keeps records"),
    ):
        with pytest.raises(RefusedError, match=match):
            settings_of(ARCHIVE | more)
