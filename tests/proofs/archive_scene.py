"""A log of reshards and foreign records, read to its end, and its chains as cut by hand."""

from __future__ import annotations

from binlog.log import Position
from binlog.testing.world.digests import digest_of
from binlog.testing.world.item_events import item_event
from binlog.testing.world.operators import Operators
from binlog.testing.world.specification import Reference, Verdict
from binlog.testing.world.truth import LIMITS
from tests.proofs.archive_reference import ArchiveReference, Placed, Told
from tests.proofs.hostile import HostileProducers

Chain = list[tuple[Told, list[Placed]]]


class Scene:
    """A log of a reshard and foreign records, and chains cut by hand after every third record."""

    def __init__(self) -> None:
        self.producers = HostileProducers(kinesis=True, make_event=item_event)
        self.log = self.producers.log
        self.operators = Operators(self.log)
        self.reference = ArchiveReference(self.log, self.operators)
        for round_ in range(6):
            for process in range(2):
                self.publish(process, range(round_ * 2, round_ * 2 + 2), fate=round_)
            if round_ == 3:
                self.producers.reshard(1)
            if round_ in (1, 2, 4, 5):
                shard = next(each.id for each in self.log.shards() if not each.closed)
                for key in ("first", "second", "third"):
                    self.log.inject_foreign(f"{key}{round_}", b"sample", shard=shard)
        self.producers.settle()

    def publish(self, process: int, seeds: range, *, fate: int) -> None:
        self.producers.publish(process, [item_event(8 * a, a % 5, a) for a in seeds])
        for turn in range(4):
            self.producers.tick(5)
            self.producers.work(process, (fate * 9 % 23, turn), reply_at_once=True)

    def verdict(self, partition: int) -> Verdict:
        records = [record for _, record in self.log.records(partition)][1:]
        return Reference(LIMITS, [self.operators.meaning(record) for record in records]).judge()

    def chain(self, partition: int) -> Chain:
        """Each record fed by hand to nobody: what the specification numbers, told as segments."""
        verdict = self.verdict(partition)
        placed = self.reference.records(partition)
        ends = self.reference._ends(placed, verdict)
        bodies = list(self.reference._bodies(placed))
        found: Chain = []
        offset, part, position = 0, 0, Position(placed[0][0], -1)
        for start in range(0, len(placed), 3):
            cut = placed[start : start + 3]
            last = ends[start + len(cut) - 1]
            assert last is not None
            arrivals = [record.arrival_ms for _, record in cut]
            end = Position(cut[-1][0], cut[-1][1].sequence)
            told = Told(
                key=f"chain/p{partition:04d}/{offset + 1:020d}-{part:04d}.seg",
                partition=partition,
                first=offset + 1,
                part=part,
                last=last,
                records=len(cut),
                events=last - offset,
                start=position,
                end=end,
                offset=last,
                digest_before=digest_of(verdict.sequenced[:offset], bodies),
                digest=digest_of(verdict.sequenced[:last], bodies),
                arrival_first_ms=min(arrivals),
                arrival_last_ms=max(arrivals),
                shards=frozenset(shard for shard, _ in cut),
            )
            found.append((told, list(cut)))
            part = 0 if last > offset else part + 1
            offset, position = last, end
        return found


SCENE = Scene()
