"""What may replace a parked item: what read it as it is, tail and all, and moves it on."""

from __future__ import annotations

import itertools

from appliers.item import Row, Write, condition_holds

KEY = b"k"


def row(version: int, tail: int | None, *, partition: int = 0) -> Row:
    return Row(version, partition, b"x", parked=tail is not None, tail=tail or 0)


def test_every_case_by_the_words_of_the_design() -> None:
    """Tail = max(tail, offset), iff the version is as read; unpark iff version and tail are."""
    tails = (None, 6, 7, 8)
    met = set()
    for version, tail, partition, base, read, new, to in itertools.product(
        (None, 0, 3, 4), tails, (0, 1), (None, 0, 3, 4), tails, (3, 4, 5), tails
    ):
        found = None if version is None else row(version, tail, partition=partition)
        write = Write("t", KEY, row(new, to), base, read)
        if found is None:
            wanted = base in (None, 0) and read is None
        elif partition != 0 or tail != read:
            wanted = False
        elif base is None:
            wanted = new > found.version
        else:
            same = read is not None if to is None else to > (read or 0)
            grows = new > base or (new == base and same)
            wanted = found.version == base and grows
        assert condition_holds(write, found) == wanted, (found, write)
        met.add((wanted, base is None, tail is None, to is None, new == base))
    assert len(met) > 12
