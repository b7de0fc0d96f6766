"""What a store's checkpoints say of how far its partitions were carried."""

from __future__ import annotations

from appliers.store import Checkpoint
from binlog.sequencer_state import SequencerState


def carried_ms(checkpoint: Checkpoint) -> int:
    """Up to when, by the log's own time, everything of its partition was carried, at least."""
    return max(SequencerState.decode(checkpoint.state).mark, checkpoint.seen_ms or 0)
