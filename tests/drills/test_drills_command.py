"""The drills that ship, and the command that lists and runs them."""

from __future__ import annotations

from pathlib import Path

from binlog.drills.declared import load_drills
from tests.cli.running import binlog

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "scripts/drills"


def test_every_drill_that_ships_has_a_twin_and_words_for_its_runbook() -> None:
    """A page without them says nothing to who is called at night."""
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
