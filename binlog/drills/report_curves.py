"""Curves over a scale of time: panels, their paths, and round numbers for their axes.

Drawn by hand, as templates of SVG. A plot library was looked at for this: matplotlib writes text as
outlines and colours as attributes of every path, so that a page cannot give it its dark half, and
neither Vega, Plotly nor Bokeh draws without a script or a renderer of some 30 MB. What is wanted is two
panels over one scale of time; everything here is numbers, and the template has the colours.

Pixels, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec

from binlog.drills.report_words import count
from binlog.drills.result import Sample

PANEL = 104.0
POINTS_MAX = 500
_STEPS = (1.0, 2.0, 5.0, 10.0)
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)

Points = Sequence[tuple[float, float | None]]
"""Seconds and value; ``None`` where it could not be measured."""


class Tick(msgspec.Struct, frozen=True):
    """A place on an axis and its label."""

    at: float
    label: str


class Curve(msgspec.Struct, frozen=True):
    """One series: the path of its line, and that of the area below it."""

    kind: str
    label: str
    line: str
    area: str


class Panel(msgspec.Struct, frozen=True):
    """Curves over one scale. ``missing``: stretches (x, width) in which nothing could be asked."""

    title: str
    top: float
    bottom: float
    ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...]
    missing: tuple[tuple[float, float], ...] = ()
    legend: bool = False


def lag(samples: Sequence[Sample], x: Callable[[float], float], top: float) -> Panel:
    """The panel of what was acknowledged and not applied yet."""
    points = [(sample.t_s, sample.lag_events) for sample in samples]
    return _panel("lag, events", [("lag", "lag", points)], x, top)


def throughput(samples: Sequence[Sample], x: Callable[[float], float], top: float) -> Panel:
    """The panel of what was acknowledged and applied a second."""
    return _panel(
        "events a second",
        [
            ("acknowledged", "acknowledged", [(sample.t_s, sample.events_s) for sample in samples]),
            ("applied", "applied", [(sample.t_s, sample.applied_s) for sample in samples]),
        ],
        x,
        top,
    )


def _panel(
    title: str,
    series: Sequence[tuple[str, str, Points]],
    x: Callable[[float], float],
    top: float,
) -> Panel:
    bottom = top + PANEL
    highest = max((value for _, _, points in series for _, value in points if value), default=0.0)
    marks = value_ticks(highest)
    reach = marks[-1]

    def y(value: float) -> float:
        return round(bottom - max(value, 0.0) / reach * PANEL, 2)

    curves = [_curve(kind, label, thinned(points), x, y, bottom) for kind, label, points in series]
    return Panel(
        title,
        top,
        bottom,
        tuple(Tick(y(value), count(value)) for value in marks),
        tuple(curves),
        tuple(_missing(series[-1][2], x)),
        len(series) > 1,
    )


def _curve(
    kind: str,
    label: str,
    points: Points,
    x: Callable[[float], float],
    y: Callable[[float], float],
    bottom: float,
) -> Curve:
    """Straight lines between samples, and none over a stretch that was not measured."""
    lines, areas = [], []
    for run in _runs(points):
        path = "L".join(f"{x(at):g} {y(value):g}" for at, value in run)
        # A lone point is a line of no length, which round caps make a dot.
        lines.append(f"M{path}" if len(run) > 1 else f"M{path}L{path}")
        areas.append(f"M{x(run[0][0]):g} {bottom:g}L{path}L{x(run[-1][0]):g} {bottom:g}Z")
    return Curve(kind, label, "".join(lines), "".join(areas))


def _runs(points: Points) -> Iterable[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for at, value in points:
        if value is not None and math.isfinite(value):
            run.append((at, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _missing(points: Points, x: Callable[[float], float]) -> Iterable[tuple[float, float]]:
    """Where nothing could be asked: from the last sample before it to the first after it."""
    begin: float | None = None
    last: float | None = None
    for at, value in points:
        if value is None:
            if begin is None:
                begin = at if last is None else last
        elif begin is not None:
            yield x(begin), round(x(at) - x(begin), 2)
            begin = None
        last = at
    if begin is not None and last is not None and last > begin:
        yield x(begin), round(x(last) - x(begin), 2)


def thinned(points: Points) -> Points:
    """At most some `POINTS_MAX` points: of each stretch its lowest, its highest and its gap."""
    if len(points) <= POINTS_MAX:
        return points
    kept: list[tuple[float, float | None]] = []
    step = math.ceil(len(points) / (POINTS_MAX / 2))
    for begin in range(0, len(points), step):
        bucket = range(begin, min(begin + step, len(points)))
        known = [(value, place) for place in bucket if (value := points[place][1]) is not None]
        chosen = (
            {next(place for place in bucket if points[place][1] is None)}
            if len(known) < len(bucket)
            else set()
        )
        if known:
            chosen |= {min(known)[1], max(known)[1]}
        kept += [points[place] for place in sorted(chosen)]
    return kept


# -- axes ------------------------------------------------------------------------------------


def value_ticks(highest: float) -> list[float]:
    """Two to six round values from 0 on, the last at or above ``highest``."""
    if not math.isfinite(highest) or highest <= 0:
        return [0.0, 1.0]
    step = max(_round_up(highest / 4), 1.0)  # events are whole
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def time_ticks(end_s: float) -> list[tuple[float, float]]:
    """(step, place) of some eight round moments from 0 to the end, seconds."""
    raw = end_s / 9
    if raw < 1:
        step = _round_up(raw)
    else:
        step = next((float(each) for each in _CLOCK if each >= raw), 3600.0)
        while end_s / step > 12:
            step *= 2
    return [(step, step * number) for number in range(math.floor(end_s / step + 1e-9) + 1)]


def _round_up(raw: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * each for each in _STEPS if power * each >= raw * (1 - 1e-9))


def clock_label(at: float, step: float) -> str:
    """The label of a moment, as exact as the ticks are apart, both in seconds."""
    if step < 1:
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return f"{at:.{digits}f} s"
    if at < 120 and step < 60:
        return f"{at:.0f} s"
    minutes, rest = divmod(round(at), 60)
    return f"{minutes} min" if not rest else f"{minutes}:{rest:02}"
