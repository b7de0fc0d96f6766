"""Drills as tests: each drill of a ``drill_*.py`` that pytest is given, and each of its twins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from binlog.drills.declared import Declared, Twin, declared_in, load_file
from binlog.drills.report_text import lines
from binlog.drills.result import DrillResult
from binlog.drills.runner import run_drill
from binlog.drills.targets.choose import maker


class DrillFailedError(Exception):
    """It failed, or a twin was not caught."""

    def __init__(self, result: DrillResult) -> None:
        super().__init__(result.failure or f"the twin was not caught: {result.twin}")
        self.result = result


class DrillFile(pytest.File):
    """``pytest scripts/drills`` collects these."""

    def collect(self) -> Iterator[pytest.Item]:
        for declared in declared_in(load_file(self.path)):
            for twin in (None, *declared.twins):
                yield DrillItem.from_parent(self, declared=declared, twin=twin)


class DrillItem(pytest.Item):
    """A run of a drill. ``--binlog-drills-on`` says where, ``--binlog-drills-report`` keeps results."""

    def __init__(self, *, declared: Declared, twin: Twin | None, **more: Any) -> None:
        name = declared.name if twin is None else f"{declared.name}[{twin.what}]"
        super().__init__(name=name, **more)
        self._declared = declared
        self._twin = twin

    def runtest(self) -> None:
        on = self.config.getoption("binlog_drills_on")
        report = self.config.getoption("binlog_drills_report")
        if on not in self._declared.on:
            pytest.skip(f"it is for {', '.join(self._declared.on)}")
        result = run_drill(
            self._declared,
            make=maker(on),
            on=on,
            seed=int(self.config.getoption("binlog_seed") or 0),
            twin=self._twin,
            report_dir=None if report is None else Path(report),
        )
        if not (result.passed if self._twin is None else result.caught):
            raise DrillFailedError(result)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, DrillFailedError):
            return "\n".join(line.plain for line in lines(excinfo.value.result))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name
