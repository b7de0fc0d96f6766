"""What a user can set on a producer. The defaults suit a log on a local disk."""

from __future__ import annotations

from typing import Literal

import msgspec

from binlog.log import Remote


class ProducerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    linger_s: float = 0.0
    """How long an event may wait for company of its partition. With 0 whatever waits goes with
    the next commit: while one is being made durable, the next one gathers."""
    frames_per_s: float | None = None
    """Frames begun a second and shard, at most: above it events wait for company, however short
    the linger is. If not given, what suits the log: no limit where a frame costs nothing."""
    frame_bytes_goal: int = 24 * 1024
    """A frame is closed at about this many bytes, compressed: what Kinesis bills as one unit."""
    queue_bytes_max: int = 64 * 1024 * 1024
    """Back-pressure: what is published and not yet decided. One publish larger than this alone
    is taken when nothing else waits."""
    when_full: Literal["block", "raise"] = "block"
    full_wait_s: float = 60.0
    """How long a publish blocks for room before it raises `NotSentError`."""
    queue_wait_s: float = 120.0
    """An event that has not been sent after this long fails, certainly not in the log."""
    give_up_s: float = 60.0
    """A frame that has been tried for this long is given up: unknown, and its session ends."""
    retry_first_s: float = 0.05
    retry_most_s: float = 5.0
    """Back-off: a random time up to a bound that starts at the first and doubles to the second."""
    calls_max: int | None = None
    """`Log.append` calls at once; they never share a partition. If not given, as many as suit the
    log: one where a call is a commit and commits are made one after the other, several where it
    is a request to a service. More than one are made by threads of the producer's own."""
    call_spacing_s: float | None = None
    """While one call is out the next one begins this much later than the last one began, at the
    soonest: what comes meanwhile travels together. If not given, what suits the log."""
    call_frames_max: int = 500
    call_bytes_max: int = 8 * 1024 * 1024
    """What one call carries at most (PutRecords: 500 records, 10 MiB)."""
    id_window: bool = False
    """Ask the sequencer to drop an event that has the id and the content of one of the last W of
    its partition: for applications that emit an event again after a crash (P6)."""

    def settled(self, log: Remote | None) -> ProducerOptions:
        """With what was left to the log, which is a service or else on a local disk."""
        calls_max, spacing_s = self.calls_max, self.call_spacing_s
        return msgspec.structs.replace(
            self,
            calls_max=calls_max or (log.calls_max if log else 1),
            call_spacing_s=spacing_s if spacing_s is not None or not log else log.call_spacing_s,
            frames_per_s=self.frames_per_s or (log.frames_per_s if log else None),
        )

    def __post_init__(self) -> None:
        for name in ("frame_bytes_goal", "queue_bytes_max", "calls_max", "call_frames_max"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {getattr(self, name)!r} is below 1")
        for name in ("queue_wait_s", "give_up_s", "retry_first_s", "retry_most_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)!r} is not above 0")
        if self.frames_per_s is not None and not self.frames_per_s > 0:
            raise ValueError(f"frames_per_s {self.frames_per_s!r} is not above 0")
        for name in ("linger_s", "full_wait_s", "call_spacing_s"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} {getattr(self, name)!r} is below 0")
        if self.when_full not in ("block", "raise"):
            raise ValueError(f"when_full {self.when_full!r} is neither 'block' nor 'raise'")
