"""What every object store must do, as functions that are run on each of them.

A claim takes an `ObjectsPlace`: ``place.open()`` is another handle on the same objects, as another
process would have one. What is opened is closed by whoever runs the claim.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import pytest

from binlog.objects import Objects

Claim: TypeAlias = Callable[["ObjectsPlace"], None]


class ObjectsPlace:
    """Where one set of objects is. ``cannot`` says of a claim why it is not made of this place.

    ``page`` is how many objects a listing brings at once, where that is a number.
    """

    page = 40
    cannot: Mapping[str, str] = MappingProxyType({})

    def __init__(self, make: Callable[[], Objects]) -> None:
        self._make = make
        self.opened: list[Objects] = []

    def open(self) -> Objects:
        self.opened.append(self._make())
        return self.opened[-1]

    def hold_to(self, claim: Claim) -> None:
        if reason := self.cannot.get(claim.__name__):
            pytest.skip(reason)
        claim(self)


def a_first_put_stands_and_a_second_does_not(place: ObjectsPlace) -> None:
    objects, other = place.open(), place.open()
    assert objects.put_new("chain/p0003/1-0.seg", b"first") is True
    assert other.put_new("chain/p0003/1-0.seg", b"second") is False
    assert other.put_new("chain/p0003/1-0.seg", b"") is False
    assert objects.get("chain/p0003/1-0.seg") == b"first"
    assert [entry.size for entry in other.list()] == [5]


def the_same_bytes_again_are_ours(place: ObjectsPlace) -> None:
    """A writer that died after its put, and comes again, must learn that it won."""
    objects, other = place.open(), place.open()
    assert objects.put_new("a", b"bytes") is True
    assert objects.put_new("a", b"bytes") is True
    assert other.put_new("a", b"bytes") is True


def equal_sizes_are_not_equal_bytes(place: ObjectsPlace) -> None:
    objects = place.open()
    assert objects.put_new("a", b"x" * 4_096 + b"1") is True
    assert objects.put_new("a", b"x" * 4_096 + b"2") is False
    assert objects.put_new("a", b"x" * 4_096) is False, "a prefix is something else, too"


def nothing_can_be_put_too(place: ObjectsPlace) -> None:
    objects = place.open()
    assert objects.put_new("empty", b"") is True
    assert objects.put_new("empty", b"") is True
    assert objects.put_new("empty", b"x") is False
    assert objects.get("empty") == b""
    assert objects.get("empty", 0, 10) == b""
    assert objects.get("empty", -4) == b""
    assert objects.get("empty", 3, 2) == b""


def a_note_is_replaced(place: ObjectsPlace) -> None:
    objects, other = place.open(), place.open()
    objects.put("seen/p0003", b"one, longer")
    other.put("seen/p0003", b"two")
    assert objects.get("seen/p0003") == b"two"
    assert objects.put_new("seen/p0003", b"three") is False


def what_is_not_there_is_none(place: ObjectsPlace) -> None:
    objects = place.open()
    assert objects.get("a") is None
    assert objects.get("a", 5, 5) is None
    assert objects.get("a", -5) is None
    assert objects.get("a", 0, 0) is None
    objects.put_new("a/b", b"x")
    assert objects.get("a") is None, "a folder is no object"
    assert objects.get("a/b/c") is None, "an object is no folder"


def ranges_are_pythons(place: ObjectsPlace) -> None:
    """A beginning, an end, and what lies beyond either, against slices of the same bytes."""
    objects = place.open()
    data = bytes(range(10))
    objects.put_new("a", data)
    for start in (0, 1, 9, 10, 11, -1, -9, -10, -11, -100):
        for length in (None, 0, 1, 3, 10, 100):
            begin = start if start >= 0 else max(0, len(data) + start)
            wanted = data[begin:] if length is None else data[begin : begin + length]
            assert objects.get("a", start, length) == wanted, (start, length)
    with pytest.raises(ValueError, match="negative"):
        objects.get("a", 0, -1)


def listings_are_sorted_by_bytes(place: ObjectsPlace) -> None:
    """`-` and `.` sort before `/`, `0` after it, capitals before small letters."""
    objects = place.open()
    keys = ["a/z", "a-b", "a.b/c", "a0", "a/b/c", "a/b-c", "B", "a_", "a=/x", "Z/y", "a/b.d"]
    for key in keys:
        objects.put_new(key, key.encode())
    listed = list(place.open().list())
    assert [entry.key for entry in listed] == sorted(keys)
    assert [entry.size for entry in listed] == [len(key) for key in sorted(keys)]
    assert len({entry.modified_ms // 3_600_000 for entry in listed}) <= 2


def listings_begin_after_a_key_and_keep_to_a_prefix(place: ObjectsPlace) -> None:
    objects = place.open()
    keys = ["a-1", "a/1", "a/2", "a/b/1", "a/b/2", "a/c", "a0", "b/1"]
    for key in keys:
        objects.put_new(key, b"x")
    for prefix in ("", "a", "a/", "a/b", "a/b/", "a/b/1", "a/x", "b", "c/d/e"):
        for after in ("", "A", *keys, "a/b", "a/b/", "a/b/1x", "a/", "zz"):
            wanted = [key for key in sorted(keys) if key.startswith(prefix) and key > after]
            found = [entry.key for entry in objects.list(prefix, after=after)]
            assert found == wanted, (prefix, after)


def listings_are_longer_than_a_page(place: ObjectsPlace) -> None:
    objects = place.open()
    keys = [f"many/{number:05}" for number in range(place.page + 37)]
    for key in reversed(keys):
        objects.put_new(key, b"")
    objects.put_new("many-", b"")
    objects.put_new("manz", b"")
    assert [entry.key for entry in objects.list("many/")] == keys
    assert [entry.key for entry in objects.list("many/", after=keys[17])] == keys[18:]
    assert [entry.key for entry in objects.list()] == ["many-", *keys, "manz"]
    objects.delete(keys)
    assert [entry.key for entry in objects.list()] == ["many-", "manz"]


def what_is_deleted_is_gone_and_can_be_made_anew(place: ObjectsPlace) -> None:
    objects, other = place.open(), place.open()
    for key in ("a/1", "a/2", "b"):
        objects.put_new(key, b"old")
    other.delete(["a/1", "c", "b", "a/1/x"])
    assert [entry.key for entry in objects.list()] == ["a/2"]
    assert objects.get("a/1") is None
    assert objects.put_new("a/1", b"new") is True
    other.delete([])


def a_key_that_is_none_is_refused(place: ObjectsPlace) -> None:
    """Nothing of an archive may leave its folder, nor hide in it."""
    objects = place.open()
    bad = ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "a\n", "ä", "a" * 201]
    bad += ["a/" * 300 + "a", "a\\b", "a%2fb", "a\0"]
    for key in bad:
        for call in (
            lambda key=key: objects.put_new(key, b""),
            lambda key=key: objects.put(key, b""),
            lambda key=key: objects.get(key),
            lambda key=key: objects.delete([key]),
        ):
            with pytest.raises(ValueError, match="is no key"):
                call()
    assert list(objects.list()) == []


def of_racing_threads_one_wins(place: ObjectsPlace) -> None:
    """And all others learn that they did not; what stands is one writer's, whole."""
    threads, rounds = 6, 5
    for number in range(rounds):
        key, start = f"race/{number}", threading.Barrier(threads)
        won: list[int] = []

        def put(who: int, key: str = key, start: threading.Barrier = start) -> None:
            objects = place.open()
            start.wait()
            if objects.put_new(key, bytes([who]) * 50_000):
                won.append(who)  # noqa: B023  of this round

        running = [threading.Thread(target=put, args=(who,)) for who in range(threads)]
        for each in running:
            each.start()
        for each in running:
            each.join()
        assert len(won) == 1, won
        assert place.open().get(key) == bytes(won) * 50_000


def a_reader_sees_an_object_whole_or_not_at_all(place: ObjectsPlace) -> None:
    data = bytes(range(256)) * 2_000
    writer, reader = place.open(), place.open()
    done = threading.Event()
    seen: list[bytes | None] = []

    def read() -> None:
        while not done.is_set():
            found = [entry.size for entry in reader.list("whole/")]
            seen.append(reader.get("whole/a"))
            assert not found or found == [len(data)]

    running = threading.Thread(target=read)
    running.start()
    writer.put_new("whole/a", data)
    done.set()
    running.join()
    assert set(seen) <= {None, data}
    assert reader.get("whole/a") == data


def a_closed_one_opens_again(place: ObjectsPlace) -> None:
    objects = place.open()
    objects.put_new("a", b"x")
    objects.close()
    objects.close()
    assert objects.get("a") == b"x"


CLAIMS: list[Claim] = [
    a_first_put_stands_and_a_second_does_not,
    the_same_bytes_again_are_ours,
    equal_sizes_are_not_equal_bytes,
    nothing_can_be_put_too,
    a_note_is_replaced,
    what_is_not_there_is_none,
    ranges_are_pythons,
    listings_are_sorted_by_bytes,
    listings_begin_after_a_key_and_keep_to_a_prefix,
    listings_are_longer_than_a_page,
    what_is_deleted_is_gone_and_can_be_made_anew,
    a_key_that_is_none_is_refused,
    of_racing_threads_one_wins,
    a_reader_sees_an_object_whole_or_not_at_all,
    a_closed_one_opens_again,
]
