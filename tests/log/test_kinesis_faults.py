"""Producer, stream and reader together on the double, under seeded faults; the ledger judges."""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import pytest

from binlog.frame import decode_header
from binlog.log import Remote
from binlog.partition import explicit_hash_key
from binlog.producer import Outcome, Producer, ProducerOptions
from tests.log.kinesis_double import Fault
from tests.log.kinesis_ledger import Ledger
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS

OPTIONS = ProducerOptions(
    retry_first_s=0.0005, retry_most_s=0.002, give_up_s=0.2, queue_wait_s=30, frame_bytes_goal=400
)
PATIENT = msgspec.structs.replace(OPTIONS, give_up_s=600.0, queue_wait_s=600.0)
KINDS = ("throttle", "fail", "unreached", "lose request", "lose reply", "late")


def draw(random: Random) -> Fault | None:
    if random.random() < 0.4:
        return None
    of = frozenset(i for i in range(PARAMS.partitions) if random.random() < 0.5)
    if random.random() < 0.2:
        code = random.choice(["InternalFailure", "ProvisionedThroughputExceededException"])
        return Fault("error", code=code)
    return Fault(random.choice(KINDS), of)  # type: ignore[arg-type]


def run(seed: int) -> tuple[Counter[str], Ledger, KinesisWorld]:
    random = Random(seed)
    world = KinesisWorld(shards=2)
    ledger = Ledger()
    log = world.open()
    with Producer(log, options=OPTIONS, random=Random(seed)) as producer:
        for step in range(40):
            world.double.faults.extend(draw(random) for _ in range(3))
            if random.random() < 0.05:
                world.double.faults.extend([Fault("lose request")] * 1_000)
            ledger.publish(producer, "a", range(step * 5, step * 5 + random.randint(1, 5)))
            producer.flush()
            world.double.faults.clear()
            world.clock.advance(random.choice([1, 50, 5_000]))
            while world.double.under_way and random.random() < 0.5:
                world.double.under_way.pop(random.randrange(len(world.double.under_way)))()
            reshard(world, random)
    while world.double.under_way:
        world.double.under_way.pop()()
    world.double.page_records = random.choice([1, 7, 10_000])
    world.double.empty_pages = random.randint(0, 5)
    return ledger.check(world.open()), ledger, world


def reshard(world: KinesisWorld, random: Random) -> None:
    if random.random() < 0.1:
        stream, now = world.stream, world.clock.now_ms()
        open_ = sorted(
            (s for s in stream.shards.values() if s.closed_ms is None), key=lambda s: s.low
        )
        if random.random() < 0.5 and len(open_) > 1:
            index = random.randrange(len(open_) - 1)
            stream.merge(open_[index].id, open_[index + 1].id, now)
        else:
            at = explicit_hash_key(random.randrange(1, PARAMS.partitions), PARAMS.partitions) + 1
            for shard in open_:
                if shard.low < at <= shard.high:
                    stream.split(shard.id, at, now)


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice() -> None:
    """And what is meant to happen in these runs does happen in them."""
    met: Counter[str] = Counter()
    for seed in range(25):
        try:
            counters, ledger, world = run(seed)
        except BaseException:
            print(f"seed {seed}")
            raise
        met += counters
        met["acknowledged"] += ledger.count(Outcome.ACKNOWLEDGED)
        met["unknown"] += ledger.count(Outcome.UNKNOWN)
        met["shards"] += len(world.stream.shards) - 2
    for wanted in ("acknowledged", "unknown", "duplicates", "closed", "shards"):
        assert met[wanted] > 0, f"no {wanted}: {dict(met)}"


def test_the_ledger_sees_a_lost_record() -> None:
    """A judge that cannot fail is none."""
    world = KinesisWorld()
    ledger, log = Ledger(), world.open()
    with Producer(log, options=PATIENT) as producer:
        ledger.publish(producer, "a", range(3))
    assert ledger.count(Outcome.ACKNOWLEDGED) == 3
    ledger.check(world.open())
    shard = next(iter(world.stream.shards.values()))
    shard.records.pop()
    with pytest.raises(AssertionError, match="lost"):
        ledger.check(world.open())


def test_a_session_knows_its_birth_before_it_sends() -> None:
    """So the first frames of a session need not wait for one another's replies."""
    world = KinesisWorld()
    log = world.open()
    assert isinstance(log, Remote)
    world.double.sent.clear()
    world.clock.advance(90_000)
    ledger = Ledger()
    with Producer(log, options=PATIENT) as producer:
        world.double.faults.extend([Fault("lose request")] * 2)
        ledger.publish(producer, "a", range(12))
    assert ledger.count(Outcome.ACKNOWLEDGED) == 12
    frames = [record["Data"] for call in world.double.sent for record in call]
    headers = [decode_header(frame) for frame in frames]
    [born] = {header.born_ms for header in headers}
    assert 0 <= world.clock.now_ms() - born < 1_000
    assert len(world.double.sent[0]) > 1  # of several partitions, in the first call
