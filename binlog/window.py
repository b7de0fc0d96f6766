"""The id window (P6): the last W events of sessions that ask, so that a re-emission is dropped.

An event is remembered by 16 bytes of the hash of id, type, table, key and data. The same id with
other content is another event: it is sequenced and counted, since people put an order number there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import Struct

from binlog.columns import Columns
from binlog.sequencer_state import Counters


class IdWindow:
    """At most ``size`` events, the oldest forgotten first."""

    def __init__(self, size: int, entries: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._size = size
        self._seen: dict[bytes, bytes] = dict(entries[-size:]) if size else {}
        self._ids = Counter(self._seen.values())

    def entries(self) -> list[tuple[bytes, bytes]]:
        """(hash of the event, hash of its id), the oldest first."""
        return list(self._seen.items())

    def admit(self, columns: Columns, taken: Sequence[int], counters: Counters) -> list[int]:
        """Those of the envelopes ``taken`` that are no copies; they are remembered."""
        fresh = []
        for i in taken:
            kind = columns.kinds[columns.index[i]]
            event, name = _hashes(kind, columns.ids[i], columns.keys[i], columns.datas[i])
            if event in self._seen:
                counters.window_dropped += 1
                continue
            counters.id_reused += name in self._ids
            fresh.append(i)
            self._remember(event, name)
        return fresh

    def _remember(self, event: bytes, name: bytes) -> None:
        if not self._size:
            return
        if len(self._seen) >= self._size:
            oldest = next(iter(self._seen))
            gone = self._seen.pop(oldest)
            self._ids[gone] -= 1
            if not self._ids[gone]:
                del self._ids[gone]
        self._seen[event] = name
        self._ids[name] += 1


def _hashes(
    kind: tuple[str, int, str], event_id: str, key: bytes, data: bytes | None
) -> tuple[bytes, bytes]:
    name = event_id.encode()
    of_kind = _of_kind(kind[0], kind[2])
    content = b"" if data is None else b"\1" + data
    key_length, length = _length(len(key)), _length(len(content))
    whole = b"".join((_length(len(name)), name, of_kind, key_length, key, length, content))
    return blake2b(whole, digest_size=16).digest(), blake2b(name, digest_size=8).digest()


@lru_cache(maxsize=1_024)
def _of_kind(event_type: str, table: str) -> bytes:
    parts = (event_type.encode(), table.encode())
    return b"".join(_length(len(part)) + part for part in parts)


_length = Struct(">I").pack
