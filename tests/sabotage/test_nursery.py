"""The process that runs the killers: each as alone as in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

_TESTS = """
import os, time, shop

def test_passes(): assert shop.PRICE == 1
def test_fails(): assert shop.PRICE == 2
def test_spoils():
    shop.PRICE = 2
    os.environ["SPOILT"] = "yes"
def test_is_not_spoilt(): assert shop.PRICE == 1 and "SPOILT" not in os.environ
def test_says_much(): assert shop.PRICE == 2, "x" * 100_000
def test_hangs(): time.sleep(3_600)
def test_dies(): os.kill(os.getpid(), 9)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout as small as one can be."""
    (tmp_path / "tests/sabotage").mkdir(parents=True)
    shutil.copy2(ROOT / "tests/sabotage/counting.py", tmp_path / "tests/sabotage")
    (tmp_path / "tests/test_shop.py").write_text(_TESTS)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    (tmp_path / "shop.py").write_text("PRICE = 1\n")
    return tmp_path


def _ask(tree: Path, *names: str, timeout: float = 600) -> list[dict[str, Any]]:
    jobs = [
        {"tree": str(tree), "tests": [f"tests/test_shop.py::{name}"], "timeout": timeout}
        for name in names
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.sabotage.nursery"],
        cwd=ROOT,
        input="".join(f"{json.dumps(job)}\n" for job in jobs),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_killer_has_a_process_of_its_own(tree: Path) -> None:
    """What one does to modules and environment no other sees, and one that dies takes none along."""
    names = ("test_passes", "test_fails", "test_spoils", "test_is_not_spoilt", "test_dies")
    told = _ask(tree, *names, "test_passes")
    assert [each["status"] for each in told] == [0, 1, 0, 0, -9, 0]
    assert "FAILED tests/test_shop.py::test_fails" in told[1]["output"]
    assert "examples: 0" in told[0]["output"]


def test_whatever_is_said_names_the_test(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under CI pytest cuts no line, and the name stands at the beginning of one."""
    monkeypatch.setenv("CI", "true")
    told = _ask(tree, "test_says_much")
    assert told[0]["status"] == 1
    assert "FAILED tests/test_shop.py::test_says_much - " in told[0]["output"]


def test_a_killer_that_hangs_is_ended(tree: Path) -> None:
    """And told from one that failed; the next one runs."""
    assert [each["status"] for each in _ask(tree, "test_hangs", timeout=3)] == [124]


def test_the_tree_is_what_is_tested(tree: Path) -> None:
    """Not the checkout that the process was started in, whose folder is on its path."""
    (tree / "shop.py").write_text("PRICE = 2\n")
    assert [each["status"] for each in _ask(tree, "test_passes", "test_fails")] == [1, 0]
