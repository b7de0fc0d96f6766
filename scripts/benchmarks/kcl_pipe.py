"""Our log as the messages of a MultiLangDaemon, through a pipe, and the processors that take them.

`cat` stands for the daemon: it writes, from a process of its own, and reads no answers. So no
checkpoint is asked for: the processors' clock stands.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import util
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from appliers.stores.memory import MemoryStore
from binlog.address import open_log
from binlog.clock import ManualClock
from binlog.log import Log, Position, Record
from binlog.partition import partition_key
from consumers.delivery import Outcome as Applied
from consumers.delivery import Worker, Working
from consumers.kcl_health import Health
from consumers.kcl_records import Records
from consumers.kcl_shard import Applies, Delivered, ShardConsumer
from scripts.benchmarks.lambda_event import decoded
from scripts.benchmarks.measure import UnavailableError

BATCH = 100  # records a message
TIMES = 20


class Messages:
    """A log in a directory as the messages of its one shard, in two files.

    In ``once`` as they are; in ``often`` all of them `TIMES`, which is for who looks at none.
    """

    def __init__(self, folder: Path, log_folder: Path) -> None:
        if util.find_spec("amazon_kclpy") is None:
            raise UnavailableError("amazon_kclpy is not installed (python -m scripts.standins.kcl)")
        self.once, self.often, self.log = folder / "once", folder / "often", log_folder
        folder.mkdir()
        with contextlib.closing(open_log(f"file:{log_folder}")) as log:
            [shard] = log.shards()
            records = [_record(record) for record in _all_of(log, shard.id)]
        self.records = len(records)
        first = {"shardId": shard.id, "sequenceNumber": "TRIM_HORIZON", "subSequenceNumber": 0}
        begin = _line({"action": "initialize", **first})
        batches = b"".join(
            _line(
                {
                    "action": "processRecords",
                    "records": records[at : at + BATCH],
                    "millisBehindLatest": 0,
                }
            )
            for at in range(0, len(records), BATCH)
        )
        self.once.write_bytes(begin + batches)
        with self.often.open("wb") as file:
            file.write(begin)
            for _ in range(TIMES):
                file.write(batches)


def _all_of(log: Log, shard: str) -> Iterator[Record]:
    place = Position(shard, -1)
    while True:
        page = log.read(place)
        yield from page.records
        place = page.next
        if page.caught_up:
            return


def _line(message: dict[str, Any]) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def _record(record: Record) -> dict[str, Any]:
    return {
        "action": "record",
        "data": base64.b64encode(record.data).decode(),
        "partitionKey": partition_key(record.partition),
        "sequenceNumber": str(record.sequence),
        "subSequenceNumber": 0,
        "approximateArrivalTimestamp": record.arrival_ms,
    }


class Nothing:
    """A worker that takes everything for done: what is left is the driver."""

    def apply(
        self,
        shard: str,  # noqa: ARG002
        records: Sequence[Record],
        *,
        closed: bool = False,  # noqa: ARG002
    ) -> Applied:
        return Applied(None, None, events=len(records))

    def heard(self, shard: str) -> None:
        pass


class Ways:
    """What a shard has around it here."""

    def __init__(self, log: Log, worker: Applies) -> None:
        self.clock = ManualClock()
        self.random = Random(0)
        self._log = log
        self._worker = worker

    def wait(self, seconds: float) -> bool:
        raise RuntimeError(f"somebody waits {seconds} s")

    def pace(self, shard: str) -> None:
        del shard

    def is_ending(self) -> bool:
        return False

    def open(
        self, shard: str, after: int
    ) -> tuple[Applies, Callable[[Sequence[Delivered]], list[Record]]]:
        [known] = [each for each in self._log.shards() if each.id == shard]
        return self._worker, Records(self._log, known, after)


def ours(log: Log, store: MemoryStore | None) -> Any:
    """Our processor, into a store or into nothing."""
    from consumers.kcl_processor import Processor

    worker = Nothing() if store is None else Worker(log, store, Working())
    ways = Ways(log, worker)
    return Processor(ShardConsumer(ways, Health(None, ways.clock)))


def idle() -> Any:
    """A processor that does nothing."""
    return _of(lambda _: None)


def decoding(counted: Callable[[int], object]) -> Any:
    """A processor that decodes the events, and no more; how many a batch had it tells."""

    def decode(records: Sequence[Any]) -> None:
        counted(sum(1 for record in records for _ in decoded(record.binary_data)))

    return _of(decode)


def _of(take: Callable[[Sequence[Any]], None]) -> Any:
    from amazon_kclpy.v3 import processor

    class Taking(processor.RecordProcessorBase):  # type: ignore[misc]  # it ships no types
        def initialize(self, initialize_input: Any) -> None:
            pass

        def process_records(self, process_records_input: Any) -> None:
            take(process_records_input.records)

    return Taking()


def pipe(path: Path, processor: Any) -> None:
    """Give a processor what is in a file, through a pipe, by amazon_kclpy's own process."""
    from amazon_kclpy import kcl

    daemon = subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    with (
        os.fdopen(os.dup(daemon.stdout.fileno()), encoding="utf-8") as messages,
        Path(os.devnull).open("w", encoding="utf-8") as answers,
    ):
        kcl.KCLProcess(processor, messages, answers, sys.stderr).run()
    daemon.stdout.close()
    if daemon.wait():
        raise RuntimeError("cat failed")
