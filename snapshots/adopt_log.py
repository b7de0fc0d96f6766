"""What a log has of an adoption: read from its beginning, and written where it is missing.

The log is read whole, all partitions of it: an event of the table before its ADOPT record would make it
none (`binlog.adoption`), so who writes one has to know that there is no such event. What was written
is read back before it is believed, and an event that came between is found then.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from appliers.adoption import adoption_at
from binlog.adoption import ADOPT_TYPE, ATTEMPT_BITS, AdoptedAt, Adoption
from binlog.control import adopt_frame
from binlog.errors import ConflictError, StorageError
from binlog.horizon import horizon_of
from binlog.log import Failed, Log, Put
from binlog.reader import Reader
from binlog.run import Run

PAGE_BYTES = 4 * 1024 * 1024
TRIES_S = 60.0  # how long appends that fail are repeated, and what was written is waited for
WAIT_S = 0.25  # for what was written to be seen, a look
PAUSE_FIRST_S, PAUSE_MOST_S = 0.1, 5.0


class AdoptionLog:
    """One table's adoption in one log. `read` it to the end before anything is asked."""

    def __init__(
        self,
        log: Log,
        table: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._random_bits = random_bits
        self._log = log
        self._table = table
        self._reader = Reader(log, page_bytes=PAGE_BYTES)
        self._monotonic = monotonic
        self._pause = pause
        self.adoptions: dict[int, tuple[int, Adoption]] = {}
        """By partition the offset of its ADOPT record, and what that says."""
        self.events: dict[int, int] = {}
        """By partition the offset of the first event of the table."""
        self.others: set[Adoption] = set()
        """What ADOPT records of other tables say."""

    def read(self, progress: Callable[[int], None] | None = None) -> None:
        """Go on to the end of the log as it is now.

        Raises:
            HaltedError: a partition is halted: what comes behind it is not known.
            TrimmedError: the log has forgotten its beginning; an archive has it.
        """
        self._reader.extend(horizon_of(self._log))
        while (runs := self._reader.read()) is not None:
            for run in runs:
                self._note(run)
            if progress is not None:
                progress(self._reader.bytes_read)
        self._reader.raise_halts()

    def _note(self, run: Run) -> None:
        kinds = run.columns.kinds
        numbers = {
            n for n, kind in enumerate(kinds) if kind[2] == self._table or kind[0] == ADOPT_TYPE
        }
        if not numbers:
            return
        for i, number in enumerate(run.columns.index):
            if number not in numbers:
                continue
            if kinds[number][2] != self._table:
                other = adoption_at(run, i)
                if other is not None:
                    self.others.add(other)
                continue
            offset = run.first_offset + i
            if run.columns.kinds[number][0] != ADOPT_TYPE:
                self.events.setdefault(run.partition, offset)
            elif run.partition not in self.adoptions:
                adoption = adoption_at(run, i)
                if adoption is not None:
                    self.adoptions[run.partition] = offset, adoption

    def standing(self) -> Adoption | None:
        """What the records that stand say; ``None``: there is none.

        Raises:
            ConflictError: two bases; an event of the table before a record, or where none is.
        """
        found = {adoption for _, adoption in self.adoptions.values()}
        if len(found) > 1:
            ids = ", ".join(sorted(each.base for each in found))
            raise ConflictError(
                f"table {self._table} is adopted with {len(found)} bases: {ids}",
                self._log.name,
                "no reader can follow both: adopt it under another name (--as)",
                table=self._table,
            )
        for partition, offset in sorted(self.events.items()):
            adopted = self.adoptions.get(partition)
            if adopted is None or offset < adopted[0]:
                self._refuse(partition, offset, adopted)
        return next(iter(found), None)

    def _refuse(self, partition: int, offset: int, adopted: tuple[int, Adoption] | None) -> None:
        if adopted is None:
            what = f"the log has events of table {self._table} already"
            do = "adopt it under another name (--as), or into a log that has none of it"
        else:
            what = (
                f"the log has an event of table {self._table} before its ADOPT record, at offset"
                f" {adopted[0]}"
            )
            do = (
                "writers began too early: adopt it under another name (--as); or follow this log"
                f" without the event (--exclude offsets={partition}:{offset}-{offset})"
            )
        raise ConflictError(
            what,
            f"{self._log.name}, partition {partition}, offset {offset}",
            do,
            table=self._table,
            partition=partition,
            offset=offset,
        )

    @property
    def missing(self) -> list[int]:
        """Partitions without a record."""
        return [p for p in range(self._log.params.partitions) if p not in self.adoptions]

    def write(self, adoption: Adoption) -> AdoptedAt:
        """Write the record where it is missing; all are there, and alike, on return.

        Raises:
            ConflictError: another adoption, or an event of the table, was quicker.
            StorageError: not in time; the same call goes on where it was.
        """
        deadline, pause_s = self._monotonic() + TRIES_S, PAUSE_FIRST_S
        while missing := self.missing:
            trouble = self._append(adoption, missing)
            self._read_back()
            if not self.missing:
                break
            if self._monotonic() >= deadline:
                raise StorageError(
                    f"ADOPT records of partitions {_some(self.missing)} are not in the log"
                    + (f" ({trouble})" if trouble else ""),
                    self._log.name,
                    "the same command writes those that are missing",
                ) from trouble
            self._pause(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MOST_S)
        standing = self.standing()
        if standing != adoption:
            raise ConflictError(
                f"another adoption of {self._table} was quicker, with base"
                f" {standing.base if standing else '?'}",
                self._log.name,
                "the same command goes on with that one",
                table=self._table,
            )
        return self.at(adoption)

    def at(self, adoption: Adoption) -> AdoptedAt:
        """Where the records of a complete adoption stand."""
        offsets = [self.adoptions[p][0] for p in range(self._log.params.partitions)]
        return AdoptedAt(adoption, tuple(offsets))

    def _append(self, adoption: Adoption, partitions: list[int]) -> Exception | None:
        """One attempt each. What comes of it is read back; a next one is another session.

        Unlike other frames (P3): each is stamped when it lands, so the same one again would be a
        session born twice.
        """
        log, trouble = self._log, None
        puts = [Put(p, self._frame(adoption, p)) for p in partitions]
        for reply in log.append(puts):
            if isinstance(reply, Failed):
                if reply.final:
                    raise reply.error
                trouble = reply.error
        return trouble

    def _frame(self, adoption: Adoption, partition: int) -> bytes:
        log, bits = self._log, self._random_bits(ATTEMPT_BITS)
        now_ms = log.now_ms()
        return adopt_frame(log.params, log.genesis, adoption, partition, now_ms=now_ms, bits=bits)

    def _read_back(self) -> None:
        """Take in what is there; on a log that shows it later, after a moment."""
        deadline = self._monotonic() + WAIT_S
        while True:
            self.read()
            if not self.missing or self._monotonic() >= deadline:
                return
            self._pause(WAIT_S / 5)


def _some(partitions: list[int]) -> str:
    shown = ", ".join(map(str, partitions[:5]))
    return shown if len(partitions) <= 5 else f"{shown} and {len(partitions) - 5} more"
