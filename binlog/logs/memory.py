"""The log in memory: the reference of the `Log` protocol, and as hostile as Kinesis on request.

Left alone it is a well-behaved log. What Kinesis does to its users is scripted, frame by frame:

* `script` gives the next frames a `Fate` each: throttled, landed twice, landed with the reply lost,
  lost on the way, or *late*: it stays under way as a `Ghost` until `land` puts it into the log,
  behind whatever came meanwhile;
* `order` lets the frames of the next call land in another order (PutRecords keeps none);
* `hold_back` hides what lands from now on from readers, until `release`;
* `split` and `merge` reshard, children numbering from the start again: a sequence number means
  nothing outside its shard;
* `inject` and `inject_foreign` place any bytes, with any arrival time;
* `binlog.logs.chaos.Chaos` draws fates, landings and orders from a seeded `Random`.

Nothing here happens by itself: the same calls give the same log.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import pairwise

from binlog.clock import Clock, SystemClock
from binlog.control import genesis_frame
from binlog.errors import RefusedError, StorageError
from binlog.frame import stamp_born
from binlog.log import Appended, Expired, Failed, Page, Position, Put, Record, Reply, Shard
from binlog.logs.admission import Admission, born_of, is_same_frame, session_of
from binlog.logs.chaos import Chaos, Fate, Ghost
from binlog.params import Params, encode_genesis


class _Shard:
    """One shard's records; those from index ``visible`` on are held back."""

    def __init__(self, name: str, parents: tuple[str, ...], partitions: frozenset[int]) -> None:
        self.name = name
        self.parents = parents
        self.partitions = partitions
        self.records: list[Record] = []
        self.visible: int | None = None  # None: all of them
        self.closed = False


class MemoryLog:
    """A `Log` whose records are gone with the process.

    ``shards`` are opened over equal ranges of partitions. The first record of every shard gets
    ``first_sequence``, the next ones ``sequence_step`` more each; Kinesis has 56 digits, so a test
    may want those. ``enforce_age=False`` takes frames of any age, as Kinesis does (P4 is then the
    producer's only guard).
    """

    def __init__(
        self,
        params: Params,
        *,
        clock: Clock | None = None,
        shards: int = 1,
        first_sequence: int = 0,
        sequence_step: int = 1,
        enforce_age: bool = True,
        chaos: Chaos | None = None,
        name: str = "memory:",
    ) -> None:
        if not 1 <= shards <= params.partitions:
            raise ValueError(f"{shards} shards for {params.partitions} partitions")
        self.params = params
        self.genesis = encode_genesis(params)
        self.name = name
        self.chaos = chaos
        self.ghosts: list[Ghost] = []
        self._admission = Admission(params, self.genesis)
        self._clock: Clock = clock or SystemClock()
        self._first_sequence = first_sequence
        self._sequence_step = sequence_step
        self._enforce_age = enforce_age
        self._last_arrival_ms = 0
        self._fates: deque[Fate] = deque()
        self._order: tuple[int, ...] | None = None
        self._closed = False
        self._held_back = False
        self._changed = threading.Condition(threading.RLock())
        self._shards: dict[str, _Shard] = {}  # parents before children
        self._home: dict[int, _Shard] = {}  # the open shard of each partition
        count = params.partitions
        bounds = [count * i // shards for i in range(shards + 1)]
        for low, high in pairwise(bounds):
            self._open_shard((), frozenset(range(low, high)))
        arrival = self._arrival()
        for partition in range(count):
            frame = genesis_frame(params, self.genesis, partition)
            self._place(partition, stamp_born(frame, arrival), arrival)

    # -- the protocol ----------------------------------------------------------------------------

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        self._check_open()
        self._admission.check(frames)
        with self._changed:
            if self.chaos:
                for ghost in [g for g in self.ghosts if self._chance(self.chaos.land_ghost)]:
                    self.land(ghost)
            order: Iterable[int] = range(len(frames))
            if self._order is not None:
                order, self._order = self._order, None
            elif self.chaos:
                order = self.chaos.landing_order(frames)
            arrival = self._arrival()
            fates = [self._next_fate() for _ in frames]  # in the order given, however they land
            stamps = self._stamps(frames, arrival)
            replies: dict[int, Reply] = {
                index: self._append_one(frames[index], fates[index], stamps, arrival)
                for index in order
            }
            self._changed.notify_all()
            return [replies[index] for index in range(len(frames))]

    def _stamps(self, puts: Sequence[Put], arrival: int) -> dict[bytes, int]:
        """The ``born`` of each session that has none yet: of its first append, if that is known."""
        stamps: dict[bytes, int] = {}
        for put in puts:
            born = born_of(put.data)
            self._admission.check_born(born, arrival)
            if not born:
                earlier = self._tried_before(put) if put.tried else None
                if isinstance(earlier, tuple):
                    earlier = Ghost(put.partition, earlier[1].data)
                if earlier:
                    stamps[session_of(put.data)] = born_of(earlier.data)
                stamps.setdefault(session_of(put.data), arrival)
        return stamps

    def _append_one(self, put: Put, fate: Fate, stamps: dict[bytes, int], arrival: int) -> Reply:
        if fate is Fate.THROTTLE:
            return Failed(StorageError("throttled", self.name, "send it again"), untouched=True)
        if fate is Fate.LOSE:
            return Failed(StorageError("the request was lost", self.name, "send it again"))
        born, data = born_of(put.data), put.data
        if not born:
            born = stamps[session_of(data)]
            data = stamp_born(data, born)
        if self._enforce_age and self._admission.is_too_old(born, arrival):
            return self._look_up(put, arrival)
        if fate is Fate.LATE:
            self.ghosts.append(Ghost(put.partition, data))
            return Failed(StorageError("no reply in time", self.name, "send it again"))
        position = self._place(put.partition, data, arrival)
        if fate is Fate.DUPLICATE:
            position = self._place(put.partition, data, arrival)
        if fate is Fate.LOSE_REPLY:
            return Failed(StorageError("the reply was lost", self.name, "send it again"))
        return Appended(arrival, position, born)

    def _look_up(self, put: Put, arrival: int) -> Reply:
        """Of a frame too old to be taken: in the log, under way, or neither (D1)."""
        earlier = self._tried_before(put) if put.tried else None
        if earlier is None:
            return Expired(arrival)
        if isinstance(earlier, Ghost):
            return Failed(StorageError("still under way", self.name, "ask later"))
        shard, record = earlier
        position = Position(shard.name, record.sequence)
        return Appended(record.arrival_ms, position, born_of(record.data))

    def _tried_before(self, put: Put) -> tuple[_Shard, Record] | Ghost | None:
        for shard in self._shards.values():
            for record in shard.records:
                if record.partition == put.partition and is_same_frame(record.data, put.data):
                    return shard, record
        for ghost in self.ghosts:
            if ghost.partition == put.partition and is_same_frame(ghost.data, put.data):
                return ghost
        return None

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page:
        with self._changed:
            page = self._read_now(after, partitions, bytes_max)
            if wait_s > 0 and page.caught_up and not page.records and not page.closed:
                self._changed.wait_for(
                    lambda: self._closed or self._has_more(page.next, partitions), wait_s
                )
                page = self._read_now(page.next, partitions, bytes_max)
            return page

    def _read_now(self, after: Position, partitions: frozenset[int] | None, bytes_max: int) -> Page:
        self._check_open()
        shard = self._shard(after.shard)
        records: list[Record] = []
        taken, sequence = 0, after.sequence
        start = self._index_after(shard, after.sequence)
        end = len(shard.records) if shard.visible is None else max(shard.visible, start)
        for record in shard.records[start:end]:
            if partitions is None or record.partition in partitions or record.partition < 0:
                if records and taken + len(record.data) > bytes_max:
                    return Page(records, Position(shard.name, sequence), caught_up=False)
                records.append(record)
                taken += len(record.data)
            sequence = record.sequence
        closed = shard.closed and end == len(shard.records)
        return Page(records, Position(shard.name, sequence), caught_up=True, closed=closed)

    def _has_more(self, after: Position, partitions: frozenset[int] | None) -> bool:
        page = self._read_now(after, partitions, 1)
        return bool(page.records) or page.closed

    def _index_after(self, shard: _Shard, sequence: int) -> int:
        if sequence < self._first_sequence:
            return 0
        index, odd = divmod(sequence - self._first_sequence, self._sequence_step)
        if odd or index >= len(shard.records):
            raise RefusedError(f"no record {sequence}", f"shard {shard.name} of {self.name}")
        return index + 1

    def shards(self) -> list[Shard]:
        with self._changed:
            return [
                Shard(shard.name, shard.parents, shard.partitions, shard.closed)
                for shard in self._shards.values()
            ]

    def locate(self, position: Position) -> str:
        return f"shard {position.shard} record {position.sequence}"

    def stamp(self, position: Position) -> bytes:
        records = self._shard(position.shard).records
        found = next((r for r in records if r.sequence == position.sequence), None)
        return b"" if found is None else sha256(found.data).digest()[:12]

    def size_bytes(self) -> int:
        return sum(len(r.data) for shard in self._shards.values() for r in shard.records)

    def now_ms(self) -> int:
        return max(self._clock.now_ms(), self._last_arrival_ms)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # -- hostility -------------------------------------------------------------------------------

    def script(self, *fates: Fate) -> None:
        """The fates of the next frames, one each, in the order given to `append`."""
        self._fates.extend(fates)

    def order(self, *indexes: int) -> None:
        """In which order the frames of the next call land, by their indexes in the call."""
        self._order = indexes

    def land(self, ghost: Ghost | None = None) -> Position:
        """Let a frame that is under way land now (the oldest, if none is named)."""
        with self._changed:
            ghost = self.ghosts[0] if ghost is None else ghost
            self.ghosts.remove(ghost)
            position = self._place(ghost.partition, ghost.data, self._arrival())
            self._changed.notify_all()
            return position

    def hold_back(self) -> None:
        """From now on readers see nothing new, as when a consumer's shard lags."""
        with self._changed:
            self._held_back = True
            for shard in self._shards.values():
                if shard.visible is None:
                    shard.visible = len(shard.records)

    def release(self) -> None:
        """Readers see everything again."""
        with self._changed:
            self._held_back = False
            for shard in self._shards.values():
                shard.visible = None
            self._changed.notify_all()

    def split(self, shard_id: str, at: int | None = None) -> tuple[str, str]:
        """Split a shard; partitions below ``at`` (default: the middle one) go to the first child.

        A Kinesis shard of one partition can split too: one child then holds no partition.
        """
        with self._changed:
            shard = self._open(shard_id)
            members = sorted(shard.partitions)
            at = members[len(members) // 2] if at is None else at
            low = frozenset(p for p in members if p < at)
            shard.closed = True
            children = [
                self._open_shard((shard_id,), part) for part in (low, shard.partitions - low)
            ]
            self._changed.notify_all()
            return children[0].name, children[1].name

    def merge(self, first: str, second: str) -> str:
        """Merge two open shards into a child of both."""
        with self._changed:
            parents = (self._open(first), self._open(second))
            if first == second:
                raise ValueError(f"shard {first} cannot merge with itself")
            for shard in parents:
                shard.closed = True
            child = self._open_shard((first, second), parents[0].partitions | parents[1].partitions)
            self._changed.notify_all()
            return child.name

    def inject(self, partition: int, data: bytes, *, arrival_ms: int | None = None) -> Position:
        """Place any bytes as a record of ``partition``; with a time given, even an earlier one."""
        with self._changed:
            position = self._place(partition, data, arrival_ms or self._arrival())
            self._changed.notify_all()
            return position

    def inject_foreign(
        self, partition_key: str, data: bytes, *, shard: str, arrival_ms: int | None = None
    ) -> Position:
        """Place a record under a partition key that is not ours (S7)."""
        with self._changed:
            position = self._store(
                self._open(shard), -1, data, arrival_ms or self._arrival(), partition_key
            )
            self._changed.notify_all()
            return position

    def records(self, partition: int) -> list[tuple[str, Record]]:
        """All records of one partition in log order, held back or not, each with its shard."""
        with self._changed:
            return [
                (shard.name, record)
                for shard in self._shards.values()
                for record in shard.records
                if record.partition == partition
            ]

    # -- inside ----------------------------------------------------------------------------------

    def _arrival(self) -> int:
        self._last_arrival_ms = max(self._clock.now_ms(), self._last_arrival_ms)
        return self._last_arrival_ms

    def _chance(self, probability: float) -> bool:
        return self.chaos is not None and self.chaos.random.random() < probability

    def _next_fate(self) -> Fate:
        if self._fates:
            return self._fates.popleft()
        return self.chaos.fate() if self.chaos else Fate.LAND

    def _open_shard(self, parents: tuple[str, ...], partitions: frozenset[int]) -> _Shard:
        shard = _Shard(f"shard-{len(self._shards):04d}", parents, partitions)
        shard.visible = 0 if self._held_back else None
        self._shards[shard.name] = shard
        self._home.update(dict.fromkeys(partitions, shard))
        return shard

    def _shard(self, name: str) -> _Shard:
        try:
            return self._shards[name]
        except KeyError:
            raise RefusedError(f"no shard {name!r}", self.name) from None

    def _open(self, name: str) -> _Shard:
        shard = self._shard(name)
        if shard.closed:
            raise ValueError(f"shard {name} is closed")
        return shard

    def _place(self, partition: int, data: bytes, arrival: int) -> Position:
        return self._store(self._home[partition], partition, data, arrival, "")

    def _store(
        self, shard: _Shard, partition: int, data: bytes, arrival: int, key: str
    ) -> Position:
        sequence = self._first_sequence + len(shard.records) * self._sequence_step
        shard.records.append(Record(sequence, arrival, partition, data, key))
        return Position(shard.name, sequence)

    def _check_open(self) -> None:
        if self._closed:
            raise RefusedError("the log is closed", self.name, "open it again")
