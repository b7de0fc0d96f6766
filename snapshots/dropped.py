"""A reader that tells, besides what it numbers, which frames it drops, and why.

A frame that is dropped is decoded a second time, here. Those that are held first and never accepted
are told at the end, by what became of their session.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from binlog.columns import FrameError, decode_columns
from binlog.frame import Session, decode_body, decode_header
from binlog.log import Record
from binlog.reader import Reader
from binlog.run import Run
from binlog.sequencer_state import Counters

Drop: TypeAlias = Literal["duplicate", "expired", "closed", "held", "skipped"]

WHY: dict[Drop, str] = {
    "duplicate": "it came before, and this is the same again",
    "expired": "it came too late: its session was forgotten by then",
    "closed": "a later generation of its session had closed it before it came",
    "held": "it waits for a frame before it, which has not come",
    "skipped": "a RESOLVE decided so",
}

# The counter that grows when a frame is dropped. ``held`` comes first: one that is held, and closes
# or completes another one, is held itself.
_COUNTERS: tuple[tuple[str, Drop], ...] = (
    ("held", "held"),
    ("expired", "expired"),
    ("skipped", "skipped"),
    ("duplicates", "duplicate"),
    ("window_dropped", "duplicate"),
    ("closed", "closed"),
)


class DroppingReader(Reader):
    """See the module. A dropped run holds what its frame has and no run gives; its offsets are 0."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dropped: list[tuple[Drop, Run]] = []
        self._held: dict[tuple[Session, int], Run] = {}  # by session and sequence of the record

    def take_dropped(self) -> list[tuple[Drop, Run]]:
        """Those of the page that `read` gave last, in the order of their records."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def left_over(self) -> Iterator[tuple[Drop, Run]]:
        """What was held and is not accepted, when all is read."""
        for (session, _), run in self._held.items():
            sequencer = self.sequencers[run.partition]
            reached = sequencer.accepted_up_to(session)
            if sequencer.is_closed(session):
                yield "closed", run
            elif reached is None:
                yield "skipped", run
            else:
                yield "held" if max(run.numbers) > reached else "duplicate", run

    def _feed(self, shard: str, record: Record, wanted: set[int], runs: list[Run]) -> None:
        sequencer = self.sequencers[record.partition]
        before, given = _counts(sequencer.counters), len(runs)
        is_target_cut = record.partition in wanted
        super()._feed(shard, record, wanted, runs)
        for run in runs[given:]:
            self._held.pop((run.session, run.sequence), None)
        after = _counts(sequencer.counters)
        reasons = [drop for drop in after if after[drop] > before[drop]]
        if not reasons or (is_target_cut and record.partition not in wanted):
            return
        accepted = {
            number
            for run in runs[given:]
            if run.sequence == record.sequence
            for number in run.numbers
        }
        found = self._decoded(record, accepted)
        if found is None:
            return
        if reasons[0] == "held":
            self._held[found.session, found.sequence] = found
        else:
            self._dropped.append((reasons[0], found))

    def _decoded(self, record: Record, accepted: set[int]) -> Run | None:
        """The events of the frame that are not ``accepted``; ``None``: there are none."""
        params = self.sequencers[record.partition].params
        try:
            header = decode_header(record.data, version_allowed=params.frame_version)
            if header.genesis:
                return None
            columns = decode_columns(decode_body(record.data, header), header.count)
        except FrameError:
            return None  # skipped as undecodable: nobody can say what it held
        numbers = range(header.first, header.last + 1)
        rest = [i for i, number in enumerate(numbers) if number not in accepted]
        if not rest:
            return None
        return Run(
            record.partition,
            0,
            columns.take(rest),
            [numbers[i] for i in rest],
            header.session,
            record.arrival_ms,
            record.sequence,
        )


def _counts(counters: Counters) -> dict[Drop, int]:
    found: dict[Drop, int] = {}
    for name, drop in _COUNTERS:
        found[drop] = found.get(drop, 0) + getattr(counters, name)
    return found
