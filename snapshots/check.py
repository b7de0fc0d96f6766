"""Every broken invariant of a log, and of a store that was made from it.

Nothing is changed, nothing is believed that can be recomputed, and a finding does not end the
search: what lies behind it is looked at too, as far as it can be told what it should be.

====================  =========================================================================
damage                bytes of the log that were durable are not what they were
arrival-order         the log's time went back (D1)
genesis               a partition does not begin with the log's own parameters (S5)
event                 an event holds what publish would have refused
offsets               an offset is missing, or there twice
halt                  a rule has stopped a partition, and nobody has decided (S3)
foreign               a record that no producer of this log wrote, and nobody has relayed (S7)
foreign-lost          one that the store has gone by without keeping it
upgrade               written by a newer version than this code reads
checkpoint-..         position, offset, digest, state or applied: not what the log gives there (C2)
generation            a table of two generations, or two open ones (C0)
fingerprint           made by other rules than the ones given: items could not be compared; where
                      no rules are given at all this is only mentioned, and of the tables that
                      they decide only what needs none is checked
row, key, item        not readable, not canonical, or not under its own key
partition, version    another partition's key, or ahead of its checkpoint
parked                a mark without its dead letters, or a tail that is not theirs
letter                a dead letter of an item that is not parked, or not one that the log gives
fold                  not the fold of its events up to the vector; missing, or there too much
rejection             recorded and not rejected, or the other way round (I5)
====================  =========================================================================

Of an archive: see `snapshots.check_archive`.

Mentioned without being broken: ``torn-tail``, ``unnoted``, ``note-lost``, ``aside``; see
`binlog.logs.directory_check`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from appliers.adoption import Bases
from appliers.applier import NO_RULES, Rules
from appliers.store import Reader, Store
from binlog.address import Named, is_archive_address, open_log, parse_address
from binlog.archive.archived_log import ArchivedLog
from binlog.errors import (
    DamageError,
    HaltedError,
    MismatchError,
    PoisonError,
    RefusedError,
    TrimmedError,
    UpgradeError,
)
from binlog.log import Log, Position
from binlog.logs.directory_check import Finding, check_directory_log
from binlog.objects.address import open_objects
from binlog.vector import Vector
from snapshots.check_archive import check_archive
from snapshots.check_chain import check_beside
from snapshots.check_letters import check_letters
from snapshots.check_log import Walk
from snapshots.check_store import (
    RowCheck,
    check_against,
    check_generations,
    tables_to_leave,
    watches_of,
)
from snapshots.counterpart import check_same_log, counterpart

Tick = Callable[[str, int], None]
"""Called with what is being done and how many events or rows of it are done."""


def check(
    url: str,
    store: Store | None = None,
    *,
    archive: str | None = None,
    rules: Rules = NO_RULES,
    bases: Bases | None = None,
    workers: int = 1,
    tick: Tick | None = None,
) -> Iterator[Finding]:
    """What is wrong with the log at ``url``, and with ``store``; see the table above.

    What is there may be an archive; or one is beside it, at the address ``archive``: then both, and
    that they are one history (`snapshots.check_archive`).

    Raises:
        RefusedError: there is nothing.
        MismatchError: what is there is no log; the store was made from another one.
    """
    address = parse_address(url)
    is_kept = is_archive_address(address)
    named = Named(from_beginning=True) if archive is None else None
    seen: set[str] = set()
    if is_kept or archive is not None:
        kept = list(_archive(url if is_kept else archive or "", tick))
        yield from kept
        seen = {finding.where for finding in kept}
        is_broken = any(finding.broken for finding in kept)
        if is_kept and (is_broken or store is None):
            return  # what is broken is not read for more, and what was walked not once more
        archive = None if is_broken else archive
    if address.scheme == "file" and not is_kept:
        for finding in check_directory_log(address.path):
            # Where a segment ends too soon, its walk says so and so does the look at the tail.
            if finding.rule != "damage" or finding.where not in seen:
                yield finding
            seen.add(finding.where)
    try:
        log = open_log(url, archive, named=named)
    except DamageError as error:
        if error.where not in seen:
            yield Finding("damage", error.where, error.what)
        return
    try:
        if archive is not None and isinstance(log, ArchivedLog):
            yield from check_beside(log.log, log.archive)
        for finding in check_log(log, store, rules=rules, bases=bases, workers=workers, tick=tick):
            # The walk stops at damage that was found before, byte by byte.
            if finding.rule != "damage" or finding.where not in seen:
                yield finding
    finally:
        log.close()


def _archive(url: str, tick: Tick | None) -> Iterator[Finding]:
    with contextlib.closing(open_objects(url)) as objects:
        yield from check_archive(objects, tick=_named(tick, "walking the archive"))


def check_log(
    log: Log,
    store: Store | None = None,
    *,
    rules: Rules = NO_RULES,
    bases: Bases | None = None,
    workers: int = 1,
    tick: Tick | None = None,
) -> Iterator[Finding]:
    """The same of a log that is open, whatever keeps it: all but its bytes on the disk."""
    if store is None:
        walk = Walk(log)
        walk.run(_named(tick, "walking the log"))
        yield from walk.found
        yield from _foreign(log, walk, None)
        return
    with store.view() as view:
        check_same_log(log, view)
        unreadable: list[Finding] = []
        walk = Walk(log, watches_of(view, unreadable))
        reached = walk.run(_named(tick, "walking the log"))
        yield from walk.found
        yield from _foreign(log, walk, view)
        yield from unreadable
        mixed = list(check_generations(view))
        yield from mixed
        if unreadable or mixed:
            return  # nobody can say what the rows should be
        leave, unruled = tables_to_leave(view, rules)
        yield from unruled
        for generation in view.generations():
            rows = RowCheck(log, view, generation, rules, leave)
            for table in generation.tables:
                try:
                    yield from rows.findings(table)
                    parked = rows.parked.pop(table, {})
                    yield from check_letters(view, table, parked, rows.vector)
                except DamageError as error:
                    yield Finding("row", f"{error.where} table {table}", error.what)
        if any(table not in leave for g in view.generations() for table in g.tables) or not leave:
            yield from _against_log(log, view, reached, rules, leave, bases, workers, tick)


def _foreign(log: Log, walk: Walk, view: Reader | None) -> Iterator[Finding]:
    """What lies in the stream and is no event yet; of a store, whether it has what it went by."""
    kept = set() if view is None or not walk.met else {record.place for record in view.foreign()}
    for place, met in sorted(walk.met.items()):
        where = log.locate(Position(*place))
        what = f"partition key {met.partition_key!r}, {met.size} bytes"
        if met.passed and place not in kept and view is not None:
            do = "rebuild the store, which finds it again"
            yield Finding("foreign-lost", where, f"{what}: {view.name} does not keep it; {do}")
        else:
            yield Finding("foreign", where, f"{what}; binlog relay brings it in as an event")


def _against_log(
    log: Log,
    view: Reader,
    reached: Vector,
    rules: Rules,
    leave: frozenset[str],
    bases: Bases | None,
    workers: int,
    tick: Tick | None,
) -> Iterator[Finding]:
    try:
        with (
            counterpart(
                log,
                view,
                rules=rules,
                within=reached,
                leave=leave,
                bases=bases,
                workers=workers,
                progress=None if tick is None else lambda p: tick("rebuilding", p.events),
            ) as store,
            store.view() as other,
        ):
            yield from check_against(view, other, reached, leave)
    except (
        *(DamageError, HaltedError, MismatchError),
        *(PoisonError, RefusedError, TrimmedError, UpgradeError),
    ) as error:
        yield Finding("fold", view.name, f"items could not be compared with the log: {error}")


def _named(tick: Tick | None, what: str) -> Callable[[int], None] | None:
    return None if tick is None else lambda count: tick(what, count)
