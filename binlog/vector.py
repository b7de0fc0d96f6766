"""A vector ``{partition: offset}``: a cut through the whole log.

Written as JSON, ``{"0": 12, "5": 7}``; a partition left out stands at 0, nothing of it. The same
thing is a position in the stream, a segment's end, a snapshot's content and a table's progress.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from binlog.errors import RefusedError
from binlog.json_values import parse_line

Vector: TypeAlias = dict[int, int]

TIMELINE_SHIFT = 48
_PARTITION = re.compile(r"0|-?[1-9]\d{0,9}", re.ASCII)
OFFSET_MAX = (1 << TIMELINE_SHIFT) - 1


def version_of(timeline: int, offset: int) -> int:
    """The integer on an item: it grows with the offset, and jumps with a timeline."""
    return timeline << TIMELINE_SHIFT | offset


def offset_of(version: int) -> int:
    """The offset within its timeline of an item's version."""
    return version & OFFSET_MAX


def parse_vector(text: str | bytes, partitions: int) -> Vector:
    """The vector that the JSON ``text`` names; zeros are left out.

    Raises:
        RefusedError: no JSON object of partitions and offsets, or an unknown partition.
    """
    data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    try:
        vector = _from_document(parse_line(data))
    except RefusedError as error:
        raise RefusedError(
            f"no vector: {error.what}", do='write it as {"0": 12, "5": 7}, @FILE, or end'
        ) from error
    for partition, offset in vector.items():
        if not 0 <= partition < partitions:
            raise RefusedError(
                f"the vector names partition {partition}",
                do=f"this log has partitions 0 to {partitions - 1}",
                partition=partition,
            )
        if not 0 <= offset <= OFFSET_MAX:
            raise RefusedError(f"the vector names offset {offset} of partition {partition}")
    return without_zeros(vector)


def _from_document(document: object) -> Vector:
    if type(document) is not dict:
        raise RefusedError("an object of partitions and offsets is needed")
    vector = {}
    for name, offset in document.items():
        # One way to write a partition, so that none is named twice.
        if not _PARTITION.fullmatch(name):
            raise RefusedError(f"{name[:20]!r} is no partition")
        if type(offset) is not int:
            raise RefusedError(f"the offset of partition {name} is no whole number")
        vector[int(name)] = offset
    return vector


def without_zeros(vector: Mapping[int, int]) -> Vector:
    """The vector in partition order, zeros left out: the one form that is compared and printed."""
    return {partition: vector[partition] for partition in sorted(vector) if vector[partition]}


def minimum(vectors: list[Vector]) -> Vector:
    """The greatest vector that is at or before all of ``vectors`` (empty for none of them)."""
    if not vectors:
        return {}
    common = set.intersection(*(set(vector) for vector in vectors))
    return {p: min(vector[p] for vector in vectors) for p in sorted(common)}
