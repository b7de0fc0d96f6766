"""What an archive has to hold, written from its rule (A1) and not from its code.

Of each partition: its records, and the foreign ones whose home it is, in log order, from the genesis
on; as many as had been read of them, but never one at which, or behind which, every reader halts.
They are cut into segments, each named by the offset of the first event that it can hold, and by how
many segments without an event came before it at that offset. Nothing is in two of them, nothing is
between two of them, and what each says of itself is what the specification numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import md5, sha256

import msgspec
from google_crc32c import extend, value

from binlog.compression import decompress
from binlog.frame import decode_header
from binlog.log import Position, Record
from binlog.testing.world.digests import digest_of
from binlog.testing.world.log import WorldLog
from binlog.testing.world.operators import Operators
from binlog.testing.world.records import Frame, Garbage, Resolve
from binlog.testing.world.specification import Verdict

Placed = tuple[str, Record]  # with its shard


@dataclass(frozen=True)
class Told:
    """What a segment says of itself, whoever wrote it."""

    key: str
    partition: int
    first: int
    part: int
    last: int
    records: int
    events: int
    start: Position
    end: Position
    offset: int
    digest_before: bytes
    digest: bytes
    arrival_first_ms: int
    arrival_last_ms: int
    shards: frozenset[str]


class ArchiveReference:
    """Of one log."""

    def __init__(self, log: WorldLog, operators: Operators) -> None:
        self._log = log
        self._operators = operators

    def records(self, partition: int) -> list[Placed]:
        """All that a chain of the partition may ever hold by now, the genesis first."""
        found: list[Placed] = []
        for shard in self._log.shards():  # parents before children
            if partition not in shard.partitions:
                continue
            page = self._log.read(Position(shard.id, -1), bytes_max=1 << 60)
            for record in page.records:
                home = record.partition
                if home < 0:
                    home = self._home(shard.partitions, record)
                found += [(shard.id, record)] * (home == partition)
        return found

    def _home(self, held: frozenset[int], record: Record) -> int:
        """The partition of its key if the shard holds it, else the nearest one, below before above."""
        key = record.partition_key.encode("utf-8", "replace")
        number = int.from_bytes(md5(key).digest(), "big")
        own = number * self._log.params.partitions >> 128
        return sorted(held, key=lambda each: (abs(each - own), each))[0]

    def check_chain(
        self,
        partition: int,
        chain: Sequence[tuple[Told, Sequence[Placed]]],
        verdict: Verdict,
    ) -> list[str]:
        """What is wrong with a chain; nothing where it is what the rule says."""
        wrong: list[str] = []
        wanted = self.records(partition)
        ends = self._ends(wanted, verdict)
        bodies = list(self._bodies(wanted))
        offset, part, at = 0, 0, 0
        digest, position = bytes(32), Position(wanted[0][0], -1)
        for told, placed in chain:
            where = told.key
            key = f"chain/p{partition:04d}/{offset + 1:020d}-{part:04d}.seg"
            if told.key != key:
                wrong.append(f"{where}: the next one is called {key}")
            if not placed:
                wrong.append(f"{where}: it holds nothing")
                continue
            end = at + len(placed)
            if end > len(wanted):
                wrong.append(f"{where}: {len(placed)} records, the log has {len(wanted) - at} more")
                return wrong
            for mine, theirs in zip(wanted[at:end], placed, strict=True):
                if difference := differs(mine, theirs):
                    wrong.append(f"{where}: {difference}")
            if ends[end - 1] is None:
                wrong.append(f"{where}: it goes beyond a halt")
                return wrong
            last = ends[end - 1] or 0
            before, digest = digest, digest_of(verdict.sequenced[:last], bodies)
            arrivals = [record.arrival_ms for _, record in wanted[at:end]]
            says = {
                "partition": (told.partition, partition),
                "first": (told.first, offset + 1),
                "part": (told.part, part),
                "last": (told.last, last),
                "offset": (told.offset, last),
                "events": (told.events, last - offset),
                "records": (told.records, len(placed)),
                "start": (told.start, position),
                "digest before": (told.digest_before, before),
                "digest": (told.digest, digest),
                "first arrival": (told.arrival_first_ms, min(arrivals)),
                "last arrival": (told.arrival_last_ms, max(arrivals)),
            }
            wrong += [
                f"{where}: {name} {found!r}, not {right!r}"
                for name, (found, right) in says.items()
                if found != right
            ]
            if missing := {shard for shard, _ in placed} - told.shards:
                wrong.append(f"{where}: shards {sorted(missing)} are not named")
            if between := self._between(wanted, end, told.end):
                wrong.append(f"{where}: it ends at {told.end}, and {between} is not in it")
            part = 0 if last > offset else part + 1
            offset, at, position = last, end, told.end
        return wrong

    def _ends(self, wanted: Sequence[Placed], verdict: Verdict) -> list[int | None]:
        """Events by the end of each record; ``None`` from a halt on."""
        ours = [i for i, (_, record) in enumerate(wanted) if record.partition >= 0][1:]
        counts = [0] * len(wanted)
        for taken in verdict.sequenced:
            counts[ours[taken.at]] += 1
        halted = len(wanted) if verdict.trouble is None else ours[verdict.trouble.at]
        ends: list[int | None] = []
        total = 0
        for i, count in enumerate(counts):
            total += count
            ends.append(total if i < halted else None)
        return ends

    def _bodies(self, wanted: Iterable[Placed]) -> Iterable[tuple[Frame | Resolve, bytes]]:
        for _, record in [each for each in wanted if each[1].partition >= 0][1:]:
            rec = self._operators.meaning(record)
            if not isinstance(rec, Garbage):
                yield rec, self._operators.body(record)

    def _between(self, wanted: Sequence[Placed], end: int, place: Position) -> str:
        """A record behind the ones that are in, and at or before the place where it ends."""
        order = {shard.id: index for index, shard in enumerate(self._log.shards())}
        here = order[place.shard], place.sequence
        for shard, record in wanted[end:]:
            if (order[shard], record.sequence) <= here:
                return f"{shard}:{record.sequence}"
        shard, record = wanted[end - 1]
        if (order[shard], record.sequence) > here:
            return "a place before its last record"
        return ""


def differs(mine: Placed, theirs: Placed) -> str:
    """How a record that was kept differs from the log's own; a frame may be kept decompressed."""
    (shard, record), (other_shard, other) = mine, theirs
    for name, one, two in (
        ("shard", shard, other_shard),
        *[
            (name, getattr(record, name), getattr(other, name))
            for name in ("sequence", "arrival_ms", "partition", "partition_key")
        ],
    ):
        if one != two:
            return f"{shard}:{record.sequence} has {name} {two!r}, not {one!r}"
    if record.data == other.data or _plain(record.data) == other.data:
        return ""
    return f"{shard}:{record.sequence} has other bytes"


def _plain(data: bytes) -> bytes | None:
    """The frame with its body decompressed, all else as it was, by the layout of the format."""
    try:
        header = decode_header(data)
    except Exception:  # noqa: BLE001  (what is no frame is kept as it is)
        return None
    if not header.compressed:
        return None
    size = int.from_bytes(data[128:132], "big")
    body = decompress(data[136:], size)
    start = data[:5] + bytes([data[5] & ~1]) + data[6:8]
    rest: bytes = (
        value(body).to_bytes(4, "big") + data[16:124] + size.to_bytes(4, "big") + data[128:136]
    )
    crc: int = extend(value(start), rest)
    return start + crc.to_bytes(4, "big") + rest + (body or b"")


def fingerprint_of(placed: Iterable[Placed]) -> bytes:
    """One digest over records as they are given, for comparing long stretches."""
    total = sha256()
    for shard, record in placed:
        fields = (shard, str(record.sequence), record.arrival_ms, record.partition, record.data)
        total.update(msgspec.msgpack.encode(fields))
    return total.digest()
