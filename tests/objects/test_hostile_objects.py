"""The hostile objects keep the contract, do everything they say, and can be repeated by their seed."""

from __future__ import annotations

from random import Random

import pytest

from binlog.errors import StorageError
from binlog.objects import MemoryObjects, Objects
from tests.objects.hostile_objects import (
    ALL,
    Crashed,
    Fates,
    HostileObjects,
    cut_at_rest,
    flip_at_rest,
)


def write_all(seed: int, *, fates: Fates = ALL) -> tuple[HostileObjects, Objects, list[str]]:
    """Two writers of the same keys, each going on until it knows; what they were told."""
    random, inner = Random(seed), MemoryObjects()
    rivals = HostileObjects(inner, random, Fates())
    told: list[str] = []
    numbers = iter(range(1_000))
    hostile = HostileObjects(
        inner, random, fates, rival=lambda: rivals.put("note", b"%d" % next(numbers))
    )
    for number in range(40):
        key = f"a/{number // 2}"
        while True:
            try:
                won = hostile.put_new(key, b"%d" % number)
                found = hostile.get(key)
                hostile.put("note", b"mine")
                list(hostile.list("a/"))
            except (StorageError, Crashed) as error:
                told.append(type(error).__name__)
                continue
            told.append(f"{number} {won}")
            assert (found == b"%d" % number) is won
            break
    return hostile, inner, told


def test_everything_happens_and_a_writer_that_goes_on_gets_through() -> None:
    """With twenty seeds each thing that it says it does was seen; a later landing replaces nothing."""
    seen: set[str] = set()
    for seed in range(20):
        hostile, inner, _ = write_all(seed)
        before = {entry.key: inner.get(entry.key) for entry in inner.list("a/")}
        hostile.calm()
        assert {entry.key: inner.get(entry.key) for entry in inner.list("a/")} == before
        assert len(before) == 20
        seen |= set(hostile.seen)
    wanted = {name.replace("_", " ") for name in Fates.__dataclass_fields__}
    assert seen == wanted - {"flip"}


def test_a_seed_repeats_a_run() -> None:
    assert write_all(7)[2] == write_all(7)[2]
    assert write_all(7)[2] != write_all(8)[2]


def test_without_fates_nothing_happens() -> None:
    hostile, _, told = write_all(1, fates=Fates())
    assert not hostile.seen
    assert told == [f"{number} {number % 2 == 0}" for number in range(40)]


def test_damage_is_of_one_bit_or_the_end() -> None:
    inner = MemoryObjects()
    inner.put_new("a", bytes(8))
    flip_at_rest(inner, "a", 9)
    assert inner.get("a") == b"\0\2" + bytes(6)
    cut_at_rest(inner, "a", 1)
    assert inner.get("a") == b"\0"
    with pytest.raises(AssertionError, match="has no 5 bytes"):
        cut_at_rest(inner, "a", 4)
    on_their_way = HostileObjects(inner, Random(1), Fates(flip=1.0))
    assert on_their_way.get("a") != b"\0"
    assert inner.get("a") == b"\0"
