"""Large sequencer state beside a checkpoint row: an immutable base, and in the row a delta (C5).

A row is paid for by the kibibyte each time it is written, and the state of a partition that 5,000
producers write to is 300 KB. So the row holds what differs from a base, which is compressed, has a
random id, never changes, and is renewed only now and then. This is the format, and when to renew;
`appliers.state_steps` has the order in which they are written, deleted and read.

When to renew is a matter of price alone. A longer delta costs units at every write, a new base
costs its units twice at once (written, and later deleted: DynamoDB bills both by size,
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html). What
is cheapest in the long run is to renew as soon as a row costs more, above one unit, than a row has
cost on average since the last time, the base included: `is_due`. A delta that has stopped growing
is never renewed, one that grows steadily is at the best moment there is; and in any case when the
row passes `ROW_BYTES_MAX`. A state that fits in a unit or two has no base.

Layout of a row and of a base's data, integers big-endian::

    offset size
         0    1  format, 1
         1    4  CRC-32C of all that follows
         5       msgpack of `_Row`, or of `_Content`

What is in them is not trusted to be ours: sizes are bounded before anything is decompressed, and
the state that comes out has the length and the checksum that went in, or is `DamageError`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Container, Iterable
from functools import cached_property
from typing import TypeVar

import google_crc32c
import msgspec

from appliers.state_delta import EMPTY, Parts, apply_delta, encode_delta
from binlog import compression
from binlog.errors import DamageError, LostError, TooLargeError, UpgradeError

FORMAT = 1
UNIT_BYTES = 1024  # DynamoDB: a write unit
ROW_BYTES_MAX = 24 * 1024
INLINE_UNITS_MAX = 2  # of a row without a base: reading one costs a read more
STATE_BYTES_MAX = 128 * 1024 * 1024  # 16 MiB held, PARAMS may double it some times; and sessions
ID_BYTES = 16
ORPHAN_S = 24 * 3600  # see `appliers.state_steps`

_WHOLE, _DELTA, _SAME = 0, 1, 2

T = TypeVar("T")


class _Content(msgspec.Struct, array_like=True, frozen=True):
    """A whole state."""

    kind: int  # `_DELTA` to the empty state, or `_WHOLE`: zstd, of one that cannot be taken apart
    size: int  # of the state
    body: bytes


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """One state, and what it is a delta of."""

    kind: int  # also `_SAME`: that of the base, which cannot be taken apart
    size: int  # of the state
    crc: int  # CRC-32C of the state
    body: bytes
    base: bytes = b""  # id; empty: none
    base_crc: int = 0  # of its data
    rows: int = 0  # written since the base was made, this one too
    spent: int = 0  # units that they have cost, above one each


class Base:
    """An immutable base, and how many rows have named it and cost what. ``id`` is 32 hex digits.

    ``data`` may be larger than an item: whoever keeps it cuts it up.
    """

    def __init__(self, id: str, data: bytes, *, rows: int = 0, spent: int = 0) -> None:  # noqa: A002
        self.id = id
        self.data = data
        self.rows = rows
        self.spent = spent

    @cached_property
    def content(self) -> tuple[Parts | None, bytes]:
        """The state that it holds, and its parts if it can be taken apart.

        Raises:
            DamageError: it is no base.
            UpgradeError: of a newer format.
        """
        found = _open(self.data, _decode_content, "base")
        if found.kind == _DELTA:
            parts = apply_delta(found.body, EMPTY)
            state = parts.join()
        else:
            parts, state = None, _inflate(found.body, found.size)
        if len(state) != found.size:
            raise DamageError(f"a base of {len(state)} bytes that says {found.size}")
        return parts, state

    def after(self, rows: int, spent: int) -> Base:
        """The same base when ``rows`` have cost ``spent`` units above one each."""
        other = Base(self.id, self.data, rows=rows, spent=spent)
        if "content" in self.__dict__:
            other.__dict__["content"] = self.content
        return other

    def is_due(self, above: int) -> bool:
        """Whether a row that costs ``above`` units beside its first asks for another base."""
        return above * self.rows >= self.spent + 2 * units(len(self.data))


class Packed(msgspec.Struct, frozen=True):
    """What to write, in this order."""

    base: Base | None  # to be made durable first, create-if-absent; None: nothing new
    row: bytes
    replaced: str | None  # id of the base to delete after this row has won
    named: Base | None  # what the row names: the next `pack` wants it


def pack(
    state: bytes,
    base: Base | None,
    *,
    overhead_bytes: int = 512,
    row_bytes_max: int = ROW_BYTES_MAX,
    token: Callable[[int], bytes] = secrets.token_bytes,
) -> Packed:
    """The row of ``state`` after one that named ``base``, as `unpack` or the last `pack` gave it.

    ``overhead_bytes`` is what the item holds beside the row, for counting its units. ``token``
    gives that many random bytes.

    Raises:
        TooLargeError: a state above `STATE_BYTES_MAX`.
    """
    if len(state) > STATE_BYTES_MAX:
        raise TooLargeError(f"a sequencer state of {len(state)} bytes, limit {STATE_BYTES_MAX}")
    parts = Parts.of(state)
    if base is not None and (change := _relative(state, parts, base)) is not None:
        above = units(len(change.body) + overhead_bytes) - 1
        now = base.after(base.rows + 1, base.spent + above)
        row = _seal(msgspec.structs.replace(change, rows=now.rows, spent=now.spent))
        if len(row) <= row_bytes_max and not now.is_due(above):
            return Packed(None, row, None, now)
    replaced = None if base is None else base.id
    content = _content(state, parts)
    crc = _crc(state)
    row = _seal(_Row(content.kind, len(state), crc, content.body))
    if units(len(row) + overhead_bytes) <= INLINE_UNITS_MAX:
        return Packed(None, row, replaced, None)
    made = Base(token(ID_BYTES).hex(), _seal(content))
    row = _seal(_Row(_SAME, len(state), crc, b"", *_name(made)))
    return Packed(made, row, replaced, made)


def unpack(
    row: bytes, read_base: Callable[[str], bytes | None], *, known: Base | None = None
) -> tuple[bytes, Base | None]:
    """The state, and the base that the row names.

    ``read_base`` gives a base's data, strongly consistent; ``None``: there is none of that id.
    ``known`` is asked before it: a base never changes.

    Raises:
        LostError: the base is gone: the row has been replaced since it was read (`appliers.state_steps.recall`).
        DamageError: the row, or the base, is not what was written.
        UpgradeError: of a newer format.
    """
    found = _open(row, _decode_row, "checkpoint row")
    base = None if not found.base else _base_of(found, read_base, known)
    if found.kind == _WHOLE:
        state = _inflate(found.body, found.size)
    elif found.kind == _SAME and base is not None:
        state = base.content[1]
    elif found.kind == _DELTA:
        parts = EMPTY if base is None else base.content[0]
        if parts is None:
            raise DamageError("a checkpoint row with a delta to what has no parts")
        state = apply_delta(found.body, parts).join()
    else:
        raise DamageError(f"a checkpoint row of kind {found.kind}")
    if (len(state), _crc(state)) != (found.size, found.crc):
        raise DamageError("a checkpoint row whose state is not the one that was written")
    return state, base


def named_by(row: bytes) -> str | None:
    """The id of the base that a row names, nothing else looked at. Raises as `unpack`."""
    return _open(row, _decode_row, "checkpoint row").base.hex() or None


def orphans(bases: Iterable[tuple[str, float]], named: Container[str], now_s: float) -> list[str]:
    """Which of ``bases`` (id, when it was made) to delete.

    ``named`` is what the rows name, as they stand behind a fence that was put up after the bases
    were listed: see `appliers.state_steps`.
    """
    return [name for name, made_s in bases if now_s - made_s > ORPHAN_S and name not in named]


def units(size: int) -> int:
    """DynamoDB's write units of an item of ``size`` bytes."""
    return max(1, -(-size // UNIT_BYTES))


def _relative(state: bytes, parts: Parts | None, base: Base) -> _Row | None:
    """The row that says ``state`` by ``base``; ``None`` if there is no short one."""
    old, was = base.content
    if state == was:
        kind, body = _SAME, b""
    else:
        delta = encode_delta(parts, old) if parts is not None and old is not None else None
        if delta is None:
            return None
        kind, body = _DELTA, delta
    return _Row(kind, len(state), _crc(state), body, *_name(base))


def _content(state: bytes, parts: Parts | None) -> _Content:
    """By columns, if the very same bytes come out again: what is durable here is all there is."""
    body = None if parts is None else encode_delta(parts, EMPTY)
    if body is not None and apply_delta(body, EMPTY).join() == state:
        return _Content(_DELTA, len(state), body)
    return _Content(_WHOLE, len(state), compression.compress(state))


def _name(base: Base) -> tuple[bytes, int]:
    return bytes.fromhex(base.id), _crc(base.data)


def _base_of(row: _Row, read_base: Callable[[str], bytes | None], known: Base | None) -> Base:
    name = row.base.hex()
    if known is not None and known.id == name:
        base = known.after(row.rows, row.spent)
    else:
        data = read_base(name)
        if data is None:
            raise LostError(
                "the base of a checkpoint row is gone", do="read the row again", base=name
            )
        base = Base(name, data, rows=row.rows, spent=row.spent)
    if _crc(base.data) != row.base_crc:
        raise DamageError("a base other than the row's own", base=name)
    return base


def _seal(content: _Row | _Content) -> bytes:
    body = _encode(content)
    return b"".join((bytes((FORMAT,)), _crc(body).to_bytes(4, "big"), body))


def _open(data: bytes, decode: Callable[[bytes], T], what: str) -> T:
    if data[:1] and data[0] > FORMAT:
        raise UpgradeError(
            f"a {what} of format {data[0]}, this code reads {FORMAT}", do="upgrade binlog"
        )
    body = data[5:]
    if data[:1] != bytes((FORMAT,)) or _crc(body) != int.from_bytes(data[1:5], "big"):
        raise DamageError(f"a damaged {what} ({len(data)} bytes)")
    try:
        return decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise DamageError(f"a damaged {what} ({error})") from error


def _inflate(data: bytes, size: int) -> bytes:
    state = compression.decompress(data, size) if 0 <= size <= STATE_BYTES_MAX else None
    if state is None:
        raise DamageError(f"a sequencer state that is not the {size} bytes it says")
    return state


def _crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(_Row).decode
_decode_content = msgspec.msgpack.Decoder(_Content).decode
