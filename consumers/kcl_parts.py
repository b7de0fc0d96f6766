"""How a batch that KCL hands over is taken apart: by bytes, and never within a record of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Part(Protocol):
    """`consumers.kcl_shard.Delivered`: KCL may make several of one record, under its number."""

    @property
    def sequence(self) -> int: ...

    @property
    def data(self) -> bytes: ...


def part_end(delivered: Sequence[Part], begin: int, size_max: int) -> int:
    """Where a part of about that many bytes ends; what belongs to one record stays together."""
    size = 0
    for at in range(begin, len(delivered)):
        size += len(delivered[at].data)
        follows = at + 1 < len(delivered) and delivered[at + 1].sequence == delivered[at].sequence
        if size >= size_max and not follows:
            return at + 1
    return len(delivered)
