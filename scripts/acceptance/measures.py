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
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Self

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from binlog.logs.kinesis_client import DATE_MS
from binlog.logs.kinesis_shards import hash_keys, list_shards
from binlog.partition import partition_key
from scripts.acceptance.resources import Account

KEYS = 8
FIRST = "StartingSequenceNumber"


class Measure(msgspec.Struct):
    """One question to the service. ``holds`` None: nothing of ours depends on the answer."""

    name: str
    question: str
    holds: bool | None
    figures: dict[str, Any]


class Sizes(NamedTuple):
    """How much of it."""

    pause_s: float  # between two changes of the shards, at least
    rounds: int  # of split, split, merge, merge
    order_calls: int  # of each size
    read_pause_s: float  # a shard answers five GetRecords a second


SMALL, FULL = Sizes(1.2, 1, 2, 0.0), Sizes(10.0, 2, 50, 0.25)


class Acknowledged(NamedTuple):
    """A record as its put was answered; sequence numbers of one hash key in order of the puts."""

    key: int
    number: int
    shard: str
    sequence: int
    date_ms: int


class Putting:
    """A thread that puts to every hash key, one after the other's answer, until it is stopped."""

    def __init__(self, client: Any, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._hash_keys = hash_keys(KEYS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._put, name="putting")
        self.acknowledged: list[Acknowledged] = []
        self.refused = 0  # records, tried again
        self.lost = 0  # calls without an answer: what they put is read, and not compared
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _put(self) -> None:
        try:
            next_numbers = [0] * KEYS
            while not self._stopping.is_set():
                self._put_once(next_numbers)
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for the thread
            self.error = error

    def _put_once(self, next_numbers: list[int]) -> None:
        records = [
            {
                "Data": b"%d %d" % (key, number),
                "PartitionKey": partition_key(key),
                "ExplicitHashKey": str(self._hash_keys[key]),
            }
            for key, number in enumerate(next_numbers)
        ]
        try:
            reply = self._client.put_records(StreamName=self._stream, Records=records)
        except (BotoCoreError, ClientError):
            self.lost += 1
            # Never the same number again: a late attempt of this call may still land.
            next_numbers[:] = [number + 1 for number in next_numbers]
            time.sleep(0.2)
            return
        date_ms = date_of(reply)
        for key, entry in enumerate(reply["Records"]):
            if entry.get("ErrorCode"):
                self.refused += 1
                continue
            self.acknowledged.append(
                Acknowledged(
                    key,
                    next_numbers[key],
                    entry["ShardId"],
                    int(entry["SequenceNumber"]),
                    date_ms,
                )
            )
            next_numbers[key] += 1


def date_of(reply: Mapping[str, Any]) -> int:
    """The Date of a reply, ms."""
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    return round(parsedate_to_datetime(headers["date"]).timestamp() * 1000)


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


# -- reading back --------------------------------------------------------------------------------

Seen = dict[tuple[str, int], tuple[int, bytes]]
"""By shard and sequence number: arrival, ms, and data."""


def read(client: Any, stream: str, limit: int, starting: Mapping[str, Any], pause_s: float) -> Seen:
    """All records of all shards, by an iterator of some kind."""
    seen: Seen = {}
    for shard in list_shards(client, stream):
        request = {
            name: shard["SequenceNumberRange"][value]
            if value == "StartingSequenceNumber"
            else value
            for name, value in starting.items()
        }
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], **request
        )["ShardIterator"]
        while iterator:
            page = client.get_records(ShardIterator=iterator, Limit=limit)
            for record in page["Records"]:
                arrival_ms = round(record["ApproximateArrivalTimestamp"].timestamp() * 1000)
                seen[shard["ShardId"], int(record["SequenceNumber"])] = arrival_ms, record["Data"]
            iterator = page.get("NextShardIterator")
            if not page["Records"] and not page.get("MillisBehindLatest"):
                break
            time.sleep(pause_s)
    return seen


def arrivals(readers: Mapping[str, Seen], putting: Putting) -> Measure:
    """Whether every reader sees each acknowledged record, with the same bytes and arrival."""
    whole = {(each.shard, each.sequence): each for each in putting.acknowledged}
    first, *others = readers.values()
    differing = sum(first.get(place) != other.get(place) for other in others for place in whole)
    missing = {name: len(whole.keys() - seen.keys()) for name, seen in readers.items()}
    wrong = sum(
        first[place][1] != b"%d %d" % (each.key, each.number)
        for place, each in whole.items()
        if place in first
    )
    finest = sum(bool(arrival_ms % 1000) for arrival_ms, _ in first.values())
    return Measure(
        "arrivals",
        "Do all readers see the same arrival time of a record, in whole milliseconds?",
        holds=bool(whole) and not differing and not any(missing.values()) and not wrong,
        figures={
            "records": len(whole),
            "readers": list(readers),
            "differing": differing,
            "missing": missing,
            "wrong data": wrong,
            "never acknowledged": len(first) - len(whole.keys() & first.keys()),
            "arrivals finer than a second": finest,
            "backward steps within a shard": _backward(first),
        },
    )


def _backward(seen: Seen) -> int:
    """How often arrival goes back from a record to the next; the sequencer allows for it (S1)."""
    ordered = sorted((place, arrival_ms) for place, (arrival_ms, _) in seen.items())
    return sum(
        one[0][0] == two[0][0] and two[1] < one[1] for one, two in itertools.pairwise(ordered)
    )


def dates(seen: Seen, putting: Putting) -> Measure:
    """How far a reply's Date is from the arrival that readers see."""
    found = sorted(
        each.date_ms - seen[each.shard, each.sequence][0]
        for each in putting.acknowledged
        if (each.shard, each.sequence) in seen
    )
    if not found:
        return Measure(
            "dates", "How far is Date from arrival?", holds=False, figures={"records": 0}
        )
    return Measure(
        "dates",
        f"Is the Date of a reply, cut off to {DATE_MS} ms, at or after arrival?",
        # P4 takes the end of Date's second for the arrival: it must not be before it.
        holds=found[0] > -DATE_MS,
        figures={
            "records": len(found),
            "Date - arrival, ms": {
                "least": found[0],
                "1%": found[len(found) // 100],
                "median": found[len(found) // 2],
                "99%": found[len(found) * 99 // 100],
                "most": found[-1],
            },
        },
    )


# -- order within a call -------------------------------------------------------------------------


def order(client: Any, stream: str, sizes: Sizes) -> Measure:
    """Whether records of one hash key in one call get growing numbers. Nobody promises it."""
    by_size: dict[str, dict[str, int]] = {}
    key = str(hash_keys(KEYS)[0])
    for count in (2, 10, 100, 500):
        calls = inverted = refused = 0
        for _ in range(sizes.order_calls):
            records = [
                {"Data": b"%d" % number, "PartitionKey": "order", "ExplicitHashKey": key}
                for number in range(count)
            ]
            reply = client.put_records(StreamName=stream, Records=records)
            entries = reply["Records"]
            numbers = [int(each["SequenceNumber"]) for each in entries if "SequenceNumber" in each]
            calls += 1
            refused += count - len(numbers)
            inverted += any(one >= two for one, two in itertools.pairwise(numbers))
            time.sleep(count / 1000)  # what a shard takes
        by_size[f"{count} records"] = {"calls": calls, "out of order": inverted, "refused": refused}
    return Measure(
        "order",
        "Do records of one hash key in one PutRecords get growing sequence numbers?",
        holds=None,
        figures=dict(by_size),
    )


def measure(account: Account, puts: Any, stream: str, sizes: Sizes) -> Iterator[Measure]:
    """All of them, one by one, on a stream of two shards. ``puts`` makes one attempt a call."""
    client, begun = account.kinesis, time.time()
    with Putting(puts, stream) as putting:
        changes = reshard(client, stream, sizes, lambda: account.wait_for(stream))
    if putting.error is not None:
        raise putting.error
    yield growth(putting, changes)
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
    yield arrivals(readers, putting)
    yield dates(next(iter(readers.values())), putting)
    yield order(puts, stream, sizes)
