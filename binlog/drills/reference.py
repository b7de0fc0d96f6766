"""The reference: what acknowledged events make of a table, folded without the project's own rules.

Each key has one producer, which waits for its outcomes, so the order of an item's events is known
from the ledger alone: no log is read here, no offset, no version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import msgspec

from binlog.drills.action import TABLE, Action, Fold, Item
from binlog.drills.ledger import Entry
from binlog.drills.slices import Slices

LINES_MAX = 8
See: TypeAlias = Callable[[Item], Item]
Event: TypeAlias = tuple[str, str, object, float, str]
"""Key, type, data, when it was told, id."""
_AGES = -1.0  # before any drill began


class Tally(msgspec.Struct):
    """An item, event by event.

    It is in the state after its k-th event if that is what the table says; then it ``has`` k of them.
    """

    item: Item | None = None  # what has to be there
    count: int = 0
    has: int = 0
    newest_s: float = _AGES  # of all events up to here
    has_newest_s: float = _AGES  # of those that it has

    def add(self, state: Item | None, at_s: float, there: Item | None) -> None:
        """The next event, and what it makes of the item."""
        self.item = state
        self.count += 1
        self.newest_s = max(self.newest_s, at_s)
        if there is not None and state == there:
            self.has, self.has_newest_s = self.count, self.newest_s

    def end(self, there: Item | None) -> None:
        """After the last event: an item that is rightly not there has all of them.

        One that is not there although it has to be lacks all of them, deleted once before or not.
        """
        if there is None and self.item is None:
            self.has, self.has_newest_s = self.count, self.newest_s


class Found(msgspec.Struct, kw_only=True):
    """A table held against what acknowledged events make of it."""

    equal: int = 0
    different: int = 0  # keys that are not as the last event left them, or that nobody made
    missing: int = 0  # acknowledged events that the table does not have
    present: int = 0
    items: int = 0  # in the table
    newest_s: float | None = None  # when the newest was told that is present, of those until then
    lines: list[str] = []
    missing_ids: list[str] = []  # at most `LINES_MAX` of them


def tallies(
    events: Iterable[Event],
    items: Mapping[str, Item],
    own: Mapping[str, Fold],
    *,
    see: See | None = None,
    until_s: float | None = None,
) -> dict[str, Tally]:
    """By key. ``see`` is what the table makes of an item; no event after ``until_s`` is a newest one."""
    found: dict[str, Tally] = {}
    states: dict[str, Item | None] = {}
    for key, kind, data, at_s, _ in events:
        tally = found.get(key)
        if tally is None:
            tally = found[key] = Tally()
        state = states[key] = Action(type=kind, key=key, data=data).fold(states.get(key), own)
        seen = state if state is None or see is None else see(state)
        tally.add(seen, at_s if until_s is None or at_s <= until_s else _AGES, items.get(key))
    for key, tally in found.items():
        tally.end(items.get(key))
    return found


def event_of(entry: Entry) -> Event:
    """What `tallies` asks of an entry."""
    return entry.action.key, entry.action.type, entry.action.data, entry.at_s, entry.id


def compare(
    entries: Iterable[Entry],
    table: Iterable[tuple[str, Item]],
    own: Mapping[str, Fold],
    *,
    name: str = TABLE,
    values: int = 0,
    see: See | None = None,
    until_s: float | None = None,
) -> Found:
    """Which items are as they have to be, and which acknowledged events are missing.

    ``values``: how many entries there are about; of many no more is in memory than of a slice of keys.

    An item that is the state after its k-th event lacks those after it. One that is there where
    none has to be, or that was never so, lacks all of them: nobody can say which it has. An item that
    is not there although it has to be lacks all of them likewise, deleted once before or not.
    """
    found = Found()
    with Slices[Event](values) as events, Slices[tuple[str, Item]](values) as rows:
        for entry in entries:
            if entry.told == "acknowledged" and entry.action.table == name:
                events.put(entry.action.key, event_of(entry))
        for key, item in table:
            rows.put(key, (key, item))
        for number in range(events.count):
            items = dict(rows.slice(number))
            expected = tallies(events.slice(number), items, own, see=see, until_s=until_s)
            _hold(found, expected, items)
            if found.missing and len(found.missing_ids) < LINES_MAX:
                _name_missing(found, expected, events.slice(number))
    return found


def _hold(found: Found, expected: Mapping[str, Tally], items: Mapping[str, Item]) -> None:
    found.items += len(items)
    for key in sorted({*expected, *items}):
        tally, item = expected.get(key), items.get(key)
        if tally is None:
            found.different += 1
            _tell(found, f"{key}: is there, and nobody made it: {item}")
            continue
        found.present += tally.has
        found.missing += tally.count - tally.has
        if tally.has_newest_s != _AGES:
            found.newest_s = max(found.newest_s or _AGES, tally.has_newest_s)
        if tally.item == item:
            found.equal += 1
        else:
            found.different += 1
            _tell(found, _difference(key, tally.item, item))


def _name_missing(found: Found, expected: Mapping[str, Tally], events: Iterable[Event]) -> None:
    met: dict[str, int] = dict.fromkeys(expected, 0)
    for key, *_, event_id in events:
        met[key] += 1
        if met[key] > expected[key].has and len(found.missing_ids) < LINES_MAX:
            found.missing_ids.append(event_id)


def _difference(key: str, expected: Item | None, item: Item | None) -> str:
    if item is None:
        return f"{key}: is missing, should be {expected}"
    if expected is None:
        return f"{key}: is there, should be deleted: {item}"
    names = sorted(name for name in {*expected, *item} if expected.get(name) != item.get(name))
    told = (f"{name} is {item.get(name)!r}, should be {expected.get(name)!r}" for name in names)
    return f"{key}: " + ", ".join(told)


def _tell(found: Found, line: str) -> None:
    if len(found.lines) < LINES_MAX:
        found.lines.append(line)
