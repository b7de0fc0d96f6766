"""The archiver's threads: blocks are compressed while the next ones are read, segments written at once.

Both release the interpreter, and a write waits for a disk or a service most of its time. There is none
before a run begins and none after it, so that the process can be forked.

Whoever has to wait for a block compresses others meanwhile: at the end of a run all that is left to do
is to compress what waits, and then that takes all of the machine.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from binlog.archive.compression import at_once, compress
from binlog.archive.writer import WRITES_AT_ONCE, Call
from binlog.archive.writer import at_once as write_at_once


class Threads:
    """Enter it for a run; outside of it everything is done in the caller's own."""

    def __init__(self) -> None:
        self._compress: ThreadPoolExecutor | None = None
        self._write: ThreadPoolExecutor | None = None
        self._blocks: deque[tuple[Future[bytes], bytes]] = deque()  # nobody has begun with these

    def __enter__(self) -> None:
        self._compress = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "binlog-compress")
        self._write = ThreadPoolExecutor(WRITES_AT_ONCE, "binlog-write")

    def __exit__(self, *_: object) -> None:
        for pool in (self._compress, self._write):
            if pool is not None:
                pool.shutdown(cancel_futures=True)
        self._compress = self._write = None
        while self._blocks:
            self._blocks.pop()[0].cancel()

    def compress_later(self, data: bytes) -> Callable[[], bytes]:
        """`binlog.archive.compression.Later`."""
        if self._compress is None:
            return at_once(data)
        packed: Future[bytes] = Future()
        self._blocks.append((packed, data))
        self._compress.submit(self._compress_next, self._blocks.popleft)

        def wait() -> bytes:
            # From the other end than the threads: what they are at is all that is left here then.
            while not packed.done() and self._compress_next(self._blocks.pop):
                pass
            return packed.result()

        return wait

    @staticmethod
    def _compress_next(take: Callable[[], tuple[Future[bytes], bytes]]) -> bool:
        """One block that nobody has begun with; whether there was one."""
        try:
            packed, data = take()
        except IndexError:
            return False
        try:
            packed.set_result(compress(data))
        except BaseException as error:
            packed.set_exception(error)
            raise
        return True

    def write_later(self, call: Call) -> Call:
        """Begin a write; what is given waits for it."""
        if self._write is None:
            return write_at_once(call)
        return self._write.submit(call).result
