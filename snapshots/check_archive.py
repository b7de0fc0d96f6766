"""Every broken invariant of an archive, and of an archive beside its log.

Nothing is believed that can be recomputed: the keys are listed and compared with what they should be,
every byte is held against its checksum, and the records are sequenced anew from the genesis on, and
compared with what each segment says of its end. A finding does not end the search.

====================  =========================================================================
archive-root          what the archive is and of which log: not there, or not what was written
archive-extra         an object that is no part of an archive, or a segment off its chain
archive-hole          a segment is missing: the ones before and behind it are there, or an index page or
                      a note says that the chain went on
archive-empty         nothing of a partition is archived, and of others there is; not broken, since an
                      archive begins so, but worth a mention
archive-damage        bytes of a segment, an index page or a note are not what was written, or stand
                      under another name
archive-foreign       a segment or an index page of another log
archive-order         a segment does not go on where the one before it ends
archive-index         an index page lists what the segments do not say
archive-offset, ..    offset, digest or state at a segment's end: not what its records give
-digest, -state
archive-log           the log has, in the same place, another history
archive-gap           the log has forgotten what comes after the end of a chain
upgrade               written by a newer version than this code reads
====================  =========================================================================

What the events themselves break has the names that it has in a log (`snapshots.check`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.chain import Chain
from binlog.archive.chain_view import missing_behind
from binlog.archive.ends import End, ends_key, first_of, missing_end, read_ends
from binlog.archive.index import decode_page
from binlog.archive.keys import (
    FIRST,
    ROOT_KEY,
    Place,
    chain_prefix,
    index_prefix,
    next_place,
    parse_segment_key,
    seen_key,
    segment_key,
)
from binlog.archive.seen import read_seen
from binlog.archive.segment_info import Outline
from binlog.archive.through import Through, read_through, through_key
from binlog.errors import BinlogError, DamageError, MismatchError, UpgradeError
from binlog.logs.directory_check import Finding
from binlog.objects.objects import Objects
from snapshots.check_chain import walk_chain

Tick = Callable[[int], None]
_THROUGH = re.compile(r"through/[0-9a-f]{32}\.json")
_NOTE = "this note cannot be read; the next archiver replaces it, and it may be lost"


def check_archive(objects: Objects, *, tick: Tick | None = None) -> Iterator[Finding]:
    """What is wrong with the archive there; ``tick`` gets the events so far.

    Raises:
        NoLogError: there is none.
        StorageError, RefusedError: the storage's.
    """
    try:
        archive = _Unindexed.open(objects)
    except (DamageError, UpgradeError) as error:
        yield Finding(_rule(error, "archive-root"), error.where or objects.name, error.what)
        return
    throughs: list[Through] = []  # read before the chains are, which only grow
    yield from _extra(archive, throughs)
    log = ArchiveLog(archive)
    events = 0
    empty: list[int] = []
    for partition in range(archive.params.partitions):
        noted = (read_ends(objects, first_of(partition)) or {}).get(partition)
        found = list(_chain(archive, partition))
        if any(each.rule in _UNREADABLE for each in found):
            ends = list(_end_by_key(archive, partition, noted))
        else:
            ends = list(_end(log, partition, throughs))
            if not ends and not log.view(partition).outlines:
                empty.append(partition)
        told = {each.where for each in found}
        found += [each for each in ends if each.where not in told]
        yield from found
        ended = {each.where for each in ends}
        if not any(each.rule in _UNREADABLE and each.where not in ended for each in found):
            walk = walk_chain(log, partition)
            if walk is not None:
                try:
                    events += walk.run().get(partition, 0)
                except (MismatchError, UpgradeError) as error:
                    walk.found.append(Finding(_rule(error), error.where, error.what))
                found = [_named(each, archive) for each in walk.found]
                found = [each for each in found if each.where not in ended]
                yield from found
        if any(each.rule in _UNREADABLE for each in found):
            told = {each.where for each in found}
            yield from (each for each in _blocks(archive, partition) if each.where not in told)
        if tick is not None:
            tick(events)
    if len(empty) < archive.params.partitions:
        for partition in empty:
            where = _at(archive, chain_prefix(partition))
            detail = f"nothing of partition {partition} is archived, and of others there is"
            yield Finding("archive-empty", where, detail, broken=False)


def _end(log: ArchiveLog, partition: int, throughs: Sequence[Through]) -> Iterator[Finding]:
    """Whether a chain that is sound as far as it goes ends before what a note says."""
    view = log.view(partition)
    trouble = view.trouble
    ends = [each.ends[partition] for each in throughs if partition in each.ends]
    short = [end for end in ends if view.is_short_of(end)]
    if trouble is None and short:
        trouble = missing_behind(
            view.chain, view.outlines[-1] if view.outlines else None, short[-1]
        )
    if trouble is not None and trouble.details.get("is_end"):  # all else the walk comes to
        yield Finding("archive-hole", _at(log.archive, str(trouble.details["key"])), trouble.what)


def _end_by_key(archive: Archive, partition: int, noted: End | None) -> Iterator[Finding]:
    """Likewise of one that cannot be read: whether there is a segment where it ended, or behind it."""
    if noted is None:
        return
    key = segment_key(partition, noted.place)
    behind = archive.objects.list(chain_prefix(partition), after=key.removesuffix(".seg"))
    if next(iter(behind), None) is None:
        error = missing_end(partition, noted, None, archive.name)
        yield Finding("archive-hole", _at(archive, key), error.what)


def _named(found: Finding, archive: Archive) -> Finding:
    """A walk's finding, by the names that an archive's objects have here."""
    rule = "archive-damage" if found.rule == "damage" else found.rule
    if rule not in _UNREADABLE or found.where.startswith(archive.name):
        return found
    return Finding(
        rule, _at(archive, found.where.removesuffix(f" of {archive.name}")), found.detail
    )


class _UnindexedChain(Chain):
    """Asks every segment, and believes no index."""

    def page_places(self) -> list[Place]:
        return []


class _Unindexed(Archive):
    """An archive without its index."""

    def chain(self, partition: int) -> Chain:
        found = self._chains.get(partition)
        if found is None:
            found = self._chains[partition] = _UnindexedChain(self.objects, self.log, partition)
        return found


_UNREADABLE = frozenset(
    {"archive-hole", "archive-damage", "archive-foreign", "archive-order", "upgrade"}
)


# -- keys and what stands under them -----------------------------------------------------------------


def _extra(archive: Archive, throughs: list[Through]) -> Iterator[Finding]:
    """Objects that no archive has, and notes of shards and of ends; ``throughs`` gets the former."""
    count = archive.params.partitions
    notes = {seen_key(partition) for partition in range(count)}
    ends = {ends_key(first_of(partition)): first_of(partition) for partition in range(count)}
    folders = tuple(prefix(p) for p in range(count) for prefix in (chain_prefix, index_prefix))
    for entry in archive.objects.list():
        key = entry.key
        if _THROUGH.fullmatch(key):
            through = _through(archive, key)
            if through is not None:
                throughs.append(through)
            elif _stands(archive, key):
                yield Finding("archive-damage", _at(archive, key), _NOTE)
            continue
        if key in ends:
            if read_ends(archive.objects, ends[key]) is None and _stands(archive, key):
                yield Finding("archive-damage", _at(archive, key), _NOTE)
            continue
        known = key == ROOT_KEY or key in notes or (key.startswith(folders) and _place(key))
        if not known:
            yield Finding("archive-extra", _at(archive, key), "no part of an archive")


def _place(key: str) -> Place | None:
    """Of a segment's or an index page's key."""
    if key.startswith("index/") and key.endswith(".idx"):
        key = "chain" + key[len("index") : -len(".idx")] + ".seg"
    parsed = parse_segment_key(key)
    return None if parsed is None else parsed[1]


def _chain(archive: Archive, partition: int) -> Iterator[Finding]:
    """Of one partition: its keys, what each segment says of itself, the index and the note."""
    chain = archive.chain(partition)
    expected, before = FIRST, None
    outlines: dict[Place, Outline] = {}
    for entry in archive.objects.list(chain_prefix(partition)):
        parsed = parse_segment_key(entry.key)
        if parsed is None:
            continue  # told as extra
        place, where = parsed[1], _at(archive, entry.key)
        if place < expected:
            yield Finding("archive-extra", where, "a segment within another one, off the chain")
            continue
        if place > expected:
            missing = _at(archive, segment_key(partition, expected))
            detail = f"missing; the next one there is begins at {place.first}-{place.part}"
            yield Finding("archive-hole", missing, detail)
            before = None
        expected = next_place(place, place.first)  # of one that cannot be read: at least that
        try:
            info = chain.info(place, size=entry.size)
        except (DamageError, MismatchError, UpgradeError) as error:
            yield Finding(_rule(error), where, error.what)
            before, expected = None, _after(archive, partition, place)
            continue
        outline = outlines[place] = info.outline()
        expected = info.next_place
        if before is None:
            pass
        elif (outline.start, outline.digest_before) != (before.end, before.digest):
            yield Finding("archive-order", where, f"it does not go on where {before.key} ends")
        before = outline
    yield from _index(archive, chain, outlines)
    yield from _note(archive, partition)


def _after(archive: Archive, partition: int, place: Place) -> Place:
    """The place behind one that cannot be read: the next there is, as nobody can tell better."""
    key = segment_key(partition, place)
    following = next(iter(archive.objects.list(chain_prefix(partition), after=key)), None)
    parsed = None if following is None else parse_segment_key(following.key)
    return next_place(place, place.first) if parsed is None else parsed[1]


def _index(archive: Archive, chain: Chain, outlines: dict[Place, Outline]) -> Iterator[Finding]:
    for entry in archive.objects.list(index_prefix(chain.partition)):
        place, where = _place(entry.key), _at(archive, entry.key)
        if place is None:
            continue
        try:
            page = decode_page(archive.objects, archive.log, chain.partition, place)
        except (DamageError, MismatchError, UpgradeError) as error:
            yield Finding(_rule(error), where, error.what)
            continue
        wrong = [o for o in page.outlines if outlines.get(o.place, o) != o]
        gone = [o for o in page.outlines if o.place not in outlines]
        if wrong:
            yield Finding("archive-index", where, f"of {wrong[0].key} it says what that does not")
        if gone and not _stands(archive, gone[-1].key):
            # At the end of a chain nothing else says that there was one more.
            yield Finding("archive-hole", _at(archive, gone[-1].key), "missing; the index lists it")


def _stands(archive: Archive, key: str) -> bool:
    return archive.objects.get(key, 0, 1) is not None


def _note(archive: Archive, partition: int) -> Iterator[Finding]:
    key = seen_key(partition)
    if _stands(archive, key) and read_seen(archive.objects, partition) is None:
        yield Finding("archive-damage", _at(archive, key), _NOTE)


class _OfShard(msgspec.Struct):
    shard: str


def _through(archive: Archive, key: str) -> Through | None:
    """The note of a shard, under its own name."""
    data = archive.objects.get(key)
    try:
        shard = msgspec.json.decode(data or b"", type=_OfShard).shard
    except (msgspec.DecodeError, ValueError):
        return None
    return read_through(archive.objects, shard) if through_key(shard) == key else None


def _blocks(archive: Archive, partition: int) -> Iterator[Finding]:
    """What the walk did not come to: every block of every segment that says where they are."""
    chain = archive.chain(partition)
    for entry in archive.objects.list(chain_prefix(partition)):
        parsed = parse_segment_key(entry.key)
        if parsed is None:
            continue
        try:
            info = chain.info(parsed[1], size=entry.size)
        except (DamageError, MismatchError, UpgradeError):
            continue  # told
        try:
            for index in range(len(info.blocks)):
                chain.read_block(info, index)
        except (DamageError, MismatchError, UpgradeError) as error:
            yield Finding(_rule(error), _at(archive, entry.key), error.what)


def _rule(error: BinlogError, damage: str = "archive-damage") -> str:
    if isinstance(error, UpgradeError):
        return "upgrade"
    return "archive-foreign" if isinstance(error, MismatchError) else damage


def _at(archive: Archive, key: str) -> str:
    return f"{archive.name} {key}"
