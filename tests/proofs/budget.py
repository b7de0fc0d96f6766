"""How many examples a proof gets, and that the rare things were among them (invariant 24)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import Phase, settings

HALTS = (
    "halt undecodable",
    "halt hold-bound",
    "halt expired-held",
    "lifted undecodable skip",
    "lifted hold-bound hold",
    "lifted hold-bound gap",
    "lifted hold-bound skip",
    "lifted expired-held accept",
    "lifted expired-held drop",
    "RESOLVE that does not count",
    "several halts at one record",
)
"""Every halt, every decision on one, and what is easily overlooked; in histories of one partition."""


def examples(times: float) -> settings:
    """The profile's number of examples, times this: proofs differ in what one example costs."""
    default = settings.default
    assert default is not None
    return settings(max_examples=max(1, round(default.max_examples * times)))


LARGE = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def until_caught(times: float) -> settings:
    """As `examples`, for what has to fail: one failure is enough, and need not be a small one.

    Which is warned about where it is printed: mark the test with `LARGE`.
    """
    return settings(
        examples(times), phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False
    )


def assert_met(met: Counter[str], wanted: Iterable[str]) -> None:
    """That each of these happened; a proof that never met the rare thing proves nothing of it."""
    print("met:", ", ".join(f"{name} {count}" for name, count in sorted(met.items())))
    missing = [name for name in wanted if not met[name]]
    assert not missing, f"never happened in this run: {', '.join(missing)}"
