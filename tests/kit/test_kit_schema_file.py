"""The lock file on disk, and the test that a user writes about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from appliers.lock.document import Lock, decode_lock, encode_lock
from appliers.lock.file import read_lock, write_lock
from binlog.errors import RefusedError, UpgradeError
from binlog.testing.check_schema import check_schema
from binlog.testing.violation import Violation
from tests.kit.test_kit_schema_lock import locked, place_anew, shop


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "schema.lock.json"
    write_lock(path, locked(shop()))
    return path


EDITS: list[tuple[str, Callable[[str], str], str]] = [
    ("a bound", lambda t: t.replace('"ge": 0', '"ge": 1'), "'Placed' was edited by hand"),
    (
        "a version",
        lambda t: t.replace('"orders": {"version": 1', '"orders": {"version": 2', 1),
        "was edited by hand",
    ),
    (
        "a type's name",
        lambda t: t.replace('"Placed": {', '"Put": {', 1),
        "'Put' was edited by hand",
    ),
    ("an item", lambda t: t.replace('{"S": "placed"}', '{"S": "new"}', 1), "was edited by hand"),
    ("a name", lambda t: t.replace('"is": "int"', '"is": "number"'), "was edited, or is damaged"),
    ("merged", lambda t: t.replace('  "types"', '<<<<<<< ours\n  "types"'), "merge conflict"),
    (
        "twice",
        lambda t: t.replace('"format": 1,', '"format": 1, "format": 1,'),
        "'format' stands twice",
    ),
    ("cut", lambda t: t[: len(t) // 2], "no JSON"),
    ("empty", lambda _: "", "no JSON"),
    ("another", lambda _: '{"lockfileVersion": 3}', "no lock file"),
    ("a list", lambda _: "[]", "no lock file"),
    ("deep", lambda _: "[" * 100_000, "nested too deep"),
]


@pytest.mark.parametrize(
    ("edit", "says"), [row[1:] for row in EDITS], ids=[row[0] for row in EDITS]
)
def test_a_file_that_is_not_as_it_was_written_is_refused_with_what_to_do(
    file: Path, edit: Callable[[str], str], says: str
) -> None:
    text = file.read_text()
    assert edit(text) != text
    file.write_text(edit(text))
    with pytest.raises(RefusedError, match=r"version control|was it written") as caught:
        read_lock(file)
    assert says in caught.value.what
    assert str(file) in caught.value.where


def test_damage_is_named_with_its_line(file: Path) -> None:
    lines = file.read_text().splitlines()
    lines[6] = "        oops"
    file.write_text("\n".join(lines))
    with pytest.raises(RefusedError) as caught:
        read_lock(file)
    assert caught.value.where == f"{file}, line 7"


def test_a_file_that_is_laid_out_otherwise_is_the_same_lock(file: Path) -> None:
    """A formatter of JSON in a pre-commit hook edits nothing that counts."""
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document, sort_keys=True, indent=8))
    assert read_lock(file) == locked(shop())


def test_types_that_two_branches_locked_merge_without_a_conflict(file: Path) -> None:
    """One checksum of the whole file would be a conflict in every merge."""
    ours, theirs = locked(shop(paid=None)), locked(shop(placed=None))
    merged = Lock(types={**ours.types, **theirs.types})
    assert decode_lock(encode_lock(merged), "x").types == merged.types


def test_a_newer_format_asks_for_an_upgrade(file: Path) -> None:
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(UpgradeError, match="format 2, this code knows up to 1"):
        read_lock(file)


# -- in a test -------------------------------------------------------------------------------------


def test_check_schema_passes_on_what_is_locked(file: Path) -> None:
    before = file.read_bytes()
    check_schema(shop(), file)
    check_schema(shop().build(), str(file))
    assert file.read_bytes() == before


def test_check_schema_fails_with_every_finding(file: Path) -> None:
    class Less(msgspec.Struct):
        total: str

    with pytest.raises(Violation) as caught:
        check_schema(shop(placed=Less, place=place_anew), file)
    text = str(caught.value)
    for said in ("field note", "field total", "int from 0", 'state: "placed" before, "new" now'):
        assert said in text
    assert "3 changes that events in logs do not fit (law: schema)" in text
    assert '@appliers.upcaster("Placed", from_version=1, data=PlacedV1)' in text


def test_check_schema_fails_when_the_lock_is_behind_unless_told(file: Path) -> None:
    """What is not locked could change unseen between two commits."""
    write_lock(file, locked(shop(paid=None)))
    with pytest.raises(Violation, match="is behind the code") as caught:
        check_schema(shop(), file)
    assert "binlog schema lock MODULE:OBJECT" in caught.value.do
    check_schema(shop(), file, complete=False)


def test_check_schema_says_what_to_run_without_a_lock_file(tmp_path: Path) -> None:
    with pytest.raises(Violation, match="there is no lock file") as caught:
        check_schema(shop(), tmp_path / "none.json")
    assert "binlog schema lock" in caught.value.do
    assert not (tmp_path / "none.json").exists()
