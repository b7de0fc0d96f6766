"""The geometry of a timeline: rows of what was done above the curves of what it did.

Everything here is numbers and texts; the template makes SVG of them, and has the colours. Pixels, y
downwards; x of every element is on the same scale of seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec

from binlog.drills.report_curves import Panel, Tick, clock_label, lag, throughput, time_ticks
from binlog.drills.report_words import count, seconds
from binlog.drills.result import DrillResult

WIDTH = 1000.0
LEFT = 118.0
RIGHT = 14.0
ROW = 21.0
BAR = 15.0
GAP = 34.0
AXIS = 30.0
ROWS_MAX = 16
_CHAR = 6.3  # an average character of 11.5 px text


class Bar(msgspec.Struct, frozen=True):
    """One stretch in a row. ``text`` is what fits beside it, ``title`` is all of it."""

    x: float
    width: float
    text: str
    text_x: float
    anchor: str
    title: str


class Row(msgspec.Struct, frozen=True):
    """A row of bars; ``kind`` is its class in the style sheet."""

    label: str
    kind: str
    y: float
    bars: tuple[Bar, ...]


class Timeline(msgspec.Struct, frozen=True):
    """A figure. ``shades``: (kind, x, width) behind all of it."""

    width: float
    height: float
    left: float
    right: float
    rows: tuple[Row, ...]
    panels: tuple[Panel, ...]
    ticks: tuple[Tick, ...]
    shades: tuple[tuple[str, float, float], ...]
    axis_y: float
    said: str  # the figure in a sentence, for who does not see it


def timeline(result: DrillResult) -> Timeline:
    """The timeline of a drill; its curves only if samples were taken."""
    end = _end(result)

    def x(t_s: float) -> float:
        return round(LEFT + min(max(t_s, 0.0), end) / end * (WIDTH - LEFT - RIGHT), 2)

    rows = _rows(result, x)
    top = 6 + ROW * len(rows) + 2
    panels: list[Panel] = []
    if result.samples:
        for make in (lag, throughput):
            panel = make(result.samples, x, top + GAP)
            panels.append(panel)
            top = panel.bottom
    ticks = tuple(Tick(x(at), clock_label(at, step)) for step, at in time_ticks(end))
    return Timeline(
        WIDTH,
        round(top + AXIS, 2),
        LEFT,
        WIDTH - RIGHT,
        tuple(rows),
        tuple(panels),
        ticks,
        tuple(_shades(result, x)),
        round(top, 2),
        _said(result),
    )


def _end(result: DrillResult) -> float:
    times = [
        result.seconds,
        *(phase.end_s for phase in result.phases),
        *(mark.end_s for mark in result.marks),
        *(command.begin_s + command.seconds for command in result.commands),
        *(sample.t_s for sample in result.samples),
    ]
    return max([at for at in times if math.isfinite(at)] + [0.001])


# -- rows ------------------------------------------------------------------------------------


def _rows(result: DrillResult, x: Callable[[float], float]) -> list[Row]:
    """Marks, one a row; the phases, one a name; the commands, numbered, in one."""
    marks = result.marks
    if len(marks) > ROWS_MAX:
        # The disaster is what it is about; of the rest the first.
        kept = [mark for mark in marks if mark.kind == "disaster"][:ROWS_MAX]
        others = [mark for mark in marks if mark.kind != "disaster"]
        kept += others[: ROWS_MAX - len(kept)]
        marks = tuple(sorted(kept, key=lambda mark: mark.begin_s))
    drawn: list[tuple[str, str, list[Bar]]] = [
        (mark.kind, mark.kind, [_bar(mark.begin_s, mark.end_s, mark.text, x)]) for mark in marks
    ]
    by_name: dict[str, list[Bar]] = {}
    for phase in result.phases:
        took = seconds(phase.end_s - phase.begin_s)
        by_name.setdefault(phase.name, []).append(_bar(phase.begin_s, phase.end_s, took, x))
    drawn += [(name, "phase", _apart(bars)) for name, bars in by_name.items()]
    if result.commands:
        bars = [
            _bar(
                command.begin_s,
                command.begin_s + command.seconds,
                str(number),
                x,
                f"{number}. {command.shown}: {seconds(command.seconds)}, status {command.status}",
            )
            for number, command in enumerate(result.commands, 1)
        ]
        drawn.append(("commands", "command", _apart(bars)))
    return [
        Row(label, kind, 6 + ROW * place, tuple(bars))
        for place, (label, kind, bars) in enumerate(drawn)
    ]


def _bar(
    begin_s: float, end_s: float, text: str, x: Callable[[float], float], title: str = ""
) -> Bar:
    left, right = x(begin_s), x(end_s)
    whole = text
    width = max(right - left, 2.0)
    when = f"{seconds(begin_s)} to {seconds(end_s)}" if end_s > begin_s else seconds(begin_s)
    needed = len(text) * _CHAR + 12
    if needed <= width:
        text_x, anchor, room = left + 6, "start", width
    elif left + width + needed <= WIDTH:
        text_x, anchor, room = left + width + 5, "start", needed
    elif left - needed >= LEFT:
        text_x, anchor, room = left - 5, "end", needed
    elif left - LEFT > WIDTH - left - width:
        text_x, anchor, room = left - 5, "end", left - LEFT
    else:
        text_x, anchor, room = left + 6, "start", WIDTH - RIGHT - left
    if needed > room:
        fits = int((room - 12) / _CHAR)
        text = f"{text[: max(fits - 1, 1)]}…"
    return Bar(left, round(width, 2), text, round(text_x, 2), anchor, title or f"{whole}: {when}")


def _apart(bars: Sequence[Bar]) -> list[Bar]:
    """Bars of one row; the text of one that the next would hide is left out."""
    kept: list[Bar] = []
    reach = LEFT
    for place, bar in enumerate(bars):
        width = len(bar.text) * _CHAR
        inside = bar.x < bar.text_x < bar.x + bar.width
        following = bars[place + 1].x if place + 1 < len(bars) else WIDTH
        begin = bar.text_x - width if bar.anchor == "end" else bar.text_x
        free = inside or (begin >= reach and begin + width <= following)
        kept.append(bar if free else msgspec.structs.replace(bar, text=""))
        reach = max(bar.x + bar.width, begin + width if free else 0.0)
    return kept


def _shades(result: DrillResult, x: Callable[[float], float]) -> Iterable[tuple[str, float, float]]:
    """The disaster, and from its beginning to the end of the last phase the time of recovery."""
    disasters = [mark for mark in result.marks if mark.kind == "disaster"]
    if disasters and result.phases:
        begin, end = disasters[0].begin_s, max(phase.end_s for phase in result.phases)
        if end > begin:
            yield "recovery", x(begin), round(x(end) - x(begin), 2)
    for mark in disasters:
        left = x(mark.begin_s)
        yield "disaster", left, round(max(x(mark.end_s) - left, 1.5), 2)


def _said(result: DrillResult) -> str:
    disasters = [mark for mark in result.marks if mark.kind == "disaster"]
    parts = [f"Timeline of {seconds(_end(result))}"]
    if disasters:
        parts.append(f"disaster at {seconds(disasters[0].begin_s)}")
    if result.phases:
        parts.append(f"recovered at {seconds(max(phase.end_s for phase in result.phases))}")
    lags = [sample.lag_events for sample in result.samples if sample.lag_events is not None]
    if lags:
        parts.append(f"lag at most {count(max(lags))} events, at the end {count(lags[-1])}")
    return ", ".join(parts) + "."
