"""The whole, archived: a stream that forgets, archivers that race and die, and readers who come late.

Several archivers keep one archive of the stream, over objects that lose replies, land writes late and
let others in between. What they have kept is forgotten by the stream, at any moment, and sometimes
what they have not. A replica goes on from wherever it stood, from both as one log; tables are rebuilt
from both, and from the archive alone. Judges are the reference of the archive, of the sequencer and
of tables; the ledger of what producers were told.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.store import vector_of
from appliers.stores.memory import MemoryStore
from binlog.archive import archiver
from binlog.archive.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.archiver import Archiving, archive
from binlog.archive.segment_info import SegmentInfo
from binlog.errors import HaltedError, MismatchError, RefusedError, StorageError, TrimmedError
from binlog.log import Log
from binlog.objects import MemoryObjects
from binlog.reader import Reader
from binlog.target import Target
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.replicas import Replica
from binlog.vector import Vector, without_zeros
from snapshots.rebuild import Wanted, rebuild
from tests.objects.hostile_objects import Crashed, Fates, HostileObjects
from tests.proofs.archive_reference import ArchiveReference, Placed, Told
from tests.proofs.forgetful import SLACK_MS, ForgetfulLog
from tests.proofs.whole import Whole, assert_replica

ARCHIVERS = 3
MOODS = (
    Fates(),
    Fates(raced=0.5),
    Fates(raced=0.2, lost_after=0.2, late=0.1, cut=0.1),
    Fates(raced=0.2, lost_before=0.1, crash_before=0.1, crash_after=0.2),
    Fates(raced=0.3, late=0.3),
)
CUTS = (
    Archiving(once=True, page_bytes=1, memory_bytes_max=1),
    Archiving(once=True, page_bytes=2, memory_bytes_max=600),
    Archiving(once=True, page_bytes=5, memory_bytes_max=2_000),
    Archiving(once=True, page_bytes=1_000),
)
"""How often it is cut; pages of the world's log are counted in records."""


class Raced(HostileObjects):
    """Others come in between where it matters: after it was looked what stands there."""

    def put_new(self, key: str, data: bytes) -> bool:
        is_ours = super().put_new(key, data)
        self.seen["race lost"] += not is_ours
        return is_ours

    def _before(self, verb: str, key: str) -> None:
        rival = self.rival
        if not key.startswith("chain/") or verb != "put_new":
            self.rival = None
        try:
            super()._before(verb, key)
        finally:
            self.rival = rival


def told_by(info: SegmentInfo) -> Told:
    """What a segment says of itself, in the reference's words."""
    return Told(
        key=info.key,
        partition=info.partition,
        first=info.first,
        part=info.part,
        last=info.last,
        records=info.records,
        events=info.events,
        start=info.start,
        end=info.end.position,
        offset=info.end.offset,
        digest_before=info.digest_before,
        digest=info.end.digest,
        arrival_first_ms=info.arrival_first_ms,
        arrival_last_ms=info.arrival_last_ms,
        shards=frozenset(shard.id for shard in info.shards),
    )


class Archived(Whole):
    """``kind`` of the store that is replicated into, as in `Whole`."""

    def __init__(self, *, kind: str, kinesis: bool, folder: Path) -> None:
        super().__init__(kind=kind, kinesis=kinesis, folder=folder)
        self.stream = ForgetfulLog(self.log)
        self.objects = MemoryObjects("memory:archive")
        self.reference = ArchiveReference(self.log, self.operators)
        Archive.create(self.objects, PARAMS, self.log.genesis)
        archiver.NOTE_EVERY_MS = 1  # this stream forgets within a second, and not within days
        self.hostile: list[HostileObjects] = []
        self.kept: dict[int, list[str]] = {p: [] for p in range(PARAMS.partitions)}
        self.replica = Replica(
            0,
            self.both(),
            self.new_store("archived"),
            NO_RULES,
            fingerprint=fingerprint(NO_RULES),
            remembers=True,
            met=self.met,
        )

    # -- logs ------------------------------------------------------------------------------------

    def both(self) -> Log:
        """Stream and archive as one log, by a handle that remembers nothing."""
        return ArchivedLog(self.stream.open(), self.alone())

    def alone(self) -> ArchiveLog:
        """The archive as a log."""
        return ArchiveLog(Archive.open(self.objects))

    # -- archivers -------------------------------------------------------------------------------

    def run_archiver(self, mood: int, cut: int, seed: int, *, rivals: int = 2) -> None:
        """One archiver runs to the stream's end, or dies; in the midst of its calls, others do."""
        objects = Raced(self.objects, Random(seed), MOODS[mood % len(MOODS)])
        if rivals:
            objects.rival = lambda: self.run_archiver(seed, cut + 1, seed + 1, rivals=rivals - 1)
        self.hostile.append(objects)
        how = CUTS[cut % len(CUTS)]
        try:
            archive(self.stream.open(), Archive.open(objects), how)
        except Crashed:
            self.met["archiver died"] += 1
        except StorageError:
            self.met["archiver was given no answer"] += 1
        except HaltedError:
            self.met["archived while halted"] += 1
        except TrimmedError:
            self.met["archiver came too late"] += 1
            assert not self.stream.is_whole()
        else:
            self.met["archived to the end"] += 1
        self.met.update(objects.seen)

    def land_late(self) -> None:
        """What was under way when its archiver went away, lands now, long after."""
        for objects in self.hostile:
            objects.calm()
        self.hostile.clear()

    # -- the stream ------------------------------------------------------------------------------

    def forget(self, back_ms: int) -> None:
        """The stream forgets what is older than that, and archived.

        Somebody has archived all there was before, twice, as in the hours that a retention has: so
        it is known of a quiet place how far it was seen. Nothing is under way for as long as that.
        """
        self.land_late()
        self.producers.tick(2 * SLACK_MS)
        for _ in range(2):
            self.run_archiver(0, 3, 0, rivals=0)
        for partition in range(PARAMS.partitions):
            count = sum(len(placed) for _, placed in self.chain(partition))
            if count < len(self.reference.records(partition)):
                return  # it is halted; whoever lets it be for so long loses it
        through = self.log.now_ms() - max(back_ms, SLACK_MS + 1)
        if self.stream.forget(through):
            self.met["forgotten"] += 1

    # -- judges ----------------------------------------------------------------------------------

    def chain(self, partition: int) -> list[tuple[Told, list[Placed]]]:
        """The segments of a partition as they stand, each with its records."""
        chain = Archive.open(self.objects).chain(partition)
        return [
            (told_by(info), [each for block in chain.open(info) for each in block])
            for info in chain.segments()
        ]

    def check_archive(self) -> None:
        """Invariant 18, of every chain."""
        for partition in range(PARAMS.partitions):
            chain = self.chain(partition)
            wrong = self.reference.check_chain(partition, chain, self.verdict(partition))
            assert not wrong, "\n".join(wrong)
            keys = [told.key for told, _ in chain]
            assert keys[: len(self.kept[partition])] == self.kept[partition], "a segment is gone"
            self.kept[partition] = keys
            self._note(chain)

    def _note(self, chain: Iterable[tuple[Told, list[Placed]]]) -> None:
        """Which of the rare things are in it."""
        seen: set[bytes] = set()
        for told, placed in chain:
            self.met["duplicate at a cut"] += placed[0][1].data in seen
            seen.update(record.data for _, record in placed)
            self.met["segment without events"] += not told.events
            self.met["reshard within a segment"] += len({shard for shard, _ in placed}) > 1
            self.met["foreign record in a segment"] += any(r.partition < 0 for _, r in placed)

    def archived_end(self) -> Vector:
        """How far the archive goes."""
        ends = {
            p: end.last
            for p in range(PARAMS.partitions)
            if (end := Archive.open(self.objects).chain(p).end()) is not None
        }
        return without_zeros(ends)

    def replicate(self, steps: int, page_bytes: int) -> None:
        stood = self._stands_behind()
        super().replicate(steps, page_bytes)
        self.met["gone on with in the archive"] += stood and not self._stands_behind()

    def _stands_behind(self) -> bool:
        """Whether the store's checkpoints are at what the stream has forgotten."""
        rows = self.store.checkpoints(self.generation.id).values()
        edges = self.stream.edges()
        return any(row.sequence < edges.get(row.shard, -1) for row in rows)

    def check_rebuild_alone(self) -> None:
        """Tables from the archive, to its end: no record of the stream is asked for."""
        vector = self.archived_end()
        store = MemoryStore()
        try:
            report = rebuild(self.alone(), store, Wanted())
        except HaltedError:
            self.met["archive alone halts"] += 1
            return
        except (RefusedError, MismatchError):
            assert not all(self.chain(p) for p in range(PARAMS.partitions)), "all have begun"
            return
        assert report.vector == vector
        assert_replica(store, self.tables(vector))
        self.met["rebuilt from the archive alone"] += 1

    def check_states(self) -> None:
        """A reader of the archive has, byte for byte, the state of a reader of the log."""
        states: list[dict[int, bytes]] = []
        for log in (self.log, self.alone()):
            reader = Reader(log)
            while reader.read() is not None:
                pass
            states.append({p: reader.sequencers[p].encode_state() for p in reader.partitions})
            self.met["held in a state"] += any(reader.sequencers[p].held for p in reader.partitions)
        assert states[0] == states[1]
        compressed = [
            record.data != kept.data
            for partition in range(PARAMS.partitions)
            for (_, record), (_, kept) in zip(
                self.reference.records(partition),
                [each for _, placed in self.chain(partition) for each in placed],
                strict=True,
            )
        ]
        self.met["kept decompressed"] += sum(compressed)

    def _check_rebuild(self, target: Target, wanted: Vector) -> None:
        store = self.new_store(f"rebuilt{self.met['rebuilt']}")
        report = rebuild(self.both(), store, Wanted(target=target))
        assert report.vector == without_zeros(wanted)
        assert_replica(store, self.tables(wanted))
        self.met["rebuilt"] += 1
        self.met["rebuilt from both"] += not self.stream.is_whole()
        store.close()

    def settle(self) -> None:
        """All comes to rest; then the archive has all, and the stream may forget it."""
        self.land_late()
        self.check_archive()
        super().settle()
        self.run_archiver(0, 1, 0, rivals=0)
        self.check_archive()
        for partition in range(PARAMS.partitions):
            count = sum(len(placed) for _, placed in self.chain(partition))
            assert count == len(self.reference.records(partition)), "the archive is not complete"
        self.check_rebuild_alone()
        self.check_states()
        self.forget(0)
        self.check_rebuild(None)
        assert vector_of(self.store.checkpoints(self.generation.id)) == self.archived_end()
