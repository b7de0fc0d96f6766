"""An unsteady test is told and holds up nobody; whatever fails by itself, too, is a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

UNSTEADY = """
from pathlib import Path

def test_{name}():
    met = Path(__file__).with_suffix(".{name}")
    if not met.exists():
        met.touch()
        assert False
"""
WRONG = """
def test_wrong():
    assert False
"""
RIGHT = """
def test_right():
    pass
"""


def run(folder: Path, *texts: str, options: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Exit status, and the tests that are told to be unsteady."""
    (folder / "test_it.py").write_text("".join(texts))
    done = subprocess.run(
        [sys.executable, "-m", "tests.steadily", "-q", "-c", "/dev/null", *options, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("unsteady: ")]
    return done.returncode, [line.split("::")[-1].split()[0] for line in told]


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "worksteal")])
def test_what_passes_by_itself_is_told(tmp_path: Path, options: tuple[str, ...]) -> None:
    texts = (UNSTEADY.format(name="one"), UNSTEADY.format(name="two"), RIGHT)
    status, told = run(tmp_path, *texts, options=options)
    assert status == 0
    assert sorted(told) == ["test_one", "test_two"]


def test_what_fails_twice_is_a_failure(tmp_path: Path) -> None:
    assert run(tmp_path, UNSTEADY.format(name="one"), WRONG) == (1, [])


def test_three_at_once_are_no_chance(tmp_path: Path) -> None:
    texts = [UNSTEADY.format(name=name) for name in ("one", "two", "three")]
    assert run(tmp_path, *texts, RIGHT) == (1, [])


def test_nothing_but_failures_of_tests_is_looked_at_twice(tmp_path: Path) -> None:
    met = "from pathlib import Path\nmet = Path(__file__).with_suffix('.met')\n"
    broken = f"{met}if not met.exists():\n    met.touch()\n    raise ValueError\n"
    assert run(tmp_path, broken, RIGHT) == (2, [])


def test_what_passes_is_not_told(tmp_path: Path) -> None:
    assert run(tmp_path, RIGHT) == (0, [])
