"""All that can happen to the frames of two sessions that write to one partition.

To each frame one of the fates in `exhaustive`; a trace is a sequence of happenings, each of them a
frame that is sent, a record that lands, or both at once. What of a trace a reader sees is the log
that it leaves, a byte a record here; many traces leave the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

STRANGERS, GENERATIONS, GIVEN_UP = SHAPES = ("strangers", "generations", "given up")


class _Sender(NamedTuple):
    """A session on its way: frames sent, and whether the last one's second attempt is due.

    What of them lands later: copies, and acknowledged frames that are not found yet.
    """

    sent: int = 0
    again: bool = False
    copies: tuple[int, ...] = ()
    owed: tuple[int, ...] = ()


class _Trace(NamedTuple):
    """Where a trace stands.

    ``found_later`` and ``ending``: how many frames may yet be, and whether the sessions may yet
    expire. ``twin``: the frame that the log writes a second time, at once.
    """

    senders: tuple[_Sender, ...]
    found_later: int
    ending: bool
    expired: bool = False
    twin: int | None = None


EXPIRED = 8
"""Added to the name of a frame that lands when its session has expired."""

_Moves = tuple[tuple[int | None, _Trace], ...]


def frame_number(session: int, frame: int) -> int:
    """How a log's frames are named here: 0, 1, 2 of the first session, 4, 5, 6 of the second."""
    return 4 * session + frame


@cache
def _moves(trace: _Trace, shape: str, frames: int) -> _Moves:
    """What can happen next: the frame that lands, or ``None``, and where the trace stands then."""
    if trace.twin is not None:
        return ((trace.twin, trace._replace(twin=None)),)
    found: list[tuple[int | None, _Trace]] = []
    for who, sender in enumerate(trace.senders):

        def then(after: _Sender, who: int = who) -> _Trace:
            senders = [*trace.senders]
            senders[who] = after
            return trace._replace(senders=tuple(senders))

        sent, copies, owed = sender.sent, sender.copies, sender.owed
        landing = frame_number(who, sent)
        on = sender._replace(sent=sent + 1)
        behind = on._replace(copies=(*copies, sent))
        if sender.again:
            found.append((landing - 1, then(sender._replace(again=False))))
        elif sent == frames - 1 and who == 0 and shape == GIVEN_UP:
            found += [(None, then(on)), (None, then(behind))]
        elif sent < frames:
            found.append((landing, then(on)))
            found.append((landing, then(on._replace(again=True))))
            found.append((landing, then(on)._replace(twin=landing)))
            found.append((landing, then(behind)))
            if trace.found_later:
                later = then(on._replace(owed=(*owed, sent)))
                found.append((None, later._replace(found_later=trace.found_later - 1)))
        for frame in copies:
            name = frame_number(who, frame) + EXPIRED * trace.expired
            found.append((name, then(sender._replace(copies=_without(copies, frame)))))
        for frame in owed:
            name = frame_number(who, frame)
            found.append((name, then(sender._replace(owed=_without(owed, frame)))))
    if trace.ending and not trace.expired and _only_one_copy_is_left(trace, frames):
        found.append((None, trace._replace(expired=True)))
    return tuple(found)


def _without(frames: tuple[int, ...], frame: int) -> tuple[int, ...]:
    return tuple(other for other in frames if other != frame)


def _only_one_copy_is_left(trace: _Trace, frames: int) -> bool:
    is_bare = all(sender._replace(copies=()) == _Sender(frames) for sender in trace.senders)
    return is_bare and sum(len(sender.copies) for sender in trace.senders) == 1


def _begin(found_later: int, *, ending: bool) -> _Trace:
    return _Trace((_Sender(), _Sender()), found_later, ending)


def _is_over(trace: _Trace, frames: int) -> bool:
    return trace.twin is None and all(sender == _Sender(frames) for sender in trace.senders)


def count_traces(shape: str, *, frames: int = 3, found_later: int = 1, ending: bool = True) -> int:
    """How many traces there are.

    Each is a sequence of happenings: a sending, a landing or both, and perhaps the end of all
    sessions.
    """

    @cache
    def count(trace: _Trace) -> int:
        rest = sum(count(after) for _, after in _moves(trace, shape, frames))
        return rest + _is_over(trace, frames)

    return count(_begin(found_later, ending=ending))


def logs_of(
    shape: str, *, frames: int = 3, found_later: int = 1, ending: bool = True
) -> Iterator[bytes]:
    """Every log that some trace leaves, once: a byte a record, in the order of the log."""

    @cache
    def after(traces: frozenset[_Trace]) -> tuple[bool, list[tuple[int, frozenset[_Trace]]]]:
        known = set(traces)
        queue = list(traces)
        by_frame: dict[int, set[_Trace]] = {}
        while queue:
            for landing, moved in _moves(queue.pop(), shape, frames):
                if landing is not None:
                    by_frame.setdefault(landing, set()).add(moved)
                elif moved not in known:
                    known.add(moved)
                    queue.append(moved)
        over = any(_is_over(trace, frames) for trace in known)
        return over, [(frame, frozenset(moved)) for frame, moved in sorted(by_frame.items())]

    def walk(log: bytes, traces: frozenset[_Trace]) -> Iterator[bytes]:
        over, landings = after(traces)
        if over:
            yield log
        for frame, moved in landings:
            yield from walk(log + bytes([frame]), moved)

    return walk(b"", frozenset([_begin(found_later, ending=ending)]))
