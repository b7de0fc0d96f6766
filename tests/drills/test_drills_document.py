"""The drill of docs/drills.md, as a reader pastes it; and those that ship."""

from __future__ import annotations

import re
from pathlib import Path

from binlog.drills.declared import load_drills
from binlog.drills.runner import run_drill
from tests.cli.running import binlog

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "scripts/drills"


def test_the_drill_of_the_document_passes_and_its_twin_is_caught(tmp_path: Path) -> None:
    """Who writes the first drill of their own begins with this one."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/drills.md").read_text(), re.DOTALL)
    (tmp_path / "drill_items_lost.py").write_text(code)
    [declared] = load_drills([tmp_path]).values()
    result = run_drill(declared)
    assert (result.passed, result.failure) == (True, None)
    assert run_drill(declared, twin=declared.twins[0]).caught


def test_every_twin_replaces_commands_that_its_drill_types() -> None:
    """Also those that nobody ran today: a command that was changed leaves its twin harmless."""
    for declared in load_drills([SHIPPED]).values():
        assert declared.twins, declared.name
        assert declared.looks, declared.name
        assert declared.take_back, declared.name


def test_lists_what_there_is_and_refuses_what_there_is_not() -> None:
    """Unknown drill, unknown target, no drills at all: one line, status 2, nothing started."""
    where = str(SHIPPED)
    assert "table-dropped" in binlog("drill", "list", "--drills", where).out
    for arguments, says in (
        (("run", "table-droped", "--drills", where), "there is no drill 'table-droped'"),
        (("run", "table-dropped", "--on", "mars", "--drills", where), "there is no target 'mars'"),
        (("run", "all", "--drills", str(ROOT / "docs")), "there are no drills"),
    ):
        ran = binlog("drill", *arguments)
        assert ran.status == 2, ran
        assert says in ran.err


def test_a_dry_run_runs_nothing(tmp_path: Path) -> None:
    """It names what would be run, twins too."""
    ran = binlog("drill", "run", "all", "--twin", "--dry-run", "--drills", str(SHIPPED))
    assert ran.status == 0
    assert "table-dropped on embedded: another store is rebuilt" in ran.out
