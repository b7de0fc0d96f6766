"""Writes what a cutter has cut, and finds out whose segment stands there then (A1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


Call = Callable[[], bool]


def one_by_one(calls: Sequence[Call]) -> list[bool]:
    """Their results, for who has no threads."""
    return [call() for call in calls]


class Writer:
    """Of one archive; one thread at a time. ``at_once`` makes several writes at the same time."""

    def __init__(
        self,
        log: Log,
        archive: Archive,
        *,
        at_once: Callable[[Sequence[Call]], list[bool]] = one_by_one,
    ) -> None:
        self._log = log
        self._archive = archive
        self._at_once = at_once
        self._indexer = Indexer(archive)
        self.ends = EndNotes(archive.objects)
        """Of what was written; whoever writes says when."""

    def write(self, cutters: Sequence[Cutter]) -> list[Written]:
        """Make a segment of all that waits in each of these cutters; they are durable on return.

        Raises:
            StorageError: of some it is unknown whether they were written; the very same may be tried
                again, by anybody.
            RefusedError, DamageError, MismatchError, UpgradeError: of what stands there.
        """
        ready = [cutter for cutter in cutters if not cutter.is_full]
        found = self._write(ready)
        for cutter in cutters:  # those that are left, and refuse
            if cutter.is_full and cutter.records:
                cutter.cut()
        return found

    def _write(self, cutters: Sequence[Cutter]) -> list[Written]:
        cuts = [cutter.cut(stamp=self._log.stamp(cutter.position)) for cutter in cutters]
        put_new = self._archive.objects.put_new
        are_ours = self._at_once([partial(put_new, cut.key, cut.data) for cut in cuts])
        return [
            self._settle(cutter, cut, is_ours=is_ours)
            for cutter, cut, is_ours in zip(cutters, cuts, are_ours, strict=True)
        ]

    def _settle(self, cutter: Cutter, cut: Cut, *, is_ours: bool) -> Written:
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
