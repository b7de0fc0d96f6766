"""Where a reader stands in each chain: one block in memory, and the next one on its way.

Cursors are kept by partition, so that going on costs no search and no second read. Beside the block
that is being read out, blocks are fetched ahead, a few at once and `AHEAD_BYTES_MAX` of them in all,
whatever the number of chains. A thread for each, and none between two reads, so that none keeps a process from being
forked; what a fetch ahead ends in, trouble included, whoever reads there meets again.
"""

from __future__ import annotations

import contextlib
import threading

from binlog.archive.chain_view import Block, ChainView, Rank

AHEAD_AT_ONCE = 4
AHEAD_BYTES_MAX = 64 * 1024 * 1024  # of blocks that nobody has read yet, decompressed

_Address = tuple[int, int]  # segment and block


class Ahead:
    """What all cursors of a log fetch ahead, together. ``at_once`` 0: nothing is."""

    def __init__(self, at_once: int = AHEAD_AT_ONCE) -> None:
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
    """One block on its way."""

    def __init__(self, view: ChainView, address: _Address, size: int, ahead: Ahead) -> None:
        self.address = address
        self.size = size
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
            self._ahead.take(self.size)
            return False
        return True

    def _run(self) -> None:
        try:
            with contextlib.suppress(Exception):
                self._block = self._view.read_block(*self.address)
        finally:
            self._ahead.end()

    def result(self) -> Block | None:
        """The block, once it is there; ``None``: it is to be read again, to see why."""
        self._thread.join()
        self._ahead.take(self.size)
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

    def stand(self, rank: Rank) -> Block | None:
        """The block that goes on after a place; ``None`` where the chain ends.

        Raises:
            DamageError, StorageError, RefusedError: as `Chain.read_block`.
        """
        block = self.block
        if block is not None and block.low <= rank < block.high:
            return block
        address: _Address | None = None
        if block is not None and rank == block.high:
            address = block.next if block.next[0] < len(self.view.outlines) else None
        else:
            address = self.view.block_after(rank)
        if address is None:
            return None
        self.block = self._read(address)
        self._look_ahead(self.block)
        return self.block

    def _read(self, address: _Address) -> Block:
        fetch, self._fetch = self._fetch, None
        found = None if fetch is None else fetch.result()
        if fetch is None or fetch.address != address or found is None:
            self.block = None  # not two in memory
            found = self.view.read_block(*address)
        return found

    def _look_ahead(self, block: Block) -> None:
        if block.next[0] >= len(self.view.outlines) or not self._ahead.begin(block.raw_bytes):
            return
        fetch = Fetch(self.view, block.next, block.raw_bytes, self._ahead)
        if fetch.start():
            self._fetch = fetch

    def leave(self) -> None:
        """Give up what it holds."""
        self.block = None
        if self._fetch is not None:
            self._fetch.result()
            self._fetch = None
