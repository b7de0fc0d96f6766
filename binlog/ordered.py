"""Runs by partition and then by offset, out of a log that holds them mixed, in bounded memory.

One pass over the log gives the first partition as it is read and keeps what it meets of the
others. When that grows beyond the budget, what is kept of the last ones is dropped, and they are
read in a pass of their own later. A small log takes one pass, a large one about as many as the
budget fits into it; nothing is written to disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from binlog.errors import DamageError
from binlog.halt import Halt, halted_error
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.reader import Reader, Start
from binlog.run import Run
from binlog.target import END, Target, check_within
from binlog.vector import Vector

KEPT_BYTES_MAX = 128 * 1024 * 1024
# What an event takes besides its key and data: its id, and the objects that hold it.
_EVENT_BYTES = 400


class OrderedRuns:
    """Iterate once: the runs up to ``target``, by partition, then offset. Then call `finish`.

    Damage and halts stop what lies behind them and nothing else; `finish` raises them.
    """

    def __init__(
        self,
        log: Log,
        *,
        partitions: Iterable[int] | None = None,
        target: Target = END,
        kept_bytes_max: int = KEPT_BYTES_MAX,
    ) -> None:
        self._log = log
        self._target = target
        self._kept_bytes_max = kept_bytes_max
        self.partitions = sorted(range(log.params.partitions) if partitions is None else partitions)
        self.starts: dict[int, Start] = {}
        """Where each partition's reading goes on, for a `Reader` that follows."""
        self.halts: dict[int, Halt] = {}
        self.damage: DamageError | None = None
        self.vector: Vector = {}
        """What was given, or would have been but for the target."""
        self.passes = 0

    def __iter__(self) -> Iterator[Run]:
        todo = self.partitions
        horizon = horizon_of(self._log)  # of all passes
        while todo:
            self.passes += 1
            reader = Reader(self._log, partitions=todo, target=self._target, horizon=horizon)
            kept: dict[int, list[Run]] = {partition: [] for partition in todo[1:]}
            yield from self._read(reader, todo[0], kept)
            for runs in kept.values():
                yield from runs
            read = [todo[0], *kept]
            for partition in read:
                self._note(reader, partition)
            todo = [partition for partition in todo if partition not in read]

    def _read(self, reader: Reader, first: int, kept: dict[int, list[Run]]) -> Iterator[Run]:
        """Give the runs of ``first``; fill ``kept``, dropping its last partitions when it is full."""
        kept_bytes = 0
        while (runs := self._next(reader)) is not None:
            for run in runs:
                if run.partition == first:
                    yield run
                elif run.partition in kept:
                    kept[run.partition].append(run)
                    kept_bytes += _size(run)
            while kept_bytes > self._kept_bytes_max:
                _, dropped = kept.popitem()
                kept_bytes -= sum(map(_size, dropped))

    def _next(self, reader: Reader) -> list[Run] | None:
        try:
            return reader.read()
        except DamageError as error:
            self.damage = error
            return None

    def _note(self, reader: Reader, partition: int) -> None:
        checked = reader.checkpoint(partition)
        self.starts[partition] = Start(
            checked.position, checked.state, checked.applied, checked.seen_ms
        )
        if checked.applied:
            self.vector[partition] = checked.applied
        if partition in reader.halts:
            self.halts[partition] = reader.halts[partition]

    def finish(self) -> None:
        """Nothing, if all was read that the target names.

        Raises:
            DamageError, HaltedError: as `raise_stops`.
            ConflictError: the target is a vector beyond the log's end.
        """
        self.raise_stops()
        check_within(self._log, self._target.vector or {}, self.vector, self.partitions)

    def raise_stops(self) -> None:
        """Raise what stopped the reading before the target, if anything did.

        Raises:
            DamageError: the log is damaged there; what lies before it was given.
            HaltedError: a partition is halted; all that lies before it was given.
        """
        if self.damage is not None:
            raise self.damage
        for _, halt in sorted(self.halts.items()):
            raise halted_error(halt, self._log.locate(halt.position))


def _size(run: Run) -> int:
    columns = run.columns
    datas = sum(len(data) for data in columns.datas if data is not None)
    return datas + sum(map(len, columns.keys)) + _EVENT_BYTES * len(columns)
