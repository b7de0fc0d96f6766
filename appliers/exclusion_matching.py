"""Whether exclusions name anything: a rule with a slip in it would leave nothing out, unnoticed.

`WatchedExclusions` notes, while a fold asks them, which of their rules an event met, and what came
near to the others, as far as it costs nothing to see: the other type, the same key as text or in
another table, other generations of a session. What the folds of several groups of partitions noted
is put together by `check_matched`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

import msgspec

from appliers.exclusion import Exclusions
from appliers.poison import readable_key
from binlog.envelope import CONTROL_PREFIX
from binlog.errors import RefusedError
from binlog.run import Run
from binlog.values import decode_value, encode_value

_NOTED_MAX = 1_000  # types, tables and generations of a session that are remembered for a message
_SHOWN_MAX = 3


class Met(msgspec.Struct):
    """What one fold noted; travels from a worker by pickle."""

    unmatched: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    near: dict[str, str] = {}  # by rule: what is there instead


class WatchedExclusions(Exclusions):
    """Exclusions of one fold, which remember what they matched; not for several threads."""

    def __init__(self, rules: Iterable[str]) -> None:
        super().__init__(rules)
        self._open = set(self.rules)
        self._types_met: set[str] = set()
        self._tables_met: set[str] = set()
        self._near: dict[str, str] = {}
        self._kinds: set[tuple[str, int, str]] = set()
        self._families = {each[:32] for each in self._sessions}
        self._exact: dict[tuple[str, bytes], str] = {}  # rules by table and key
        self._like: dict[bytes, list[str]] = {}  # and by the keys that come near
        for rule in self.rules:
            if rule.startswith("key="):
                table = _table_of(rule)
                [key] = Exclusions([rule])._keys[table]  # noqa: SLF001  one of our own kind
                self._exact[table, key] = rule
                for each in (key, *_like(key)):
                    self._like.setdefault(each, []).append(rule)

    def met(self) -> Met:
        """What was noted so far."""
        self._settle_kinds()
        near = {rule: text for rule, text in self._near.items() if rule in self._open}
        return Met(
            frozenset(self._open), frozenset(self._types_met), frozenset(self._tables_met), near
        )

    def matches(self, run: Run) -> frozenset[int] | None:
        found = super().matches(run)
        if self._open:
            if found:
                self._close(run, found)
            self._look_around(run)
        return found

    # -- what matched ----------------------------------------------------------------------------

    def _close(self, run: Run, found: Collection[int]) -> None:
        """Take those rules out that match one of the events ``found``."""
        columns = run.columns
        here: set[str] = {f"session={run.session}", f"session={run.session.family.hex()}"}
        here.update(f"id={columns.ids[i]}" for i in found)
        kinds = {columns.index[i] for i in found}
        here.update(f"type={columns.kinds[kind][0]}" for kind in kinds)
        for rule in self._open & here:
            self._open.discard(rule)
        for rule in [rule for rule in self._open if rule.startswith("offsets=")]:
            _, first, last = _range_of(rule)
            if rule.startswith(f"offsets={run.partition}:") and any(
                first <= run.first_offset + i <= last for i in found
            ):
                self._open.discard(rule)
        if self._exact:
            for i in found:
                place = columns.kinds[columns.index[i]][2], columns.keys[i]
                self._open.discard(self._exact.get(place, ""))

    # -- what came near --------------------------------------------------------------------------

    def _look_around(self, run: Run) -> None:
        columns = run.columns
        self._kinds.update(columns.kinds)
        if len(self._kinds) > _NOTED_MAX:
            self._settle_kinds()
        family = run.session.family.hex() if self._families else ""
        if family in self._families:
            text = f"generation {run.session.generation} of that family is there"
            for rule in self._open:
                if rule.startswith(f"session={family}."):
                    self._near[rule] = text
        if self._like and not self._like.keys().isdisjoint(columns.keys):
            for i, key in enumerate(columns.keys):
                event_type, _, table = columns.kinds[columns.index[i]]
                if key in self._like and not event_type.startswith(CONTROL_PREFIX):
                    text = f"key={table}:{readable_key(key)[1]} is there"
                    self._near.update(dict.fromkeys(self._open.intersection(self._like[key]), text))

    def _settle_kinds(self) -> None:
        for event_type, _, table in self._kinds:
            if event_type.startswith(CONTROL_PREFIX):
                continue
            if len(self._types_met) < _NOTED_MAX:
                self._types_met.add(event_type)
            if table and len(self._tables_met) < _NOTED_MAX:
                self._tables_met.add(table)
        self._kinds.clear()


def _table_of(rule: str) -> str:
    return rule[len("key=") :].partition(":")[0]


def _range_of(rule: str) -> tuple[int, int, int]:
    """Partition, first and last offset of a rule in its normal form."""
    partition, _, offsets = rule[len("offsets=") :].partition(":")
    first, _, last = offsets.partition("-")
    return int(partition), int(first), int(last)


def _like(key: bytes) -> list[bytes]:
    """The keys that look the same: a number for its text, and text for a number."""
    found = []
    decoded: dict[str, Any] = decode_value(key)
    for name, value in decoded.items():
        other: object = None
        if isinstance(value, str):
            try:
                other = Decimal(value)
            except InvalidOperation:
                continue
        elif isinstance(value, int | Decimal) and not isinstance(value, bool):
            other = str(value)
        if other is not None:
            try:
                found.append(encode_value({**decoded, name: other}))
            except RefusedError:
                continue
    return found


def watch_exclusions(rules: Iterable[str]) -> WatchedExclusions | None:
    """`appliers.exclusion.parse_exclusions`, watched."""
    rules = tuple(rules)
    return WatchedExclusions(rules) if rules else None


def check_matched(
    met: Sequence[Met],
    ends: Mapping[int, int],
    *,
    known: Collection[str] = (),
    where: str,
) -> None:
    """That every rule named an event; ``ends`` are the offsets up to which was looked.

    ``known`` are rules that a base was made under, whose events were not looked at again.

    Raises:
        RefusedError: one names none; with what there is that is nearest to it.
    """
    if not met:
        return
    unmatched = sorted(frozenset.intersection(*(each.unmatched for each in met)).difference(known))
    if not unmatched:
        return
    near = _nearest(unmatched[0], met, ends)
    more = f" ({len(unmatched) - 1} more like it)" if len(unmatched) > 1 else ""
    raise RefusedError(
        f"the exclusion {unmatched[0]!r} matches no event up to there{more}",
        where,
        f"{near}; mend the rule or leave it out",
        rules=tuple(unmatched),
        near=near,
    )


def _nearest(rule: str, met: Sequence[Met], ends: Mapping[int, int]) -> str:
    for each in met:
        if rule in each.near:
            return each.near[rule]
    kind, _, rest = rule.partition("=")
    if kind == "offsets":
        partition, first, last = _range_of(rule)
        end = ends.get(partition, 0)
        if end < first:
            return f"partition {partition} ends at offset {end}"
        return f"offsets {first} to {last} of partition {partition} are control events"
    if kind == "type":
        return _closest("type", rest, {name for each in met for name in each.types})
    if kind == "key":
        table = _table_of(rule)
        tables = {name for each in met for name in each.tables}
        if table not in tables:
            return _closest("table", table, tables)
        return f"table {table} has no event of that key"
    if kind == "session":
        return "binlog cat --json shows the session of each event"
    return "an id is compared whole: binlog cat --json shows them"


def _closest(what: str, name: str, names: Collection[str]) -> str:
    by_folded = {each.casefold(): each for each in sorted(names, reverse=True)}
    close = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    if close:
        return f"{by_folded[close[0]]!r} is there"
    if not names:
        return f"there is no {what} at all"
    few = sorted(names)[:_SHOWN_MAX]
    more = f" and {len(names) - len(few)} more" if len(names) > len(few) else ""
    return f"there are the {what}s {', '.join(map(repr, few))}{more}"
