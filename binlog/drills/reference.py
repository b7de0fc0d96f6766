"""The reference: what acknowledged events make of a table, folded without the project's own rules.

Each key has one producer, which waits for its outcomes, so the order of an item's events is known
from the ledger alone: no log is read here, no offset, no version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from binlog.drills.action import TABLE, Fold, Item
from binlog.drills.ledger import Entry

LINES_MAX = 8


class History(msgspec.Struct):
    """An item after each of its events; ``states[0]`` is before the first."""

    entries: list[Entry]
    states: list[Item | None]


class Found(msgspec.Struct, kw_only=True):
    """A table held against its histories."""

    equal: int = 0
    different: int = 0  # keys that are not as the last event left them, or that nobody made
    missing: list[Entry]  # acknowledged events that the table does not have
    present: list[Entry]
    lines: list[str]


def histories(
    entries: Iterable[Entry], own: Mapping[str, Fold], table: str = TABLE
) -> dict[str, History]:
    """By key, of the acknowledged ``entries`` of a table."""
    found: dict[str, History] = {}
    for entry in entries:
        if entry.told != "acknowledged" or entry.action.table != table:
            continue
        history = found.setdefault(entry.action.key, History([], [None]))
        history.entries.append(entry)
        history.states.append(entry.action.fold(history.states[-1], own))
    return found


def compare(expected: Mapping[str, History], table: Mapping[str, Item]) -> Found:
    """Which items are as they have to be, and which events are missing.

    An item that is the state after its k-th event lacks those after it. One that is there where
    none has to be, or that was never so, lacks all of them: nobody can say which it has. An item that
    is not there although it has to be lacks all of them likewise, deleted once before or not.
    """
    found = Found(missing=[], present=[], lines=[])
    for key in sorted({*expected, *table}):
        history, item = expected.get(key), table.get(key)
        if history is None:
            found.different += 1
            _tell(found, f"{key}: is there, and nobody made it: {item}")
            continue
        has = events_in(history, item)
        found.present += history.entries[:has]
        found.missing += history.entries[has:]
        if history.states[-1] == item:
            found.equal += 1
        else:
            found.different += 1
            _tell(found, _difference(key, history.states[-1], item))
    return found


def events_in(history: History, item: Item | None) -> int:
    """How many of the first events are in the item."""
    if history.states[-1] == item:
        return len(history.entries)
    if item is None:
        return 0
    return next(
        (at for at in range(len(history.states) - 1, 0, -1) if history.states[at] == item), 0
    )


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
