"""Reports for a terminal and for programs."""

from __future__ import annotations

import io

import msgspec
import pytest
from msgspec.structs import replace

from binlog.drills.report_text import RunReport, print_result, print_run, run_report
from binlog.drills.result import DrillResult
from tests.drills.sample import sample_failed, sample_result


def printed(result: DrillResult) -> str:
    file = io.StringIO()
    print_result(result, file)
    return file.getvalue()


def printed_run(*results: DrillResult) -> str:
    file = io.StringIO()
    print_run(results, file)
    return file.getvalue()


def test_a_drill_that_passed_is_six_lines() -> None:
    phases = "detect 0.62 s, decide 0.21 s, restore 0.94 s, verify 0.51 s, switch 0.13 s"
    took = printed(sample_result()).partition("recovered    ")[2].partition(" (")[0]
    assert printed(sample_result()) == (
        "✓ Passed  table-dropped  A table is dropped\n"
        "  lost         0 of 6,180 acknowledged events (target: none)\n"
        f"  recovered    {took} (target: 30 s): {phases}\n"
        "  spent        recovery: 403.2 KiB read, 96.0 KiB written, 58 requests, 412 write units, "
        "$0.000258; the whole run: 9.0 MiB read, 2.3 MiB written, 649 requests, 6,592 write units, "
        "1.5 read units, $0.034125\n"
        "  checks       3 of 3 hold\n"
        "  repeat       binlog drill run table-dropped --on embedded --seed 7\n"
    )


def test_what_does_not_hold_is_printed_with_its_evidence() -> None:
    """Whoever is called at night reads this and nothing else."""
    command = replace(sample_failed().commands[2], status=3)
    text = printed(replace(sample_failed(), twin=None, commands=(command,)))
    assert text.startswith("✗ Failed  table-dropped")
    assert (
        "  ✗ the table holds what the acknowledged events make of it: 371 of 412 items equal to the "
        "reference model's, 41 differ (model)\n"
        "      orders o17: n is 4, should be 9 (event 3f2a of partition 2)\n"
    ) in text
    assert f"  ✗ {command.shown}: status 3, expected 0\n      {command.output[0]}\n" in text


def test_a_failure_that_is_no_verdict_is_printed_too() -> None:
    result = replace(sample_result(), passed=False, failure="it fell over")
    assert "  ✗ it fell over\n" in printed(result)


def test_why_a_drill_broke_down_is_printed_beside_the_verdicts_that_came_of_it() -> None:
    """Verdicts after a breakdown are what it led to: whoever reads only them looks in the wrong place."""
    broke = replace(sample_failed(), twin=None, failure="StorageError: the consumer ended with 3")
    assert "  ✗ StorageError: the consumer ended with 3\n  ✗ the table holds" in printed(broke)
    verdict = sample_failed().verdicts[1]
    same = replace(broke, failure=f"{verdict.claim}: {verdict.evidence}")
    assert printed(same).count(verdict.claim) == 1


def test_of_a_twin_that_was_caught_it_is_told_by_what_and_nothing_in_red() -> None:
    """It came out as it has to: a screen full of what is wrong says the opposite."""
    assert printed(sample_failed()) == (
        "✓ Sabotage caught  table-dropped  A table is dropped\n"
        "  twin         rebuilt up to the snapshot, without the tail\n"
        "  noticed by   model: the table holds what the acknowledged events make of it: 371 of 412 "
        "items equal to the reference model's, 41 differ\n"
        "  repeat       binlog drill run table-dropped --on embedded --seed 7\n"
    )


@pytest.mark.parametrize("figure", ["rpo_events", "rto_s"])
def test_what_was_not_measured_is_no_zero(figure: str) -> None:
    measured = replace(sample_result().measured, **{figure: None})
    text = printed(replace(sample_result(), measured=measured))
    assert "not measured" in text


def test_what_was_spent_and_not_counted_is_said() -> None:
    measured = replace(sample_result().measured, counted=())
    assert "  spent        not measured\n" in printed(replace(sample_result(), measured=measured))


def test_nothing_in_a_result_steers_the_terminal_or_is_taken_for_markup() -> None:
    text = printed(replace(sample_result(), title="[red]x[/red] \x1b]0;owned\x07"))
    assert "[red]x[/red] \\x1b]0;owned\\x07" in text
    assert "\x1b" not in text


def test_a_pipe_gets_whole_lines_without_colour() -> None:
    long = replace(sample_result(), title="word " * 60)
    assert len(printed(long).splitlines()) == len(printed(sample_result()).splitlines())


def test_a_run_has_a_line_for_each_and_why_if_it_is_not_as_it_has_to_be_and_the_sum() -> None:
    """All of it was told when it came; at the end one screen has what matters."""
    bad = replace(sample_result(), name="region-lost", passed=False, failure="it fell over")
    missed = replace(sample_result(), twin="nothing is restored", sabotaged=True)
    lines = printed_run(sample_result(), sample_failed(), bad, missed).splitlines()
    assert lines[0].startswith("✓ Passed           table-dropped  lost 0  recovered in ")
    assert lines[1] == (
        "✓ Sabotage caught  table-dropped  twin: rebuilt up to the snapshot, without the tail"
    )
    assert lines[2].startswith("✗ Failed           region-lost  ")
    assert lines[3] == "  ✗ it fell over"
    assert lines[4] == "✗ Sabotage missed  table-dropped  twin: nothing is restored"
    assert lines[5].startswith("  ✗ nobody noticed: ")
    assert lines[-1] == "1 of 2 drills passed, 1 of 2 sabotaged twins caught"
    assert lines[5].strip() in printed(missed)


def test_a_run_for_programs_is_good_only_if_all_is_and_something_was_run() -> None:
    good, caught = sample_result(), sample_failed()
    missed = replace(good, twin="x")
    assert [run_report(each).ok for each in ([good, caught], [good, missed], [caught], [])] == [
        True, False, True, False,
    ]  # fmt: skip
    report = run_report([good, caught])
    assert msgspec.json.decode(msgspec.json.encode(report), type=RunReport) == report
