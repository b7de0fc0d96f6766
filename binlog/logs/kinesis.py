"""The log on Kinesis: one stream, its shards split and merged by anybody at any time.

What the service does to its users, and which part answers (see the module of each)::

    a retry duplicates a record, a call keeps no order      kinesis_appender
    records arrive late, twice, out of order                binlog.sequencer, as everywhere
    shards split and merge; pages are empty; iterators die  kinesis_shards, kinesis_reader
    what is old is forgotten                                kinesis_stream, kinesis_genesis
    errors that mean ten different things                   binlog.aws.errors

Births (P2). A session's `born` has to be in its first frame *before* that is sent, and the service
stamps nothing: a second attempt with another birth would be another frame. So this log can tell the
birth of a session that begins now (`birth_ms`), by the Date of the last reply, and the producer
asks for it; what still comes unborn (a no-op, a RESOLVE) is stamped when it is first sent. A
directory log stamps under its append lock, which only there is both possible and needed.

No `settle` (see `binlog.producer.resolve`): nobody can say what is still on its way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Literal, Self

from binlog.aws.account import Account
from binlog.aws.clients import Clients, Connect
from binlog.clock import Clock, SystemClock
from binlog.errors import RefusedError
from binlog.horizon import Horizon
from binlog.log import Page, Position, Put, Reply, Shard
from binlog.logs.admission import Admission
from binlog.logs.kinesis_ahead import StreamReader
from binlog.logs.kinesis_appender import Appender, Counters
from binlog.logs.kinesis_client import DATE_MS, ServiceTime, connector, is_in_lambda
from binlog.logs.kinesis_genesis import read_genesis
from binlog.logs.kinesis_parsing import with_quick_replies
from binlog.logs.kinesis_serializing import with_quick_requests
from binlog.logs.kinesis_service import Service
from binlog.logs.kinesis_stream import SHARD_READS_PER_S, Stream
from binlog.logs.kinesis_tags import archive_of_tags, tags_of_archive
from binlog.params import decode_genesis

CALLS_MAX = 8  # appends at once: each waits for a reply, and holds only its own partitions
# A request costs a millisecond of the CPU, whatever it carries; a reply takes longer than this.
CALL_SPACING_S = 0.01
# Of the 1,000 records a second that a shard takes, for one of several producers. Full frames need 41:
# more is neither taken (1 MB a second and shard) nor cheap.
FRAMES_PER_S = 100.0
READS_PER_S = SHARD_READS_PER_S  # all that a shard answers
# Of who is behind on purpose: half of it. That is as much as can be written into a shard, so no load
# leaves such a reader behind, and as much is left to those who apply at once.
LAZY_READS_PER_S = SHARD_READS_PER_S / 2
PAGES_AHEAD = 4  # fetched at once while others are being read


def kinesis_service(
    stream: str,
    *,
    account: Account | None = None,
    connect: Connect | None = None,
    clock: Clock | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Service:
    """The control calls on a stream, whether there is one or not."""
    clock = clock or SystemClock()
    where = f"kinesis://{stream}"
    connect = connect or connector(account or Account(), where)
    clients = Clients(with_quick_requests(with_quick_replies(connect)))
    return Service(where, stream, clients, ServiceTime(clock), clock, pause)


class KinesisLog:
    """A `binlog.log.Log` in a stream. It must be one: `create_kinesis_log` makes a log of a stream.

    What ``account`` leaves out comes from the AWS environment. ``reads_per_s`` is this handle's
    share of the 5 calls a second that each shard answers, and of the 2 MB a second that it gives.
    ``pages_ahead`` are fetched at once, at most, while others are being read.

    Raises:
        RefusedError: no such stream, no permission, or a stream that keeps no order.
        MismatchError: a stream, but no log.
        StorageError: the service cannot be reached.
        DamageError, UpgradeError: see `binlog.params.decode_genesis`.
    """

    gives_whole_shards: Literal[True] = True

    def __init__(
        self,
        stream: str,
        *,
        account: Account | None = None,
        reads_per_s: float = READS_PER_S,
        pages_ahead: int = PAGES_AHEAD,
        connect: Connect | None = None,
        clock: Clock | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if not reads_per_s > 0:
            raise ValueError(f"reads_per_s {reads_per_s!r} is not above 0")
        self._clock: Clock = clock or SystemClock()
        service = kinesis_service(
            stream,
            account=account,
            connect=connect,
            clock=self._clock,
            pause=pause,
        )
        self.name = service.name
        # In a Lambda no thread of ours may be at work between two invocations (P8).
        self.frames_per_s = FRAMES_PER_S
        self.call_spacing_s = CALL_SPACING_S
        self.calls_max = 1 if is_in_lambda() else CALLS_MAX
        self.genesis, summary, tags = read_genesis(service)
        self.archive_named = archive_of_tags(tags)
        self.params = decode_genesis(self.genesis, self.name)
        self._service = service
        self._time = service.time
        self._clients = service.clients
        self._appender = Appender(
            self.name,
            stream,
            self.params,
            Admission(self.params, self.genesis),
            self._clients,
            self._time,
        )
        self._stream = Stream(
            service,
            partitions=self.params.partitions,
            created_ms=summary.created_ms,
            reads_per_s=reads_per_s,
            check_open=self._check_open,
        )
        self._reader = StreamReader(self._stream, pages_ahead=0 if is_in_lambda() else pages_ahead)
        self._last_arrival_ms = 0
        self._closed = False
        self._pid = os.getpid()

    @property
    def counters(self) -> Counters:
        """What writing has met so far."""
        return self._appender.counters

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        self._check_open()
        return self._appender.append(frames) if frames else []

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page:
        self._check_open()
        page = self._reader.read(
            after,
            partitions=partitions,
            bytes_max=bytes_max,
            until=self._clock.monotonic() + wait_s,
        )
        for record in page.records:
            self._last_arrival_ms = max(self._last_arrival_ms, record.arrival_ms)
        return page

    def expect(self, places: Sequence[Position]) -> None:
        self._check_open()
        self._reader.expect(places)

    def seen_ms(self, place: Position) -> int | None:
        return self._reader.seen_ms(place)

    def note_seen(self, place: Position, seen_ms: int) -> None:
        self._stream.seen.note(place.shard, place.sequence, seen_ms)

    def may_have_forgotten(self) -> bool:
        return self._stream.may_have_forgotten()

    def name_archive(self, url: str) -> None:
        self._check_open()
        if (url or None) != archive_of_tags(self._service.tags()):
            self._service.call(
                "add_tags_to_stream", StreamName=self._service.stream, Tags=tags_of_archive(url)
            )
        self.archive_named = url or None

    def retention_s(self) -> float:
        self._check_open()
        return self._service.describe().retention_hours * 3600.0

    def shards(self) -> list[Shard]:
        self._check_open()
        return self._reader.shards()

    def horizon(self) -> Horizon:
        self._check_open()
        return self._stream.horizon()

    def locate(self, position: Position) -> str:
        if position.sequence < 0:
            return f"the beginning of {position.shard} of {self.name}"
        return f"{position.shard} of {self.name}, sequence number {position.sequence}"

    def stamp(self, position: Position) -> bytes:  # noqa: ARG002
        return b""  # a stream gives no sequence number twice

    def size_bytes(self) -> int:
        return 0  # the service does not say

    def now_ms(self) -> int:
        self._check_open()
        known = max(self._last_arrival_ms, self._appender.last_arrival_ms)
        return max(self._time.now_ms() + DATE_MS - 1, known)

    def birth_ms(self) -> int:
        """The birth of a session that begins now: never later than the service's own time."""
        return self._time.agreed_ms()

    def ask_time(self) -> None:
        self._check_open()
        self._service.describe()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._clients.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RefusedError("the log is closed", self.name, "open it again")
        if self._pid != os.getpid():  # a lock may have been held when the parent forked
            self._pid = os.getpid()
            self._appender.forget()
            self._reader.forget()
