"""Whether what is parked and the dead letters belong together, and are those that the log gives.

A letter beyond the checkpoint of its partition may be of a commit that has not come to its end, and
is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from appliers.item import Row
from appliers.letters import DeadLetter, LetterPlace
from appliers.poison import readable_key
from appliers.store import Reader
from binlog.logs.directory_check import Finding
from binlog.vector import Vector, offset_of


def check_letters(
    reader: Reader, table: str, parked: Mapping[bytes, Row], vector: Vector
) -> Iterator[Finding]:
    """Compare the letters of a table with its rows that are ``parked``, by key."""
    unseen = dict(parked)
    for key, group in groupby(_settled(reader.letters(table), vector), key=lambda x: x.key):
        letters = [letter for letter in group if not letter.alone]
        if letters:
            where = _place(reader.name, table, key)
            row = unseen.pop(key, None)
            for detail in _wrong(row, letters):
                yield Finding("letter" if row is None else "parked", where, detail)
    for key in unseen:
        detail = "parked, and no dead letter of it is there; rebuild the table"
        yield Finding("parked", _place(reader.name, table, key), detail)


def _wrong(row: Row | None, letters: list[DeadLetter]) -> Iterator[str]:
    versions = [letter.version for letter in letters]
    if row is None:
        yield (
            f"{len(letters)} dead letters, offsets {letters[0].offset} to {letters[-1].offset}, of an"
            " item that is not parked; binlog redrive removes them"
        )
        return
    if versions[-1] != row.tail:
        yield (
            f"its tail is {offset_of(row.tail)}, the last dead letter has offset"
            f" {letters[-1].offset}; rebuild the table"
        )
    if versions[0] <= row.version:
        yield f"offset {letters[0].offset} is in the item already; binlog redrive removes it"
    elif not letters[0].reason:
        yield (
            f"the first dead letter, offset {letters[0].offset}, says no reason: a redrive was cut"
            " short there, and binlog redrive goes on; or one before it is missing: rebuild the table"
        )


def check_letters_against(
    reader: Reader,
    other: Reader,
    table: str,
    vector: Vector,
    unreadable: Callable[[int, int], bool],
) -> Iterator[Finding]:
    """Compare the letters of a table with the counterpart's: the same events wait in every replica."""
    stored = {x.place: _told(x) for x in _settled(reader.letters(table), vector)}
    expected = {x.place: _told(x) for x in other.letters(table)}
    for place in sorted(stored.keys() | expected.keys()):
        if stored.get(place) == expected.get(place) or unreadable(place[1], offset_of(place[3])):
            continue
        what = (
            "is missing among the dead letters"
            if place not in stored
            else "is a dead letter, and by the log it is none"
            if place not in expected
            else "is another one in the log"
        )
        yield Finding("letter", _place(reader.name, table, place[2]), f"{_event(place)} {what}")


def _settled(letters: Iterable[DeadLetter], vector: Vector) -> Iterator[DeadLetter]:
    return (letter for letter in letters if letter.offset <= vector.get(letter.partition, 0))


def _told(letter: DeadLetter) -> tuple[str, str, bytes]:
    """All but the reason, which is of the code."""
    return letter.id, letter.type, letter.event


def _event(place: LetterPlace) -> str:
    return f"partition {place[1]}, offset {offset_of(place[3])}"


def _place(name: str, table: str, key: bytes) -> str:
    return f"{name} {f'table {table}' if table else 'no table'} key {readable_key(key)[1]}"
