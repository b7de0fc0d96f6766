"""The body of a frame: its envelopes by column.

The body is a msgpack array of columns, not of envelopes: a reader that only sequences looks at
none of them, and one that folds touches just the columns it needs::

    kinds   [[type, schema version, table], ...]   at most 256
    index   binary, one byte an envelope: its kind
    ids     [text, ...]
    keys    [binary, ...]          canonical bytes
    datas   [binary | nil, ...]    canonical bytes
    times   [int, ...]             ms
    metas   nil | [binary | nil, ...]
    expects nil | [int | nil, ...]

A reader that only sequences looks at none of them, and one that folds touches just the columns it
needs; per event there is no object and no call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from binlog.envelope import ID_BYTES_MAX, TYPE_BYTES_MAX, Envelope
from binlog.errors import RefusedError
from binlog.late_column import COUNT_MIN, late_ids, late_times

KINDS_MAX = 256
# Both key attributes at their limits, and their names (255 bytes each) with the headers.
KEY_BYTES_MAX = 2_048 + 1_024 + 2 * 255 + 64
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}", re.ASCII)


class FrameError(ValueError):
    """Why a record that should be ours is not a frame of this log; halts its partition (S7)."""


# Bounds that are checked where the bytes are decoded, at no cost. Lengths of text are in characters.
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)]
_Key = Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES_MAX)]
_Version = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Columns(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The envelopes of a frame by column; all but ``kinds`` have one entry an envelope."""

    kinds: list[tuple[str, int, str]]
    index: bytes
    ids: Sequence[_Id]
    keys: list[_Key]
    datas: list[bytes | None]
    times: Sequence[int]
    metas: list[bytes | None] | None = None
    expects: list[_Version | None] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def envelopes(self) -> Iterator[Envelope]:
        """The envelopes, one object each: for people and slow paths."""
        nones: list[None] = [None] * len(self.index)
        for kind, *rest in zip(
            self.index,
            self.ids,
            self.keys,
            self.datas,
            self.metas or nones,
            self.expects or nones,
            self.times,
            strict=True,
        ):
            kind_type, schema, table = self.kinds[kind]
            yield Envelope(rest[0], kind_type, schema, table, *rest[1:])

    def take(self, indexes: Sequence[int]) -> Columns:
        """Only the envelopes at ``indexes``, in that order; kinds stay as they are."""
        return Columns(
            self.kinds,
            bytes([self.index[i] for i in indexes]),
            [self.ids[i] for i in indexes],
            [self.keys[i] for i in indexes],
            [self.datas[i] for i in indexes],
            [self.times[i] for i in indexes],
            None if self.metas is None else [self.metas[i] for i in indexes],
            None if self.expects is None else [self.expects[i] for i in indexes],
        )


class _Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The same, with two columns left as bytes; the order is the format's."""

    kinds: list[tuple[str, int, str]]
    index: bytes
    ids: msgspec.Raw
    keys: list[_Key]
    datas: list[bytes | None]
    times: msgspec.Raw
    metas: list[bytes | None] | None = None
    expects: list[_Version | None] | None = None


_encode_columns = msgspec.msgpack.Encoder().encode
_decode_columns = msgspec.msgpack.Decoder(Columns).decode
_decode_stored = msgspec.msgpack.Decoder(_Stored).decode


def columns_of(envelopes: Sequence[Envelope]) -> Columns:
    """The columns that hold ``envelopes``.

    Raises:
        RefusedError: more than `KINDS_MAX` different (type, schema, table).
    """
    # One loop: at the usual few envelopes a frame half the time of a comprehension each column.
    numbers: dict[tuple[str, int, str], int] = {}
    index: list[int] = []
    ids: list[str] = []
    keys: list[bytes] = []
    datas: list[bytes | None] = []
    times: list[int] = []
    has_rare = False
    for e in envelopes:
        kind = (e.type, e.schema, e.table)
        number = numbers.get(kind)
        if number is None:
            number = numbers[kind] = len(numbers)
        index.append(number)
        ids.append(e.id)
        keys.append(e.key)
        datas.append(e.data)
        times.append(e.time_ms)
        if e.meta is not None or e.expect is not None:
            has_rare = True
    if len(numbers) > KINDS_MAX:
        raise RefusedError(f"{len(numbers)} kinds of event in one frame, the limit is {KINDS_MAX}")
    metas: list[bytes | None] | None = None
    expects: list[int | None] | None = None
    if has_rare:
        metas, expects = [e.meta for e in envelopes], [e.expect for e in envelopes]
        metas = metas if any(meta is not None for meta in metas) else None
        expects = expects if any(expect is not None for expect in expects) else None
    return Columns(list(numbers), bytes(index), ids, keys, datas, times, metas, expects)


def encode_body(columns: Columns) -> bytes:
    """The body of a frame, not compressed."""
    return _encode_columns(columns)


def decode_columns(body: bytes, count: int) -> Columns:
    """The columns of a body, with every bound checked that concerns whole frames.

    Raises:
        FrameError: no columns, of other lengths than ``count``, or a bound is broken.
    """
    try:
        columns = _decode_late(body, count) if count >= COUNT_MIN else None
        columns = columns or _decode_columns(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FrameError(f"the body is no set of columns: {error}") from error
    index, metas, expects = columns.index, columns.metas, columns.expects
    if not (
        len(index) == len(columns.ids) == len(columns.keys) == len(columns.datas) == count
        and len(columns.times) == count
        and (metas is None or len(metas) == count)
        and (expects is None or len(expects) == count)
        and count
    ):
        raise FrameError(f"columns of {_lengths(columns)} entries, the header says {count}")
    kinds = columns.kinds
    # What is left of the index without the numbers of all kinds there are.
    if len(kinds) > KINDS_MAX or index.translate(None, _NUMBERS[: len(kinds)]):
        raise FrameError("an envelope's kind is not in the frame's table")
    if not _checked_kinds.issuperset(kinds):
        for kind in kinds:
            _check_kind(kind)
        if len(_checked_kinds) + len(kinds) <= _CHECKED_MAX:
            _checked_kinds.update(kinds)
    return columns


def _decode_late(body: bytes, count: int) -> Columns | None:
    """The columns of a body whose ids and times are of the usual form; ``None`` of any other."""
    stored = _decode_stored(body)
    ids, times = late_ids(bytes(stored.ids), count), late_times(bytes(stored.times), count)
    if ids is None or times is None:
        return None
    return Columns(
        stored.kinds,
        stored.index,
        ids,
        stored.keys,
        stored.datas,
        times,
        stored.metas,
        stored.expects,
    )


_NUMBERS = bytes(range(KINDS_MAX))
_CHECKED_MAX = 4_096
_checked_kinds: set[tuple[str, int, str]] = set()  # met before and found good


def _lengths(columns: Columns) -> list[int]:
    """All different lengths of the columns, for the message."""
    found = (getattr(columns, name) for name in Columns.__struct_fields__[1:])
    return sorted({len(column) for column in found if column is not None})


def _check_kind(kind: tuple[str, int, str]) -> None:
    kind_type, schema, table = kind
    if not kind_type or len(kind_type.encode()) > TYPE_BYTES_MAX or schema < 1:
        raise FrameError(f"event type {kind_type[:40]!r}, schema version {schema}")
    if table and not is_table_name(table):
        raise FrameError(f"table name {table[:40]!r}")


def is_table_name(name: str) -> bool:
    """Whether DynamoDB would take it: 3 to 255 of letters, digits, ``_.-``."""
    return _TABLE.fullmatch(name) is not None
