"""Soaking: what it counts, what it finds, and how it says so."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from binlog.run import Run
from binlog.sequencer import Sequencer
from binlog.sequencer_state import SessionState
from binlog.testing.finding import as_violation
from binlog.testing.world import soak as module
from binlog.testing.world.endless import ending
from binlog.testing.world.seeded import run, seed_text
from binlog.testing.world.soak import RARE, Totals, run_batch, shortened, soak
from binlog.testing.world.soak_command import main, summary
from binlog.testing.world.traces import SHAPES, count_traces

ROOT = Path(__file__).parents[2]
LIMIT_S = 100.0  # of what has to come, however busy the machine is


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit status and what was printed, in this process."""
    out, err = StringIO(), StringIO()
    try:
        status = main(arguments, out, err)
    except SystemExit as error:  # argparse
        status = int(error.code or 0)
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault injected on purpose: the sequencer loses what should get offset 4 after a restart."""
    feed = Sequencer.feed

    def lossy(*args: Any, **named: Any) -> list[Run]:
        return [run for run in feed(*args, **named) if run.first_offset != 4]

    monkeypatch.setattr(Sequencer, "feed", lossy)


def test_what_is_counted_is_what_the_runs_were() -> None:
    totals = soak(7, runs=12, jobs=1)
    outcomes = [run(seed_text(7 + number)) for number in range(12)]
    assert totals.runs == 12
    assert totals.events == sum(outcome.events for outcome in outcomes)
    for name in totals.met:
        assert totals.met[name] == sum(outcome.met[name] for outcome in outcomes)
    assert totals.last_seed == seed_text(18)


def test_several_cores_count_what_one_counts() -> None:
    one, two = soak(3, runs=25, jobs=1), soak(3, runs=25, jobs=2)
    assert (one.runs, one.events, one.met) == (two.runs, two.events, two.met)


def test_an_injected_fault_is_found_and_told(forgetful: None) -> None:
    status, out, err = command("--runs", "40", "--jobs", "1")
    assert status == 1
    found = re.search(r"^(w1-[0-9a-f]+): (.+) \(law: (.+)\)$", out, re.M)
    assert found is not None, out
    assert f"soak: {found[1]} broke a law" in err
    assert f"Repeat it: scripts/soak --seed {found[1]}\n" in out
    story = out.partition("What happened:\n")[2].partition("\n\n")[0].splitlines()
    assert any("publishes" in line for line in story)
    assert len(story) < 25, "the story was not shortened"
    assert "violations 1" in out


def test_the_test_of_a_violation_fails_when_pasted(forgetful: None) -> None:
    broken = soak(0, runs=40, jobs=1).broken
    assert broken is not None
    violation = shortened(seed_text(broken))
    assert violation is not None
    space: dict[str, object] = {}
    exec(compile(violation.test, "pasted", "exec"), space)
    [test] = [value for name, value in space.items() if name.startswith("test_")]
    assert callable(test)
    with pytest.raises(Exception) as caught:
        test()
    assert str(as_violation(caught.value).what) == violation.what


def test_it_stops_at_the_lowest_seed_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(seed: str) -> object:
        if seed in (seed_text(13), seed_text(14), seed_text(2**40)):
            raise AssertionError("broken")
        return run(seed)

    monkeypatch.setattr(module, "run", breaks)
    totals = soak(0, runs=60, jobs=1)
    assert totals.broken == 13
    assert totals.runs == 14, "the runs up to it are counted, and none behind it"
    assert run_batch(14, 5).broken == 14


def test_a_seed_that_holds_has_no_story() -> None:
    assert shortened(seed_text(1)) is None


def test_a_violation_that_does_not_come_again_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that is no function of its seed is the worst finding of all."""

    def breaks(_seed: str) -> object:
        raise AssertionError("only once")

    monkeypatch.setattr(module, "run", breaks)
    status, out, _ = command("--runs", "1", "--jobs", "1")
    assert status == 1
    assert "w1-0 broke a law once, and did not when it was run again" in out


def test_the_rare_that_was_never_met_fails_a_long_run() -> None:
    """Invariant 24."""
    short, long = Totals(0, runs=199), Totals(0, runs=200)
    long.met.update({name: 1 for name in RARE if name not in ("stale read", "rebuild halted")})
    assert short.missing == []
    assert long.missing == ["stale read"]
    assert "never met in 200 runs: stale read" in summary(long, None)


@pytest.mark.slow
def test_everything_rare_is_met_in_a_default_run() -> None:
    totals = soak(0, runs=200, jobs=1)
    assert totals.broken is None
    assert totals.missing == []


def test_the_rare_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RARE", {"a unicorn": 2})
    status, out, _ = command("--runs", "2", "--jobs", "1")
    assert status == 1
    assert "never met in 2 runs: a unicorn" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "w2-5"], "soak: the seed 'w2-5' is of version 2"),
        (["--seed", "5"], "soak: the seed '5': write it as w1-HEX"),
        (["--first", "w0-0", "--runs", "1"], "soak: the seed 'w0-0' is of version 0"),
        (["--runs", "none"], "'none' is no number above 0"),
        (["--runs", "0"], "'0' is no number above 0"),
        (["--minutes", "nan"], "'nan' is no number above 0"),
        (["--runs", "1", "--minutes", "1"], "not allowed with argument"),
    ],
)
def test_bad_input_is_told(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = command(*arguments)
    assert status == 2
    assert out == ""
    assert said in err + capsys.readouterr().err


def test_a_report_says_what_was_run_and_what_came_of_it(tmp_path: Path) -> None:
    report = tmp_path / "soak.md"
    status, out, _ = command("--runs", "3", "--jobs", "1", "--report", str(report))
    assert status == 0
    rows = dict(re.findall(r"^\| (\S[^|]*?) \| (.+) \|$", report.read_text(), re.M))
    assert rows["command"].startswith("`scripts/soak --runs 3 --jobs 1")
    assert re.match(r"[0-9a-f]{40}|unknown", rows["commit"])
    assert rows["runs"] == "3"
    assert rows["seeds"] == "w1-0 to w1-2"
    assert rows["violations"] == "0"
    assert re.match(r"[\d,]+ events a second of one core", rows["rate"])
    assert "duplicate" in rows["faults"]
    assert "zombie write" in rows["rare"]
    assert "runs       3\n" in out


def test_every_trace_of_a_small_world_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "traces.md"
    done = subprocess.run(
        [sys.executable, "scripts/soak", "--exhaustive", "--frames", "2", "--report", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    counted = {shape: count_traces(shape, frames=2) for shape in SHAPES}
    for shape, count in counted.items():
        assert f"{shape}: {count:,} traces, " in done.stdout
    assert done.stdout.endswith(f"\n{sum(counted.values()):,} traces, 0 violations\n")
    assert done.stdout in report.read_text()


def test_a_seed_tells_its_story_and_is_the_same_on_any_machine() -> None:
    """Under another hash seed too: the digest covers log, journals and ledger."""

    def shown(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "scripts/soak", "--seed", "w1-5", "--tell"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    one, other = shown("1"), shown("2")
    assert one == other
    assert re.search(r"^ +1\. ", one)
    assert re.search(r"^digest: [0-9a-f]{64}$", one, re.M)


def test_ctrl_c_ends_it_with_what_was_done() -> None:
    """On a terminal, which sends it to the workers, too."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "scripts/soak", "--minutes", "5", "--jobs", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        drawn = b""
        while not re.search(rb"[1-9]\d* events", drawn):  # the bar, once some runs are done
            drawn += os.read(ours, 1_000)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=LIMIT_S)
    with contextlib.suppress(OSError):  # the end: nobody has the other side any more
        while more := os.read(ours, 10_000):
            drawn += more
    os.close(ours)
    assert process.returncode == 130, out
    assert "interrupted: this is what was done so far" in out
    runs = re.search(r"^runs +([\d,]+)$", out, re.M)
    assert runs is not None
    assert int(runs[1].replace(",", "")) > 0
    assert b"Traceback" not in drawn


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_run_that_does_not_end_is_a_violation(
    monkeypatch: pytest.MonkeyPatch, swallowed: bool
) -> None:
    """A sequencer that never drains what it holds would keep a core for ever, and say nothing."""

    def drain(_: Sequencer, state: SessionState, _runs: list[Run]) -> None:
        while state.held:
            try:
                sum(range(1_000))
            except Exception:
                if not swallowed:
                    raise

    monkeypatch.setattr(Sequencer, "_drain", drain)
    # Some ten times what a run takes, on a machine that is slow or busy as well.
    monkeypatch.setattr(module, "RUN_CPU_S", 1.0)
    monkeypatch.setattr(module, "TRY_CPU_S", 0.7)
    monkeypatch.setattr(module, "ENDLESS_CALLS_MAX", 3)
    status, out, err = command("--runs", "20", "--jobs", "1")
    assert status == 1
    found = re.search(r"^(w1-[0-9a-f]+): (.+) \(law: every run ends\)$", out, re.M)
    assert found is not None, out
    assert "it has not come to its end after 0.7 s of CPU time" in found[2]
    assert f"soak: {found[1]} broke a law" in err
    assert f"scripts/soak --seed {found[1]}" in out
    assert "publishes" in out


def test_a_bound_leaves_nothing_behind() -> None:
    """The timer of one run must not end the next one, nor whatever else the process does."""
    before = signal.getsignal(signal.SIGPROF)
    with ending(5.0):
        run(seed_text(1))
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGPROF) is before
