"""Serial puts to fixed explicit hash keys, as our appender makes them, and what was answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Self

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from binlog.logs.kinesis_shards import hash_keys
from binlog.partition import partition_key

KEYS = 8
PAUSE_S = 0.02
ROUND_S = 60.0


class Measure(msgspec.Struct):
    """One question to the service. ``holds`` None: nothing of ours depends on the answer."""

    name: str
    question: str
    holds: bool | None
    figures: dict[str, Any]


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

    def go_round(self, most_s: float = ROUND_S) -> None:
        """Wait until a call to all hash keys was begun and answered since, or nothing comes of it."""
        begun, until = len(self.acknowledged), time.monotonic() + most_s
        while self.error is None and time.monotonic() < until:
            keys = Counter(each.key for each in self.acknowledged[begun:])
            # The first answer may be of a call from before.
            if len(keys) == KEYS and min(keys.values()) > 1:
                return
            time.sleep(PAUSE_S)

    def _put(self) -> None:
        try:
            next_numbers = [0] * KEYS
            while not self._stopping.is_set():
                self._put_once(next_numbers)
                time.sleep(PAUSE_S)
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
