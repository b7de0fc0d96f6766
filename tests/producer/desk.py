"""A producer core on a table top: time, replies and keys are chosen by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import msgspec

from binlog.checked import Checked
from binlog.columns import decode_columns
from binlog.envelope import Envelope
from binlog.errors import StorageError
from binlog.frame import Header, decode_body, decode_header
from binlog.log import Appended, Expired, Failed, Position, Reply
from binlog.params import Params, encode_genesis
from binlog.partition import ordering_key, partition_of
from binlog.producer import Delivery, Lineage, Outcome, ProducerCore, ProducerOptions, Send
from binlog.values import encode_value

PARAMS = Params(log_id="ab" * 16, partitions=4)
BORN = 1_700_000_000_000
FAMILIES = (b"first family....", b"second family...", b"third family....")


def event(key: str, event_id: str = "e", *, size: int = 0, kind: str = "Thing") -> Envelope:
    """A domain event of the given key; ``size`` bytes of data that do not compress."""
    data = Random(f"{key}{event_id}").randbytes(size)
    return Envelope(event_id, kind, 1, "", encode_value({"id": key}), encode_value({"data": data}))


def events(key: str, count: int, *, start: int = 0) -> list[Envelope]:
    return Checked([event(key, f"{key}-{n}") for n in range(start, start + count)])


def key_in(partition: int, partitions: int = PARAMS.partitions) -> str:
    """A key that falls into ``partition``."""
    for number in range(10_000):
        key = f"k{number}"
        if partition_of(ordering_key("", encode_value({"id": key})), partitions) == partition:
            return key
    raise AssertionError("unreachable")


def header_of(data: bytes) -> Header:
    return decode_header(data)


def ids_of(data: bytes) -> list[str]:
    header = decode_header(data)
    return list(decode_columns(decode_body(data, header), header.count).ids)


def appended(arrival_ms: int = BORN, *, born_ms: int = BORN) -> Appended:
    return Appended(arrival_ms, Position("s", 1), born_ms)


LOST = Failed(StorageError("no reply"))
THROTTLED = Failed(StorageError("throttled"), untouched=True)
REFUSED = Failed(StorageError("one too many"), untouched=True, throttled=True)
EXPIRED = Expired(BORN)


class Desk:
    """A core and the calls it asked for."""

    def __init__(
        self,
        *,
        params: Params = PARAMS,
        families: Iterable[bytes] = FAMILIES,
        birth_ms: Callable[[], int] = lambda: 0,
        **options: Any,
    ) -> None:
        self.now = 1_000.0
        self.pid = 1
        names = iter(families)
        self.lineage = Lineage(entropy=lambda size: next(names)[:size], pid=lambda: self.pid)
        self.params = params
        self.core = ProducerCore(
            params,
            encode_genesis(params),
            options=msgspec.structs.replace(ProducerOptions(), **options),
            lineage=self.lineage,
            random=Random(7),
            birth_ms=birth_ms,
        )
        self.told: list[tuple[object, Delivery]] = []

    def offer(
        self, envelopes: Sequence[Envelope], ticket: object = "t", *, is_urgent: bool = False
    ) -> bool:
        return self.core.offer(ticket, envelopes, self.now, is_urgent=is_urgent)

    def poll(self) -> Send | None:
        send = self.core.poll(self.now)
        self.told += self.core.outcomes()
        return send

    def send(self) -> Send:
        """The next call, of which there must be one."""
        send = self.poll()
        assert send is not None
        return send

    def reply(self, send: Send, *replies: Reply) -> None:
        """One reply for all frames, or one each."""
        each = replies * len(send.puts) if len(replies) == 1 else replies
        self.core.reply(send.call, each, self.now)
        self.told += self.core.outcomes()

    def begin(self) -> None:
        """Bring a session to life, in every partition, so that its birth is known."""
        for partition in range(self.params.partitions):
            self.offer(events(key_in(partition, self.params.partitions), 1))
        while (send := self.poll()) is not None:
            self.reply(send, appended())
        self.told.clear()

    def outcomes(self) -> list[Outcome]:
        return [delivery.outcome for _, delivery in self.told]
