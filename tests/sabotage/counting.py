"""A pytest plugin: says at the end how many examples Hypothesis ran. ``-p tests.sabotage.counting``

Examples are what it took to find something; those that only make a finding small do not count.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any

import pytest
from hypothesis.statistics import collector

_counts: list[int] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with collector.with_value(_count):  # type: ignore[arg-type]  # for tests that run Hypothesis inside
        try:
            return (yield)
        finally:
            # For those that Hypothesis itself runs, its own plugin has counted.
            told = getattr(item, "hypothesis_statistics", "")
            numbers = re.findall(
                r"during (\w+) phase.*\n.*\n.*?(\d+) passing, (\d+) failing, and (\d+) invalid",
                told,
            )
            _counts.extend(sum(map(int, n)) for phase, *n in numbers if phase != "shrink")


def _count(statistics: Mapping[str, Any]) -> None:
    for name, phase in statistics.items():
        if name.endswith("-phase") and name != "shrink-phase":
            _counts.append(len(phase["test-cases"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"examples: {sum(_counts)}")
