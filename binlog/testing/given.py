"""Given events, when one more comes, then this is the item: one applier in one sentence.

::

    def test_a_paid_order_knows_who_paid():
        placed = event("Placed", {"id": "a"}, {"total": 30}, table="orders")
        paid = event("Paid", {"id": "a"}, {"by": "card"}, table="orders")

        given(shop, placed).when(paid).then({"id": "a", "total": 30, "paid_by": "card"})
        given(shop).when(paid).then_refused("never placed")

The events are those of `binlog.changes`, and the real fold applies them. What differs is said
attribute by attribute; numbers are compared by value. What one such test cannot see, another order,
another day, a second call, is the matter of `check_applier`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from appliers.applier import Rules
from binlog.envelope import ITEM_TYPES, Envelope
from binlog.errors import RefusedError
from binlog.fields import encode_key
from binlog.testing.laws.folding import Outcome, Placed, fold_each, place
from binlog.testing.laws.instruments import Instruments
from binlog.testing.laws.trouble import say_who
from binlog.testing.subject import Source, rules_of
from binlog.testing.violation import Violation
from binlog.testing.words import differences, say_event, say_item, say_key
from binlog.typed import as_data
from binlog.values import decode_value, encode_item

_Place = tuple[str, bytes]


class Then:
    """What became of the last event; each claim returns this again, for the next one."""

    def __init__(self, rules: Rules, events: Sequence[Envelope]) -> None:
        self._rules = rules
        self._events = events
        self._placed: list[Placed] = place(events)
        self._tools = Instruments()
        self._outcome: Outcome = fold_each(rules, self._placed, self._tools)
        self._last = len(events) - 1

    def then(
        self,
        item: Mapping[str, Any] | None,
        *,
        table: str | None = None,
        key: Mapping[str, Any] | None = None,
    ) -> Then:
        """The whole item is ``item`` now, or there is none (``None``).

        ``table`` and ``key`` name it where the event touched several, or another one is meant.

        Raises:
            Violation: it is another; or the event was refused, or its applier failed.
            RefusedError: it cannot be told which item is meant, or ``item`` can be none.
        """
        __tracebackhide__ = True
        expected = None if item is None else _canonical(item)
        self._check_folded()
        where = self._meant(table, key)
        found = self._items().get(where)
        lines = differences(expected, found)
        if lines:
            raise self._violation(
                f"after {self._said()}, item {say_key(where[1])} of {where[0]} is not as expected",
                [*lines, f"the whole item: {say_item(found)}"],
            )
        return self

    def then_refused(self, text: str = "") -> Then:
        """The applier declares the event impossible (`ApplierError`), with ``text`` in its reason.

        Raises:
            Violation: it does not, or for another reason.
        """
        __tracebackhide__ = True
        self._check_given()
        reason = self._outcome.refused.get(self._last)
        if reason is None:
            self._check_folded()
            lines = [
                f"item {say_key(key)} of {table} is now {say_item(self._items().get((table, key)))}"
                for table, key in self._touched()
            ]
            raise self._violation(f"{self._said()} is not refused", lines)
        if text not in reason:
            raise self._violation(
                f"{self._said()} is refused for another reason",
                [f"expected {text!r} in it, found {reason!r}"],
            )
        return self

    # -- what is there -----------------------------------------------------------------------

    def _items(self) -> dict[_Place, Any]:
        return {
            where: None if data is None else decode_value(data)
            for where, (_, data) in self._outcome.rows.items()
        }

    def _touched(self) -> list[_Place]:
        """By the last event, those too that it found in another version than it expected."""
        return [
            *((w.table, w.key) for w in self._outcome.written if w.index == self._last),
            *((table, key) for index, table, key, *_ in self._outcome.rejections
              if index == self._last),
        ]  # fmt: skip

    def _meant(self, table: str | None, key: Mapping[str, Any] | None) -> _Place:
        """The one item that a claim is about.

        Raises:
            RefusedError: none, or several.
        """
        touched = self._touched()
        known = self._tables()
        if table is not None and table not in known:
            raise RefusedError(
                f"no table {table!r}", do=f"the appliers have {', '.join(sorted(known)) or 'none'}"
            )
        if key is None:
            meant = [where for where in touched if table in (None, where[0])]
            if len(meant) == 1:
                return meant[0]
            listed = ", ".join(f"{say_key(key)} of {table}" for table, key in meant) or "none"
            raise RefusedError(
                f"{self._said()} touches {len(meant)} items ({listed})",
                do="say which is meant: then(..., table=..., key=...)",
            )
        tables = {where[0] for where in touched} if table is None else {table}
        if len(tables) != 1:
            raise RefusedError(
                f"it touches items of {len(tables)} tables", do="say which is meant: table=..."
            )
        [table] = tables
        self._check_key(table, key)
        return table, encode_key(dict(key), None)

    def _tables(self) -> set[str]:
        rules = {rule.table for of_type in self._rules.by_type.values() for rule in of_type}
        return {*rules, *(where[0] for where in self._outcome.rows), *self._rules.owners} - {""}

    def _check_key(self, table: str, key: Mapping[str, Any]) -> None:
        names = {
            tuple(sorted(decode_value(encoded)))
            for of, encoded in self._outcome.rows
            if of == table
        }
        if names and tuple(sorted(key)) not in names:
            known = " or ".join(", ".join(some) for some in sorted(names))
            raise RefusedError(
                f"no item of {table} has the key attributes {', '.join(sorted(key))}",
                do=f"its items have {known}",
            )

    # -- what can be wrong -------------------------------------------------------------------

    def _check_given(self) -> None:
        """That all but the last event went through."""
        for index, reason in sorted(self._outcome.refused.items()):
            if index != self._last:
                raise RefusedError(
                    f"given is what its applier refuses: {say_event(self._events[index])}"
                    f" ({reason})",
                    do="give only what happened; what is refused belongs into when()",
                )
        trouble = self._outcome.trouble
        if trouble is not None:
            what = trouble.what[0].upper() + trouble.what[1:]
            raise self._violation(what, trouble.differences, law=trouble.law, do=trouble.do)

    def _check_folded(self) -> None:
        """That the last event went through too."""
        self._check_given()
        reason = self._outcome.refused.get(self._last)
        if reason is not None:
            who = self._tools.error
            raise self._violation(
                f"{self._said()} is refused",
                [f"{say_who(who.who) if who else 'its applier'}: {reason}"],
                do="claim it with then_refused(), if it should be",
            )

    def _said(self) -> str:
        return say_event(self._events[self._last])

    def _violation(
        self, what: str, lines: list[str], *, law: str = "given, when, then", do: str = ""
    ) -> Violation:
        *before, last = map(say_event, self._events)
        story = [*(f"given {said}" for said in before), f"when {last}"]
        return Violation(what, law=law, story=story, differences=lines, do=do)


class Given:
    """Events that happened."""

    def __init__(self, rules: Rules, events: Sequence[Envelope]) -> None:
        self._rules = rules
        self._events = events

    def when(self, event: Envelope) -> Then:
        """One more event comes.

        Raises:
            RefusedError: no event, or one that no applier takes.
        """
        return Then(self._rules, [*self._events, *_checked(self._rules, [event])])


def given(source: Source, *events: Envelope) -> Given:
    """Begin with what ``source`` makes of ``events``, in this order; none: of nothing.

    Raises:
        RefusedError: no appliers, no events, or one that no applier takes.
    """
    rules = rules_of(source)
    return Given(rules, list(_checked(rules, events)))


def _checked(rules: Rules, events: Iterable[object]) -> Iterable[Envelope]:
    for event in events:
        if not isinstance(event, Envelope):
            raise RefusedError(
                f"{event!r} is no event",
                do='make one with binlog.changes: event("Placed", {"id": "a"}, {...})',
            )
        if event.type not in rules.by_type and event.type not in ITEM_TYPES:
            raise RefusedError(
                f"no applier takes {event.type}",
                do=f"the appliers take {', '.join(sorted(rules.by_type)) or 'nothing at all'}",
            )
        yield event


def _canonical(item: Mapping[str, Any]) -> Any:
    """The expected item as an item would come back."""
    if not isinstance(item, Mapping):
        raise RefusedError(f"{item!r} is no item", do="an item is a map, or None: there is none")
    try:
        return decode_value(encode_item(as_data(dict(item))))
    except RefusedError as error:
        raise RefusedError(error.what, "the expected item", error.do) from error
