"""Reading a stream whose shards are many: a reader for each, and pages that are fetched ahead.

While a page is being worked on, the next one of its shard is on its way, and the first ones of the
shards that are read after it (`expect`; the very first page goes before them): a reader that folds as it goes waits for the network once,
not once a page. It costs no call more, only sooner; nothing is fetched ahead of a shard's end, where
a call would be made for nothing, nor beyond a part of the memory that all shards share.

A thread for each page, a few at once: none is there between two reads, so that none keeps a process
from being forked. What a fetch ahead ends in, trouble included, whoever reads there meets again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

from binlog.errors import RefusedError
from binlog.log import Page, Position, Shard
from binlog.logs.kinesis_reader import ShardReader
from binlog.logs.kinesis_stream import Stream, trimmed


class StreamReader:
    """All shards: `Log.read` and what it needs. ``pages_ahead`` are fetched at once, at most."""

    def __init__(self, stream: Stream, *, pages_ahead: int) -> None:
        self.stream = stream
        self._pages_ahead = pages_ahead
        self._lock = threading.Lock()
        self._readers: dict[str, ShardReader] = {}
        self._fetching: set[ShardReader] = set()
        self._is_begun = False  # a page was read
        self._expected: Sequence[Position] = ()  # before that

    def forget(self) -> None:
        """Give up what is kept: in a forked child, where a lock may never be released."""
        self._lock = threading.Lock()
        self._readers = {}
        self._fetching = set()
        self._is_begun, self._expected = False, ()
        self.stream.forget()

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None,
        bytes_max: int,
        until: float,
    ) -> Page:
        """A page; ``until`` is a monotonic time up to which it waits for a first record."""
        reader = self._reader(after.shard)
        place = after
        while True:
            page = reader.read(place.sequence, partitions, bytes_max)
            if not self._is_begun:
                self._is_begun = True
                self.expect(self._expected)
            place = page.next
            if page.records:
                self._fetch_ahead(reader, place.sequence)
                return page
            if page.closed:
                return page
            if page.caught_up and self.stream.clock.monotonic() >= until:
                return page
            self.stream.check_open()

    def expect(self, places: Sequence[Position]) -> None:
        """Fetch what is going to be read from these places, as far as it is worth it."""
        if not self._is_begun:
            # Others at the same time would only keep the first page from coming soon.
            self._expected = tuple(places)
            return
        with self._lock:
            known = [(self._readers.get(place.shard), place.sequence) for place in places]
        for reader, sequence in known:
            if reader is not None:
                self._fetch_ahead(reader, sequence)

    def _fetch_ahead(self, reader: ShardReader, sequence: int) -> None:
        after = reader.unread_after(sequence)
        if after is None:
            return
        with self._lock:
            if reader in self._fetching or len(self._fetching) >= self._pages_ahead:
                return
            if not self.stream.has_room(1 + len(self._fetching)):
                return
            self._fetching.add(reader)
        thread = threading.Thread(
            target=self._fetch, args=(reader, after), name="binlog-read", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the machine allows no more, or the interpreter ends
            self._fetched(reader)

    def _fetch(self, reader: ShardReader, after: int) -> None:
        try:
            with contextlib.suppress(Exception):
                reader.fetch_ahead(after)
        finally:
            self._fetched(reader)

    def _fetched(self, reader: ShardReader) -> None:
        with self._lock:
            self._fetching.discard(reader)

    def seen_ms(self, place: Position) -> int | None:
        """When an open shard was last known to end there; see `binlog.log.Forgets`."""
        with self._lock:
            reader = self._readers.get(place.shard)
        return None if reader is None else reader.seen_ms(place.sequence)

    def shards(self) -> list[Shard]:
        """All shards, parents first; from now on each has its reader."""
        shards = self.stream.shards()
        with self._lock:
            for shard in shards:
                if shard.id not in self._readers:
                    self._readers[shard.id] = ShardReader(self.stream, shard)
        return shards

    def _reader(self, shard_id: str) -> ShardReader:
        if shard_id not in self._readers:
            self.shards()
        if (reader := self._readers.get(shard_id)) is not None:
            return reader
        where = f"shard {shard_id} of {self.stream.name}"
        if shard_id.startswith("shardId-") and self.stream.may_have_forgotten():
            raise trimmed("the whole shard has left it", where)
        raise RefusedError("no such shard", where, "is it another log's checkpoint?")
