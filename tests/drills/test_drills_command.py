"""The drills that ship, and the command that lists and runs them."""

from __future__ import annotations

import json
from pathlib import Path

from click.shell_completion import ShellComplete

from binlog.cli.drill import command as drill_command
from binlog.drills.declared import load_drills
from tests.cli.running import binlog

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "scripts/drills"
MINE = """
from binlog.drills import Drill, drill, twin


@drill("mine", title="Mine", looks="Bad.", take_back="Nothing.")
@twin("nothing is done", {"binlog rebuild {log} {live}": None})
def mine(d: Drill) -> None:
    \"\"\"A story.\"\"\"
"""


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
        (
            ("run", "table-droped", "--drills", where),
            "there is no drill 'table-droped': binlog drill run: did you mean table-dropped? see",
        ),
        (("run", "table-dropped", "--on", "mars", "--drills", where), "there is no target 'mars'"),
        (("run", "all", "table-dropped", "--drills", where), "all of them, and some by name"),
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


def test_says_of_none_that_is_for_a_place_and_not_that_all_passed(tmp_path: Path) -> None:
    """Nothing run is no success, and no silent failure either."""
    drills = tmp_path / "drill_mine.py"
    drills.write_text(MINE)
    for name, says in (
        ("all", "no drill is for stack"),
        ("mine", "it is not for stack: mine: it is for embedded"),
    ):
        ran = binlog("drill", "run", name, "--on", "stack", "--drills", str(drills))
        assert ran.status == 2, ran
        assert says in ran.err


def test_a_plan_is_a_document_for_programs() -> None:
    """``--json`` has JSON on standard output and nothing else, of a dry run as well."""
    ran = binlog(
        "drill", "run", "table-dropped", "--twin", "--dry-run", "--json", "--drills", str(SHIPPED)
    )
    assert json.loads(ran.out) == [
        {
            "name": "table-dropped",
            "on": "embedded",
            "twin": "another store is rebuilt, and not the one that is read",
        }
    ]


def test_the_group_alone_says_what_there_is() -> None:
    """Who types the first word is told the second."""
    ran = binlog("drill")
    assert ran.status == 0
    for word in ("list", "run", "runbook", "clean"):
        assert f"  {word} " in ran.out


def test_a_shell_completes_the_names_of_drills() -> None:
    """Nobody types table-dropped-snapshot at night."""
    shell = ShellComplete(drill_command, {}, "drill", "_DRILL_COMPLETE")
    found = shell.get_completions(["run", "--drills", str(SHIPPED)], "table-")
    assert [each.value for each in found] == ["table-dropped", "table-dropped-snapshot"]
    assert shell.get_completions(["run", "--drills", "nowhere"], "table-") == []
