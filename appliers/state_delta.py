"""A sequencer state as the difference to another one: the body of a base and of a row's delta.

A partition that thousands of producers write to knows a session of each, some 60 bytes with what it
closed, and a commit changes a few of them. What closes older generations follows from the sessions
(its ``until`` is a session's birth plus L) and is kept as the difference to what follows; the id
window is a queue: how many went, and what came. A state relative to `EMPTY` is the same format.

Nothing relies on what the sequencer writes today: a state that is not put together again byte for
byte from its parts has no delta (`Parts.of` and `encode_delta` give ``None``) and is kept whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from appliers.number_columns import COUNT_MAX
from appliers.state_rows import NUMBER_MAX, Change, Edit, Plain, Rows, array_header
from binlog.errors import DamageError

_encode = msgspec.msgpack.Encoder().encode


def _session_columns(values: Sequence[Any]) -> Plain:
    """Generation, birth, next number."""
    return Plain(
        [value[0][0] for value in values],
        [
            [value[0][1] for value in values],
            [value[1] for value in values],
            [value[2] for value in values],
        ],
    )


def _session_values(plain: Plain) -> Iterable[Any]:
    return [
        ((family, generation), born_ms, number, True, None, (), ())
        for family, generation, born_ms, number in zip(plain.families, *plain.columns, strict=True)
    ]


def _closed_columns(values: Sequence[Any]) -> Plain:
    """Generation, end."""
    return Plain(
        [value[0] for value in values],
        [[value[1] for value in values], [value[2] for value in values]],
    )


def _closed_values(plain: Plain) -> Iterable[Any]:
    return zip(plain.families, *plain.columns, strict=True)


# A row begins as msgpack of 7 elements whose first is a pair that begins with 16 bytes, or of 3. A
# plain session ends as one that has started, waits for nobody, holds nothing, gave nothing up.
SESSIONS = Rows(
    b"\x97\x92\xc4\x10",
    b"\xc3\xc0\x90\x90",
    msgspec.msgpack.Decoder(
        list[tuple[tuple[bytes, int], int, int, bool, None, tuple[()], tuple[()]]]
    ).decode,
    _session_columns,
    _session_values,
)
CLOSED = Rows(
    b"\x93\xc4\x10",
    b"",
    msgspec.msgpack.Decoder(list[tuple[bytes, int, int]]).decode,
    _closed_columns,
    _closed_values,
)


class _State(msgspec.Struct, array_like=True):
    """`binlog.sequencer_state.SequencerState`, taken apart only as far as a delta needs it."""

    format: int
    offset: int
    mark: int
    digest: bytes
    begun: bool
    hold_factor: int
    changes: msgspec.Raw
    sessions: list[msgspec.Raw]
    closed: list[msgspec.Raw]
    window: list[msgspec.Raw]
    place: bytes


class Delta(msgspec.Struct, array_like=True):
    """What makes one state of another."""

    head: bytes  # all before the sessions
    place: bytes
    sessions: Edit
    life_ms: int  # from a session's birth to the end of what it closed; 0: none was found
    closed: Edit  # of what follows from the sessions
    window_kept: int  # of the other state's entries, the newest
    window_added: list[bytes]  # entries


_decode_state = msgspec.msgpack.Decoder(_State).decode
_decode_delta = msgspec.msgpack.Decoder(Delta).decode


class Parts:
    """A state taken apart; the rows and entries are msgpack."""

    def __init__(
        self,
        head: bytes,
        sessions: list[bytes],
        closed: list[bytes],
        window: list[bytes],
        place: bytes,
    ) -> None:
        self.head = head
        self.sessions = sessions
        self.closed = closed
        self.window = window
        self.place = place

    @classmethod
    def of(cls, state: bytes) -> Parts | None:
        """The parts of ``state``; ``None`` if they would not make the same bytes again."""
        try:
            found = _decode_state(state)
        except (msgspec.DecodeError, ValueError):
            return None
        sessions, closed, window = (
            [bytes(row) for row in rows] for rows in (found.sessions, found.closed, found.window)
        )
        if max(len(sessions), len(closed), len(window)) > COUNT_MAX:
            return None
        if not SESSIONS.is_usual(sessions) or not CLOSED.is_usual(closed):
            return None
        parts = cls(b"", sessions, closed, window, found.place)
        ending = parts.join()
        parts.head = state[: len(state) - len(ending)]
        return parts if state.endswith(ending) else None

    def join(self) -> bytes:
        """The state."""
        pieces = [self.head]
        for rows in (self.sessions, self.closed, self.window):
            pieces.append(array_header(len(rows)))
            pieces += rows
        pieces.append(_encode(self.place))
        return b"".join(pieces)

    @cached_property
    def families(self) -> list[bytes]:
        """Of the sessions."""
        return SESSIONS.families(self.sessions)

    @cached_property
    def closed_by_family(self) -> Mapping[bytes, bytes]:
        """The closings."""
        return dict(zip(CLOSED.families(self.closed), self.closed, strict=True))

    @cached_property
    def window_places(self) -> Mapping[bytes, int]:
        """Where each entry stands last."""
        return {entry: place for place, entry in enumerate(self.window)}


EMPTY = Parts(b"", [], [], [], b"")


def encode_delta(new: Parts, old: Parts) -> bytes | None:
    """What makes ``new`` of ``old``; ``None`` if a row only looks like a usual one."""
    found = SESSIONS.diff(new.sessions, old.sessions, old.families)
    if found is None:
        return None
    sessions, change = found
    life_ms = _life_ms(change, new)
    closings = CLOSED.diff(new.closed, _expected(change, old, life_ms))
    if closings is None:
        return None
    kept = _window_kept(new.window, old)
    added = new.window[kept:]
    return _encode(Delta(new.head, new.place, sessions, life_ms, closings[0], kept, added))


def apply_delta(data: bytes, old: Parts) -> Parts:
    """What ``data`` makes of ``old``.

    Raises:
        DamageError: it does not fit.
    """
    try:
        delta = _decode_delta(data)
        sessions, change = SESSIONS.apply(delta.sessions, old.sessions)
        closed, _ = CLOSED.apply(delta.closed, _expected(change, old, delta.life_ms))
    except (msgspec.DecodeError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise DamageError(f"a damaged delta of a sequencer state ({error})") from error
    if not 0 <= delta.window_kept <= len(old.window):
        raise DamageError(f"a delta that keeps {delta.window_kept} of {len(old.window)} ids")
    window = old.window[len(old.window) - delta.window_kept :] + delta.window_added
    return Parts(delta.head, sessions, closed, window, delta.place)


def _life_ms(change: Change, new: Parts) -> int:
    """L, as the first closing tells it whose generation's birth is known; 0 if none does."""
    for plain in change.fresh:
        for family, generation, born_ms, _ in zip(plain.families, *plain.columns, strict=True):
            row = new.closed_by_family.get(family)
            closing = row and CLOSED.plain([row])
            if closing and closing.columns[0][0] == generation:
                return int(max(0, closing.columns[1][0] - born_ms))
    return 0


def _expected(change: Change, old: Parts, life_ms: int) -> list[bytes]:
    """What is closed after ``change``, if every closing goes with the session that made it."""
    if not change.gone and not change.fresh:
        return old.closed
    closed = dict(old.closed_by_family)
    for family in change.gone:
        closed.pop(family, None)
    for plain in change.fresh if life_ms else ():
        generations, births, _ = plain.columns
        places = [
            place
            for place, (generation, born_ms) in enumerate(zip(generations, births, strict=True))
            if generation > 1 and born_ms + life_ms <= NUMBER_MAX
        ]
        ends = [births[place] + life_ms for place in places]
        made = Plain(
            [plain.families[place] for place in places],
            [[generations[place] for place in places], ends],
        )
        closed.update(zip(made.families, CLOSED.rows_of(made), strict=True))
    return sorted(closed.values())


def _window_kept(new: Sequence[bytes], old: Parts) -> int:
    """How many of the old entries, the newest, ``new`` begins with."""
    if not new or (first := old.window_places.get(new[0])) is None:
        return 0
    kept = old.window[first:]
    return len(kept) if new[: len(kept)] == kept else 0
