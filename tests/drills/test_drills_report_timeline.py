"""The geometry of a timeline: what is drawn is where it was, and what was not measured is not drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from binlog.drills.report_curves import POINTS_MAX, clock_label, thinned, time_ticks, value_ticks
from binlog.drills.report_timeline import LEFT, RIGHT, ROWS_MAX, WIDTH, Timeline, timeline
from binlog.drills.report_words import count, file_stem, seconds, size, visible
from binlog.drills.result import Command, DrillResult, Mark, Phase, Sample
from tests.drills.sample import sample_failed, sample_result

TIMES = st.floats(0, 5_000, allow_nan=False)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+?) ([-\d.e]+)", path)]


def seconds_at(figure: Timeline, x: float, end: float) -> float:
    return (x - figure.left) / (figure.right - figure.left) * end


def test_the_curve_is_where_the_samples_are() -> None:
    """Each point of the figure, measured back, is a sample's time and value."""
    result = sample_result()
    figure = timeline(result)
    lag = figure.panels[0]
    top_value = float(lag.ticks[-1].label.replace(",", ""))
    drawn = [
        (seconds_at(figure, x, 15.2), (lag.bottom - y) / (lag.bottom - lag.top) * top_value)
        for x, y in points(lag.curves[0].line)
    ]
    wanted = [(s.t_s, s.lag_events) for s in result.samples if s.lag_events is not None]
    assert len(drawn) == len(wanted)
    for (t_s, value), (wanted_s, wanted_value) in zip(drawn, wanted, strict=True):
        assert t_s == pytest.approx(wanted_s, abs=0.01)
        assert value == pytest.approx(wanted_value, abs=0.2)


def test_no_line_is_drawn_over_what_could_not_be_asked() -> None:
    """A table that is gone has no lag; a line through its absence would be made up."""
    figure = timeline(sample_result())
    lag = figure.panels[0]
    assert lag.curves[0].line.count("M") == 2
    [(x, width)] = lag.missing
    begin, end = (seconds_at(figure, each, 15.2) for each in (x, x + width))
    assert begin == pytest.approx(7.75, abs=0.02)
    assert end == pytest.approx(10.5, abs=0.02)
    assert not any(x + 0.01 < at < x + width - 0.01 for at, _ in points(lag.curves[0].line))


def test_the_disaster_is_shaded_where_it_was_and_up_to_the_recovery() -> None:
    result = sample_result()
    figure = timeline(result)
    shades = {kind: (x, width) for kind, x, width in figure.shades}
    assert seconds_at(figure, shades["disaster"][0], 15.2) == pytest.approx(7.98, abs=0.02)
    x, width = shades["recovery"]
    last = max(phase.end_s for phase in result.phases)
    assert seconds_at(figure, x + width, 15.2) == pytest.approx(last, abs=0.02)


def test_rows_are_marks_phases_and_numbered_commands() -> None:
    rows = timeline(sample_result()).rows
    assert [row.label for row in rows] == [
        "given", "load", "note", "disaster", "detect", "decide", "restore", "verify", "switch",
        "commands",
    ]  # fmt: skip
    assert [bar.text for bar in rows[-1].bars] == ["1", "2", "3", "4"]
    assert rows[-1].bars[1].title.startswith("2. binlog status file:log sqlite:live.db: 0.61 s")


def test_a_phase_that_comes_twice_is_one_row_of_two_bars() -> None:
    phases = (
        Phase(name="verify", begin_s=8.0, end_s=8.5),
        Phase(name="restore", begin_s=9.0, end_s=9.5),
        Phase(name="verify", begin_s=12.0, end_s=13.0),
    )
    rows = timeline(replace(sample_result(), phases=phases)).rows
    assert [(row.label, len(row.bars)) for row in rows if row.kind == "phase"] == [
        ("verify", 2),
        ("restore", 1),
    ]


def test_of_many_marks_the_disaster_is_drawn() -> None:
    marks = [Mark(kind="note", text=str(n), begin_s=n / 10, end_s=n / 10) for n in range(100)]
    marks.append(Mark(kind="disaster", text="the end", begin_s=14.0, end_s=14.0))
    rows = timeline(replace(sample_result(), marks=tuple(marks))).rows
    drawn = [row for row in rows if row.kind in {"note", "disaster"}]
    assert len(drawn) == ROWS_MAX
    assert [row.bars[0].text for row in drawn if row.kind == "disaster"] == ["the end"]


def test_text_that_does_not_fit_is_shortened_and_whole_in_its_title() -> None:
    mark = Mark(kind="note", text="word " * 60, begin_s=7.0, end_s=7.0)
    [row] = [
        row for row in timeline(replace(sample_result(), marks=(mark,))).rows if row.kind == "note"
    ]
    assert row.bars[0].text.endswith("…")
    assert "word " * 60 in row.bars[0].title


@given(
    marks=st.lists(st.tuples(TIMES, TIMES, st.text(max_size=200)), max_size=6),
    phases=st.lists(st.tuples(TIMES, TIMES), max_size=6),
    samples=st.lists(st.tuples(TIMES, st.none() | st.integers(0, 10**9)), max_size=20),
    total=st.floats(0, 10_000),
)
def test_whatever_was_measured_the_figure_stays_within_its_frame(
    marks: list[tuple[float, float, str]],
    phases: list[tuple[float, float]],
    samples: list[tuple[float, int | None]],
    total: float,
) -> None:
    """A drill that went wrong has strange times, and its report is needed most."""
    result = replace(
        sample_result(),
        seconds=total,
        marks=tuple(
            Mark(kind="note", text=text, begin_s=min(a, b), end_s=max(a, b)) for a, b, text in marks
        ),
        phases=tuple(Phase(name="restore", begin_s=min(each), end_s=max(each)) for each in phases),
        samples=tuple(
            Sample(t_s=t_s, events_s=float(lag or 0), applied_s=lag, lag_events=lag)
            for t_s, lag in sorted(samples, key=lambda each: each[0])
        ),
    )
    figure = timeline(result)
    for row in figure.rows:
        for bar in row.bars:
            assert LEFT <= bar.x <= bar.x + bar.width <= WIDTH
            reach = len(bar.text) * 6.3
            begin = bar.text_x - reach if bar.anchor == "end" else bar.text_x
            assert not bar.text or (begin >= LEFT - 1 and begin + reach <= WIDTH + 1)
    for panel in figure.panels:
        for curve in panel.curves:
            for x, y in points(curve.line) + points(curve.area):
                assert LEFT <= x <= WIDTH - RIGHT
                assert panel.top - 0.01 <= y <= panel.bottom
    assert all(LEFT <= tick.at <= WIDTH - RIGHT for tick in figure.ticks)
    assert 2 <= len(figure.ticks) <= 14


@given(st.floats(0.001, 1e12))
def test_axes_begin_at_zero_reach_the_highest_and_have_few_ticks(highest: float) -> None:
    marks = value_ticks(highest)
    assert marks[0] == 0
    assert marks[-1] >= highest * (1 - 1e-9)
    assert 2 <= len(marks) <= 7
    assert all(value == pytest.approx(round(value)) for value in marks)


@given(st.floats(0.001, 1e6))
def test_moments_are_told_apart_by_their_labels(end_s: float) -> None:
    ticks = time_ticks(end_s)
    labels = [clock_label(at, step) for step, at in ticks]
    assert len(set(labels)) == len(labels)
    assert 2 <= len(labels) <= 14
    assert all(at <= end_s * (1 + 1e-6) for _, at in ticks)


@given(st.randoms(use_true_random=False), st.integers(1, 3_000))
def test_thinning_keeps_the_highest_the_lowest_and_that_there_is_a_gap(
    random: Random, size: int
) -> None:
    """A peak of one sample is what the reader looks for."""
    values = [random.choice([None, *range(100)]) for _ in range(size)]
    values[random.randrange(size)] = 1_000
    kept = thinned([(float(place), value) for place, value in enumerate(values)])
    known = [value for value in values if value is not None]
    drawn = [value for _, value in kept if value is not None]
    assert len(kept) <= POINTS_MAX * 1.5 + 3
    assert [at for at, _ in kept] == sorted(at for at, _ in kept)
    if known:
        assert (max(drawn), min(drawn)) == (max(known), min(known))
    assert any(value is None for _, value in kept) == (len(known) < len(values))


def test_a_drill_without_samples_has_rows_and_no_panels() -> None:
    figure = timeline(replace(sample_result(), samples=()))
    assert figure.panels == ()
    assert figure.rows
    assert figure.height > figure.axis_y > figure.rows[-1].y


def test_the_figure_is_told_in_words_for_who_does_not_see_it() -> None:
    assert timeline(sample_result()).said == (
        "Timeline of 15.2 s, disaster at 7.98 s, recovered at 10.4 s, lag at most 962 events, "
        "at the end 22."
    )


# -- words ---------------------------------------------------------------------------------------


def test_text_that_fits_beside_its_bar_is_whole_whatever_its_length() -> None:
    """Room that is computed by floating point is not one letter less."""
    for length in range(1, 60):
        note = Mark(kind="note", text="x" * length, begin_s=7.0, end_s=7.0)
        result = replace(sample_result(), marks=(note,), phases=(), commands=())
        [row] = timeline(result).rows
        assert row.bars[0].text == "x" * length


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "not measured"), (0, "0 s"), (0.0421, "0.042 s"), (0.62, "0.62 s"), (2.414, "2.41 s"),
        (30.0, "30 s"), (15.24, "15.2 s"), (99.96, "100 s"), (125.0, "2 min 05 s"),
        (3_725.0, "62 min 05 s"), (7_300.0, "2 h 01 min"), (-1.5, "-1.50 s"),
    ],
)  # fmt: skip
def test_seconds_have_three_figures_and_their_unit(value: float | None, words: str) -> None:
    assert seconds(value) == words


def test_counts_and_sizes() -> None:
    assert [count(each) for each in (None, 0, 1234, 12.5, 1234.5)] == [
        "not measured", "0", "1,234", "12.5", "1,234",
    ]  # fmt: skip
    assert [size(each) for each in (None, 0, 1023, 1024, 1536, 5 * 2**30)] == [
        "not measured", "0 B", "1,023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB",
    ]  # fmt: skip


@pytest.mark.parametrize("make", [sample_result, sample_failed])
def test_the_name_of_a_file_is_one_whatever_the_drill_is_called(
    make: Callable[[], DrillResult],
) -> None:
    result = make()
    assert re.fullmatch(r"[a-z-]+", file_stem(result))
    evil = replace(result, name="../../etc/x y", twin=result.twin and "../ä\0")
    assert re.fullmatch(r"[A-Za-z0-9_-]+", file_stem(evil))


def test_what_steers_a_terminal_is_made_visible() -> None:
    assert visible("a\x1b[31m\tb\nc\udc80é") == "a\\x1b[31m\\tb\nc\\udc80é"


def test_commands_one_after_another_are_numbered_where_there_is_room() -> None:
    """Numbers that lie on each other name nothing."""
    command = sample_result().commands[0]
    many: tuple[Command, ...] = tuple(
        replace(command, begin_s=n / 50, seconds=0.01) for n in range(40)
    )
    [row] = [
        row
        for row in timeline(replace(sample_result(), commands=many)).rows
        if row.kind == "command"
    ]
    told = [bar for bar in row.bars if bar.text]
    assert 0 < len(told) < 40
    for before, after in pairwise(told):
        assert before.text_x + len(before.text) * 6.3 <= after.text_x
