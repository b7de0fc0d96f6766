"""What is wrong with snapshots: every byte of every object is looked at.

====================  =========================================================================
rule                  broken when
====================  =========================================================================
snapshot-manifest     a manifest cannot be read, is of another id, or is gone
snapshot-begun        the checkpoints are missing, are not what was written, or do not give its vector
snapshot-part         a part is missing, is not what was written, or says other things than the manifest
snapshot-table        counts or digest of a table are not those of its rows; a key is there twice
snapshot-row          a row that is beyond what the manifest calls exact, or parked without its letters
snapshot-upgrade      of a newer format than this code reads
checkpoint-..         of one held against its log: not what the log gives there, see `snapshots.check`
snapshot-ahead        it holds an offset that the log does not reach
====================  =========================================================================

Mentioned without being broken: ``snapshot-unfinished``, one that never had a manifest: it is being
taken, was interrupted, or was being removed; ``snapshot-stray``, an object that belongs to none;
``snapshot-log``, one of another log than the one it is held against; ``snapshot-none``, there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from appliers.digest import TableDigest
from appliers.letters import DeadLetter
from binlog.errors import DamageError, MismatchError, UpgradeError
from binlog.log import Log
from binlog.logs.directory_check import Finding
from binlog.objects.objects import Objects
from binlog.vector import offset_of
from snapshots.check_log import Walk, Watch
from snapshots.snapshot import (
    Snapshot,
    Unreadable,
    lost_manifest,
    read_begun,
    snapshots_and_unreadable,
    snapshots_in,
)
from snapshots.snapshot_begin import unfinished
from snapshots.snapshot_chain import keys_of
from snapshots.snapshot_manifest import Manifest, Part, TableCount, base_remedy, begun_key
from snapshots.snapshot_part import check_part

_Parked = dict[tuple[str, int, bytes], tuple[int, int]]


def check_snapshots(
    objects: Objects, *, progress: Callable[[int], None] | None = None
) -> Iterator[Finding]:
    """Findings of all snapshots there; ``progress`` is called with the rows looked at so far."""
    rows = met = 0
    for each in snapshots_and_unreadable(objects):
        met += 1
        if isinstance(each, Unreadable):
            is_newer = isinstance(each.error, UpgradeError)
            rule = "snapshot-upgrade" if is_newer else "snapshot-manifest"
            yield Finding(rule, each.error.where, f"{each.error.what}: {each.error.do}")
            continue
        yield from _Check(objects, each).findings()
        rows += each.rows
        if progress is not None:
            progress(rows)
    for id_, size, _ in unfinished(objects):
        met += 1
        if lost_manifest(objects, id_):
            continue  # told above, if it is not one that is just being removed
        where = f"{objects.name}/{begun_key(id_)}"
        detail = f"{size:,} bytes of a snapshot without a manifest: binlog snapshot goes on with it"
        yield Finding("snapshot-unfinished", where, detail, broken=False)
    if not met:
        detail = "no snapshot is there, so none was looked at: is that the place?"
        yield Finding("snapshot-none", objects.name, detail, broken=False)


def check_some_of(objects: Objects, log: Log) -> None:
    """That not all snapshots there are of other logs: nothing would be held against ``log``.

    Raises:
        MismatchError: they are.
    """
    found = snapshots_in(objects)
    if found and all(manifest.genesis != log.genesis for manifest in found):
        raise MismatchError(
            f"snapshot {found[-1].id} is of log {found[-1].log_id}, the log given is"
            f" {log.params.log_id}" + (", and none there is of it" if len(found) > 1 else ""),
            f"{objects.name} and {log.name}",
            "name the log that they are of",
        )


def check_against_log(
    objects: Objects, log: Log, *, tick: Callable[[int], None] | None = None
) -> Iterator[Finding]:
    """What the snapshots there say of ``log`` that is not so: one walk over it for all of them.

    Those that cannot be read are left to `check_snapshots`. ``tick`` gets the events so far.
    """
    watches: list[Watch] = []
    mine: list[Snapshot] = []
    for manifest in snapshots_in(objects):
        snapshot = Snapshot(objects, manifest)
        if manifest.genesis != log.genesis:
            what = f"of log {manifest.log_id}, not of {log.params.log_id}"
            yield Finding("snapshot-log", snapshot.name, what, broken=False)
            continue
        try:
            checkpoints = snapshot.checkpoints
        except (DamageError, UpgradeError):
            continue
        mine.append(snapshot)
        watches += [Watch(f"{snapshot.name} partition {p}", c) for p, c in checkpoints.items()]
    walk = Walk(log, watches)
    reached = walk.run(tick)
    names = {watch.where for watch in watches}
    yield from (finding for finding in walk.found if finding.where in names)
    for snapshot in mine:
        for partition, offset in snapshot.manifest.exact.items():
            if offset > reached.get(partition, 0):
                what = f"offset {offset} of partition {partition}, the log reaches"
                found = reached.get(partition, 0)
                yield Finding("snapshot-ahead", snapshot.name, f"{what} {found}")


def check_snapshot(snapshot: Snapshot) -> Iterator[Finding]:
    """Findings of one."""
    yield from _Check(snapshot.objects, snapshot.manifest).findings()


class _Check:
    def __init__(self, objects: Objects, manifest: Manifest) -> None:
        self._objects = objects
        self._manifest = manifest
        self._snapshot = Snapshot(objects, manifest)
        self._parked: _Parked = {}
        self._tails: _Parked = {}

    def findings(self) -> Iterator[Finding]:
        manifest = self._manifest
        yield from self._check_begun()
        is_whole = True
        for table, wanted in manifest.tables.items():
            digest = TableDigest(table)
            damaged = False
            for part in self._snapshot.parts("rows", table):
                try:
                    yield from self._check_rows(part, digest)
                except DamageError as error:
                    damaged = True
                    yield self._damaged("snapshot-part", error)
            is_whole &= not damaged
            found = TableCount(digest.items, digest.tombstones, digest.parked, digest.hexdigest())
            if found != wanted and not damaged:
                yield self._finding("snapshot-table", f"table {table}: {found}, not {wanted}")
        for kind in ("letters", "rejections", "foreign", "relayed"):
            yield from self._check_kind(kind)
        if is_whole:
            for (table, partition, _), (_, tail) in sorted(self._tails.items()):
                what = f"table {table}, partition {partition}: parked, and no letter of offset"
                yield self._finding("snapshot-row", f"{what} {offset_of(tail)}")
        needed = {part.key for part in manifest.parts} | {begun_key(manifest.id)}
        for key in keys_of(self._objects, manifest.id):
            if key not in needed:
                where = f"{self._objects.name}/{key}"
                yield Finding("snapshot-stray", where, "belongs to no snapshot", broken=False)

    def _finding(self, rule: str, detail: str) -> Finding:
        return Finding(rule, self._snapshot.name, detail)

    def _damaged(self, rule: str, error: DamageError | UpgradeError) -> Finding:
        table = self._manifest.adopted
        do = error.do if table is None or isinstance(error, UpgradeError) else base_remedy(table)
        return Finding(rule, error.where, f"{error.what}: {do}")

    def _check_begun(self) -> Iterator[Finding]:
        try:
            begun = read_begun(self._objects, self._manifest)
        except (DamageError, UpgradeError) as error:
            yield self._damaged("snapshot-begun", error)
            return
        if begun.vector != self._manifest.vector or begun.genesis != self._manifest.genesis:
            yield self._finding("snapshot-begun", "its checkpoints do not give its vector")

    def _check_rows(self, part: Part, digest: TableDigest) -> Iterator[Finding]:
        exact = self._manifest.exact
        for some in self._snapshot.whole(part):
            digest.add(some)
            for key, row in some:
                beyond = offset_of(max(row.version, row.tail)) > exact.get(row.partition, 0)
                if beyond and self._manifest.adopted is None:
                    what = f"table {part.table}, key {key.hex()}: version {row.version}"
                    yield self._finding("snapshot-row", f"{what} is beyond what is exact")
                if row.parked:
                    self._parked[part.table, row.partition, key] = row.version, row.tail
                    self._tails[part.table, row.partition, key] = row.version, row.tail

    def _check_kind(self, kind: str) -> Iterator[Finding]:
        count = 0
        for part in self._snapshot.parts(kind):
            try:
                for records in check_part(self._objects, part):
                    count += len(records)
                    if kind == "letters":
                        yield from self._check_letters([DeadLetter(*fields) for fields in records])
            except DamageError as error:
                yield self._damaged("snapshot-part", error)
                if kind == "letters":
                    self._tails.clear()  # nobody can say which are missing
                return
        wanted = getattr(self._manifest, kind, count)
        if count != wanted:
            yield self._finding("snapshot-part", f"{count:,} {kind}, the manifest says {wanted:,}")

    def _check_letters(self, letters: list[DeadLetter]) -> Iterator[Finding]:
        for letter in letters:
            if letter.alone:
                continue
            place = letter.table, letter.partition, letter.key
            version, tail = self._parked.get(place, (0, -1))
            if not version < letter.version <= tail:
                what = f"table {letter.table}, partition {letter.partition}"
                yield self._finding(
                    "snapshot-row", f"{what}: a letter of offset {letter.offset}, of no parked row"
                )
            if letter.version == tail:
                self._tails.pop(place, None)
