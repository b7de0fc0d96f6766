"""Invariant 24 of archive, snapshots and rebuilds: each rare thing happens in the runs, or they fail.

And each seed is one story: what Hypothesis finds in minutes, these find in seconds.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.proofs.budget import assert_met
from tests.proofs.history_stories import STORIES, tell

SEEDS = {"archive": 30, "snapshot": 20, "rebuild": 40, "adoption": 40}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is reported of races, damage and late notes is what is wanted here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    yield
    logging.disable(before)


@pytest.mark.parametrize("story", STORIES)
def test_every_rare_thing_happens(story: str) -> None:
    """A story that never met it proves nothing of it."""
    met: Counter[str] = Counter()
    for seed in range(SEEDS[story]):
        met.update(tell(story, seed))
    assert_met(met, STORIES[story][1])


@pytest.mark.parametrize("story", STORIES)
def test_a_seed_is_one_story(story: str) -> None:
    """Else a failure could not be repeated."""
    assert tell(story, 3) == tell(story, 3)
