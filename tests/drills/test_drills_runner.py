"""What a run of a drill has to prove before it may be called passed, and how it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from binlog.drills import Action, Drill, drill, twin
from binlog.drills.declared import Declared, load_drills, places
from binlog.drills.result import DrillResult
from binlog.drills.runner import run_drill
from binlog.errors import RefusedError

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

ROOT = Path(__file__).parents[2]
PUTS = [Action(type="PutItem", key=f"k{n}", data={"n": n}) for n in range(5)]
REBUILD = "binlog rebuild {log} {live}"


def declared(script: Callable[[Drill], None], **how: object) -> Declared:
    """A drill of these tests, without a load of its own."""
    script.__doc__ = "A story."
    marked = twin("nothing is rebuilt", {REBUILD: None})(script)
    made = drill("a-test", title="A test", looks="-", take_back="-")(marked)
    return msgspec.structs.replace(made, **{"goes_on": False, **how})


def good(d: Drill) -> None:
    d.init(partitions=1)
    d.append(PUTS)
    with d.disaster("the store is not there", changes="live"):
        d.target.path("live").write_bytes(b"")
    with d.phase("restore"):
        d.run(REBUILD)
    d.holds("live")


def refused(result: DrillResult) -> str:
    assert not result.passed
    return result.failure or ""


def test_a_drill_that_proves_its_outcome_passes_and_its_twin_is_caught() -> None:
    """And leaves nothing: the folder is gone, the data says all of it."""
    result = run_drill(declared(good))
    assert (result.passed, result.failure) == (True, None)
    assert (result.measured.rpo_events, result.measured.items) == (0, 5)
    assert result.measured.rto_s == pytest.approx(sum(result.measured.rto.values()), abs=0.5)
    assert result.left == ()
    twin = declared(good).twins[0]
    sabotaged = run_drill(declared(good), twin=twin)
    assert (sabotaged.passed, sabotaged.caught) == (False, True)


def test_without_a_disaster_nothing_is_proved() -> None:
    """A drill whose injection is forgotten is green for ever."""

    def harmless(d: Drill) -> None:
        d.init(partitions=1)
        d.append(PUTS)
        d.run(REBUILD)
        d.holds("live")

    assert "a disaster was made" in refused(run_drill(declared(harmless)))


def test_a_disaster_that_changes_nothing_is_none() -> None:
    """The wrong file, the wrong table: whatever it was aimed at is as it was."""

    def missed(d: Drill) -> None:
        d.init(partitions=1)
        d.append(PUTS)
        with d.disaster("somewhere else", changes="live"):
            (d.target.folder / "elsewhere").write_text("x")
        with d.phase("restore"):
            d.run(REBUILD)
        d.holds("live")

    assert "it happened: somewhere else" in refused(run_drill(declared(missed)))


def test_a_loss_that_was_not_measured_is_no_zero() -> None:
    """Nobody looked at the table: the figure is missing, and a missing figure fails."""

    def blind(d: Drill) -> None:
        good(d)
        d._record.measured = msgspec.structs.replace(d._record.measured, rpo_events=None)

    assert "acknowledged events are lost: not measured" in refused(run_drill(declared(blind)))


def test_a_recovery_that_takes_too_long_fails() -> None:
    """By the goal that the drill declares."""
    goals = msgspec.structs.replace(declared(good).goals, rto_s=0.001)
    assert "recovered within 0.001 s" in refused(run_drill(declared(good, goals=goals)))


def test_a_target_that_needs_another_time_has_a_goal_of_its_own() -> None:
    """What a daemon takes seconds for is no reason to be lenient where there is none."""
    strict = {"rto_s_on": {"embedded": 0.001, "stack": 120.0}}
    result = run_drill(declared(good, **strict))
    assert "recovered within 0.001 s" in refused(result)
    assert result.goals.rto_s == 0.001
    assert run_drill(declared(good, rto_s_on={"stack": 0.001})).passed


def test_a_command_that_ends_otherwise_fails_and_the_judge_has_its_say() -> None:
    """The exit status of the runbook's own commands is evidence."""

    def typo(d: Drill) -> None:
        good(d)
        d.run("binlog verify {live} {log}", exit=1)

    result = run_drill(declared(typo))
    assert "ends with 1: it ended with 0" in refused(result)
    assert result.measured.rpo_events == 0


def test_a_twin_that_sabotages_nothing_is_told() -> None:
    """A command was renamed in the drill and not in its twin: that one would test nothing."""
    other = declared(good).twins[0]
    other = msgspec.structs.replace(other, instead={"binlog rebuild {log} {lazy}": None})
    result = run_drill(declared(good), twin=other)
    assert "the twin is no sabotage" in refused(result)
    assert not result.caught


def test_a_twin_that_breaks_down_before_its_sabotage_is_not_caught() -> None:
    """Whatever it met there, it was not what it is there to prove."""

    def early(d: Drill) -> None:
        d.init(partitions=1)
        raise OSError("the disk is full")

    result = run_drill(declared(early), twin=declared(good).twins[0])
    assert "the disk is full" in refused(result)
    assert (result.caught, result.verdicts) == (False, ())


def test_a_drill_without_a_twin_is_refused() -> None:
    """Nobody would know whether its judge can say no."""

    def alone(d: Drill) -> None:
        """A story."""
        good(d)

    with pytest.raises(ValueError, match="has no @twin"):
        drill("x", title="", looks="", take_back="")(alone)


def test_files_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    """Bad input: a clear line, and nothing started."""
    (tmp_path / "drill_a.py").write_text("import no_such_module_at_all\n")
    with pytest.raises(RefusedError, match="no_such_module_at_all"):
        load_drills([tmp_path])
    with pytest.raises(RefusedError, match="no such file"):
        places([str(tmp_path / "missing")])


def test_pytest_runs_a_drill_and_each_of_its_twins(tmp_path: Path) -> None:
    """A team's own CI runs its drills; one that fails is shown as its report."""
    (tmp_path / "drill_mine.py").write_text(MINE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "drill_mine.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout
    assert "nobody asks how much is lost" in ran.stdout
    assert "acknowledged events are lost: not measured" in ran.stdout


MINE = """
from binlog.drills import Action, drill, twin


@drill("mine", title="nobody asks how much is lost", looks="-", take_back="-", goes_on=False)
@twin("nothing is rebuilt", {"binlog rebuild {log} {live}": None})
def mine(d):
    \"\"\"A story.\"\"\"
    d.init(partitions=1)
    d.append([Action(type="PutItem", key="a", data={"total": 1})])
    d.run("binlog replicate {log} {live} --once")
    with d.disaster("an item is changed by hand", changes="live"):
        d.target.corrupt("live", "orders", 1)
    with d.phase("restore"):
        d.run("binlog rebuild {log} {live}")
    d.run("binlog verify {live} {log}")
"""


def test_where_a_drill_broke_down_is_told_with_its_own_line_and_what_it_could_have_written() -> (
    None
):
    """A name that is mistyped is no riddle: KeyError of three letters is one."""

    def mistyped(d: Drill) -> None:
        d.run("binlog check {lgo}")

    def no_phase(d: Drill) -> None:
        with d.disaster("it is bad", shown=lambda: "seen"):
            pass
        with d.phase("recover"):  # type: ignore[arg-type]
            pass

    for script, says in (
        (mistyped, "LookupError: there is no name {lgo}: there are log, "),
        (no_phase, "ValueError: there is no phase 'recover': detect, decide, "),
    ):
        result = run_drill(declared(script, file=__file__))
        assert (result.failure or "").startswith(says)
        assert f"({Path(__file__).name}, line " in (result.failure or "")


def test_the_line_that_repeats_a_drill_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the folder where it was run; the usual folders need no option."""
    monkeypatch.chdir(tmp_path)
    for file, found in (
        (tmp_path / "drills/drill_a.py", "a-test --on"),
        (
            tmp_path / "ops/our drills/drill_a.py",
            "a-test --drills 'ops/our drills/drill_a.py' --on",
        ),
        (Path("/elsewhere/drill_a.py"), "a-test --drills /elsewhere/drill_a.py --on"),
    ):
        result = run_drill(declared(lambda _: None, file=str(file)))
        assert result.repeat == f"binlog drill run {found} embedded --seed 0"


def test_a_folder_that_somebody_clears_away_is_a_drill_that_failed() -> None:
    """A job that empties temporary directories, say: there is a result, and nothing goes on."""

    def cleared(d: Drill) -> None:
        d.init(partitions=1)
        d.append(PUTS)
        d.replicate("live")
        shutil.rmtree(d.target.folder)
        with d.disaster("the store is not there", changes="live"):
            d.target.path("live").write_bytes(b"")

    result = run_drill(declared(cleared))
    assert "FileNotFoundError" in refused(result)
    assert any("cannot be read" in mark.text for mark in result.marks)
