"""Objects in memory: the reference that all others must agree with."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from binlog.clock import Clock, SystemClock
from binlog.objects.objects import Entry, check_key, clamp


class MemoryObjects:
    """Gone with the process; a forked child has a copy of its own."""

    def __init__(self, name: str = "memory:", *, clock: Clock | None = None) -> None:
        self.name = name
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._held: dict[str, tuple[bytes, int]] = {}

    def put_new(self, key: str, data: bytes) -> bool:
        check_key(key)
        with self._lock:
            held, _ = self._held.setdefault(key, (bytes(data), self._clock.now_ms()))
        return held == data

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        with self._lock:
            self._held[key] = bytes(data), self._clock.now_ms()

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        check_key(key)
        found = self._held.get(key)
        if found is None:
            return None
        begin, end = clamp(len(found[0]), start, length)
        return found[0][begin:end]

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        with self._lock:
            keys = sorted(self._held)  # ASCII, so by bytes
        for key in keys[bisect_right(keys, after) :]:
            if key.startswith(prefix) and (found := self._held.get(key)) is not None:
                yield Entry(key, len(found[0]), found[1])

    def delete(self, keys: Iterable[str]) -> None:
        for key in map(check_key, keys):
            with self._lock:
                self._held.pop(key, None)

    def close(self) -> None:
        pass
