"""A pytest plugin: writes what failed, by which law, into ``SABOTAGE_TOLD``; `proving` reads it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

_told: list[dict[str, str]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None:
        error = call.excinfo.value
        kit = sys.modules.get("binlog.testing.violation")
        found = kit is not None and isinstance(error, kit.Violation)
        _told.append(
            {
                "test": item.nodeid,
                "law": getattr(error, "law", "") if found else "",
                "text": str(error) if found else f"{type(error).__name__}: {error}",
                "shown": str(report.longreprtext),
            }
        )
    return report


def pytest_sessionfinish() -> None:
    Path(os.environ["SABOTAGE_TOLD"]).write_text(json.dumps(_told), encoding="utf-8")
