"""Drills as tests: each drill of a ``drill_*.py`` that pytest is given, and each of its twins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from binlog.drills.declared import Declared, Twin, declared_in, load_file
from binlog.drills.report_text import lines
from binlog.drills.report_words import file_stem
from binlog.drills.result import DrillResult, decode_result
from binlog.drills.runner import run_drill
from binlog.drills.targets.choose import maker
from binlog.errors import RefusedError
from binlog.pytest_drills import MARKER, RESULT

RUN_S_MAX = 900.0  # for pytest-timeout, which has a test's time in mind: all waits of a drill end


class DrillFailedError(Exception):
    """It failed, or a twin was not caught."""

    def __init__(self, result: DrillResult) -> None:
        why = result.failure or "nobody noticed it"
        super().__init__(why if result.twin is None else f"the twin was not caught: {why}")
        self.result = result


class DrillFile(pytest.File):
    """``pytest scripts/drills`` collects these."""

    def collect(self) -> Iterator[pytest.Item]:
        found = declared_in(load_file(self.path))
        if not found:  # the decorator was forgotten: a drill that nobody runs
            what = (
                f"{self.path.name} has no @drill: decorate its function, or call the file otherwise"
            )
            raise self.CollectError(what)
        for declared in found:
            for twin in (None, *declared.twins):
                yield DrillItem.from_parent(self, declared=declared, twin=twin)


class DrillItem(pytest.Item):
    """A run of a drill. ``--binlog-drills-on`` says where, ``--binlog-drills-report`` keeps results."""

    def __init__(self, *, declared: Declared, twin: Twin | None, **more: Any) -> None:
        name = declared.name if twin is None else f"{declared.name}[{twin.what}]"
        super().__init__(name=name, **more)
        self._declared = declared
        self._twin = twin
        self.add_marker(MARKER)
        if self.config.pluginmanager.hasplugin("timeout"):
            self.add_marker(pytest.mark.timeout(RUN_S_MAX))

    def runtest(self) -> None:
        on = self.config.getoption("binlog_drills_on")
        report = self.config.getoption("binlog_drills_report")
        make = maker(on)  # a place that is misspelt must not be a skip
        if on not in self._declared.on:
            pytest.skip(f"it is for {', '.join(self._declared.on)}")
        result = run_drill(
            self._declared,
            make=make,
            on=on,
            seed=int(self.config.getoption("binlog_seed") or 0),
            twin=self._twin,
            report_dir=None if report is None else Path(report),
        )
        if report is not None:
            self.user_properties.append((RESULT, file_stem(result)))
        if not (result.passed if self._twin is None else result.caught):
            raise DrillFailedError(result)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, DrillFailedError):
            # pytest's summary has the first line of it.
            told = [line.plain for line in lines(excinfo.value.result)]
            return "\n".join([str(excinfo.value), *told])
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def write_pages(folder: Path, stems: Iterable[str]) -> str:
    """Pages of results whose data is there; a line that says where, or why there are none."""
    from binlog.drills.report_html import write_reports

    results = [decode_result((folder / f"{stem}.json").read_bytes()) for stem in sorted(set(stems))]
    try:
        return str(write_reports(results, folder)[-1])
    except RefusedError as error:
        return f"{error.what}: {error.do}"
