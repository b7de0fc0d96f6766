"""Columns of whole numbers as few bytes: byte planes, each compressed by itself.

::

    size
       4  count n, big-endian
       1  bytes a number, w: 1, 2, 4 or 8
     w *  one plane, that of the lowest bytes first:  4  size as stored, big-endian
                                                      .  n bytes, or zstd of them if it is shorter

A column of its own for each byte, because they have nothing in common: the low bytes of times are
noise, the high ones all the same, and an entropy coder that is given both does neither well.
An empty column is no bytes at all.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence

from binlog import compression
from binlog.errors import DamageError

COUNT_MAX = 1 << 18
_COMPRESS_FROM = 32  # zstd's own frame takes 10 to 20 bytes
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """``numbers``, each of 0 to 2^64 - 1, at most `COUNT_MAX` of them."""
    if not numbers:
        return b""
    largest = max(numbers)
    width = next(w for w in _CODES if largest < 1 << 8 * w)
    values = array(_CODES[width], numbers)
    if sys.byteorder == "big":
        values.byteswap()
    data = values.tobytes()
    pieces = [len(numbers).to_bytes(4, "big"), bytes((width,))]
    for at in range(width):
        plane = data[at::width]
        if len(plane) >= _COMPRESS_FROM:
            plane = min(plane, compression.compress(plane), key=len)
        pieces += (len(plane).to_bytes(4, "big"), plane)
    return b"".join(pieces)


def unpack_numbers(data: bytes) -> Sequence[int]:
    """What `pack_numbers` was given.

    Raises:
        DamageError: no such bytes; found before more than their honest size is taken.
    """
    if not data:
        return ()
    count, width = int.from_bytes(data[:4], "big"), data[4] if len(data) > 4 else 0
    if not 1 <= count <= COUNT_MAX or width not in _CODES:
        raise DamageError(f"a column of {count} numbers of {width} bytes")
    planes = bytearray(count * width)
    at = 5
    for plane in range(width):
        size = int.from_bytes(data[at : at + 4], "big")
        stored = data[at + 4 : at + 4 + size]
        at += 4 + size
        found = stored if size == count else compression.decompress(stored, count)
        if found is None or len(found) != count:
            raise DamageError(f"a column of {count} numbers whose byte {plane} is damaged")
        planes[plane::width] = found
    if at != len(data):
        raise DamageError(f"a column of {at} bytes in {len(data)}")
    values = array(_CODES[width])
    values.frombytes(bytes(planes))
    if sys.byteorder == "big":
        values.byteswap()
    return values


def gaps(places: Iterable[int]) -> list[int]:
    """Ascending places as how many lie between one and the one before it."""
    found, last = [], -1
    for place in places:
        found.append(place - last - 1)
        last = place
    return found


def ungap(numbers: Iterable[int]) -> list[int]:
    """The places."""
    places, last = [], -1
    for number in numbers:
        last += number + 1
        places.append(last)
    return places
