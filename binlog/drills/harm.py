"""What a disaster has done, as against what producers and consumers did meanwhile.

They only move forward: an item has a higher version, a file more bytes at its end. What is gone, has
gone back, or is another one at the same version, was changed by somebody else.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b, file_digest
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from binlog.drills.action import TABLE, Fold, Item
from binlog.drills.ledger import Entry
from binlog.drills.reference import event_of, tallies
from binlog.drills.slices import Slices

Part: TypeAlias = tuple[str, tuple[int, str]]
Parts: TypeAlias = Iterable[Part]
"""Of what stands at an address: name, version and digest. The version of what has none is 0."""
PARTS = 1_000_000  # as many are looked at by slices; fewer do no harm, more make these larger
OWN = "_binlog"
_MOVE = frozenset({"note", "lock", "turn"})  # files of a log that are written where they are
_MAY_BE = ("open", "acknowledged", "unknown")
_SAID_MAX = 3


class Place(Protocol):
    """Of `binlog.drills.target.Target`, what is asked here."""

    def fingerprint(self, name: str) -> str: ...

    def parts(self, name: str) -> Parts | None: ...


class Standing:
    """What stands at an address now, until the end of the block. ``moves``: somebody is at work there.

    Of a large table, no more than a slice of its rows is in memory.
    """

    def __init__(self, place: Place, name: str, *, moves: bool) -> None:
        self.name = name
        self._place = place
        self._moves = moves
        self._before = Slices[Part](PARTS)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._before)
            parts = self._place.parts(self.name)
            self._has_parts = parts is not None
            for part in parts or ():
                self._before.put(part[0], part)
            self._print = self._place.fingerprint(self.name)
            stack.pop_all()  # it stays open until the block ends
        return self

    def __exit__(self, *raised: object) -> None:
        self._before.close()

    def harm(self) -> str:
        """What was done to it since; empty if nothing can be told from what moved by itself."""
        said = _told(self._harms()) if self._has_parts else ""
        # Where nothing moves, or nobody can say what does, any change is one.
        if not said and not (self._moves and self._has_parts):
            said = "it is not what it was" * (self._place.fingerprint(self.name) != self._print)
        return said

    def _harms(self) -> Iterator[_Harm]:
        with Slices[Part](PARTS) as after:
            for part in self._place.parts(self.name) or ():
                after.put(part[0], part)
            for number in range(after.count):
                yield from _harms(self._before.slice(number), dict(after.slice(number)))


_Harm = tuple[str, str]


def harm(before: Mapping[str, tuple[int, str]], after: Mapping[str, tuple[int, str]]) -> str:
    """What is gone or was changed, the first of it by name; empty if nothing is."""
    return _told(_harms(before.items(), after))


def _harms(before: Parts, after: Mapping[str, tuple[int, str]]) -> Iterator[_Harm]:
    for name, (version, digest) in before:
        now = after.get(name)
        if now is None:
            yield name, "is gone"
        elif now[0] < version:
            yield name, f"has gone back from {version} to {now[0]}"
        elif now[0] == version and now[1] != digest:
            yield name, "is another one"


def _told(found: Iterator[_Harm]) -> str:
    """The first of them by name, and how many more."""
    first: list[_Harm] = []
    count = 0
    while chunk := list(islice(found, 1_000)):
        count += len(chunk)
        first = sorted([*first, *chunk])[:_SAID_MAX]
    more = f", and {count - len(first):,} more" if count > len(first) else ""
    return ", ".join(map(" ".join, first)) + more


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


def parts_of_files(root: Path) -> Iterator[Part]:
    """Of a folder; the version of a file is its size, since files of a log only grow."""
    for path in sorted(root.rglob("*")):
        if path.name not in _MOVE and (found := read_whole(path)) is not None:
            size, digest = found
            yield str(path.relative_to(root)), (size, digest.hex())


def read_whole(path: Path) -> tuple[int, bytes] | None:
    """Size and digest of a file; ``None`` if it is none, or one that somebody is just writing.

    Such a one has a hidden name (`binlog.objects.directory`), and may be gone at the next look.
    """
    if path.name.startswith("."):
        return None
    with contextlib.suppress(FileNotFoundError, IsADirectoryError), path.open("rb") as file:
        digest = file_digest(file, "sha256").digest()
        return file.tell(), digest
    return None


def parts_of_sqlite(path: Path) -> Iterator[Part]:
    """Of a store in a file; of its own tables only that they are there. Nothing, if it is none."""
    if not path.is_file():
        return
    with (
        contextlib.suppress(sqlite3.DatabaseError),
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as db,
    ):
        for (table,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            yield table, (0, "")
            if not table.startswith((OWN, "sqlite_")):
                for key, version, item in db.execute(
                    f'SELECT key, version, item FROM "{table}"'  # noqa: S608  our own names
                ):
                    yield f"{table} {key}", (version, _digest(item or ""))


def parts_of_tables(
    tables: Iterable[tuple[str, Iterator[dict[str, Any]]]], control: str
) -> Iterator[Part]:
    """Of DynamoDB's tables and their items as the service gives them; likewise."""
    for table, items in tables:
        yield table, (0, "")
        if table.endswith(f".{control}"):
            continue
        for item in items:
            own = item.get(OWN, {}).get("M", {})
            rest = sorted((name, repr(value)) for name, value in item.items() if name != OWN)
            version = int(own["v"]["N"]) if own else 0
            yield f"{table} {item['id']['S']}", (version, _digest(repr(rest)))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
