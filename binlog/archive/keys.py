"""The names of an archive's objects, and which one comes after which (A1).

::

    archive.json                                     what the archive is, and of which log
    chain/p0003/00000000000000000001-0000.seg        a segment: partition, first offset, part
    index/p0003/00000000000000000001-0000.idx        an index page, named for its first segment
    seen/p0003.json                                  a note, see `binlog.archive.seen`
    seen/ends-0000.json                              a note, see `binlog.archive.ends`
    through/0f..e2.json                              a note of a shard, see `binlog.archive.through`

The key of a segment is a pure function of the one before it: ``(last + 1, 0)`` if that holds events,
``(first, part + 1)`` if it holds none. So whoever goes on with a chain writes to the same key, of
any number of them one succeeds, and a chain cannot fork. Sorted by key is sorted by chain.

A key that held the last offset, too, would be another one for each place where an archiver cuts: two
in a race would both succeed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from binlog.vector import OFFSET_MAX

ROOT_KEY = "archive.json"
OWN_PREFIXES = (ROOT_KEY, "chain/", "index/", "seen/", "through/")
"""Of the keys of an archive, sorted."""
PART_MAX = 9_999
_SEGMENT = re.compile(r"chain/p(\d{4,})/(\d{20})-(\d{4})\.seg")


class Place(NamedTuple):
    """Of a segment in its chain: the offset of its first event, or of the next one, and a count."""

    first: int
    part: int


FIRST = Place(1, 0)


def next_place(place: Place, last: int) -> Place:
    """What comes after a segment at ``place`` whose last event has that offset.

    ``last`` is ``place.first - 1`` for one without events.
    """
    if last >= place.first:
        return Place(last + 1, 0)
    return Place(place.first, place.part + 1)


def chain_prefix(partition: int) -> str:
    """All segments of a partition begin so."""
    return f"chain/p{partition:04d}/"


def index_prefix(partition: int) -> str:
    """All index pages of a partition begin so."""
    return f"index/p{partition:04d}/"


def segment_key(partition: int, place: Place) -> str:
    """The key of a segment."""
    if not 1 <= place.first <= OFFSET_MAX + 1 or not 0 <= place.part <= PART_MAX:
        raise ValueError(f"no segment begins at {place.first}-{place.part}")
    return f"{chain_prefix(partition)}{place.first:020d}-{place.part:04d}.seg"


def index_key(partition: int, place: Place) -> str:
    """The key of the index page whose first segment stands at ``place``."""
    return f"{index_prefix(partition)}{place.first:020d}-{place.part:04d}.idx"


def seen_key(partition: int) -> str:
    """The key of a partition's note."""
    return f"seen/p{partition:04d}.json"


def parse_segment_key(key: str) -> tuple[int, Place] | None:
    """Partition and place of a segment's key; ``None``: it is none."""
    match = _SEGMENT.fullmatch(key)
    if match is None:
        return None
    partition, place = int(match[1]), Place(int(match[2]), int(match[3]))
    try:
        return (partition, place) if segment_key(partition, place) == key else None
    except ValueError:
        return None
