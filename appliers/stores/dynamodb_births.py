"""Which keys are known to have no item yet, without reading: those of tables that began empty here.

A handle that made a table, or found it empty under the lock, has seen every key in it: its own writes.
They are kept as a Bloom filter, of a fixed size for all tables together. A key that is not in it is
absent, unless somebody else writes in spite of the lock. That is found by the first statement that
meets an item, and then the table counts as unknown. So nothing depends on this being true: an
`INSERT` is refused where there is an item, and what is refused is written the other way.
"""

from __future__ import annotations

from hashlib import blake2b

_BITS = 1 << 25
"""4 MiB a handle: 1 % of 3.4 million keys are taken for ones that were written; from there on it rises,
and more births go as puts."""
_MASK = _BITS - 1
_PROBES = 4


class Births:
    """What one handle has written to tables that it began. Used by one thread at a time.

    ``permitted``: whether statements are (a policy of before they were used permits puts alone).
    """

    def __init__(self) -> None:
        self.permitted = True
        self._begun: set[str] = set()
        self._bits = bytearray()

    def begin(self, table: str) -> None:
        """The physical table is empty, and nobody else writes to it."""
        if not self._bits:
            self._bits = bytearray(_BITS // 8)
        self._begun.add(table)

    def forget(self, table: str) -> None:
        """Somebody else has written to it."""
        self._begun.discard(table)

    def first(self, table: str, key: bytes) -> bool:
        """Whether there is certainly no item of that key; from now on there may be."""
        if table not in self._begun:
            return False
        digest = blake2b(b"\0".join((table.encode(), key)), digest_size=4 * _PROBES).digest()
        bits, new = self._bits, False
        for place in range(0, 4 * _PROBES, 4):
            bit = int.from_bytes(digest[place : place + 4], "big") & _MASK
            mask = 1 << (bit & 7)
            if not bits[bit >> 3] & mask:
                new = True
                bits[bit >> 3] |= mask
        return new
