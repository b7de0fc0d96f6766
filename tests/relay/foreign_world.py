"""A log that other tools write to as well, consumers that are killed, and what each must have kept.

Which record is whose is decided here anew and not by the code that is tested: the home is the
partition of the shard whose slice is nearest to the key's hash, and a checkpoint is beyond a
record if the walk along its partition's shards meets the record first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import md5
from itertools import count
from typing import Any

from appliers.store import Checkpoint
from binlog.clock import Clock, ManualClock
from binlog.columns import columns_of, encode_body
from binlog.envelope import PUT_ITEM, Envelope
from binlog.foreign import Foreign, Place, relay_family, relay_id
from binlog.frame import Header, Session, encode_frame
from binlog.log import Log, Position, Put, Shard
from binlog.logs.memory import MemoryLog
from binlog.params import Params, genesis_hash
from binlog.partition import ordering_key, partition_of
from binlog.values import encode_item
from tests.log.log_frames import family

PARTITIONS = 4
KEYS = [f"customer-{number}" for number in range(12)]


def new_log(clock: Clock | None = None, *, shards: int = 1, **params: Any) -> MemoryLog:
    wanted = Params(log_id="1f" * 16, partitions=PARTITIONS, **params)
    clock = clock or ManualClock(1_000_000)
    return MemoryLog(wanted, clock=clock, shards=shards, first_sequence=10**18, sequence_step=7)


def distance(partition: int, key: str, partitions: int) -> int:
    """How far, in partitions, the slice that a key falls into is away."""
    hashed = int(md5(key.encode()).hexdigest(), 16)
    return abs(hashed * partitions // 2**128 - partition)


def expected_home(shard: Shard, key: str, partitions: int) -> int | None:
    found = sorted((distance(p, key, partitions), p) for p in shard.partitions)
    return found[0][1] if found else None


def all_foreign(log: Log) -> list[tuple[Shard, Foreign]]:
    """Every foreign record that there is, by looking at every record."""
    found = []
    for shard in log.shards():
        page = log.read(Position(shard.id, -1), bytes_max=1 << 30)
        assert page.caught_up
        found += [
            (shard, Foreign(shard.id, r.sequence, r.partition_key, r.arrival_ms, r.data))
            for r in page.records
            if r.partition < 0
        ]
    return found


def is_beyond(log: Log, checkpoint: Checkpoint | None, place: Place) -> bool:
    """Whether a checkpoint stands behind a record of a shard that held its partition."""
    if checkpoint is None:
        return False
    if checkpoint.shard == place[0]:
        return checkpoint.sequence >= place[1]
    parents = {shard.id: shard.parents for shard in log.shards()}
    waiting, seen = [checkpoint.shard], set()
    while waiting:
        shard = waiting.pop()
        seen.add(shard)
        waiting += parents.get(shard, ())
    return place[0] in seen


def must_be_kept(log: Log, checkpoints: Mapping[int, Checkpoint]) -> set[Foreign]:
    """What the checkpoints have gone by."""
    partitions = log.params.partitions
    return {
        record
        for shard, record in all_foreign(log)
        if (home := expected_home(shard, record.partition_key, partitions)) is not None
        and is_beyond(log, checkpoints.get(home), record.place)
    }


@lru_cache
def key_in(partition: int, partitions: int = PARTITIONS) -> str:
    """An item id whose events are of that partition."""
    return next(
        f"own-{number}"
        for number in count()
        if partition_of(ordering_key("users", encode_item({"id": f"own-{number}"})), partitions)
        == partition
    )


def append_native(log: MemoryLog, partition: int, session: int) -> None:
    """One event of a producer of the log, of a session of its own."""
    _append(log, partition, session, family(session), f"own/{session}")


def append_relayed(log: MemoryLog, partition: int, place: Place) -> None:
    """The event that a relay makes of the foreign record at ``place``; one a partition."""
    _append(log, partition, 0, relay_family(bytes.fromhex(log.params.log_id), ""), relay_id(place))


def _append(log: MemoryLog, partition: int, number: int, of_family: bytes, event_id: str) -> None:
    item = {"id": key_in(partition), "n": number}
    key, data = encode_item({"id": item["id"]}), encode_item(item)
    header = Header(
        session=Session(of_family, 1),
        born_ms=0,
        partition=partition,
        first=1,
        count=1,
        log_id=bytes.fromhex(log.params.log_id),
        genesis_hash=genesis_hash(log.genesis),
    )
    body = encode_body(columns_of([Envelope(event_id, PUT_ITEM, 1, "users", key, data)]))
    log.append([Put(partition, encode_frame(header, body))])


def items(numbers: Iterable[int]) -> list[bytes]:
    """Records as another tool would put them: an item each, as JSON."""
    return [json.dumps({"id": f"u{number}", "n": number}).encode() for number in numbers]
