"""Places of the log contract that an archive is behind: read alone, and as one with its log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.log import Log, Put, Reply
from binlog.logs import MemoryLog
from binlog.objects.memory import MemoryObjects
from tests.archive.archive_world import archive_by_hand
from tests.contracts.log_contract import Place
from tests.log.log_frames import PARAMS


class WrittenThrough(ArchiveLog):
    """An archive whose log is archived at once: for the claims about reading, appends go there."""

    def __init__(self, log: Log, archive: Archive, place: AlonePlace) -> None:
        super().__init__(archive, clock=place.clock, pause=self._rest, fetches=2)
        self._written = log
        self._place = place

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        self._check_open()
        replies = self._written.append(frames)
        with self._place.archiving:  # by hand: that nobody else archives is its condition
            archive_by_hand(self._written, self.archive.objects)
        return replies

    def now_ms(self) -> int:
        return max(super().now_ms(), self._written.now_ms())

    def _rest(self, seconds: float) -> None:
        time.sleep(0.001)
        self._place.clock.advance(max(1, round(seconds * 1_000)))


class AlonePlace(Place):
    """An archive in memory, of a log in memory."""

    cannot: Mapping[str, str] = {
        "a_frame_of_the_largest_size_is_taken": "it is no frame that a sequencer takes, and halts its"
        " partition, which is archived up to there",
        "a_stamp_tells_what_stands_at_a_place": "it knows those of its segments' last records only",
    }

    def __init__(self, *, first_sequence: int = 0, sequence_step: int = 1) -> None:
        super().__init__()
        self.archiving = threading.Lock()
        self.log = MemoryLog(
            PARAMS, clock=self.clock, first_sequence=first_sequence, sequence_step=sequence_step
        )
        self.archive = archive_by_hand(self.log)

    def open_one(self) -> Log:
        return WrittenThrough(self.log, Archive.open(self.archive.objects), self)


class BesidePlace(Place):
    """A log of any kind beside an archive, which has all that was there when a handle was opened."""

    def __init__(self, within: Place) -> None:
        super().__init__(within.clock)
        self.within = within
        self.cannot = {
            **within.cannot,
            "pages_are_about_as_large_as_asked": "a page ends where the archive does, too",
        }
        self.coarse_ms = within.coarse_ms
        self.keeps_age = within.keeps_age
        self.objects = MemoryObjects()

    def again(self, log: Log) -> Log:
        return log if self.within.again(log) is log else self.open()

    def open_one(self) -> Log:
        log = self.within.open_one()
        archive_by_hand(log, self.objects, records_each=2)
        return ArchivedLog(log, ArchiveLog(Archive.open(self.objects), clock=self.clock))


def alone(directory: Path) -> Place:
    return AlonePlace()


def alone_with_long_numbers(directory: Path) -> Place:
    return AlonePlace(first_sequence=49 * 10**54, sequence_step=16)


def beside(kind: Callable[[Path], Place]) -> Callable[[Path], Place]:
    def place(directory: Path) -> Place:
        return BesidePlace(kind(directory))

    place.__name__ = f"archived_{kind.__name__}"
    return place
