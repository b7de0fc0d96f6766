"""The pytest plugin, as a user meets it: in a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from binlog.pytest_plugin import parse_seed, parse_times

ROOT = Path(__file__).parents[2]
# What a project of a user has: no configuration of ours, no profile of ours.
CLEAN = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "BINLOG", "HYPOTHESIS"))},
    "PYTHONPATH": str(ROOT),
    "COLUMNS": "120",
}
SHOWS = """
    from binlog.testing.choice import examples, repeat_command, seed, times

    def test_shows(tmp_path):
        print("seed", seed(), "times", times(), "examples", examples(30))
        print("repeat", repeat_command())
"""
USERS_SHOP = """
    def users_own(n):
        if n > 10:
            raise ZeroDivisionError("in the user's applier")
"""
KIT_STAND_IN = """
    from hypothesis import given, strategies as st
    from binlog.testing.choice import kit_settings, repeat_command, search
    from binlog.testing.violation import Violation
    from users_shop import users_own

    __name__ = "binlog.testing.stand_in"

    def check():
        @kit_settings(100)
        @given(st.integers(0, 1000))
        def inner(n):
            try:
                users_own(n)
            except ZeroDivisionError as error:
                raise Violation(
                    f"the item differs for {n}",
                    law="pure",
                    story=["Placed of orders", "Paid of orders"],
                    differences=["total: 1 expected, 2 found"],
                    do="mend it",
                    repeat=repeat_command(),
                    test="def test_again():\\n    assert False",
                ) from error

        search(inner)
"""


def run_pytest(
    folder: Path, source: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    (folder / "test_mine.py").write_text(dedent(source), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**CLEAN, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def shown(folder: Path, *options: str, **environment: str) -> str:
    done = run_pytest(folder, SHOWS, "-s", *options, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_seed_is_fixed_unless_chosen(tmp_path: Path) -> None:
    """Two people who run the same tests see the same examples."""
    out = shown(tmp_path)
    assert "seed 0 times 1.0 examples 30" in out
    assert "binlog: --binlog-seed=0 --binlog-times=1\n" in out


def test_options_go_before_the_environment(tmp_path: Path) -> None:
    environment = {"BINLOG_SEED": "7", "BINLOG_TIMES": "2"}
    assert "seed 7 times 2.0 examples 60" in shown(tmp_path, **environment)
    out = shown(tmp_path, "--binlog-seed=8", "--binlog-times=0.1", **environment)
    assert "seed 8 times 0.1 examples 3" in out
    assert "repeat pytest test_mine.py::test_shows --binlog-seed=8 --binlog-times=0.1\n" in out


def test_a_random_seed_is_printed_and_repeats_the_run(tmp_path: Path) -> None:
    first, second = (shown(tmp_path, "--binlog-seed=random") for _ in range(2))
    seeds = [re.search(r"^binlog: --binlog-seed=(\d+) ", out, re.M) for out in (first, second)]
    assert seeds[0] is not None
    assert seeds[1] is not None
    assert seeds[0][1] != seeds[1][1]
    assert f"seed {seeds[0][1]} times" in first
    assert f"--binlog-seed={seeds[0][1]}\n" in first


def test_all_workers_of_a_run_have_one_seed(tmp_path: Path) -> None:
    source = """
        import pytest
        from pathlib import Path
        from binlog.testing.choice import seed

        @pytest.mark.parametrize("n", range(4))
        def test_notes(n):
            Path(f"seed{n}").write_text(str(seed()))
    """
    done = run_pytest(tmp_path, source, "-n2", "--binlog-seed=random")
    assert done.returncode == 0, done.stdout
    assert len({path.read_text() for path in tmp_path.glob("seed*")}) == 1


@pytest.mark.parametrize(
    "text", ["later", "", "-1", "1_0", "1.0", " 1", "+1", "\u0661", str(1 << 64), "9" * 5_000]
)
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no seed: give a whole number from 0"):
        parse_seed(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "many", "", "1e7"])
def test_what_is_no_factor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no factor: give a number above 0"):
        parse_times(text)


def test_the_ends_of_both_are_taken() -> None:
    assert [parse_seed(text) for text in ("0", str((1 << 64) - 1))] == [0, (1 << 64) - 1]
    assert [parse_times(text) for text in ("0.01", "1e6")] == [0.01, 1e6]


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (["--binlog-seed=later"], {}, "ERROR: --binlog-seed: 'later' is no seed: give a whole"),
        (["--binlog-times=0"], {}, "ERROR: --binlog-times: '0' is no factor: give a number above"),
        ([], {"BINLOG_SEED": ""}, "ERROR: BINLOG_SEED: '' is no seed"),
        ([], {"BINLOG_TIMES": "many"}, "ERROR: BINLOG_TIMES: 'many' is no factor"),
    ],
)
def test_a_bad_value_is_one_clear_line(
    tmp_path: Path, options: list[str], environment: dict[str, str], said: str
) -> None:
    done = run_pytest(tmp_path, SHOWS, *options, **environment)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    [line] = (done.stdout + done.stderr).strip().splitlines()
    assert line.startswith(said)


def test_hypothesis_is_not_imported_at_the_start(tmp_path: Path) -> None:
    """Whoever has the package and does not use the kit pays nothing for it."""
    source = """
        import sys

        def test_light():
            heavy = {"hypothesis", "binlog.testing", "msgspec", "appliers", "click"}
            assert not heavy & set(sys.modules)
    """
    done = run_pytest(tmp_path, source, "-p", "no:hypothesispytest")
    assert done.returncode == 0, done.stdout


def test_asserts_of_the_kit_are_explained(tmp_path: Path) -> None:
    """Rewritten as those of a test: `assert 1 == 2` says which values there were."""
    source = """
        import binlog.testing.choice

        def test_rewritten():
            loader = type(binlog.testing.choice.__loader__)
            assert loader.__name__ == "AssertionRewritingHook"
    """
    done = run_pytest(tmp_path, source)
    assert done.returncode == 0, done.stdout


def test_the_environment_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "test_none.py").write_text("def test_it(): pass\n")
    source = (
        "import os, pytest; os.environ['BINLOG_SEED'] = '5';"
        "assert pytest.main(['-q', '--binlog-seed=6', '-p', 'no:cacheprovider']) == 0;"
        "assert os.environ['BINLOG_SEED'] == '5' and 'BINLOG_TIMES' not in os.environ"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=tmp_path, env=CLEAN, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def violating(tmp_path: Path) -> Path:
    """A folder with a check that fails as the kit's do, and the user's code that it calls."""
    (tmp_path / "users_shop.py").write_text(dedent(USERS_SHOP), encoding="utf-8")
    (tmp_path / "kit_stand_in.py").write_text(dedent(KIT_STAND_IN), encoding="utf-8")
    return tmp_path


MINE = """
    from kit_stand_in import check

    def test_shop():
        check()
"""


def test_a_violation_shows_the_users_line_and_the_story(violating: Path) -> None:
    """What a person reads is theirs: no frame of the kit or of Hypothesis, and no note."""
    done = run_pytest(violating, MINE, PYTHONPATH=f"{ROOT}:{violating}")
    assert done.returncode == 1
    out = done.stdout
    assert ">       check()" in out
    assert "\nE       Violation: the item differs for 11 (law: pure)\n" in out
    assert "kit_stand_in" not in out.partition("test_mine.py:4: Violation")[0].replace(
        "from kit_stand_in", ""
    )
    assert "hypothesis" not in out.partition("FAILURES")[2].replace("plugins:", "").lower()
    assert "Failing test case" not in out
    assert len(out.splitlines()) < 60, out


def test_a_violation_shows_where_the_users_code_raised(violating: Path) -> None:
    out = run_pytest(violating, MINE, PYTHONPATH=f"{ROOT}:{violating}").stdout
    assert ">           raise ZeroDivisionError(" in out
    assert "users_shop.py:4: ZeroDivisionError" in out


def test_what_is_there_to_copy_stands_alone(violating: Path) -> None:
    """pytest puts an E before an exception's lines, and nobody wants to take it out again."""
    out = run_pytest(violating, MINE, PYTHONPATH=f"{ROOT}:{violating}").stdout
    assert "\n  1. Placed of orders\n  2. Paid of orders\n" in out
    assert "\ntotal: 1 expected, 2 found\n" in out
    assert "\nmend it\n" in out
    assert "\npytest test_mine.py::test_shop --binlog-seed=0\n" in out
    assert "\ndef test_again():\n    assert False\n" in out
    titles = re.findall(r"^-+ ([a-z ]+) -+$", out, re.M)
    assert titles == [
        "what happened",
        "the difference",
        "what to do",
        "repeat it",
        "as a test of its own",
    ]


def test_full_trace_shows_the_search(violating: Path) -> None:
    out = run_pytest(violating, MINE, "--full-trace", PYTHONPATH=f"{ROOT}:{violating}").stdout
    assert "raise Violation(" in out


@pytest.mark.parametrize("options", [["--tb=short"], ["--tb=native"], ["-n1"], ["--tb=long"]])
def test_every_style_shows_the_story(violating: Path, options: list[str]) -> None:
    done = run_pytest(violating, MINE, *options, PYTHONPATH=f"{ROOT}:{violating}")
    assert done.returncode == 1
    assert "\n  1. Placed of orders\n" in done.stdout
    assert "Violation: the item differs for 11 (law: pure)" in done.stdout


def test_a_violation_in_a_unittest_shows_the_story(violating: Path) -> None:
    source = """
        import unittest
        from kit_stand_in import check

        class TestShop(unittest.TestCase):
            def test_shop(self):
                check()
    """
    done = run_pytest(violating, source, PYTHONPATH=f"{ROOT}:{violating}")
    assert "\n  1. Placed of orders\n" in done.stdout
    assert ">           check()" in done.stdout or ">       check()" in done.stdout


REFUSED = """
    import unittest
    import msgspec
    from appliers.applier import Appliers
    from binlog.testing import ReplayMachine, check_applier
    from hypothesis import strategies as st
    from binlog.changes import event

    class Weighed(msgspec.Struct):
        kilos: float

    scales = Appliers()

    @scales.on(Weighed, table="scales")
    def weighed(item, event):
        return dict(event.key)

    def my_events():
        return st.just(1).map(lambda n: event("Weighed", {"id": "a"}, {"kilos": 0.5}))

    def test_a_float():
        check_applier(scales)

    def test_no_module():
        check_applier("nowhere:scales")

    def test_mine():
        check_applier(scales, events=my_events())

    class TestScales(ReplayMachine):
        applier = scales
"""


def test_what_the_kit_refuses_is_the_users_line_and_a_sentence(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, REFUSED)
    out = done.stdout.partition("FAILURES")[2].partition("short test summary")[0]
    assert "4 failed" in done.stdout
    assert ">       check_applier(scales)\nE       RefusedError: Weighed.kilos: a float" in out
    assert '>       check_applier("nowhere:scales")\nE       RefusedError: there is no mod' in out
    assert "TestScales.runTest ____" in out
    assert "\nWeighed.kilos: a float cannot be published: use Decimal" in out
    # What the kit calls, and the user wrote, is shown.
    assert '>   return st.just(1).map(lambda n: event("Weighed"' in out
    assert "binlog/testing" not in out
    assert "Traceback" not in out
    assert len(out.splitlines()) < 50, out
    full = run_pytest(tmp_path, REFUSED, "--full-trace").stdout
    assert "data_strategies.py" in full


MACHINE = """
    import msgspec
    from hypothesis import settings
    from appliers.applier import Appliers
    from binlog.testing import ReplayMachine

    class Counted(msgspec.Struct):
        n: bool

    counters = Appliers()

    @counters.on(Counted, table="counters")
    def counted(item, event):
        return {**event.key, "n": (item or {"n": 0})["n"] + 1}

    class TestCounters(ReplayMachine):
        applier = counters

        def item_invariant(self, table, key, item):
            assert item["n"] < 3, "three"

    class Helper(ReplayMachine):
        applier = counters
"""


def test_a_machine_that_is_named_as_a_test_is_one(tmp_path: Path) -> None:
    """Left out in silence it would be a proof that never ran."""
    done = run_pytest(tmp_path, MACHINE, "-W", "error")
    out = done.stdout
    assert done.returncode == 1, out
    assert "1 failed in" in out
    assert "FAILED test_mine.py::TestCounters::runTest - Violation: an invariant of counters" in out
    assert '>       assert item["n"] < 3, "three"' in out
    assert "\n    world = TestCounters.new_world()\n" in out
    assert "unittest" not in out
    assert out.count("test_mine.py:20: ") == 1, "one frame, the user's"
    assert len(out.splitlines()) < 70, out
