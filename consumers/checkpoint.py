"""From a store's checkpoints to where a reader goes on (C1)."""

from __future__ import annotations

from collections.abc import Mapping

from appliers.store import Checkpoint
from binlog.errors import DamageError
from binlog.log import Log, Position, holds, note_seen
from binlog.reader import Start
from binlog.sequencer_state import SequencerState


def starts_of(log: Log, store: str, checkpoints: Mapping[int, Checkpoint]) -> dict[int, Start]:
    """Where reading goes on after ``checkpoints`` of the store that is called ``store``.

    Raises:
        DamageError: the store is ahead of the log, which lacks a record that was applied.
        TrimmedError: the log may have forgotten what came after one of them.
    """
    starts = {}
    held: dict[Position, bool] = {}  # many partitions stand at one place
    for checkpoint in checkpoints.values():  # one row may know of it what another does not
        note_seen(log, Position(checkpoint.shard, checkpoint.sequence), checkpoint.seen_ms)
    for partition, checkpoint in checkpoints.items():
        position = Position(checkpoint.shard, checkpoint.sequence)
        place = SequencerState.decode(checkpoint.state).place
        if position not in held:
            held[position] = holds(log, position)
        if not held[position]:
            found = "no record"
        elif place and place != log.stamp(position):
            # Two copies that went different ways, and records that happen to be of one size.
            found = "another record"
        else:
            starts[partition] = Start(
                position, checkpoint.state, checkpoint.applied, checkpoint.seen_ms
            )
            continue
        raise DamageError(
            f"the store is ahead of the log: partition {partition} was read up to {position},"
            f" where the log has {found}",
            store,
            "restore the log, or rebuild the store from what is left of it",
            partition=partition,
        )
    return starts
