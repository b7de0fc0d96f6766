"""Drills in a team's own CI: its conftest, its markers, its files named like ours, pytest-xdist."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from binlog.drills.result import decode_result
from tests.kit.test_kit_plugin import CLEAN

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

QUICK = """
from binlog.drills import Action, Drill, drill, twin

REBUILD = "binlog rebuild {log} {live}"


@drill("quick", title="Quick", looks="Bad.", take_back="Nothing.", goes_on=False)
@twin("nothing is rebuilt", {REBUILD: None})
def quick(d: Drill) -> None:
    '''A store that is no store is made anew.'''
    d.init(partitions=1)
    d.append([Action(type="PutItem", key=f"k{n}", data={"n": n}) for n in range(5)])
    with d.disaster("the store is not there", changes="live"):
        d.target.path("live").write_bytes(b"")
    with d.phase("restore"):
        d.run(REBUILD)
    d.holds("live")
"""
CONFTEST = """
import pytest


@pytest.fixture(autouse=True)
def everywhere(request, monkeypatch):
    monkeypatch.setenv("AWS_REGION", request.node.name)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.nodeid)
"""
NOT_OURS = "raise SystemExit('a file of the team that is called like a drill was imported')"


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ["-p", "no:cacheprovider", "--strict-markers", "-W", "error"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=folder,
        env=CLEAN,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def team(folder: Path) -> Path:
    (folder / "ops").mkdir()
    (folder / "ops/drill_quick.py").write_text(QUICK)
    (folder / "drill_press.py").write_text(NOT_OURS)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_theirs.py").write_text("def test_theirs(): pass")
    return folder


def test_workers_run_a_teams_drills_and_one_page_has_them_all(tmp_path: Path) -> None:
    """Each worker has its own share; the index is of the whole run, and CI's XML names the data."""
    ran = pytest_in(team(tmp_path), "-n2", "--binlog-drills-report=kept", "--junitxml=kept/ci.xml")
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout
    assert "drills: kept/index.html" in ran.stdout
    index = (tmp_path / "kept/index.html").read_text(encoding="utf-8")
    stems = {"quick", "quick-twin-nothing-is-rebuilt"}
    for stem in stems:
        decode_result((tmp_path / f"kept/{stem}.json").read_bytes())
        assert (tmp_path / f"kept/{stem}.html").is_file()
    assert "1 of 1 drill passed, 1 of 1 sabotaged twin caught" in index
    named = ET.parse(tmp_path / "kept/ci.xml").iter("property")
    assert {each.get("value") for each in named} == stems


def test_a_teams_other_tests_are_run_without_drills(tmp_path: Path) -> None:
    """By a marker that --strict-markers knows; a file that only is called so is not imported."""
    ran = pytest_in(team(tmp_path), "-m", "not binlog_drill")
    assert ran.returncode == 0, ran.stdout
    assert "1 passed, 2 deselected" in ran.stdout


def test_a_drill_that_fails_says_why_in_the_line_that_ci_shows(tmp_path: Path) -> None:
    """The summary has one line a test: it is the reason, and not a headline."""
    file = team(tmp_path) / "ops/drill_quick.py"
    file.write_text(QUICK.replace("d.holds", "return; d.holds"))
    ran = pytest_in(tmp_path, "ops", "-k", "not rebuilt")
    assert ran.returncode == 1, ran.stdout
    assert "FAILED ops/drill_quick.py::quick - at most 0 acknowledged events are" in ran.stdout
    assert "repeat       binlog drill run quick" in ran.stdout


def test_a_drill_has_more_time_than_a_teams_tests(tmp_path: Path) -> None:
    """pytest-timeout ends the whole process: a drill on a busy machine would take all others with it."""
    ran = pytest_in(team(tmp_path), "ops", "-k", "not rebuilt", "--timeout=0.01")
    assert ran.returncode == 0, ran.stdout
    assert "1 passed, 1 deselected" in ran.stdout
    ran = pytest_in(tmp_path, "ops", "-k", "not rebuilt", "-p", "no:timeout")
    assert ran.returncode == 0, ran.stdout


def test_a_drill_whose_decorator_is_forgotten_is_an_error(tmp_path: Path) -> None:
    """Else nobody would ever notice that it does not run."""
    file = team(tmp_path) / "ops/drill_quick.py"
    file.write_text(QUICK.replace("@drill", "# @drill"))
    ran = pytest_in(tmp_path, "ops")
    assert ran.returncode != 0
    assert "drill_quick.py has no @drill" in ran.stdout
