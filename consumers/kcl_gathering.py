"""A shard's process that archives: batches are gathered until they are worth a segment.

KCL hands over what a second has brought, and a segment of each would be paid for. So what is handed over
waits here until the oldest of it has waited for T, or all of it has become large. Of what waits KCL is
told nothing: where the process ends it is handed over again.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumers.kcl_health import Health
from consumers.kcl_shard import SLICE_BYTES, Checkpointer, Delivered, ShardConsumer, Ways


class GatheringConsumer(ShardConsumer):
    """Handles messages as `ShardConsumer`, some of them later. ``every_s`` is T."""

    def __init__(self, ways: Ways, health: Health, *, every_s: float) -> None:
        super().__init__(ways, health)
        self._clock = ways.clock
        self._every_s = every_s
        self._gathered: list[Delivered] = []
        self._gathered_bytes = 0
        self._since = 0.0  # when the oldest of it came
        self._behind_ms: int | None = None

    def process(
        self, delivered: Sequence[Delivered], behind_ms: int | None, checkpoint: Checkpointer
    ) -> None:
        """Gather a batch, or archive all that was gathered: then all of it is durable on return."""
        self._behind_ms = behind_ms
        if not delivered:
            super().process(delivered, behind_ms, checkpoint)
        elif not self._gathered:
            self._since = self._clock.monotonic()
        self._gathered += delivered
        self._gathered_bytes += sum([len(each.data) for each in delivered])
        is_old = self._clock.monotonic() - self._since >= self._every_s
        if self._gathered and (is_old or self._gathered_bytes >= SLICE_BYTES):
            self._archive(checkpoint)

    def shard_ended(self, checkpoint: Checkpointer) -> None:
        self._archive(checkpoint)
        super().shard_ended(checkpoint)

    def shutdown_requested(self, checkpoint: Checkpointer) -> None:
        self._archive(checkpoint)
        super().shutdown_requested(checkpoint)

    def lease_lost(self) -> None:
        self._gathered.clear()  # whoever has the lease is given it again
        super().lease_lost()

    def _archive(self, checkpoint: Checkpointer) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered:
            super().process(gathered, self._behind_ms, checkpoint)
