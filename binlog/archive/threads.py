"""The archiver's threads: blocks are compressed while the next ones are read, segments written at once.

Both release the interpreter, and a write waits for a disk or a service most of its time. There is none
before a run begins and none after it, so that the process can be forked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from binlog.archive.compression import at_once, compress
from binlog.archive.writer import Call, one_by_one

WRITES_AT_ONCE = 8
"""Segments that are cut, and so twice in memory, at the same time."""


class Threads:
    """Enter it for a run; outside of it everything is done in the caller's own."""

    def __init__(self) -> None:
        self._compress: ThreadPoolExecutor | None = None
        self._write: ThreadPoolExecutor | None = None

    def __enter__(self) -> None:
        self._compress = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "binlog-compress")
        self._write = ThreadPoolExecutor(WRITES_AT_ONCE, "binlog-write")

    def __exit__(self, *_: object) -> None:
        for pool in (self._compress, self._write):
            if pool is not None:
                pool.shutdown(cancel_futures=True)
        self._compress = self._write = None

    def compress_later(self, data: bytes) -> Callable[[], bytes]:
        """`binlog.archive.compression.Later`."""
        if self._compress is None:
            return at_once(data)
        return self._compress.submit(compress, data).result

    def at_once(self, calls: Sequence[Call]) -> list[bool]:
        """Their results. All have ended when one has raised, and that is raised."""
        if self._write is None or len(calls) == 1:
            return one_by_one(calls)
        futures = [self._write.submit(call) for call in calls]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]
