"""What a disaster has done, as against what producers and consumers did meanwhile.

They only move forward: an item has a higher version, a file more bytes at its end. What is gone, has
gone back, or is another one at the same version, was changed by somebody else.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from binlog.drills.action import TABLE, Fold, Item
from binlog.drills.ledger import Entry
from binlog.drills.reference import event_of, tallies

Parts: TypeAlias = Mapping[str, tuple[int, str]]
"""Of what stands at an address: version and digest by name. The version of what has none is 0."""
OWN = "_binlog"
_MOVE = frozenset({"note", "lock", "turn"})  # files of a log that are written where they are
_MAY_BE = ("open", "acknowledged", "unknown")
_SAID_MAX = 3


class Place(Protocol):
    """Of `binlog.drills.target.Target`, what is asked here."""

    def fingerprint(self, name: str) -> str: ...

    def parts(self, name: str) -> Parts | None: ...


class Standing:
    """What stands at an address now. ``moves``: producers or consumers are at work."""

    def __init__(self, place: Place, name: str, *, moves: bool) -> None:
        self.name = name
        self._place = place
        self._moves = moves
        self._parts, self._print = place.parts(name), place.fingerprint(name)

    def harm(self) -> str:
        """What was done to it since; empty if nothing can be told from what moved by itself."""
        parts = self._place.parts(self.name)
        said = harm(self._parts, parts) if self._parts is not None and parts is not None else ""
        # Where nothing moves, or nobody can say what does, any change is one.
        if not said and not (self._moves and self._parts is not None):
            said = "it is not what it was" * (self._place.fingerprint(self.name) != self._print)
        return said


def harm(before: Parts, after: Parts) -> str:
    """What is gone or was changed, the first of it by name; empty if nothing is."""
    said = []
    for name, (version, digest) in before.items():
        now = after.get(name)
        if now is None:
            said.append(f"{name} is gone")
        elif now[0] < version:
            said.append(f"{name} has gone back from {version} to {now[0]}")
        elif now[0] == version and now[1] != digest:
            said.append(f"{name} is another one")
    more = f", and {len(said) - _SAID_MAX:,} more" if len(said) > _SAID_MAX else ""
    return ", ".join(said[:_SAID_MAX]) + more


def never_so(entries: Iterable[Entry], items: Mapping[str, Item], own: Mapping[str, Fold]) -> str:
    """Items that are in no state that events have made; empty if there are none.

    An event counts from when it is published: a consumer may have it before its producer knows. A
    table of which the half was never so is another view of the events (a transform), or is not of
    them: nothing is said of it.
    """
    found = tallies(
        (event_of(e) for e in entries if e.told in _MAY_BE and e.action.table == TABLE), items, own
    )
    strange = sorted(key for key in items if key not in found or not found[key].has)
    if not strange or 2 * len(strange) > len(items):
        return ""
    more = f", and {len(strange) - _SAID_MAX:,} more" if len(strange) > _SAID_MAX else ""
    return f"no event has made {', '.join(strange[:_SAID_MAX])}{more} what it is"


def parts_of_files(root: Path) -> Parts:
    """Of a folder; the version of a file is its size, since files of a log only grow."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name not in _MOVE:
            data = path.read_bytes()
            found[str(path.relative_to(root))] = len(data), sha256(data).hexdigest()
    return found


def parts_of_sqlite(path: Path) -> Parts:
    """Of a store in a file; of its own tables only that they are there. Nothing, if it is none."""
    found: dict[str, tuple[int, str]] = {}
    if not path.is_file():
        return found
    with (
        contextlib.suppress(sqlite3.DatabaseError),
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as db,
    ):
        for (table,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            found[table] = 0, ""
            if not table.startswith((OWN, "sqlite_")):
                for key, version, item in db.execute(
                    f'SELECT key, version, item FROM "{table}"'  # noqa: S608  our own names
                ):
                    found[f"{table} {key}"] = version, item or ""
    return found


def parts_of_tables(tables: Iterable[tuple[str, Iterator[dict[str, Any]]]], control: str) -> Parts:
    """Of DynamoDB's tables and their items as the service gives them; likewise."""
    found: dict[str, tuple[int, str]] = {}
    for table, items in tables:
        found[table] = 0, ""
        if table.endswith(f".{control}"):
            continue
        for item in items:
            own = item.get(OWN, {}).get("M", {})
            rest = sorted((name, repr(value)) for name, value in item.items() if name != OWN)
            found[f"{table} {item['id']['S']}"] = int(own["v"]["N"]) if own else 0, repr(rest)
    return found
