"""How hard segments are compressed: once, over about a MiB, and read for years.

Level 6 takes an eighth less room than level 3, zstd's own default, and four times its time: some 100 MB
a second and core, of what decompresses to that. From 9 on a further twentieth costs as much again.
What is read is read by `binlog.compression.decompress`, bounded.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 6
_thread = threading.local()

Later = Callable[[bytes], Callable[[], bytes]]
"""Begins to compress, somewhere; what it gives waits for the outcome."""


def compress(data: bytes) -> bytes:
    """One zstd frame of ``data``."""
    compressor = getattr(_thread, "compressor", None)
    if compressor is None:
        compressor = _thread.compressor = zstd.ZstdCompressor(level=LEVEL)
    packed: bytes = compressor.compress(data, mode=zstd.ZstdCompressor.FLUSH_FRAME)
    return packed


def at_once(data: bytes) -> Callable[[], bytes]:
    """`Later` for who has no thread for it."""
    packed = compress(data)
    return lambda: packed
