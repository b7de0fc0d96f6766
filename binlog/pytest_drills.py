"""Drills as tests, and pages of them when pytest ends; light, because every run of pytest imports it.

A ``drill_*.py`` that imports `binlog.drills` is collected; another one of that name is none of ours,
and is not imported. With pytest-xdist each worker keeps the data of its drills, and the controller
makes the pages of all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

MARKER = "binlog_drill"
REPORT_OPTION, ON_OPTION = "--binlog-drills-report", "--binlog-drills-on"
RESULT = "binlog_drill_result"  # the property of a test report: the name of its data, no suffix
_NEEDLE = b"binlog.drills"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where drills take place, and where their reports go."""
    drills = parser.getgroup("binlog", "binlog.drills: each drill_*.py that pytest is given")
    drills.addoption(
        ON_OPTION,
        metavar="WHERE",
        default="embedded",
        help="where drills take place: embedded or stack (default: embedded)",
    )
    drills.addoption(
        REPORT_OPTION,
        metavar="DIR",
        default=None,
        help="keep the reports of drills there: index.html, and NAME.html and NAME.json of each",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker, for ``-m "not binlog_drill"``; and who makes the pages."""
    config.addinivalue_line("markers", f"{MARKER}: a recovery drill, or a sabotaged twin of one.")
    folder = config.getoption("binlog_drills_report")
    if folder is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Pages(Path(folder)), "binlog_drills_pages")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A ``drill_*.py`` holds drills, each of which is a test, as is each of its twins."""
    if file_path.suffix != ".py" or not file_path.name.startswith("drill_"):
        return None
    if _NEEDLE not in file_path.read_bytes():
        return None
    from binlog.drills.pytest_items import DrillFile

    return DrillFile.from_parent(parent, path=file_path)


class Pages:
    """Hears which drills have left their data, of the workers of pytest-xdist too, and draws them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stems: list[str] = []
        self._said = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A drill that has ended."""
        if report.when == "call":
            self._stems += [str(stem) for name, stem in report.user_properties if name == RESULT]

    def pytest_sessionfinish(self) -> None:
        """All of them have."""
        if self._stems:
            from binlog.drills.pytest_items import write_pages

            self._said = write_pages(self._folder, self._stems)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Where to look."""
        if self._said:
            terminalreporter.write_line(f"drills: {self._said}")
