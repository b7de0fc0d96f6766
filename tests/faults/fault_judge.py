"""What is true of a stream, worked out from its raw records by the reference and not by our code.

The records come by bare calls past every fault; the model numbers them, the reference tables fold
them (`binlog.testing.world`). Of our own code only the codec of frames takes part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from appliers.applier import NO_RULES, Rules
from appliers.store import Store
from binlog.envelope import CONTROL_PREFIX
from binlog.frame import decode_body, decode_header
from binlog.log import Record
from binlog.params import Params
from binlog.producer import Outcome
from binlog.testing.world.digests import digest_of
from binlog.testing.world.model import Model
from binlog.testing.world.operators import meaning_of
from binlog.testing.world.records import Frame
from binlog.testing.world.specification import Limits, Taken
from binlog.testing.world.tables import Tables
from tests.log.kinesis_ledger import Ledger


def raw_records(client: Any, stream: str, *, skew_ms: int) -> Iterator[Record]:
    """All records of a stream, parents before children, those of no partition left out."""
    listed: dict[str, Mapping[str, Any]] = {}
    request: dict[str, Any] = {"StreamName": stream, "MaxResults": 1_000}
    while request:
        page = client.list_shards(**request)
        listed |= {shard["ShardId"]: shard for shard in page["Shards"]}
        token = page.get("NextToken")
        request = {"NextToken": token, "MaxResults": 1_000} if token else {}

    def depth(shard_id: str) -> int:
        shard = listed[shard_id]
        parents = [shard.get("ParentShardId"), shard.get("AdjacentParentShardId")]
        return 1 + max((depth(parent) for parent in parents if parent in listed), default=0)

    for shard_id in sorted(listed, key=lambda each: (depth(each), each)):
        iterator: str | None = client.get_shard_iterator(
            StreamName=stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator is not None:
            page = client.get_records(ShardIterator=iterator, Limit=10_000)
            iterator = page.get("NextShardIterator") if page["Records"] else None
            for each in page["Records"]:
                key, arrival = each["PartitionKey"], each["ApproximateArrivalTimestamp"]
                if key[0] == "p" and len(key) == 5:
                    # A client of ours has them as they travel.
                    seconds = arrival if isinstance(arrival, float) else arrival.timestamp()
                    ms = round(seconds * 1_000) + skew_ms
                    sequence = int(each["SequenceNumber"])
                    yield Record(sequence, ms, int(key[1:]), bytes(each["Data"]))


@dataclass
class Truth:
    """The answer of the reference: by partition what was numbered, and the tables at the end."""

    sequenced: dict[int, list[Taken]]
    digests: dict[int, bytes]
    tables: Tables
    met: Counter[str] = field(default_factory=Counter)

    @property
    def ids(self) -> Counter[str]:
        """How often each event was numbered, by its id."""
        events = [t.event for found in self.sequenced.values() for t in found]
        return Counter(e.id for e in events if e and not e.type.startswith(CONTROL_PREFIX))


def truth_of(
    client: Any, stream: str, params: Params, *, skew_ms: int = 0, rules: Rules = NO_RULES
) -> Truth:
    """Read it all, and work it out."""
    limits = Limits(
        params.session_life_ms, params.id_window, params.hold_frames_max, params.hold_bytes_max
    )
    models = [Model(limits) for _ in range(params.partitions)]
    bodies: list[list[tuple[Frame, bytes]]] = [[] for _ in models]
    seen: Counter[tuple[int, bytes]] = Counter()
    for record in raw_records(client, stream, skew_ms=skew_ms):
        header = decode_header(record.data)
        if header.genesis:
            continue
        seen[record.partition, record.data] += 1
        body = decode_body(record.data, header)
        frame = meaning_of(record, header, body)
        bodies[record.partition].append((frame, body))
        models[record.partition].read(frame)
    tables = Tables(rules, partitions=params.partitions)
    truth = Truth({}, {}, tables)
    for partition, model in enumerate(models):
        assert model.trouble is None, f"partition {partition} halts: {model.trouble}"
        truth.sequenced[partition] = model.sequenced
        truth.digests[partition] = digest_of(model.sequenced, bodies[partition])
        truth.met.update(model.counts)
        for offset, taken in enumerate(model.sequenced, 1):
            assert taken.event is not None
            tables.apply(partition, offset, taken.event)
    truth.met["copies"] = sum(count - 1 for count in seen.values())
    return truth


def check_ledger(truth: Truth, ledger: Ledger) -> Counter[str]:
    """What producers were told, held against what is numbered; how often each case occurred."""
    ids, met = truth.ids, Counter[str]()
    for name, outcome in ledger.outcomes.items():
        count = ids[name]
        assert count <= 1, f"{name} counts {count} times"
        if outcome is Outcome.ACKNOWLEDGED:
            assert count == 1, f"{name} was acknowledged, and is lost"
        if outcome is Outcome.FAILED:
            assert count == 0, f"{name} was reported as never sent, and counts"
        there = "there" if count else "not there"
        met[f"{outcome.value}, {there}" if outcome is Outcome.UNKNOWN else outcome.value] += 1
    assert ids.keys() <= ledger.outcomes.keys(), "an event that nobody published"
    return met


def check_replica(truth: Truth, store: Store) -> None:
    """A store at rest holds what the events fold to, to the byte, at the log's end."""
    expected = {
        (table, key): (cell.version, cell.partition, cell.data) for table, key, cell in truth.tables
    }
    found = {
        (table, key): (row.version, row.partition, row.data)
        for generation in store.generations()
        for table in generation.tables
        for key, row in store.scan(table)
    }
    wrong = [
        f"{place}: expected {expected.get(place)}, found {found.get(place)}"
        for place in sorted({*expected, *found})
        if expected.get(place) != found.get(place)
    ]
    assert not wrong, f"{store.name} differs from the fold of its events:\n" + "\n".join(wrong)
    for generation in store.generations():
        for partition, checkpoint in store.checkpoints(generation.id).items():
            end = len(truth.sequenced[partition])
            assert checkpoint.applied == end, f"partition {partition} stands before the end"
            assert checkpoint.digest == truth.digests[partition], f"digest of {partition}"
