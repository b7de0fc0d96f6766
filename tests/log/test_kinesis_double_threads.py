"""The stream of the tests is the service's to many threads at once: what it acknowledges is in it."""

from __future__ import annotations

import threading
from types import TracebackType

from binlog.clock import SystemClock
from tests.log.kinesis_double import KinesisDouble, StreamDouble

NOW_MS = 1_000_000
SHARD = "shardId-000000000000"


class WatchedLock:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.is_waited_for = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.is_waited_for.set()
            self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, what: object, where: TracebackType | None
    ) -> None:
        self._lock.release()


def record(number: int) -> dict[str, object]:
    return {"ExplicitHashKey": str(number), "PartitionKey": "p0000", "Data": b"%d" % number}


def test_what_lands_while_two_readers_trim_is_there() -> None:
    """Each read forgets what is too old: a record that came in its midst was acknowledged, and gone."""
    stream = StreamDouble(NOW_MS, "orders", 1)
    stream.land(record(1), NOW_MS)
    lock = stream.lock = WatchedLock()  # type: ignore[assignment]

    def read_and_land() -> None:
        stream.trim(NOW_MS)
        stream.land(record(2), NOW_MS)
        lock.is_waited_for.set()

    thread = threading.Thread(target=read_and_land, daemon=True)
    edge_ms = stream.edge_ms

    def meanwhile(now_ms: int) -> int:
        if not thread.ident:
            thread.start()
            assert lock.is_waited_for.wait(60)  # it waits for its turn, or is done
        return edge_ms(now_ms)

    stream.edge_ms = meanwhile  # type: ignore[method-assign]
    stream.trim(NOW_MS)
    thread.join(60)
    assert [each.data for each in stream.shards[SHARD].records] == [b"1", b"2"]


def test_what_is_counted_down_comes_to_an_end_whoever_asks() -> None:
    """Two threads had the last one: below 0 it went on for ever, and every read was throttled."""
    double = KinesisDouble(SystemClock())
    for left in (2, 1, 0):
        double.throttled_reads = left
        assert double._is_one_of("throttled_reads") is bool(left)
        assert double.throttled_reads == max(0, left - 1)
