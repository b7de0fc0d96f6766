"""The floors: the least that any durable append has to do, written straight.

They prove nothing, recover nothing and know no other writer; ours is measured by how near it comes
with all of that. Lines are encoded beforehand: the floor is about bytes reaching the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from scripts.benchmarks.workload import Action, Items, final_items


def encode_lines(actions: Iterable[Action]) -> list[bytes]:
    """The actions as lines of JSON, with their line ends."""
    encode = msgspec.json.Encoder().encode
    return [encode(action) + b"\n" for action in actions]


def append_lines(file: Path, lines: list[bytes], *, every: int) -> None:
    """Write the lines to a new file, with one write and one fdatasync for `every` of them."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
    try:
        for start in range(0, len(lines), every):
            os.write(fd, b"".join(lines[start : start + every]))
            os.fdatasync(fd)
    finally:
        os.close(fd)


def read_lines(file: Path) -> Items:
    """The table that the file's lines fold to, for the check."""
    return final_items(msgspec.json.decode(line) for line in file.read_bytes().splitlines())
