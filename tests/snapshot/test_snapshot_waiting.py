"""Parked rows and their letters, read at two times: what counts, and what comes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from appliers.stores import MemoryStore
from appliers.summary import summarize
from binlog.changes import event, put_item
from binlog.errors import DamageError
from binlog.producer import Producer
from consumers.local import replicate
from consumers.redrive import Redrive
from snapshots.restore import restore
from snapshots.snapshot_waiting import Waiting
from tests.snapshot.live_world import BROKEN, PARK, RULES
from tests.snapshot.snapshot_support import new_log, rows, taken

KEY = b"key"


def letter(version: int, key: bytes = KEY, *, alone: bool = False, reason: str = "") -> DeadLetter:
    return DeadLetter("orders", 0, key, version, alone, "id", "Paid", reason, b"event")


def parked(version: int, tail: int) -> Row:
    return Row(version, 0, b"data", parked=True, tail=tail)


def waiting(*letters: int, at: int = 10) -> Waiting:
    """The checkpoint stood ``at``, and these letters were read."""
    made = Waiting({0: at}, "store")
    made.read(letter(version).place for version in letters)
    return made


def test_what_waited_at_the_checkpoint_waits() -> None:
    assert waiting(4, 6).settle("orders", KEY, parked(3, 6)) == parked(3, 6)
    whole = Row(3, 0, b"data")
    assert waiting(4, 6).settle("orders", KEY, whole) is whole


def test_what_came_after_the_checkpoint_comes_again() -> None:
    """A replay does not make a letter of an event up to the tail: with the tail as it was read,
    those whose letters were not read would be lost.
    """
    assert waiting(4, 6).settle("orders", KEY, parked(3, 12)) == parked(3, 6)
    assert waiting(4, 12).settle("orders", KEY, parked(3, 12)) == parked(3, 4)
    assert waiting().settle("orders", KEY, parked(11, 12)) == Row(11, 0, b"data")
    assert waiting(4).settle("orders", KEY, parked(9, 12)) == Row(9, 0, b"data")


def test_a_parked_row_without_its_letter_ends_it() -> None:
    """Its event would be lost for good, and `check` says why."""
    for found in (waiting(), waiting(4), waiting(4, 5)):
        with pytest.raises(DamageError, match="the event that waits behind it is not kept"):
            found.settle("orders", KEY, parked(3, 6))


def test_letters_are_those_of_the_rows_as_they_are_served() -> None:
    made = waiting(2, 4, 6)
    made.note("orders", 0, KEY, 3, 6)
    kept = [version for version in range(1, 12) if made.keeps(letter(version))]
    assert kept == [4, 5, 6]
    assert not made.keeps(letter(4, b"other"))
    assert made.keeps(letter(10, alone=True))
    assert not made.keeps(letter(11, alone=True)), "it comes again"


def test_a_rejection_of_what_still_waits_is_left_out() -> None:
    """Somebody put the letter back, in vain, after it was read."""
    made = waiting(4, 6)
    made.note("orders", 0, KEY, 3, 6)

    def rejection(offset: int, key: bytes = KEY) -> Rejection:
        return Rejection(0, offset, "orders", key, "id", 1, 0)

    assert not made.has_answered(rejection(4))
    assert made.has_answered(rejection(5)), "of an event before it was parked"
    assert made.has_answered(rejection(4, b"other"))


def parked_store(path: Path, count: int = 3) -> tuple[Any, Any]:
    """An order whose payment does not fit, and one that waits behind it; some others."""
    log, store = new_log(path / "log", partitions=1), MemoryStore()
    BROKEN.clear()
    BROKEN.add(2)
    with Producer(log) as producer:
        producer.append(put_item("orders", {"id": 0}, key="id"))
        producer.append(event("Paid", {"id": 0}, 1, table="orders"))
        producer.append(event("Paid", {"id": 0}, 2, table="orders"))
        producer.append(event("Paid", {"id": 0}, 3, table="orders"))
        producer.append(put_item("orders", {"id": 1}, key="id", expect=7))
        for number in range(2, count):
            producer.append(put_item("orders", {"id": number}, key="id"))
    replicate(log, store, PARK)
    return log, store


def test_what_waits_in_a_snapshot_is_put_back_from_it(tmp_path: Path) -> None:
    """Dead letters are no copy of what the log may have forgotten by then."""
    log, store = parked_store(tmp_path)
    snapshot = taken(store)
    assert (snapshot.manifest.letters, snapshot.manifest.rejections) == (2, 1)
    assert snapshot.manifest.tables["orders"].parked == 1
    back = MemoryStore()
    restore(snapshot, back)
    assert list(back.letters()) == list(store.letters())
    assert list(back.rejections()) == list(store.rejections())
    BROKEN.clear()
    for each in (store, back):
        [done] = Redrive(each, RULES, dry_run=False).run()
        assert (done.outcome, done.applied) == ("back", 2)
    assert summarize(back) == summarize(store)
    assert rows(back) == rows(store)
    replicate(log, back, PARK)
