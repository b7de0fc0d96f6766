"""What is wrong with a directory log, all of it: every byte of every segment is looked at.

Nothing is changed. Appenders go on meanwhile; only the last bytes, after the note, are looked at
under the append lock, and left alone if somebody else holds it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec

from binlog.clock import SystemClock
from binlog.errors import DamageError, UpgradeError
from binlog.logs.append_lock import AppendLock
from binlog.logs.block import Bad, find_block, signature
from binlog.logs.directory_genesis import read_genesis
from binlog.logs.filesystem import REAL, FileSystem, read_all
from binlog.logs.note import Note
from binlog.logs.scan import iter_blocks
from binlog.logs.segment import SEGMENT_BYTES, damage, list_segments, segment_name, segment_path
from binlog.logs.tail import ASIDE_NAME, Tail


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One thing that `check` has to say. ``broken``: an invariant is; else it is only mentioned."""

    rule: str  # damage, arrival-order, genesis; torn-tail, unnoted, note-lost, aside
    where: str
    detail: str
    broken: bool = True


def check_directory_log(
    path: str | os.PathLike[str], *, fs: FileSystem = REAL
) -> Iterator[Finding]:
    """Walk the log at ``path`` from its first byte to its last.

    Raises:
        RefusedError, NoLogError: there is no log.
        StorageError: its files cannot be opened.
    """
    # As a log names itself, so that a place has one name.
    directory = str(Path(path).absolute()) if fs is REAL else os.fspath(path)
    try:
        _, params = read_genesis(fs, directory)
    except (DamageError, UpgradeError) as error:
        yield Finding("genesis", error.where, error.what)
        return
    check = _Check(fs, directory, bytes.fromhex(params.log_id))
    try:
        yield from check.segments()
        yield from check.tail()
        yield from check.aside()
    finally:
        check.close()


class _Check:
    def __init__(self, fs: FileSystem, directory: str, log_id: bytes) -> None:
        self._fs = fs
        self._directory = directory
        self._log_id = log_id
        self._tail = Tail(fs, directory, log_id, segment_bytes=SEGMENT_BYTES)
        self._done = 0  # the position up to which all is looked at
        self._arrival_ms = 0

    def close(self) -> None:
        self._tail.close()

    def segments(self) -> Iterator[Finding]:
        """All up to the note; earlier segments whole."""
        note = self._tail.peek()
        if not note.counter:
            yield Finding(
                "note-lost",
                f"{self._directory}/note",
                "both slots are bad; the end of the log is found by its blocks",
                broken=False,
            )
        yield from self._up_to(note)

    def _up_to(self, note: Note) -> Iterator[Finding]:
        bases = list_segments(self._fs, self._directory)
        if not bases or bases[0] != 0:
            yield self._damage(0, Bad(0, "the first segment is missing"))
        for base, following in pairwise([*bases, None]):
            assert base is not None
            size = self._fs.stat(segment_path(self._directory, base)).st_size
            stop = size if following is not None else max(min(note.end - base, size), 0)
            if base + stop > self._done:
                yield from self._walk(base, max(self._done - base, 0), stop)
                self._done = base + stop
            end = note.end if following is None else following
            if base + size < end:
                yield self._damage(
                    base, Bad(size, f"ends at byte {size}, {end - base - size} bytes are missing")
                )

    def _walk(self, base: int, start: int, stop: int) -> Iterator[Finding]:
        sign = signature(self._log_id, base)
        fd = self._fs.open(segment_path(self._directory, base), os.O_RDONLY | os.O_CLOEXEC)
        try:
            while start < stop:
                for block in iter_blocks(self._fs, fd, sign, start, stop):
                    if isinstance(block, Bad):
                        yield self._damage(base, block)
                        rest = read_all(self._fs, fd, stop - start, start)
                        skipped = find_block(rest[1:], sign, start + 1)
                        start = skipped.offset if skipped else stop
                        break
                    start = block.end
                    if block.arrival_ms < self._arrival_ms:
                        yield Finding(
                            "arrival-order",
                            self._where(base, block.offset),
                            f"arrived at {block.arrival_ms} ms, after {self._arrival_ms} ms",
                        )
                    self._arrival_ms = max(self._arrival_ms, block.arrival_ms)
        finally:
            self._fs.close(fd)

    def tail(self) -> Iterator[Finding]:
        """What follows the note, if nobody is appending just now."""
        lock = AppendLock(
            self._fs, self._directory, monotonic=SystemClock().monotonic, pause=lambda _: None
        )
        try:
            if not lock.try_acquire():
                return
            note = self._tail.peek()
            yield from self._up_to(note)
            base = list_segments(self._fs, self._directory)[-1]
            fd = self._fs.open(segment_path(self._directory, base), os.O_RDONLY | os.O_CLOEXEC)
            try:
                start = max(self._done - base, 0)
                data = read_all(self._fs, fd, self._fs.fstat(fd).st_size - start, start)
                yield from self._after_note(fd, base, start, data)
            finally:
                self._fs.close(fd)
        finally:
            lock.forget()

    def _after_note(self, fd: int, base: int, start: int, data: bytes) -> Iterator[Finding]:
        noted, stop = start, start + len(data)
        sign = signature(self._log_id, base)
        blocks = 0
        for block in iter_blocks(self._fs, fd, sign, start, stop):
            if isinstance(block, Bad):
                at = start - noted
                if find_block(data[at + 1 :], sign, start + 1):
                    yield from self._walk(base, start, stop)
                    return
                what = "zeros" if not any(data[at:]) else "bytes of no whole block"
                yield Finding(
                    "torn-tail",
                    self._where(base, start),
                    f"{stop - start} {what} that were never acknowledged; the next append cuts them",
                    broken=False,
                )
                break
            start = block.end
            blocks += 1
        if blocks:
            yield Finding(
                "unnoted",
                self._where(base, noted),
                f"{blocks} whole blocks after the note; the next reader makes them durable",
                broken=False,
            )

    def aside(self) -> Iterator[Finding]:
        """Torn tails that were cut earlier."""
        folder = f"{self._directory}/{ASIDE_NAME}"
        try:
            names = sorted(self._fs.listdir(folder))
        except FileNotFoundError:
            return
        for name in names:
            size = self._fs.stat(f"{folder}/{name}").st_size
            yield Finding(
                "aside",
                f"{folder}/{name}",
                f"{size} bytes of a torn tail that was cut; of no use but to a curious person",
                broken=False,
            )

    def _damage(self, base: int, bad: Bad) -> Finding:
        error = damage(self._directory, base, bad, self._fs)
        return Finding("damage", error.where, error.what)

    def _where(self, base: int, offset: int) -> str:
        return f"{self._directory} segment {segment_name(base)} byte {offset}"
