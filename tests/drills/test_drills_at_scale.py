"""The table of docs/drills.md: what a recovery of a million events takes, as it was measured last."""

from __future__ import annotations

import re

import pytest

from binlog.drills.filled import Scale
from scripts.drills.at_scale import BEGIN, DOCUMENT, END, HEADS, Row, markdown, measure, written

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

GOAL_S = 30.0


def committed() -> list[dict[str, str]]:
    """Its rows, by the heads of its columns."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    return [
        dict(zip(HEADS, [cell.strip(" *`") for cell in row.strip("|").split("|")], strict=True))
        for row in rows
    ]


def number(cell: str) -> float:
    """Of a cell with a unit."""
    return float(re.sub(r"[^0-9.]", "", cell))


def test_a_million_events_were_recovered_within_half_a_minute() -> None:
    """The goal: from snapshot and tail, also of ten times the items, and nothing was lost."""
    rows = [row for row in committed() if row["drill"] == "table-dropped-snapshot"]
    assert len(rows) == 2
    for row in rows:
        assert number(row["events"]) >= 1_000_000
        assert number(row["recovered in"]) < GOAL_S
        assert number(row["lost"]) == 0
    few, many = sorted(number(row["items"]) for row in rows)
    assert few > 50_000
    assert many > 4 * few


def test_the_judge_takes_as_much_memory_for_ten_times_the_items() -> None:
    """It looks at them by slices, so that it can judge tables that do not fit into memory."""
    rows = [row for row in committed() if row["drill"] == "table-dropped-snapshot"]
    few, many = (number(row["judge"]) for row in sorted(rows, key=lambda r: number(r["items"])))
    assert many < 2 * few


def test_a_twin_of_that_size_was_caught() -> None:
    """A judge that says yes to a million events has to be able to say no."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert re.search(r"\n1 of 1 sabotaged twin of this size caught, by \d[\d,]* events", text)


def test_a_drill_that_is_measured_says_what_the_table_has() -> None:
    """Its figures are the drill's own."""
    row = measure("table-dropped-snapshot", Scale(2_000, 300), twin=False)
    assert row.ok, row.failure
    assert row.lost == 0
    assert row.events > 2_000
    assert row.items > 200
    assert row.command_mib > 10
    assert row.judge_mib > 10
    assert f"{row.events:,}" in markdown([row])


def test_a_document_without_a_place_for_the_table_is_left_as_it_is() -> None:
    """A result that went nowhere would be one that nobody committed."""
    row = Row(
        drill="d", twin=False, ok=True, failure=None, events=1, items=1, lost=None, rto_s=None,
        goal_s=1, phases_s={}, command_mib=1, judge_mib=1,
    )  # fmt: skip
    assert "not measured" in written(f"a\n{BEGIN}\nold\n{END}\nb", markdown([row]), "said")
    with pytest.raises(ValueError, match="0 places"):
        written("nothing", "", "")
