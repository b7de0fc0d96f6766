"""Columns that are checked at once and made into objects only for who looks at them.

A replay looks at keys and datas. Ids and times are for people and for rare cases, and making text
and numbers of them is a tenth of a replay's time. So where all ids of a frame are ASCII of one
length, as UUIDs are, and all times are integers of eight bytes, a few comparisons of strides of
bytes prove what decoding would have proved, and the decoding waits. Other columns are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import msgspec

COUNT_MIN = 32
"""Below, the comparisons take as long as the decoding."""

_ARRAY16, _UINT64, _STR8, _FIXSTR, _FIXSTR_MAX = 0xDC, 0xCF, 0xD9, 0xA0, 31
_START = 3  # of the first element
_decode = msgspec.msgpack.Decoder().decode


class LateColumn(Sequence[Any]):
    """A msgpack array that is known to be whole; decoded when first looked into."""

    __slots__ = ("_count", "_data", "_values")

    def __init__(self, data: bytes, count: int) -> None:
        self._data = data
        self._count = count
        self._values: list[Any] | None = None

    def _decoded(self) -> list[Any]:
        values = self._values
        if values is None:
            values = self._values = _decode(self._data)
        return values

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._decoded()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._decoded())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LateColumn):
            return self._data == other._data
        return self._decoded() == other

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return repr(self._decoded())


def late_ids(data: bytes, count: int) -> LateColumn | None:
    """The column of ``count`` ids, each ASCII, 1 to 255 and all of one length; ``None`` if not."""
    if not _is_array(data, count):
        return None
    tag = data[_START]
    if tag == _STR8:
        marks = data[_START : _START + 2]
        length = marks[-1]
    else:
        marks = data[_START : _START + 1]
        length = tag - _FIXSTR
        if length > _FIXSTR_MAX:
            return None
    stride = len(marks) + length
    if length < 1 or len(data) != _START + stride * count:
        return None
    bare = bytearray(data)
    for place, mark in enumerate(marks):
        every = slice(_START + place, None, stride)
        if bare[every] != bytes((mark,)) * count:
            return None
        bare[every] = bytes(count)  # NULs, so that only the texts decide
    del bare[:_START]
    return LateColumn(data, count) if bare.isascii() else None


def late_times(data: bytes, count: int) -> LateColumn | None:
    """The column of ``count`` integers of eight bytes; ``None`` if it is not that."""
    is_whole = (
        _is_array(data, count)
        and len(data) == _START + 9 * count
        and data[_START::9] == bytes((_UINT64,)) * count
    )
    return LateColumn(data, count) if is_whole else None


def _is_array(data: bytes, count: int) -> bool:
    """Whether an array of ``count`` begins, 16 to 65,535 elements, and there is something in it."""
    return (
        len(data) > _START
        and data[0] == _ARRAY16
        and int.from_bytes(data[1:_START], "big") == count
    )
