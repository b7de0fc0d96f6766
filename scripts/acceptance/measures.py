"""What the design takes for granted of Kinesis, measured; no stand-in can say it.

Three runs of puts on one stream of two shards:

* serial puts to fixed explicit hash keys, one record a key and call as our appender does it, while
  the shards are split and merged (`growth`: P3, C4);
* the same records read back by readers of several kinds (`arrivals`: S1, S8), and compared with the
  ``Date`` of the replies (`dates`: P2, P4);
* several records of one hash key in a call, which our appender never sends (`order`).
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from binlog.logs.kinesis_shards import hash_keys, list_shards
from scripts.acceptance.putting import KEYS, Acknowledged, Measure, Putting
from scripts.acceptance.reading import FIRST, arrivals, dates, read, read_by_fan_out
from scripts.acceptance.resources import Account


class Sizes(NamedTuple):
    """How much of it."""

    pause_s: float  # between two changes of the shards, at least
    rounds: int  # of split, split, merge, merge
    order_calls: int  # of each size
    read_pause_s: float  # a shard answers five GetRecords a second


SMALL, FULL = Sizes(1.1, 1, 2, 0.0), Sizes(10.0, 2, 50, 0.25)


# -- growth --------------------------------------------------------------------------------------


def reshard(client: Any, stream: str, sizes: Sizes, wait: Callable[[], None]) -> int:
    """Split and merge all over the hash keys; how often."""
    done = 0
    for _ in range(sizes.rounds):
        for change in (_split_first, _split_last, _merge_first, _merge_last):
            time.sleep(sizes.pause_s)
            change(client, stream)
            wait()
            done += 1
    time.sleep(sizes.pause_s)
    return done


def _open(client: Any, stream: str) -> list[Mapping[str, Any]]:
    listed = list_shards(client, stream)
    found = [each for each in listed if "EndingSequenceNumber" not in each["SequenceNumberRange"]]
    return sorted(found, key=lambda each: int(each["HashKeyRange"]["StartingHashKey"]))


def _split(client: Any, stream: str, shard: Mapping[str, Any]) -> None:
    low, high = (int(shard["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey"))
    client.split_shard(
        StreamName=stream,
        ShardToSplit=shard["ShardId"],
        NewStartingHashKey=str((low + high) // 2 + 1),
    )


def _split_first(client: Any, stream: str) -> None:
    _split(client, stream, _open(client, stream)[0])


def _split_last(client: Any, stream: str) -> None:
    _split(client, stream, _open(client, stream)[-1])


def _merge(client: Any, stream: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> None:
    client.merge_shards(
        StreamName=stream, ShardToMerge=one["ShardId"], AdjacentShardToMerge=two["ShardId"]
    )


def _merge_first(client: Any, stream: str) -> None:
    _merge(client, stream, *_open(client, stream)[:2])


def _merge_last(client: Any, stream: str) -> None:
    _merge(client, stream, *_open(client, stream)[-2:])


def growth(putting: Putting, changes: int) -> Measure:
    """Whether a hash key's sequence numbers grow in the order of serial puts, over all shards."""
    not_grown, moves, least = 0, 0, None
    last: dict[int, Acknowledged] = {}
    within: Counter[str] = Counter()
    for each in putting.acknowledged:
        before = last.get(each.key)
        last[each.key] = each
        if before is None:
            continue
        moved = before.shard != each.shard
        moves += moved
        grew = each.sequence - before.sequence
        least = grew if least is None else min(least, grew)
        if grew <= 0:
            not_grown += 1
            within["between shards" if moved else "within a shard"] += 1
    return Measure(
        "growth",
        "Do the sequence numbers of one explicit hash key grow over splits and merges?",
        holds=not_grown == 0 and moves > 0,
        figures={
            "records": len(putting.acknowledged),
            "hash keys": KEYS,
            "splits and merges": changes,
            "changes of shard seen by a key": moves,
            "not grown": not_grown,
            "not grown, where": dict(within),
            "least growth": str(least),
            "refused and put again": putting.refused,
            "calls without an answer": putting.lost,
        },
    )


# -- order within a call -------------------------------------------------------------------------


def order(client: Any, stream: str, sizes: Sizes) -> Measure:
    """Whether records of one hash key in one call get growing numbers. Nobody promises it."""
    by_size: dict[str, dict[str, int]] = {}
    key = str(hash_keys(KEYS)[0])
    for count in (2, 10, 100, 500):
        calls = inverted = refused = unanswered = 0
        for _ in range(sizes.order_calls):
            records = [
                {"Data": b"%d" % number, "PartitionKey": "order", "ExplicitHashKey": key}
                for number in range(count)
            ]
            try:
                entries = client.put_records(StreamName=stream, Records=records)["Records"]
            except (BotoCoreError, ClientError):
                unanswered += 1
                continue
            numbers = [int(each["SequenceNumber"]) for each in entries if "SequenceNumber" in each]
            calls += 1
            refused += count - len(numbers)
            inverted += any(one >= two for one, two in itertools.pairwise(numbers))
            time.sleep(count / 1000)  # what a shard takes
        by_size[f"{count} records"] = {
            "calls": calls,
            "out of order": inverted,
            "records refused": refused,
            "calls without an answer": unanswered,
        }
    return Measure(
        "order",
        "Do records of one hash key in one PutRecords get growing sequence numbers?",
        holds=None,
        figures=dict(by_size),
    )


def measure(
    account: Account, puts: Any, stream: str, sizes: Sizes, *, fan_out: bool
) -> Iterator[Measure]:
    """All of them, one by one, on a stream of two shards. ``puts`` makes one attempt a call.

    No stand-in has enhanced fan-out.
    """
    client, begun = account.kinesis, time.time()
    with Putting(puts, stream) as putting:

        def settle() -> None:
            """Until it is done, and every key was put to since."""
            account.wait_for(stream)
            putting.go_round()

        putting.go_round()
        changes = reshard(client, stream, sizes, settle)
    if putting.error is not None:
        raise putting.error
    yield growth(putting, changes)
    time.sleep(min(sizes.pause_s, 3.0))  # until all of it can be read
    kinds: dict[str, tuple[int, dict[str, Any]]] = {
        "from TRIM_HORIZON, 10,000 a page": (10_000, {"ShardIteratorType": "TRIM_HORIZON"}),
        "from the first sequence number, 500 a page": (
            500,
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", FIRST: FIRST},
        ),
        "from a timestamp, 2,000 a page": (
            2_000,
            {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": begun - 60},
        ),
    }
    readers = {
        name: read(client, stream, limit, starting, sizes.read_pause_s)
        for name, (limit, starting) in kinds.items()
    }
    if fan_out:
        readers["enhanced fan-out"] = read_by_fan_out(client, stream)
    yield arrivals(readers, putting)
    yield dates(next(iter(readers.values())), putting)
    yield order(puts, stream, sizes)
