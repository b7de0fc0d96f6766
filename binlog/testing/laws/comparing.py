"""Two outcomes of the same events compared, event by event, and the first difference told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from appliers.item import Row
from binlog.testing.laws.folding import Outcome, Placed
from binlog.testing.words import differences, say_key
from binlog.values import decode_value

_Place = tuple[str, bytes]


class Difference(msgspec.Struct, frozen=True):
    """Where two outcomes part."""

    index: int  # of the event
    lines: list[str]


def compare(expected: Outcome, found: Outcome) -> Difference | None:
    """The first event, by its place in the list, of which the two made something else."""
    steps = _steps(expected), _steps(found)
    indexes = sorted(set(steps[0]) | set(steps[1]))
    for index in indexes:
        one, other = (step.get(index, _NOTHING) for step in steps)
        if one != other:
            return Difference(index, _step_differences(one, other))
    return None


def compare_rows(
    expected: Outcome, found: Mapping[_Place, Row | tuple[int, bytes | None]]
) -> Difference | None:
    """The first item at the end that differs."""
    rows = {
        place: (row.version, row.data) if isinstance(row, Row) else row
        for place, row in found.items()
    }
    ours = expected.rows
    last = {(w.table, w.key): w.index for w in expected.written}
    for place in sorted({*ours, *rows}):
        # Read for an event that was then rejected: no item, version 0.
        one, other = ours.get(place, (0, None)), rows.get(place, (0, None))
        if one != other:
            return Difference(last.get(place, 0), _row_differences(place, one, other))
    return None


def expectations(
    placed: Sequence[Placed], outcome: Outcome, *, known: Outcome
) -> Difference | None:
    """Whether every event that expects a version was judged by the item as it then was.

    ``known`` is the outcome of all but the last event, whose expectation cannot be met.
    """
    last = len(placed) - 1
    if last in outcome.refused or outcome.trouble is not None or last in outcome.unrouted:
        return None  # it was judged before its version was
    if [w for w in outcome.written if w.index == last]:
        return Difference(last, ["it expected a version that no item has, and moved one"])
    routed = {(w.table, w.key) for w in known.written if w.index == last - 1}
    routed |= {rejection[1:3] for rejection in known.rejections if rejection[0] == last - 1}
    noted = sorted(rejection[1:3] for rejection in outcome.rejections if rejection[0] == last)
    # The same event without the expectation says which items it is for, unless it was refused.
    if noted != sorted(routed) and last - 1 not in known.refused:
        return Difference(last, [f"noted {len(noted)} times, for {len(routed)} items"])
    live: dict[_Place, int] = {}
    written = {(w.index, w.table, w.key): w for w in outcome.written}
    for event in placed:
        expect = event.envelope.expect
        for index, table, key, expected, found in outcome.rejections:
            if index == event.index and (
                expected != expect or found != live.get((table, key), 0) or found == expect
            ):
                return Difference(index, [f"rejected: expected {expected}, found {found}"])
        for (index, table, key), write in written.items():
            if index == event.index:
                if expect is not None and live.get((table, key), 0) != expect:
                    return Difference(index, [f"it expected version {expect}, and moved an item"])
                live[table, key] = 0 if write.data is None else write.version
    return None


# -- steps ---------------------------------------------------------------------------------------


class _Step(msgspec.Struct, frozen=True):
    """What came of one event."""

    rows: dict[_Place, tuple[int, bytes | None]] = {}
    refused: str | None = None
    rejections: tuple[object, ...] = ()
    trouble: str = ""


_NOTHING = _Step()


def _steps(outcome: Outcome) -> dict[int, _Step]:
    rows: dict[int, dict[_Place, tuple[int, bytes | None]]] = {}
    for w in outcome.written:
        rows.setdefault(w.index, {})[w.table, w.key] = (w.version, w.data)
    rejections: dict[int, list[object]] = {}
    for index, *rest in outcome.rejections:
        rejections.setdefault(index, []).append(tuple(rest))
    steps = {
        index: _Step(rows.get(index, {}), None, tuple(sorted(rejections.get(index, []), key=repr)))
        for index in {*rows, *rejections}
    }
    for index, reason in outcome.refused.items():
        steps[index] = _Step(refused=reason)
    if outcome.trouble is not None:
        found = outcome.trouble
        steps[found.index] = _Step(trouble=f"{found.what}: {'; '.join(found.differences)}")
    return steps


def _step_differences(one: _Step, other: _Step) -> list[str]:
    if _said(one) != _said(other):
        return [f"expected: {_said(one)}", f"found: {_said(other)}"]
    lines: list[str] = []
    for place in sorted({*one.rows, *other.rows}):
        rows = one.rows.get(place), other.rows.get(place)
        if rows[0] != rows[1]:
            lines += _row_differences(place, rows[0] or (0, None), rows[1] or (0, None))
    return lines or ["other events were rejected for their expected version"]


def _said(step: _Step) -> str:
    if step.trouble:
        return step.trouble
    if step.refused is not None:
        return f"declared impossible ({step.refused})"
    return "folded"


def _row_differences(
    place: _Place, one: tuple[int, bytes | None], other: tuple[int, bytes | None]
) -> list[str]:
    lines = differences(_item(one), _item(other))
    if not lines:
        lines = [f"version: expected {one[0]}, found {other[0]}"]
    return [f"item {say_key(place[1])} of {place[0]}", *(f"  {line}" for line in lines)]


def _item(row: tuple[int, bytes | None]) -> object:
    return None if row[1] is None else decode_value(row[1])
