"""What the README shows is run, in the order in which a reader would type it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
INDENTED: list[str] = re.findall(r"(?:^    .*\n|^\n)+", TEXT, re.MULTILINE)
SHELL = next(block for block in INDENTED if "binlog init" in block)


def shell_lines() -> str:
    """The commands of the README after the installation."""
    return SHELL[SHELL.index("binlog init") :].replace("\n    ", "\n").strip()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_shell(script: str, here: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=here,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_make_two_equal_replicas(here: Path) -> None:
    """The pasted commands run as they stand, and the last one finds no difference."""
    run_shell(shell_lines(), here)
    table = run_shell("binlog dump sqlite:copy.db --table users", here)
    assert '"visits":2' in table.replace(" ", "")


def test_the_python_api_does_what_its_comments_say(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Publish, fold, rebuild, follow, and a sink of one's own: run in one go, checked at the end."""
    run_shell("binlog init file:shop.log --partitions 4", here)
    names: dict[str, object] = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    output = capsys.readouterr().out
    assert re.search(r"^2 [0-9a-f]{64}$", output, re.MULTILINE)
    assert "OrderPaid {'id': 'o-1'} {'by': 'card'}" in output
    totals = names["totals"]
    rows = totals.db.execute("SELECT total FROM totals").fetchall()  # type: ignore[attr-defined]
    assert rows == [(30,)]
    for name in ("totals", "log"):
        names[name].close()  # type: ignore[attr-defined]
