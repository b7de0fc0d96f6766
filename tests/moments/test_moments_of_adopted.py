"""Diff and blame of a table that began with a base: its items came from somewhere, at a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from binlog.log import Log
from binlog.objects.memory import MemoryObjects
from binlog.reader import Reader
from binlog.target import END, Target
from binlog.values import encode_value
from snapshots.adopt_base import KeptBases
from snapshots.blame import Blame
from snapshots.diff import LogDiff
from snapshots.rebuild import Wanted
from tests.adoption.adoption_world import Held, add, adopt, append, items, new_log, put


def vector_of(log: Log) -> dict[int, int]:
    reader = Reader(log)
    while reader.read() is not None:
        pass
    return reader.vector()


@pytest.fixture
def adopted(tmp_path: Path) -> tuple[Log, Target, Target, KeptBases]:
    """The log, just before the table was adopted and just after."""
    log = new_log(tmp_path / "log")
    append(log, put("other", 1, table="orders"))
    before = Target(vector=vector_of(log))
    objects = MemoryObjects()
    adopt(log, objects, Held(items(5)))
    after = Target(vector=vector_of(log))
    return log, before, after, KeptBases(log.genesis, objects)


def test_blame_begins_with_the_base(adopted: Any) -> None:
    """An attribute that no event wrote is the base's, and is told so."""
    log, _, _, bases = adopted
    append(log, add("k003", 10))
    key = encode_value({"id": "k003"})
    blame = Blame(log, "users", key, Wanted(bases=bases))
    told = list(blame.events())
    assert [each.outcome for each in told] == ["adopted", "applied"]
    assert told[0].cause.type == "binlog.adopt"
    assert blame.attributes["n"].since == told[1].cause
    assert blame.attributes["id"].since == told[0].cause


def test_a_diff_over_the_adoption_has_every_item_of_the_base_added(adopted: Any) -> None:
    """And one within it only what events touched, as of any other table."""
    log, before, after, bases = adopted
    append(log, add("k003", 10))
    over = list(LogDiff(log, before, END, Wanted(bases=bases)))
    assert [change.kind for change in over] == ["added"] * 5
    assert [len(change.events) for change in over].count(1) == 1
    [within] = LogDiff(log, after, END, Wanted(bases=bases))
    assert (within.kind, [a.name for a in within.attributes]) == ("changed", ["n"])
