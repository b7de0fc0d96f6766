"""How hard segments are compressed: once, over about a MiB, and read for years.

Level 3 is zstd's own default. What is read is read by `binlog.compression.decompress`, bounded.
"""

from __future__ import annotations

import sys
import threading

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 3
_thread = threading.local()


def compress(data: bytes) -> bytes:
    """One zstd frame of ``data``."""
    compressor = getattr(_thread, "compressor", None)
    if compressor is None:
        compressor = _thread.compressor = zstd.ZstdCompressor(level=LEVEL)
    packed: bytes = compressor.compress(data, mode=zstd.ZstdCompressor.FLUSH_FRAME)
    return packed
