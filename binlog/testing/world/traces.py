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
    """A session on its way: frames sent, the first attempt's twin to come, what lands later."""

    sent: int = 0
    again: bool = False
    later: tuple[int, ...] = ()


class _Trace(NamedTuple):
    """Where a trace stands. ``twin``: the frame that the log writes a second time, at once."""

    senders: tuple[_Sender, ...]
    found_later: int  # that may yet be
    twin: int | None = None


def frame_number(session: int, frame: int) -> int:
    """How a log's frames are named here: 0, 1, 2 of the first session, 4, 5, 6 of the second."""
    return 4 * session + frame


@cache
def _moves(trace: _Trace, shape: str, frames: int) -> tuple[tuple[int | None, _Trace], ...]:
    """What can happen next: the frame that lands, or ``None``, and where the trace stands then."""
    if trace.twin is not None:
        return ((trace.twin, trace._replace(twin=None)),)
    found: list[tuple[int | None, _Trace]] = []
    for who, (sent, again, later) in enumerate(trace.senders):

        def then(sender: _Sender, who: int = who) -> _Trace:
            senders = [*trace.senders]
            senders[who] = sender
            return trace._replace(senders=tuple(senders))

        landing = frame_number(who, sent)
        if again:
            found.append((landing - 1, then(_Sender(sent, later=later))))
        elif sent == frames - 1 and who == 0 and shape == GIVEN_UP:
            found.append((None, then(_Sender(sent + 1, later=(*later, sent)))))
            found.append((None, then(_Sender(sent + 1, later=later))))
        elif sent < frames:
            on, behind = _Sender(sent + 1, later=later), _Sender(sent + 1, later=(*later, sent))
            found.append((landing, then(on)))
            found.append((landing, then(on._replace(again=True))))
            found.append((landing, then(on)._replace(twin=landing)))
            found.append((landing, then(behind)))
            if trace.found_later:
                moved = then(behind)._replace(found_later=trace.found_later - 1)
                found.append((None, moved))
        for frame in later:
            rest = tuple(other for other in later if other != frame)
            found.append((frame_number(who, frame), then(_Sender(sent, again, rest))))
    return tuple(found)


def _begin(found_later: int) -> _Trace:
    return _Trace((_Sender(), _Sender()), found_later)


def _is_over(trace: _Trace, frames: int) -> bool:
    return trace.twin is None and all(sender == _Sender(frames) for sender in trace.senders)


def count_traces(shape: str, *, frames: int = 3, found_later: int = 1) -> int:
    """How many traces there are: sequences of happenings, each a sending, a landing or both."""

    @cache
    def count(trace: _Trace) -> int:
        rest = sum(count(after) for _, after in _moves(trace, shape, frames))
        return rest + _is_over(trace, frames)

    return count(_begin(found_later))


def logs_of(shape: str, *, frames: int = 3, found_later: int = 1) -> Iterator[bytes]:
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

    return walk(b"", frozenset([_begin(found_later)]))
