"""Exclusions: RULEs that name events which a replay leaves out, as if they did not exist.

====================== ===========================================================================
``id=ID``              the events of that id
``type=TYPE``          the events of that type
``key=TABLE:JSON``     the events whose table and key are these; ``key=:JSON`` for those that name
                       no table. A binary key attribute is written ``{"id": {"B": "base64"}}``
``session=SESSION``    the events of a session, ``FAMILY.GENERATION`` as `cat` shows it, or of all
                       generations of a ``FAMILY``
``offsets=P:FROM-TO``  the events of partition P at offsets FROM through TO, both included
====================== ===========================================================================

A table remembers the rules that it was made under, so each has one normal form. Control events
are never left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from binlog.columns import KEY_BYTES_MAX, is_table_name
from binlog.envelope import CONTROL_PREFIX
from binlog.errors import RefusedError
from binlog.fields import encode_key
from binlog.json_values import encode_json, parse_line, plain, typed_item, untyped_item
from binlog.run import Run
from binlog.values import decode_value
from binlog.vector import OFFSET_MAX

_FORMS = "id=ID, type=TYPE, key=TABLE:JSON, session=FAMILY.GENERATION or offsets=P:FROM-TO"
_SESSION = re.compile(r"([0-9a-f]{32})(\.[1-9][0-9]{0,19})?", re.ASCII)
_OFFSETS = re.compile(r"([0-9]{1,4}):([0-9]{1,15})(?:-([0-9]{1,15}))?", re.ASCII)


class Exclusions:
    """Parsed rules; immutable. No rules at all are spelt ``None`` where a fold takes them."""

    def __init__(self, rules: Iterable[str]) -> None:
        """Parse ``rules``, in any order, repeats allowed.

        Raises:
            RefusedError: one that is none of the forms, with what is wrong with it.
        """
        self._ids: set[str] = set()
        self._types: set[str] = set()
        self._keys: dict[str, set[bytes]] = {}
        self._sessions: set[str] = set()
        self._ranges: dict[int, list[tuple[int, int]]] = {}
        self.rules: tuple[str, ...] = tuple(sorted({self._take(rule) for rule in rules}))
        """The normal forms, sorted: what a generation records."""

    def _take(self, rule: str) -> str:
        kind, equals, rest = rule.partition("=")
        if not equals or not rest or kind not in {"id", "type", "key", "session", "offsets"}:
            raise RefusedError(f"the exclusion {rule!r}", do=f"write {_FORMS}")
        try:
            rule.encode()
        except UnicodeEncodeError as error:  # no event's text is like that, and no store keeps it
            raise RefusedError(f"the exclusion {rule!r}", do="write it in UTF-8") from error
        if kind == "id":
            self._ids.add(rest)
        elif kind == "type":
            if rest.startswith(CONTROL_PREFIX):
                raise RefusedError(f"the exclusion {rule!r}", do="control events change no item")
            self._types.add(rest)
        elif kind == "key":
            return self._take_key(rule, rest)
        elif kind == "session":
            if not _SESSION.fullmatch(rest):
                raise RefusedError(
                    f"the exclusion {rule!r}", do="a session is 32 hex digits, a dot, a number"
                )
            self._sessions.add(rest)
        else:
            return self._take_offsets(rule, rest)
        return rule

    def _take_key(self, rule: str, rest: str) -> str:
        table, colon, text = rest.partition(":")
        if not colon or (table and not is_table_name(table)):
            raise RefusedError(f"the exclusion {rule!r}", do='write key=TABLE:{"ATTRIBUTE": VALUE}')
        try:
            key = parse_line(text.encode(errors="surrogateescape"))
            if isinstance(key, dict) and any(isinstance(v, dict) for v in key.values()):
                key = untyped_item(key)  # no key attribute is a map, so this is DynamoDB JSON
            encoded = encode_key(key, None, name_bytes_max=KEY_BYTES_MAX)
        except RefusedError as error:
            raise RefusedError(f"the exclusion {rule!r}", do=error.what) from error
        self._keys.setdefault(table, set()).add(encoded)
        key = decode_value(encoded)  # attributes in canonical order
        binary = any(isinstance(value, bytes) for value in key.values())
        return f"key={table}:{encode_json(typed_item(key) if binary else plain(key)).decode()}"

    def _take_offsets(self, rule: str, rest: str) -> str:
        found = _OFFSETS.fullmatch(rest)
        if not found:
            raise RefusedError(f"the exclusion {rule!r}", do="write offsets=PARTITION:FROM-TO")
        partition, first = int(found[1]), int(found[2])
        last = first if found[3] is None else int(found[3])
        if not 1 <= first <= last <= OFFSET_MAX:
            raise RefusedError(
                f"the exclusion {rule!r}", do="offsets count from 1, FROM is at most TO"
            )
        self._ranges.setdefault(partition, []).append((first, last))
        return f"offsets={partition}:{first}-{last}"

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that rules name."""
        return frozenset(self._ranges)

    def names(self, partition: int, offset: int) -> bool:
        """Whether a rule names that very offset, whatever is there."""
        return any(first <= offset <= last for first, last in self._ranges.get(partition, ()))

    def matches(self, run: Run) -> frozenset[int] | None:
        """The indexes of the run's events that are left out; ``None`` if it has none.

        Costs a set operation a column, not a look at every event, where nothing matches.
        """
        columns = run.columns
        found: set[int] = set()
        if self._sessions and (
            str(run.session) in self._sessions or run.session.family.hex() in self._sessions
        ):
            found.update(range(len(columns)))
        if self._ids and not self._ids.isdisjoint(columns.ids):
            found.update(i for i, id_ in enumerate(columns.ids) if id_ in self._ids)
        for first, last in self._ranges.get(run.partition, ()):
            found.update(
                range(
                    max(first - run.first_offset, 0),
                    min(last - run.first_offset + 1, len(columns)),
                )
            )
        for number, (event_type, _, table) in enumerate(columns.kinds):
            if event_type in self._types:
                found.update(i for i, kind in enumerate(columns.index) if kind == number)
            keys = self._keys.get(table)
            if keys and not keys.isdisjoint(columns.keys):
                found.update(
                    i
                    for i, kind in enumerate(columns.index)
                    if kind == number and columns.keys[i] in keys
                )
        if found and any(kind[0].startswith(CONTROL_PREFIX) for kind in columns.kinds):
            found = {
                i
                for i in found
                if not columns.kinds[columns.index[i]][0].startswith(CONTROL_PREFIX)
            }
        return frozenset(found) or None


def parse_exclusions(rules: Iterable[str], *, partitions: int | None = None) -> Exclusions | None:
    """The parsed rules, ``None`` if there are none; ``partitions`` is how many the log has.

    Raises:
        RefusedError: see `Exclusions`; or one names a partition that the log does not have.
    """
    rules = tuple(rules)
    if not rules:
        return None
    exclusions = Exclusions(rules)
    unknown = max(exclusions.partitions, default=-1)
    if partitions is not None and unknown >= partitions:
        raise RefusedError(
            f"an exclusion names partition {unknown}",
            do=f"this log has partitions 0 to {partitions - 1}",
            partition=unknown,
        )
    return exclusions
