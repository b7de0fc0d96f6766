"""Frames into a stream: rules P2 to P4 on `PutRecords`, as far as they are the log's.

Invariants:

* a call carries at most one record of a partition: `PutRecords` keeps no order, and goes on after
  a record that failed. Of a partition the next record goes when the one before it is in the log;
  after one that failed nothing newer of that partition is sent;
* each record has its partition's fixed hash key and partition key, wherever the shards are now;
* one attempt a call; the bytes of a frame are the same in every attempt. A frame without a birth
  is given one before it is first sent, and its session keeps it here;
* every sequence number is compared with the last one of its partition. Kinesis promises growth
  only for calls one after the other, and not in so many words for `PutRecords`: what did not grow
  is counted (`Counters.not_growing`). Readers are not misled by it: they order by the stream.

The service enforces no age, so none is enforced here: the producer judges its acknowledgements by
the reply's Date (P4), which is what ``arrival_ms`` of `Appended` is, rounded up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from binlog.aws.clients import Clients
from binlog.aws.errors import THROTTLES, error_code, trouble, was_refused
from binlog.errors import BinlogError, StorageError
from binlog.frame import stamp_born
from binlog.log import Appended, Failed, Position, Put, Reply
from binlog.logger import get_logger
from binlog.logs.admission import Admission, born_of, session_of
from binlog.logs.kinesis_client import DATE_MS, ServiceTime
from binlog.logs.kinesis_shards import hash_keys
from binlog.params import Params
from binlog.partition import partition_key

CALL_RECORDS_MAX = 500  # PutRecords (service limit)
CALL_BYTES_MAX = 4_500_000  # below the 5 MiB that it took before it took 10, keys included
_BIRTHS_KEPT = 256

_logger = get_logger(__name__)


class Counters(msgspec.Struct):
    """What the writing side has met."""

    calls: int = 0
    records: int = 0  # sent, once for every attempt
    record_bytes: int = 0
    throttled: int = 0  # records
    failed: int = 0  # records, for another reason
    not_growing: int = 0  # sequence numbers


class Appender:
    """Appends to one stream. Any thread may call `append`."""

    def __init__(
        self,
        name: str,
        stream: str,
        params: Params,
        admission: Admission,
        clients: Clients,
        time: ServiceTime,
    ) -> None:
        self.counters = Counters()
        self.last_arrival_ms = 0
        self._name = name
        self._stream = stream
        self._life_ms = params.session_life_ms
        self._admission = admission
        self._clients = clients
        self._time = time
        self._keys = [
            (partition_key(partition), str(key))
            for partition, key in enumerate(hash_keys(params.partitions))
        ]
        self._lock = threading.Lock()
        self._births: dict[bytes, int] = {}
        self._last: dict[int, int] = {}  # sequence numbers, by partition

    def forget(self) -> None:
        """In a forked child: the lock may have been held."""
        self._lock = threading.Lock()

    def append(self, puts: Sequence[Put]) -> list[Reply]:
        """A reply to each, in the order given.

        Raises:
            RefusedError: a frame that is not this log's; nothing was sent.
        """
        self._admission.check(puts)
        frames = self._stamped(puts)
        replies: dict[int, Reply] = {}
        queues: dict[int, deque[int]] = {}
        for index, put in enumerate(puts):
            queues.setdefault(put.partition, deque()).append(index)
        while queues:
            call = self._next_call(queues, frames)
            answered = self._put(call, puts, frames)
            if isinstance(answered, Failed):
                # The next call would fail alike, and may take its whole timeout for it.
                behind = Failed(answered.error, untouched=True, final=answered.final)
                replies.update({index: behind for queue in queues.values() for index in queue})
                replies.update(dict.fromkeys(call, answered))
                break
            for index, reply in zip(call, answered, strict=True):
                replies[index] = reply
                queue = queues[puts[index].partition]
                queue.popleft()
                if isinstance(reply, Failed):
                    behind = Failed(reply.error, untouched=True, final=reply.final)
                    replies.update(dict.fromkeys(queue, behind))
                    queue.clear()
                if not queue:
                    del queues[puts[index].partition]
        return [replies[index] for index in range(len(puts))]

    def _stamped(self, puts: Sequence[Put]) -> list[bytes]:
        """The frames as they are sent: with the birth that their session has here."""
        now_ms, birth_ms = self._time.now_ms(), self._time.agreed_ms()
        for put in puts:
            self._admission.check_born(born_of(put.data), now_ms)
        with self._lock:
            frames = [
                put.data
                if born_of(put.data)
                else stamp_born(put.data, self._births.setdefault(session_of(put.data), birth_ms))
                for put in puts
            ]
            if len(self._births) > _BIRTHS_KEPT:
                oldest = now_ms - self._life_ms
                self._births = {s: born for s, born in self._births.items() if born >= oldest}
        return frames

    @staticmethod
    def _next_call(queues: Mapping[int, Sequence[int]], frames: Sequence[bytes]) -> list[int]:
        """The first frame of each partition, as many as one call carries."""
        call: list[int] = []
        size = 0
        for queue in queues.values():
            size += len(frames[queue[0]])
            if call and (size > CALL_BYTES_MAX or len(call) == CALL_RECORDS_MAX):
                break
            call.append(queue[0])
        return call

    def _put(
        self, call: Sequence[int], puts: Sequence[Put], frames: Sequence[bytes]
    ) -> list[Reply] | Failed:
        """One PutRecords, one attempt: a reply to each record, or why there is none."""
        records = []
        for index in call:
            key, hash_key = self._keys[puts[index].partition]
            records.append(
                {"Data": frames[index], "PartitionKey": key, "ExplicitHashKey": hash_key}
            )
        self._count_sent(frames[index] for index in call)
        try:
            response = self._clients.puts.put_records(StreamName=self._stream, Records=records)
            entries = response["Records"]
            if len(entries) != len(call):
                raise StorageError(f"{len(entries)} replies to {len(call)} records", self._name)  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - whatever it was, these frames are in doubt
            return self._failed_call(error, len(call))
        # The Date is cut off to the second: the service's time was at most that much later.
        arrival = self._time.hear(response) + DATE_MS - 1
        self.last_arrival_ms = max(self.last_arrival_ms, arrival)
        return [
            self._reply(puts[index].partition, frames[index], entry, arrival)
            for index, entry in zip(call, entries, strict=True)
        ]

    def _reply(self, partition: int, frame: bytes, entry: Mapping[str, Any], arrival: int) -> Reply:
        if code := entry.get("ErrorCode"):
            said = f"{code}: {entry.get('ErrorMessage', '')}"
            if code in THROTTLES:
                self._count(throttled=1)
                error = StorageError(f"throttled ({said})", self._name, "add shards, or wait")
                return Failed(error, untouched=True, throttled=True)
            self._count(failed=1)
            return Failed(StorageError(said, self._name, "send it again"))
        try:
            shard, sequence = str(entry["ShardId"]), int(entry["SequenceNumber"])
        except (KeyError, TypeError, ValueError):
            self._count(failed=1)
            return Failed(StorageError(f"an odd reply ({entry!r})", self._name, "send it again"))
        self._check_growth(partition, sequence, shard)
        return Appended(arrival, Position(shard, sequence), born_of(frame))

    def _failed_call(self, error: Exception, records: int) -> Failed:
        ours = error if isinstance(error, BinlogError) else trouble(error, self._name)
        ours.__cause__ = None if ours is error else error
        refused = was_refused(error)
        is_throttle = refused and ours.retriable
        self._count(throttled=records * is_throttle, failed=records * (not is_throttle))
        throttled = error_code(error) in THROTTLES
        return Failed(ours, untouched=refused, final=not ours.retriable, throttled=throttled)

    def _check_growth(self, partition: int, sequence: int, shard: str) -> None:
        with self._lock:
            last = self._last.get(partition, -1)
            self._last[partition] = sequence
        if sequence <= last:
            self._count(not_growing=1)
            _logger.warning(
                "sequence.not_growing",
                log=self._name,
                partition=partition,
                shard=shard,
                sequence=str(sequence),
                last=str(last),
            )

    def _count_sent(self, frames: Iterable[bytes]) -> None:
        sizes = [len(frame) for frame in frames]
        self._count(calls=1, records=len(sizes), record_bytes=sum(sizes))

    def _count(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                setattr(self.counters, name, getattr(self.counters, name) + count)
