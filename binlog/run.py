"""A run: what the sequencer accepted of one frame, numbered."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from binlog.columns import Columns
from binlog.frame import Session


class Run(msgspec.Struct, frozen=True, gc=False):
    """Consecutive accepted envelopes of one frame: offsets from ``first_offset`` on, no gap."""

    partition: int
    first_offset: int
    columns: Columns  # of the accepted envelopes only
    numbers: Sequence[int]  # the session's number of each
    session: Session
    arrival_ms: int
    sequence: int  # of the record that carries them, not of the one that set them free

    @property
    def last_offset(self) -> int:
        return self.first_offset + len(self.columns) - 1
