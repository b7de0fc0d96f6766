"""The relay: from an inbox into a log, every record's events exactly once, without any state.

All relays of one inbox use one session family (`binlog.foreign.relay_family`), and the generation
grows with the log's time. To begin is to *fence*: number 1 of a new generation goes into every
partition. The sequencer drops whatever of an older generation comes after it (P7), so what was
accepted before our fence in a partition is all that older relays ever did there: ghosts of a
relay that died, a frame whose reply was lost, or another relay that somebody started by mistake
and that still sends. The relay reads the log up to its fences, in all partitions, and only then
sends, and only what is not there:

* twice: an event is sent by generation g only if it is in no partition before g's fences. After
  them no older generation adds one; within g the numbers tell a copy; and a younger generation
  reads all of g's, up to its own fences, before it sends.
* never: a batch is done when its events were *read back* as accepted, not when they were
  acknowledged. An acknowledged frame of a generation that was closed meanwhile is dropped by every
  reader, is missing there, and is sent by whoever closed it.

So two relays at a time cost work and no event: the younger goes on, the older reads the younger's
fence and ends (`LostError`). Closed generations are remembered as long as frames of them can count
(their `born` is not later than that of who closed them, since a generation is a time of the log).

A session stops after half of its age and is renewed, which is the same as to begin. A crash
anywhere is the same, too. What is needed is that the inbox still has the records.

Bounds: one batch of one lane at a time, about `binlog.relay.inbox.PAGE_BYTES`, and the ids of what
is in the log beyond the last mark of its lane.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.log import Log
from binlog.logger import get_logger
from binlog.relay.convert import Convert, check_fits, of_log, unreadable
from binlog.relay.frames import OwnFrames, mark
from binlog.relay.inbox import Batch, ForeignInbox, Inbound, Inbox
from binlog.relay.sender import Sender, SessionOver

WAIT_S = 0.25  # for the inbox, a look

_logger = get_logger(__name__)


class Report(msgspec.Struct):
    """What a relay did. ``present`` are records that were in the log before."""

    records: int = 0
    events: int = 0
    present: int = 0
    unreadable: int = 0


class Wanted(msgspec.Struct, frozen=True):
    """An event of a record."""

    inbound: Inbound
    envelope: Envelope


class Relay:
    """Carries ``inbox`` into ``log``; `run`, or `step` until it gives ``False``."""

    def __init__(
        self,
        inbox: Inbox,
        log: Log,
        convert: Convert,
        *,
        on_error: Literal["stop", "keep"] = "stop",
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self.report = Report()
        self._inbox = inbox
        self._log = log
        self._convert = convert
        self._keeps = on_error == "keep"
        self._frames = OwnFrames(log, inbox.identity)
        self._sender = Sender(
            log, self._frames, monotonic=monotonic, pause=pause, random_bits=random_bits
        )
        self._marks: dict[str, int] = {}  # done, and no mark in the log says so
        self._has_begun = False

    def run(
        self,
        *,
        once: bool = False,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] | None = None,
    ) -> Report:
        """Relay what there is and, unless ``once``, what comes, until ``stop``.

        Raises:
            RefusedError: a record is no event, and such are not to be kept.
            LostError: another relay of the inbox has begun after this one.
            HaltedError: a partition of the log is halted.
            StorageError: the log does not take what is sent, or does not show it.
        """
        while not stop():
            if not self.step(wait_s=0.0 if once else WAIT_S) and once:
                break
            if progress is not None:
                progress(self.report.events)
        return self.report

    def step(self, *, wait_s: float = 0.0) -> bool:
        """Relay one batch; ``False`` if there is none now, and then everything is marked.

        After any error the next step begins anew.
        """
        begun, self._has_begun = self._has_begun, False
        if not begun:
            self._sender.begin()
            self._inbox.go_on(self._frames.done)
        batch = self._inbox.read(wait_s=wait_s)
        if batch is not None:
            self._relay(batch)
        else:
            if self._marks:
                self._send([])
            while self._frames.read():  # another relay may have begun
                pass
        self._has_begun = True
        return batch is not None

    def _relay(self, batch: Batch) -> None:
        wanted: list[Wanted] = []
        through: int | None = None
        refused: RefusedError | None = None
        for inbound in batch.records:
            if self._is_wanted(inbound):
                try:
                    wanted += [Wanted(inbound, envelope) for envelope in self._events_of(inbound)]
                except RefusedError as error:
                    refused = error
                    break
            through = inbound.number
        else:
            through = batch.through
        self._count(wanted)
        self._send(wanted)
        if through is not None:
            self._frames.finish(batch.lane, through)
            self._marks[batch.lane] = through
        if refused is not None:
            raise refused

    def _is_wanted(self, inbound: Inbound) -> bool:
        if not isinstance(self._inbox, ForeignInbox) or self._log.params.foreign != "halt":
            return True
        # A person decides there: know of every decision that is in the log by now.
        while self._frames.read():
            pass
        return (inbound.lane, inbound.number) in self._frames.diverted

    def _events_of(self, inbound: Inbound) -> Sequence[Envelope]:
        """What a record becomes.

        Raises:
            RefusedError: it is no event, and is not to be kept as what it is, or cannot be.
        """
        try:
            envelopes = of_log(inbound) if inbound.event else self._convert(inbound)
            check_fits(envelopes, self._log.params)
        except RefusedError as error:
            where = self._inbox.locate(inbound.lane, inbound.number)
            reason = f"{error.where}: {error.what}" if error.where else error.what
            _logger.warning("record.unreadable", place=where, reason=reason)
            if not self._keeps:
                raise RefusedError(
                    f"a record that is no event ({reason})",
                    where,
                    "it stays there, and all behind it waits; mend the options, or pass it by with"
                    " --on-error keep",
                    shard=inbound.lane,
                    sequence=inbound.number,
                ) from error
            kept = unreadable(inbound, reason)
            check_fits([kept], self._log.params)
            if not self._frames.has(inbound.lane, inbound.number, kept.id):
                self.report.unreadable += 1
            return [kept]
        return envelopes

    def _send(self, wanted: Sequence[Wanted]) -> None:
        """All of these that are not in the log, and the marks, under as many sessions as it takes."""
        while True:
            marks = dict(self._marks)
            envelopes = [each.envelope for each in self._missing(wanted)]
            if marks:
                envelopes.append(mark(marks, self._log.now_ms()))
            if not envelopes:
                return
            try:
                self._sender.send(envelopes)
            except SessionOver:
                self._sender.begin()
            else:
                self._marks.clear()
                return

    def _missing(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        return [
            each
            for each in wanted
            if not self._frames.has(each.inbound.lane, each.inbound.number, each.envelope.id)
        ]

    def _count(self, wanted: Sequence[Wanted]) -> None:
        missing = self._missing(wanted)
        new = len({each.inbound.number for each in missing})
        self.report.events += len(missing)
        self.report.records += new
        self.report.present += len({each.inbound.number for each in wanted}) - new
