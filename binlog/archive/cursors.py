"""Where a reader stands in each chain: one block in memory, and the next one on its way.

Cursors are kept by partition, so that going on costs no search and no second read. Beside the block
that is being read out, blocks are fetched ahead, a few at once and `AHEAD_BYTES_MAX` of them in all,
whatever the number of chains. A thread for each, which ends with it; what a fetch ahead ends in,
trouble included, whoever reads there meets again.
"""

from __future__ import annotations

import contextlib
import threading

from binlog.archive.block import BLOCK_RAW_BYTES
from binlog.archive.chain_view import Block, ChainView, Rank

AHEAD_AT_ONCE = 4
AHEAD_BYTES_MAX = 64 * 1024 * 1024  # of blocks that nobody has read yet, decompressed


class Ahead:
    """What all cursors of a log fetch ahead, together. ``at_once`` 0: nothing is."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._lock = threading.Lock()
        self._running = 0
        self._bytes = 0

    def begin(self, size: int) -> bool:
        """Whether one more of about that size may be fetched now."""
        with self._lock:
            if self._running >= self._at_once or self._bytes + size > AHEAD_BYTES_MAX:
                return False
            self._running += 1
            self._bytes += size
            return True

    def end(self) -> None:
        """One is there, or has failed."""
        with self._lock:
            self._running -= 1

    def take(self, size: int) -> None:
        """One was taken by whoever reads, or given up."""
        with self._lock:
            self._bytes -= size


class Fetch:
    """One block on its way: the one after a place."""

    def __init__(self, view: ChainView, rank: Rank, size: int, ahead: Ahead) -> None:
        self.rank = rank
        self._size = size
        self._view = view
        self._ahead = ahead
        self._block: Block | None = None
        self._thread = threading.Thread(target=self._run, name="binlog-archive", daemon=True)

    def start(self) -> bool:
        """Whether it could be begun; the room it was given is given back where it could not."""
        try:
            self._thread.start()
        except RuntimeError:  # the machine allows no more, or the interpreter ends
            self._ahead.end()
            self._ahead.take(self._size)
            return False
        return True

    def _run(self) -> None:
        try:
            with contextlib.suppress(Exception):
                self._block = self._view.block_after(self.rank)
        finally:
            self._ahead.end()

    def result(self) -> Block | None:
        """The block, once it is there; ``None``: it is to be read again, to see why."""
        self._thread.join()
        self._ahead.take(self._size)
        return self._block


class Cursor:
    """Stands in one chain."""

    def __init__(self, view: ChainView, ahead: Ahead) -> None:
        self.view = view
        self.block: Block | None = None
        self._ahead = ahead
        self._fetch: Fetch | None = None

    def covers(self, rank: Rank) -> bool:
        """Whether the block that it holds goes on from there."""
        return self.block is not None and self.block.low <= rank < self.block.high

    def expect(self, rank: Rank) -> None:
        """Fetch what comes after a place, if nothing is on its way and there is room. No wait."""
        if self._fetch is not None or self.covers(rank) or not self.view.goes_beyond(rank):
            return
        size = BLOCK_RAW_BYTES if self.block is None else self.block.raw_bytes
        if self._ahead.begin(size):
            fetch = Fetch(self.view, rank, size, self._ahead)
            self._fetch = fetch if fetch.start() else None

    def stand(self, rank: Rank) -> Block | None:
        """The block that goes on after a place; ``None`` where the chain ends.

        Raises:
            DamageError, StorageError, RefusedError: as `Chain.read_block`.
        """
        if self.block is not None and self.block.low <= rank < self.block.high:
            return self.block
        if not self.view.goes_beyond(rank):
            return None
        fetch, self._fetch = self._fetch, None
        found = None if fetch is None else fetch.result()
        if found is None or not found.low <= rank < found.high:
            self.block = found = None  # not two in memory
            found = self.view.block_after(rank)
        self.block = found
        if found is not None:
            self.expect(found.high)
        return found

    def leave(self) -> None:
        """Give up what it holds."""
        self.block = None
        if self._fetch is not None:
            self._fetch.result()
            self._fetch = None
