"""What is wrong with a store, seen from the log that it was made from.

Row by row: that it can be read, is in canonical bytes, holds its own key, belongs to its partition,
and is not ahead of the checkpoint. Then all rows, rejections and dead letters against a counterpart, rebuilt from
the log up to the store's own vectors: an item is the fold of its events, a tombstone where they end
in a delete, and nothing else is there. Checkpoints are compared where the log is walked, see
`snapshots.check_log`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from appliers.applier import NO_RULES, Rules
from appliers.fingerprint import compare, fingerprint, ruled_tables, without_rules
from appliers.item import Row
from appliers.ownership import Ownership
from appliers.poison import readable_key
from appliers.store import Generation, Reader, vector_of
from appliers.transform import UntellableError
from binlog.errors import (
    BinlogError,
    ConflictError,
    DamageError,
    RefusedError,
    UpgradeError,
)
from binlog.json_values import encode_json, plain
from binlog.log import Log
from binlog.logs.directory_check import Finding
from binlog.values import decode_value, encode_item, is_canonical
from binlog.vector import OFFSET_MAX, TIMELINE_SHIFT, Vector, offset_of
from snapshots.check_letters import check_letters_against
from snapshots.check_log import Watch
from snapshots.counterpart import check_rules
from snapshots.verify import Side, is_same, merge_rows, rows_of

_SHOWN_MAX = 200  # characters of an item


def watches_of(reader: Reader, unreadable: list[Finding]) -> list[Watch]:
    """The checkpoints of all generations, for the walk over the log; those that are damaged are
    added to ``unreadable``."""  # noqa: D205, D209
    watches = []
    for generation in reader.generations():
        tables = ", ".join(generation.tables) or "no table yet"
        where = f"{reader.name} ({tables})"
        try:
            checkpoints = reader.checkpoints(generation.id)
        except DamageError as error:
            unreadable.append(Finding("checkpoint", where, error.what))
            continue
        for partition, checkpoint in checkpoints.items():
            watches.append(Watch(f"{where} partition {partition}", checkpoint))
    return watches


def check_generations(reader: Reader) -> Iterator[Finding]:
    """That each table is of one generation, and one at most is open (C0)."""
    generations = reader.generations()
    owners: dict[str, int] = {}
    for generation in generations:
        for table in generation.tables:
            owners[table] = owners.get(table, 0) + 1
    for table, count in owners.items():
        if count > 1:
            where = f"{reader.name} table {table}"
            yield Finding("generation", where, f"the table is of {count} generations")
    if sum(generation.open for generation in generations) > 1:
        yield Finding("generation", reader.name, "more than one generation is open")


def tables_to_leave(reader: Reader, rules: Rules) -> tuple[frozenset[str], list[Finding]]:
    """The tables that ``rules`` did not make, and what is to be said about it.

    That nobody gave the rules is no fault of the store; that other ones were given is a finding.
    """
    generations = reader.generations()
    every = frozenset(table for generation in generations for table in generation.tables)
    try:
        check_rules(generations, rules, reader.name)
    except ConflictError as error:
        ruled = _ruled_alone(generations, every) if rules is NO_RULES else None
        leave = every if ruled is None else ruled
        names = ", ".join(sorted(leave)) or "none yet"
        detail = f"items of {names} were not compared with the log: {error.what}; {error.do}"
        return leave, [Finding("fingerprint", error.where, detail, broken=ruled is None)]
    except (DamageError, UpgradeError) as error:
        return every, [Finding("fingerprint", reader.name, error.what)]
    return frozenset(), []


def _ruled_alone(generations: list[Generation], every: frozenset[str]) -> frozenset[str] | None:
    """The tables that the user's rules decide, if it is these alone that are missing."""
    ours = fingerprint(NO_RULES)
    texts = [generation.fingerprint for generation in generations]
    if not all(compare(without_rules(text), ours).compatible for text in texts):
        return None
    ruled = [ruled_tables(text) for text in texts]
    return frozenset[str]().union(*(every if tables is None else tables for tables in ruled))


class RowCheck:
    """Checks the rows of one generation's tables, each by itself."""

    def __init__(
        self,
        log: Log,
        reader: Reader,
        generation: Generation,
        rules: Rules,
        leave: Collection[str] = (),
    ) -> None:
        """``leave`` are tables that other rules decide: who owns their items is not known."""
        self._leave = leave
        self._reader = reader
        self._timeline = log.params.timeline
        self._ownership = Ownership(log.params.partitions, rules.owners, rules.transforms)
        self.vector = vector_of(reader.checkpoints(generation.id))
        self.parked: dict[str, dict[bytes, Row]] = {}
        """By table and key the rows that are parked, as far as `findings` was asked for them."""

    def findings(self, table: str) -> Iterator[Finding]:
        """What is wrong with the rows of ``table``; goes on behind each of them."""
        before: bytes | None = None
        for key, row in rows_of(self._reader, table):
            where = place(self._reader.name, table, key)
            if before is not None and key <= before:
                yield Finding("row-order", where, "rows are not in the order of their keys")
            before = key
            if isinstance(row, DamageError):
                yield Finding("row", where, row.what)
                continue
            for rule, detail in self._wrong(table, key, row):
                yield Finding(rule, where, detail)

    def _wrong(self, table: str, key: bytes, row: Row) -> Iterator[tuple[str, str]]:
        try:
            decoded = decode_value(key)
        except DamageError as error:
            yield "key", error.what
            return
        if type(decoded) is not dict or not is_canonical(key):
            yield "key", "not the canonical bytes of a map"
            return
        reason = _wrong_item(decoded, row.data)
        if reason is not None:
            yield "item", reason
        yield from self._wrong_place(table, key, row)
        if row.parked:
            self.parked.setdefault(table, {})[key] = row
            if row.tail <= row.version or row.tail >> TIMELINE_SHIFT != self._timeline:
                yield "parked", f"its tail {row.tail} is not beyond its version {row.version}"
            elif offset_of(row.tail) > self.vector.get(row.partition, 0):
                yield "parked", f"its tail {row.tail} is ahead of its partition's checkpoint"
        elif row.tail:
            yield "parked", f"it is not parked, and has a tail, {row.tail}"

    def _wrong_place(self, table: str, key: bytes, row: Row) -> Iterator[tuple[str, str]]:
        owner = row.partition
        try:
            if table not in self._leave:
                owner = self._ownership.partition_of(table, key)
        except UntellableError:
            pass  # a comparison with the log tells
        except Exception as error:  # noqa: BLE001 - the user's function, whatever it raises
            yield "partition", f"its owner cannot be told ({type(error).__name__}: {error})"
        if owner != row.partition:
            yield "partition", f"partition {row.partition}, its key belongs to {owner}"
        applied = self.vector.get(owner, 0)
        timeline, offset = row.version >> TIMELINE_SHIFT, offset_of(row.version)
        if row.parked and not row.version and row.data is None:
            return  # its first event is the one that could not be applied
        if not 0 < offset <= OFFSET_MAX or timeline != self._timeline:
            yield "version", f"version {row.version} is none of timeline {self._timeline}"
        elif offset > applied:
            yield "version", f"version {row.version}, its partition is applied up to {applied}"


def _wrong_item(key: Mapping[str, Any], data: bytes | None) -> str | None:
    """Why ``data`` is no item under ``key``; ``None`` if it is one, or a tombstone."""
    if data is None:
        return None
    try:
        item = decode_value(data)
        if type(item) is not dict:
            return "no map of attributes"
        if encode_item(item) != data:
            return "not in canonical bytes"
    except (DamageError, RefusedError) as error:
        return error.what
    if any(name not in item or item[name] != value for name, value in key.items()):
        return "its key attributes are not its key"
    return None


def check_against(
    reader: Reader, other: Reader, reached: Vector, leave: Collection[str] = ()
) -> Iterator[Finding]:
    """Compare all rows and rejections, but for the tables ``leave``, with the counterpart's.

    ``reached`` is how far the log can be read. What the store has rightly from beyond it (damage
    or a halt came later) cannot be compared; that is one finding.
    """
    applied = {
        table: vector_of(reader.checkpoints(generation.id))
        for generation in reader.generations()
        for table in generation.tables
    }
    theirs = {table for generation in other.generations() for table in generation.tables}
    beyond = 0
    for table in sorted((applied.keys() | theirs).difference(leave)):
        where = f"{reader.name} table {table}"
        vector = applied.get(table, {})

        def unreadable(partition: int, offset: int, vector: Mapping[int, int] = vector) -> bool:
            return reached.get(partition, 0) < offset <= vector.get(partition, 0)

        if table not in theirs and not any(unreadable(p, o) for p, o in vector.items()):
            yield Finding("fold", where, "the log has no event for such a table up to the vector")
        if table not in applied:
            yield Finding("fold", where, "the table is missing")
        for key, row, folded in merge_rows(rows_of(reader, table), rows_of(other, table)):
            if isinstance(row, Row) and unreadable(
                row.partition, offset_of(max(row.version, row.tail))
            ):
                beyond += 1
            elif row != folded and not is_same(row, folded):
                detail = f"{_describe(row)}, the fold of its events is {_describe(folded)}"
                yield Finding("fold", place(reader.name, table, key), detail)
        yield from _check_rejections(reader, other, table, unreadable)
        yield from check_letters_against(reader, other, table, vector, unreadable)
    if beyond:
        detail = f"{beyond} items are from beyond what can be read of the log, and not compared"
        yield Finding("fold", reader.name, detail)


def _describe(side: Side) -> str:
    if isinstance(side, DamageError):
        return "unreadable"
    if side is None:
        return "nothing"
    waits = f", parked up to {side.tail}" if side.parked else ""
    if side.data is None:
        return f"a tombstone of version {side.version}{waits}"
    try:
        text = encode_json(plain(decode_value(side.data))).decode()
    except BinlogError:
        text = f"{len(side.data)} bytes that are no item"
    shown = text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."
    return f"version {side.version}{waits} {shown}"


def place(name: str, table: str, key: bytes) -> str:
    """A row in words."""
    return f"{name} table {table} key {readable_key(key)[1]}"


def _check_rejections(
    reader: Reader, other: Reader, table: str, unreadable: Callable[[int, int], bool]
) -> Iterator[Finding]:
    """I5: the same events are rejected by every replica, each recorded once."""
    stored, expected = (set(each.rejections(table)) for each in (reader, other))
    for what, lone in (
        ("is not rejected by the log", stored - expected),
        ("is rejected by the log, but not recorded", expected - stored),
    ):
        for rejection in sorted(lone, key=lambda r: (r.partition, r.offset, r.key)):
            if unreadable(rejection.partition, rejection.offset):
                continue
            yield Finding(
                "rejection",
                place(reader.name, table, rejection.key),
                f"partition {rejection.partition}, offset {rejection.offset}, id {rejection.id!r}:"
                f" expected version {rejection.expected}, found {rejection.found}; it {what}",
            )
