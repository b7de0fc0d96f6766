"""Damage is named by place, by every verb alike; what follows the last acknowledged byte is none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.acceptance_support import World, binlog, inside, inside_refused, ok, refused

PLACE = re.compile(r"segment (?P<segment>\S+\.seg) byte (?P<byte>\d+) partition (?P<partition>\d+)")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Eight acknowledged runs, one after the other, in one partition."""
    world = World(tmp_path_factory.mktemp("sound"), partitions=1)
    for run in range(8):
        world.put(*({"id": f"k{n}", "run": run} for n in range(5)))
    return world


def copy(sound: World, directory: Path) -> World:
    """A world of its own, with a copy of the log."""
    world = World.__new__(World)
    world.directory, world.path = directory, directory / "log"
    world.log = f"file:{directory}/log"
    shutil.copytree(sound.path, world.path)
    return world


def test_a_flipped_bit_anywhere_is_named_by_every_verb(sound: World, tmp_path: Path) -> None:
    """`check` exits 1, readers exit 3 with the same place, and `cat` printed what lies before."""
    [segment] = sound.segments()
    size = segment.stat().st_size
    whole = ok("cat", sound.log, "--json").out

    def flip(place: int) -> tuple[int, int]:
        world = copy(sound, tmp_path / str(place))
        [harmed] = world.segments()
        data = bytearray(harmed.read_bytes())
        data[place] ^= 1 << place % 8
        harmed.write_bytes(data)
        checked = inside("check", world.log, "--json")
        assert checked.status == 1, (place, checked)
        assert checked.document["ok"] is False
        wheres = [finding["where"] for finding in checked.document["findings"]]
        [where] = [w for w in wheres if (found := PLACE.search(w))] or wheres
        found = PLACE.search(where)
        assert found, (place, where)
        assert found["segment"] == harmed.name
        assert found["partition"] == "0"
        assert int(found["byte"]) <= place < int(found["byte"]) + 2_000
        told = binlog("cat", world.log, "--json")
        assert told.status == 3, (place, told)
        assert where in told.err
        assert whole.startswith(told.out)
        assert len(told.out) < len(whole)
        for verb in (
            ["rebuild", world.log, "memory:"],
            ["replicate", world.log, "memory:", "--once"],
        ):
            run = refused if place == places[3] else inside_refused
            assert where in run(3, *verb), (place, verb)
        assert bytes(data) == harmed.read_bytes()  # nobody mended anything
        return place, len(told.lines)

    places = [size * part // 7 + 5 for part in range(7)]
    shown = [flip(place) for place in places]
    # What lies before is shown: the later the damage, the more.
    assert [lines for _, lines in shown] == sorted(lines for _, lines in shown)
    assert shown[-1][1] >= 30


def test_bytes_that_are_gone_are_damage(sound: World, tmp_path: Path) -> None:
    """What was acknowledged and is not there any more: never a shorter log."""
    for name in ("cut", "emptied", "removed", "zeroed", "doubled"):
        world = copy(sound, tmp_path / name)
        [segment] = world.segments()
        data = segment.read_bytes()
        if name == "cut":
            segment.write_bytes(data[:-1])
        elif name == "emptied":
            segment.write_bytes(b"")
        elif name == "removed":
            segment.unlink()
        elif name == "zeroed":
            segment.write_bytes(data[:-100] + bytes(100))
        else:
            segment.write_bytes(data[:1_000] + data[500:])
        assert inside("check", world.log, "--json").status == 1, name
        refused(3, "cat", world.log)
        inside_refused(3, "rebuild", world.log, "memory:")


def test_genesis_that_is_harmed_is_refused(sound: World, tmp_path: Path) -> None:
    world = copy(sound, tmp_path)
    genesis = world.path / "GENESIS"
    data = bytearray(genesis.read_bytes())
    data[len(data) // 2] ^= 1
    genesis.write_bytes(data)
    assert binlog("check", world.log).status == 1
    refused(3, "cat", world.log)
    refused(3, "append", world.log, "--table", "users", given='{"id": "a"}')
    refused(3, "rebuild", world.log, "memory:")


def tails(block: bytes) -> dict[str, bytes]:
    return {
        "zeros": bytes(4_096),
        "one byte": b"\x01",
        "noise": bytes((n * n + 7 * n) % 251 for n in range(5_000)),
        "the first part of a block": block[: len(block) // 2],
        "an old block once more": block,
        "zeros and part of a block": bytes(512) + block[:-1],
    }


def test_a_tail_that_was_never_acknowledged_is_no_damage(sound: World, tmp_path: Path) -> None:
    """Readable at once, mentioned by `check` with exit 0, removed by the next append."""
    [segment] = sound.segments()
    data = segment.read_bytes()
    block = data[data.rindex(b"BLBK") - 4 :]  # the newest one; its layout is in the file's words
    whole = ok("cat", sound.log, "--json").out
    tables = sound.rebuild("memory:")["tables"]

    def tear(name: str) -> None:
        world = copy(sound, tmp_path / name)
        [torn] = world.segments()
        torn.write_bytes(data + tails(block)[name])
        assert inside("cat", world.log, "--json").out == whole, name
        checked = ok("check", world.log, "--json").document
        assert checked["ok"] is True
        assert any("tail" in f["rule"] or "tail" in f["detail"] for f in checked["findings"]), name
        assert inside("rebuild", world.log, "memory:", "--json").document["tables"] == tables
        [ack] = world.put({"id": "next"})
        after = inside("cat", world.log, "--json").out
        assert after.startswith(whole)
        assert ack["id"] in after
        assert after.count("\n") == whole.count("\n") + 1
        kept, appended = torn.read_bytes()[: len(data)], torn.read_bytes()[len(data) :]
        assert kept == data
        assert appended[4:8] == b"BLBK"  # the new block stands where the tail stood
        # One byte is what one block in 256 begins with, whatever stood there before.
        assert len(tails(block)[name]) == 1 or not appended.startswith(tails(block)[name])
        checked = inside("check", world.log, "--json").document
        assert checked["ok"] is True
        assert not any("torn" in f["rule"] for f in checked["findings"]), name

    for name in tails(block):
        tear(name)


def test_a_lost_note_is_no_damage(sound: World, tmp_path: Path) -> None:
    """The file that says how far the log is durable is a help, not a part of it."""
    whole = ok("cat", sound.log, "--json").out
    spoils: tuple[tuple[str, Callable[[Path], object]], ...] = (
        ("spoiled", lambda note: note.write_bytes(bytes(note.stat().st_size))),
        ("removed", lambda note: note.unlink()),
    )
    for name, spoil in spoils:
        world = copy(sound, tmp_path / name)
        spoil(world.path / "note")
        assert ok("check", world.log, "--json").document["ok"] is True
        assert ok("cat", world.log, "--json").out == whole
        world.put({"id": "next"})
        assert ok("cat", world.log, "--json").out.startswith(whole)


def test_reading_changes_no_byte(sound: World, tmp_path: Path) -> None:
    world = copy(sound, tmp_path)
    before = {path.name: path.read_bytes() for path in world.path.iterdir()}
    ok("cat", world.log)
    ok("check", world.log)
    assert {path.name: path.read_bytes() for path in world.path.iterdir()} == before


def test_what_a_newer_program_or_other_parameters_made_is_named(
    sound: World, tmp_path: Path
) -> None:
    """Exit 3 with what was found; nobody may take it for damage and mend it."""
    for old, new, words in (
        (b'"format":1', b'"format":2', "upgrade"),
        (b'"rules":1', b'"rules":2', "upgrade"),
        (b'"partitions":1', b'"partitions":2', "parameters"),
    ):
        world = copy(sound, tmp_path / new.strip(b'"').decode().replace('":', "-"))
        genesis = world.path / "GENESIS"
        genesis.write_bytes(genesis.read_bytes().replace(old, new))
        for verb in (["cat", world.log], ["rebuild", world.log, "memory:"], ["append", world.log]):
            assert words in inside_refused(3, *verb), (old, verb)
