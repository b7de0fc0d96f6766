"""Writes what a cutter has cut, and finds out whose segment stands there then (A1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from binlog.archive.archive import Archive
from binlog.archive.cutter import Cut, Cutter
from binlog.archive.ends import EndNotes
from binlog.archive.indexer import Indexer
from binlog.archive.segment import damaged
from binlog.archive.segment_info import SegmentInfo
from binlog.log import Log


class Written(NamedTuple):
    """``is_ours``: what we cut stands there; else another archiver was quicker, and the cutter
    stands at the end of the chain."""  # noqa: D205, D209

    info: SegmentInfo
    is_ours: bool


WRITES_AT_ONCE = 8
"""Segments that are cut, and so twice in memory, at the same time."""

Call = Callable[[], bool]


def at_once(call: Call) -> Call:
    """For who has no threads."""
    is_new = call()
    return lambda: is_new


def _ignore(_: Written) -> None:
    """For who wants to know nothing."""


class Writer:
    """Of one archive; one thread at a time. ``later`` begins a write, and what it gives waits for it."""

    def __init__(
        self,
        log: Log,
        archive: Archive,
        *,
        later: Callable[[Call], Call] = at_once,
    ) -> None:
        self._log = log
        self._archive = archive
        self._later = later
        self._indexer = Indexer(archive)
        self.ends = EndNotes(archive.objects)
        """Of what was written; whoever writes says when."""

    def write(self, cutters: Sequence[Cutter], note: Callable[[Written], None] = _ignore) -> None:
        """Make a segment of all that waits in each of these cutters; they are durable on return.

        ``note`` is told of each of them, in their order. While one is waited for, those behind it are
        compressed and written; nothing is being written any more when an error is raised.

        Raises:
            StorageError: of some it is unknown whether they were written; the very same may be tried
                again, by anybody.
            RefusedError, DamageError, MismatchError, UpgradeError: of what stands there.
        """
        ready = [cutter for cutter in cutters if not cutter.is_full]
        self._write(ready, note)
        for cutter in cutters:  # those that are left, and refuse
            if cutter.is_full and cutter.records:
                cutter.cut()

    def _write(self, cutters: Sequence[Cutter], note: Callable[[Written], None]) -> None:
        put_new = self._archive.objects.put_new
        later = self._later if len(cutters) > 1 else at_once
        begun: deque[tuple[Cutter, Cut, Call]] = deque()
        for cutter in cutters:
            cutter.close()
        try:
            for cutter in cutters:
                if len(begun) == WRITES_AT_ONCE:
                    note(self._settle(*begun.popleft()))
                cut = cutter.cut(stamp=self._log.stamp(cutter.position))
                begun.append((cutter, cut, later(partial(put_new, cut.key, cut.data))))
            while begun:
                note(self._settle(*begun.popleft()))
        finally:
            for _, _, wait in begun:
                with suppress(Exception):
                    wait()

    def _settle(self, cutter: Cutter, cut: Cut, wait: Call) -> Written:
        is_ours = wait()
        chain = self._archive.chain(cutter.partition)
        if is_ours:
            cutter.settle(cut)
            chain.note_end(cut.info)
            self.ends.note(cut.info)
            self._indexer.note(cut.info)
            return Written(cut.info, is_ours=True)
        standing = chain.info(cut.info.place)
        _check_agreement(cut, standing)
        cutter.settle(cut, standing)
        end = chain.checked_end()
        if end is not None and end.place > standing.place:
            cutter.go_on_at(end)
        self.ends.note(standing if end is None else end)
        return Written(standing, is_ours=False)


def _check_agreement(cut: Cut, standing: SegmentInfo) -> None:
    """That two archivers that got to one offset got to one digest.

    Raises:
        DamageError: they did not: one of them did not read what the log has.
    """
    same_end = standing.last == cut.info.last
    if standing.start != cut.info.start or standing.digest_before != cut.info.digest_before:
        raise damaged(
            "it begins elsewhere than where the segment before it ends",
            cut.key,
            partition=cut.info.partition,
        )
    if same_end and standing.end.digest != cut.info.end.digest:
        raise damaged(
            f"another archiver's digest at offset {standing.last} is"
            f" {standing.end.digest.hex()[:16]}.., ours {cut.info.end.digest.hex()[:16]}..: one of"
            " them did not read what the log has",
            cut.key,
            partition=cut.info.partition,
        )
