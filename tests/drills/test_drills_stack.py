"""The committed result of the drills on the local stack: it is of all of them, and they passed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from binlog.drills.declared import load_drills
from binlog.drills.result import DrillResult, Mark
from binlog.drills.runner import write_result
from binlog.drills.steps import said
from scripts.standins import drills_page, drills_run
from scripts.standins.drills_page import DATA, PAGE, SECONDS_MAX, Run, decode_run, line_of, page
from scripts.standins.stack import Running, Stack
from tests.drills.sample import sample_failed, sample_result

ROOT = Path(__file__).resolve().parents[2]
DRILLS = load_drills([ROOT / "scripts/drills"])
THERE = sorted(name for name, each in DRILLS.items() if "stack" in each.on)
SAMPLE = sample_result()


@pytest.fixture(scope="module")
def committed() -> Run:
    return decode_run((ROOT / DATA).read_bytes())


@pytest.mark.parametrize("name", THERE)
def test_every_drill_for_the_stack_has_passed_there(committed: Run, name: str) -> None:
    """Who lets a drill take place there, or adds one, runs `scripts/drills-stack` and commits it."""
    [line] = [each for each in committed.lines if each.name == name and each.twin is None]
    assert line.is_good, line.failure
    assert line.checks == line.held > 0
    assert line.lost is not None
    assert line.lost <= line.lost_most == DRILLS[name].goals.rpo_events
    assert line.acknowledged > line.lost
    assert line.rto_s is not None
    assert 0 < line.rto_s <= line.rto_s_most


@pytest.mark.parametrize("name", THERE)
def test_every_twin_of_it_was_caught_there(committed: Run, name: str) -> None:
    caught = {line.twin for line in committed.lines if line.name == name and line.is_good} - {None}
    assert caught == {twin.what for twin in DRILLS[name].twins}


def test_the_page_says_what_the_data_says(committed: Run) -> None:
    """Nobody writes into it by hand."""
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(committed)


def test_all_of_it_took_less_than_it_may(committed: Run) -> None:
    assert 0 < sum(line.seconds for line in committed.lines) <= committed.seconds < SECONDS_MAX


def test_of_a_drill_for_one_place_alone_it_is_said_why() -> None:
    """`binlog drill list` shows where a drill can take place, and docs/drills.md why not elsewhere."""
    why = (ROOT / "docs/drills.md").read_text(encoding="utf-8")
    assert [name for name in DRILLS if name not in THERE and f"`{name}`" not in why] == []


# -- how it is made ------------------------------------------------------------------------------


def run_of(*results: DrillResult) -> Run:
    return Run(
        at="2026-01-02 03:04 UTC",
        commits=("0123456789", "abcdef0123+"),
        seconds=600.0,
        goes=2,
        busy=0.1,
        versions={"ministack": "1"},
        lines=tuple(map(line_of, results)),
    )


def test_a_failure_and_a_twin_that_was_missed_are_on_the_page() -> None:
    broken = msgspec.structs.replace(
        SAMPLE, name="broken", passed=False, failure="2 events missing"
    )
    missed = msgspec.structs.replace(SAMPLE, name="missed", twin="nothing is done", passed=True)
    run = run_of(SAMPLE, broken, missed)
    assert not run.is_good
    text = page(run)
    assert "1 of 2 drills passed, 0 of 1 sabotaged twin" in text
    assert "in 10 min 00 s and 2 goes" in text
    assert "* broken: 2 events missing" in text
    assert "* missed, its twin “nothing is done” was not caught" in text
    assert f"| ✗ [broken](runbooks/broken.md) | {drills_page._lost(line_of(broken))} |" in text
    assert decode_run(drills_page.encode_run(run)) == run


def test_which_consumers_there_were_is_read_from_what_was_started() -> None:
    typed = [
        "scripts/stack lambda kinesis://a dynamodb://b",
        "binlog kcl run kinesis://a dynamodb://c",
    ]
    marks = [Mark(kind="note", text=said("started", each), begin_s=0, end_s=0) for each in typed]
    stopped = Mark(kind="note", text="binlog archive is away", begin_s=0, end_s=0)
    result = msgspec.structs.replace(SAMPLE, marks=(*marks, stopped))
    assert drills_page.consumers_of(result) == ("Lambda", "KCL")


def test_a_drill_or_a_twin_without_a_result_is_missed() -> None:
    """A run that ended early makes no page."""
    name = THERE[0]
    results = [
        msgspec.structs.replace(SAMPLE, name=name, twin=twin)
        for twin in (None, *(each.what for each in DRILLS[name].twins))
    ]
    assert drills_run.missing(results, [name]) == []
    assert drills_run.missing(results[1:], [name]) == [name]
    assert drills_run.missing(results[:1], [name]) == [
        f"{name}: {each.twin}" for each in results[1:]
    ]
    assert len(drills_run.missing(results, [])) > len(THERE) - 1
    assert drills_run.missing(results[:1], [name], twins=False) == []


def test_only_what_is_not_good_yet_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --resume: a drill that failed, and all twins of one of which a twin was missed."""
    passed, failed, both = (DRILLS[name] for name in THERE[:3])
    caught = msgspec.structs.replace(sample_failed(), failure="2 events missing")
    for declared, folder, made in (
        (passed, tmp_path, SAMPLE),
        (failed, tmp_path, sample_failed()),
        *((each, tmp_path / "twins", caught) for each in (passed, failed)),
    ):
        for twin in declared.twins if folder != tmp_path else [None]:
            what = None if twin is None else twin.what
            write_result(msgspec.structs.replace(made, name=declared.name, twin=what), folder)
    typed: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        typed.append(command)
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr("scripts.standins.drills_run.subprocess.run", run)
    assert drills_run.run_all([passed, failed, both], tmp_path, 7, {})
    names = [[each for each in command if each in DRILLS] for command in typed]
    assert names == [[failed.name, both.name], [both.name]]
    assert ["--twin" in command for command in typed] == [False, True]
    assert drills_run.run_all([both], tmp_path, 7, {}, twins=False)
    assert "--twin" not in typed[-1]
    assert all("stack" in command and "7" in command for command in typed)


class Pretended(Stack):
    """No process is started."""

    def __init__(self, home: Path, *, up: bool) -> None:
        super().__init__(home)
        self.is_up = up

    def running(self) -> list[Running]:
        class Answers(Running):
            answers = True

        return [Answers("ministack", 1, 2, "")] if self.is_up else []

    def up(self, services: object) -> list[Running]:
        assert isinstance(services, list)
        assert len(services) == 2
        self.is_up = True
        return self.running()

    def down(self) -> list[Running]:
        self.is_up = False
        return []


@pytest.mark.parametrize("before", [True, False])
def test_a_stack_is_left_as_it_was_found(tmp_path: Path, before: bool) -> None:
    stack = Pretended(tmp_path, up=before)

    def interrupted() -> None:
        with drills_run.stack_is_up(stack) as variables:
            assert variables["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:2"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stack.is_up is before
