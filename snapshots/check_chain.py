"""A chain's records sequenced anew, and what each segment says of its end held against that.

Of an archive alone the records are the archive's own. Beside its log they are the log's, as far as it
still has them: where both agree there, archive and log are one history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from appliers.store import Checkpoint
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.chain_view import ChainView
from binlog.archive.segment_info import Outline, SegmentInfo
from binlog.errors import MismatchError, RefusedError, TrimmedError
from binlog.log import Forgets, Log, Position
from binlog.logs.directory_check import Finding
from binlog.run import Run
from binlog.standing import Start
from snapshots.check_log import Walk, Watch

EDGE_MS = 2 * 3_600_000  # what a stream will have forgotten soon is not begun with


class EndsWalk(Walk):
    """Compares its sequencers with the ends of segments as it passes them, and stops behind all."""

    def __init__(
        self,
        log: Log,
        views: Mapping[int, ChainView],
        ends: Mapping[int, Sequence[Outline]],
        *,
        rule: str,
        name: str,
        starts: Mapping[int, Start] | None = None,
    ) -> None:
        super().__init__(log, partitions=sorted(views), starts=starts)
        self._views = views
        self._ends = {p: iter(some) for p, some in ends.items()}
        self._end = {p: next(some, None) for p, some in self._ends.items()}
        self._rule = rule
        self._name = name

    def read(self, *, wait_s: float = 0.0) -> list[Run] | None:
        """`None`, too, when all ends are passed."""
        return super().read(wait_s=wait_s) if any(self._end.values()) else None

    def left(self) -> list[tuple[int, Outline]]:
        """The first end of each partition that was not come to."""
        return [(p, end) for p, end in sorted(self._end.items()) if end is not None]

    def _pass_watches(self, partition: int, position: Position) -> list[Watch]:
        """Compare the ends that lie before the record at ``position``."""
        self._pass_ends(partition, Position(position.shard, position.sequence - 1))
        return []

    def _end_watches(self, partition: int) -> None:
        self._pass_ends(partition, self._positions[partition])

    def _pass_ends(self, partition: int, position: Position) -> None:
        """Compare those up to that place, behind which nothing was read yet."""
        view = self._views[partition]
        place = view.rank(position)
        while (end := self._end[partition]) is not None:
            rank = view.rank(end.end)
            if place is None or rank is None or rank > place:
                break
            self._compare_end(partition, end)

    def _compare_end(self, partition: int, end: Outline) -> None:
        info = self._views[partition].chain.info(end.place)
        watch = watch_of(info, f"{self._name} {info.key}")
        self._compare_state(watch, partition, rule=self._rule)
        self._end[partition] = next(self._ends[partition], None)


def watch_of(info: SegmentInfo, where: str) -> Watch:
    """The end of a segment as a checkpoint to be compared."""
    end = info.end
    row = Checkpoint(
        partition=info.partition,
        shard=end.position.shard,
        sequence=end.position.sequence,
        offset=end.offset,
        applied=end.applied,
        digest=end.digest,
        state=end.state,
    )
    return Watch(where, row)


def walk_chain(log: ArchiveLog, partition: int) -> EndsWalk | None:
    """A walk over one partition of an archive; ``None``: nothing of it is archived."""
    view = log.view(partition)
    if not view.outlines:
        return None
    ends = {partition: view.outlines}
    return EndsWalk(log, {partition: view}, ends, rule="archive", name=log.name)


def check_beside(log: Log, archive: ArchiveLog) -> Iterator[Finding]:
    """Whether a log and its archive are one history, without a gap.

    As far as the log has still what was archived: from the genesis on, or from the first segment that
    is not about to leave it.

    Raises:
        StorageError, RefusedError: of the log or the storage.
    """
    both = ArchivedLog(log, archive)
    both.shards()  # so that every place has its place
    views = {p: archive.view(p) for p in range(log.params.partitions)}
    views = {p: view for p, view in views.items() if view.outlines}
    edge_ms = log.now_ms() - log.retention_s() * 1000 if isinstance(log, Forgets) else 0.0
    for partition, view in views.items():
        last = view.outlines[-1]
        if last.arrival_last_ms > edge_ms + EDGE_MS:
            continue
        try:
            both.read(last.end, partitions=frozenset({partition}), bytes_max=1)
        except TrimmedError as error:
            yield Finding("archive-gap", error.where, error.what)
        except (RefusedError, MismatchError) as error:
            yield Finding("archive-log", f"{archive.name} {last.key}", error.what)
    yield from _overlap(log, archive, views, edge_ms)


def _overlap(
    log: Log, archive: ArchiveLog, views: Mapping[int, ChainView], edge_ms: float
) -> Iterator[Finding]:
    """The log sequenced from where it still has everything, and the ends of segments there."""
    for since_ms in (edge_ms and edge_ms + EDGE_MS, edge_ms and edge_ms + 4 * EDGE_MS):
        ends: dict[int, Sequence[Outline]] = {}
        starts: dict[int, Start] = {}
        for partition, view in views.items():
            first = next(
                (i for i, o in enumerate(view.outlines) if o.arrival_first_ms >= since_ms), None
            )
            if first is None:
                continue
            ends[partition] = view.outlines[first:]
            if first:
                starts[partition] = view.chain.info(view.outlines[first - 1].place).going_on()
        some = {p: views[p] for p in ends}
        walk = EndsWalk(log, some, ends, rule="archive-log", name=archive.name, starts=starts)
        try:
            walk.run()
        except TrimmedError:
            continue  # it forgot that just now
        except (RefusedError, MismatchError) as error:
            yield Finding("archive-log", error.where or log.name, error.what)
        yield from (found for found in walk.found if found.rule.startswith("archive-log"))
        for partition, end in walk.left():
            detail = f"the log can be read up to {walk.place(partition)[:2]} only"
            yield Finding("archive-log", f"{archive.name} {end.key}", detail)
        return
