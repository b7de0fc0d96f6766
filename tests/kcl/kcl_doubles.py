"""What a shard's process has around it, scripted: a worker, KCL's answers, a clock that stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from binlog.clock import ManualClock
from binlog.errors import BinlogError
from binlog.log import Record
from consumers.delivery import Outcome
from consumers.kcl_health import Health
from consumers.kcl_shard import CheckpointRefusedError, Delivered, Paces, ShardConsumer

DONE = Outcome(None, None)


def delivered(*sequences: int, size: int = 1) -> list[Delivered]:
    return [
        Delivered(sequence, 0, 1_700_000_000_000, "p0000", b"x" * size) for sequence in sequences
    ]


class ScriptedWorker:
    """Answers with what is scripted, then with success; remembers what it was given."""

    def __init__(self) -> None:
        self.script: list[Outcome | Exception] = []
        self.calls: list[tuple[list[int], bool]] = []
        self.durable: list[int] = []

    def apply(
        self,
        shard: str,  # noqa: ARG002
        records: Sequence[Record],
        *,
        closed: bool = False,
    ) -> Outcome:
        numbers = [record.sequence for record in records]
        self.calls.append((numbers, closed))
        said = self.script.pop(0) if self.script else DONE
        if isinstance(said, Exception):
            raise said
        failed = said.first_failed
        self.durable += [n for n in numbers if failed is None or n < failed]
        return said

    def heard(self, shard: str) -> None:
        pass


class ScriptedWays:
    """Time passes only where somebody waits."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.random = Random(0)
        self.worker = ScriptedWorker()
        self.waits: list[float] = []
        self.daemon_leaves_after: int | None = None
        self.opening: BinlogError | None = None
        self.paced: Paces | None = None
        self.ending = False

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.clock.advance(round(seconds * 1000))
        return self.daemon_leaves_after is None or len(self.waits) <= self.daemon_leaves_after

    def pace(self, shard: str) -> Paces | None:
        del shard
        return self.paced

    def is_ending(self) -> bool:
        return self.ending

    def open(
        self, shard: str, after: int
    ) -> tuple[ScriptedWorker, Callable[[Sequence[Delivered]], list[Record]]]:
        del shard, after
        if self.opening is not None:
            raise self.opening
        return self.worker, lambda given: [
            Record(each.sequence, each.arrival_ms, 0, each.data) for each in given
        ]


class Checkpoints:
    """KCL's side of checkpoints: what it was told, after refusals that are scripted by name."""

    def __init__(self, *refusals: str) -> None:
        self.refusals = list(refusals)
        self.told: list[tuple[int | None, int | None]] = []
        self.asked = 0

    def __call__(self, sequence: int | None = None, sub: int | None = None) -> None:
        self.asked += 1
        if self.refusals and (name := self.refusals.pop(0)):
            raise CheckpointRefusedError(name)
        self.told.append((sequence, sub))


def started(ways: ScriptedWays) -> ShardConsumer:
    shard = ShardConsumer(ways, Health(None, ways.clock))
    shard.initialize("shardId-0", "TRIM_HORIZON")
    return shard


def sequences(calls: Iterable[tuple[list[int], bool]]) -> list[list[int]]:
    return [numbers for numbers, _ in calls]
