"""Sorting more than fits in memory: sorted runs in files, merged when they are read.

A run is a file of records ``u32 length of the key, u32 length of the value, key, value``, big-endian,
in the order of the keys. What is in memory at a time is `RUN_BYTES`, and a buffer for each run.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from struct import Struct

RUN_BYTES = 32 * 1024 * 1024  # of keys and values; Python's objects take two to three times that
_RECORD_BYTES = 160  # what a record takes in memory beside its bytes
_head = Struct(">II")
_KEY = itemgetter(0)

Record = tuple[bytes, bytes]


class SortedRuns:
    """Records by key, in ``folder``, or in one of their own that goes with `close`; one thread's."""

    def __init__(self, *, run_bytes: int = RUN_BYTES, folder: Path | None = None) -> None:
        self._run_bytes = run_bytes
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._folder = folder
        self._records: list[Record] = []
        self._bytes = 0
        self.runs: list[Path] = []

    def add(self, key: bytes, value: bytes) -> None:
        self._records.append((key, value))
        self._bytes += len(key) + len(value) + _RECORD_BYTES
        if self._bytes >= self._run_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory to a run."""
        if not self._records:
            return
        if self._folder is None:
            self._own = tempfile.TemporaryDirectory(prefix="binlog-sort-")
            self._folder = Path(self._own.name)
        self._records.sort(key=_KEY)
        path = self._folder / f"run-{len(self.runs)}"
        with path.open("xb") as file:
            file.writelines(
                part for k, v in self._records for part in (_head.pack(len(k), len(v)), k, v)
            )
        self.runs.append(path)
        self._records, self._bytes = [], 0

    def sorted(self) -> Iterator[Record]:
        """All records by key; equal keys in the order in which they were added."""
        self._records.sort(key=_KEY)
        if not self.runs:
            yield from self._records
            return
        with ExitStack() as stack:
            files = [read_run(path, stack) for path in self.runs]
            yield from heapq.merge(*files, self._records, key=_KEY)

    def close(self) -> None:
        """Remove the files."""
        self._records = []
        if self._own is not None:
            self._own.cleanup()


def read_run(path: Path, stack: ExitStack) -> Iterator[Record]:
    """The records of a run; its file is closed with ``stack``."""
    file = stack.enter_context(path.open("rb", buffering=256 * 1024))

    def records() -> Iterator[Record]:
        while head := file.read(_head.size):
            key_bytes, value_bytes = _head.unpack(head)
            yield file.read(key_bytes), file.read(value_bytes)

    return records()


def merged(runs: Iterable[Path], stack: ExitStack) -> Iterator[Record]:
    """The records of several runs, by key."""
    return heapq.merge(*(read_run(path, stack) for path in runs), key=_KEY)


def once(
    table: str, old: Iterable[Path], new: Iterable[Path], stack: ExitStack
) -> Iterator[Record]:
    """The records of new runs by key, none of which is in another one, nor in the old ones.

    Raises:
        ValueError: a key that is in two runs.
    """

    def tagged(path: Path, *, is_new: bool) -> Iterator[tuple[bytes, bool, Record]]:
        return ((record[0], is_new, record) for record in read_run(path, stack))

    runs = [tagged(p, is_new=False) for p in old] + [tagged(p, is_new=True) for p in new]
    before: bytes | None = None
    for key, is_new, record in heapq.merge(*runs, key=_KEY):
        if key == before:
            raise ValueError(f"a key of table {table} was loaded twice")
        before = key
        if is_new:
            yield record
