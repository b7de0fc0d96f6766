"""Where archives and snapshots are kept: objects by key, each written once, whole.

The one thing that archives build on is `Objects.put_new`, create-if-absent: of any number of writers
of one key one wins, nobody replaces what stands, and whoever lost can read who won. There is no
compare-and-swap, no lock and no rename, so a directory and S3 behave alike.

Keys are ``/``-separated names of ``A-Z a-z 0-9 _ . = -`` that do not begin with a dot, at most
`KEY_BYTES_MAX` in all: they are the same on every file system and need no quoting in any URL. No
key is a folder of another one (``a`` and ``a/b``): a directory could not hold both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

KEY_BYTES_MAX = 512
"""S3 takes 1,024 bytes, prefix included ("Naming Amazon S3 objects")."""
NAME_BYTES_MAX = 200
"""Between two slashes; file systems take 255, and a name that is being written is longer."""
_KEY = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*(?:/[A-Za-z0-9_=-][A-Za-z0-9_.=-]*)*")


class Entry(msgspec.Struct, frozen=True):
    """An object as a listing shows it; ``modified_ms`` is the storage's own time."""

    key: str
    size: int
    modified_ms: int


class Objects(Protocol):
    """Objects under one address. Any thread may call any of it; a forked child may go on with it.

    All calls raise, beside what they say:

        StorageError: try again may help (no room, no reply, throttled); of a write the outcome is
            unknown unless it says otherwise, and the very same call may be made again.
        RefusedError: not permitted, no such bucket, no such folder: other rights or another address.
        DamageError: the storage itself found that bytes are not what was written.
        ValueError: no key.
    """

    @property
    def name(self) -> str:
        """The address, for messages."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object if there is none of that key, and durably.

        True: what stands there now is exactly ``data``, whoever wrote it: a lost reply, or a
        conflict with somebody who wrote at the same moment, is read again before it is answered.
        False: something else stands there. It is never replaced. Either way what stands there is
        durable on return, the name too; readers see an object whole or not at all, and may see it
        a moment before it is durable. A call that raised may still take effect, later too, unless
        something else stands there by then.
        """

    def put(self, key: str, data: bytes) -> None:
        """Write an object, in place of any other: only for notes that may be lost.

        Durable on return. Of two at once either may stand, whole; one that raised may still take
        effect later, over a newer one.
        """

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """The bytes of an object from ``start``, ``length`` of them, or all; ``None``: there is none.

        A negative ``start`` counts from the end, and is 0 where that lies before the beginning.
        ``length`` may reach beyond the end: fewer bytes come; none from beyond it.
        """

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """The objects whose keys begin with ``prefix``, sorted by the keys' bytes.

        Only those strictly after the key ``after``, which need not exist. What is written or
        deleted while it is being listed may be in it or not; all else is, once. Memory is bounded
        by a page or a folder.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, durably on return; one that is not there is fine.

        What raises may have removed some of them. Other calls never remove anything.
        """

    def close(self) -> None:
        """Give up connections; what is called after it opens them anew."""


def check_key(key: str) -> str:
    """``key``.

    Raises:
        ValueError: it is none.
    """
    if (
        not _KEY.fullmatch(key)
        or len(key) > KEY_BYTES_MAX
        or max(map(len, key.split("/"))) > NAME_BYTES_MAX
    ):
        raise ValueError(f"{key!r} is no key: names of A-Z a-z 0-9 _ . = - with / between them")
    return key


def clamp(size: int, start: int, length: int | None) -> tuple[int, int]:
    """Begin and end of a range in an object of ``size`` bytes."""
    if length is not None and length < 0:
        raise ValueError(f"length {length} is negative")
    begin = max(0, size + start) if start < 0 else min(start, size)
    return begin, size if length is None else min(size, begin + length)
