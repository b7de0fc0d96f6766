"""From checkpoints, a store's or a snapshot's, to where a reader goes on (C1)."""

from __future__ import annotations

from collections.abc import Mapping

from appliers.store import Checkpoint
from binlog.errors import DamageError
from binlog.log import Log, Position, holds, note_seen
from binlog.reader import Start
from binlog.sequencer_state import SequencerState


def starts_of(
    log: Log,
    store: str,
    checkpoints: Mapping[int, Checkpoint],
    *,
    check: bool = True,
    what: str = "store",
) -> dict[int, Start]:
    """Where reading goes on after ``checkpoints``; ``store`` is the name of ``what`` has them.

    ``check``: look into the log, whether it has those places.

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
        found = _found_instead(log, position, checkpoint.state, held) if check else None
        if found is not None:
            raise DamageError(
                f"the {what} is ahead of the log: partition {partition} was read up to {position},"
                f" where the log has {found}",
                store,
                "restore the log, or rebuild the store from what is left of it",
                partition=partition,
            )
        starts[partition] = Start(
            position, checkpoint.state, checkpoint.applied, checkpoint.seen_ms
        )
    return starts


def _found_instead(
    log: Log, position: Position, state: bytes, held: dict[Position, bool]
) -> str | None:
    """What the log has in the place of the record at ``position``; ``None`` where it has that."""
    if position not in held:
        held[position] = holds(log, position)
    if not held[position]:
        return "no record"
    stamp = SequencerState.decode(state).place
    found = log.stamp(position) if stamp else b""  # an archive does not know all of them
    # Two copies that went different ways, and records that happen to be of one size.
    return "another record" if found and found != stamp else None
