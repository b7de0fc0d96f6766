"""Torn tails are cut, damage is refused: the two are never taken for each other (D2)."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from binlog.clock import ManualClock
from binlog.errors import DamageError, UpgradeError
from binlog.log import Log, Position, Record
from binlog.logs import DirectoryLog, check_directory_log, create_directory_log
from binlog.logs.block import checksum
from tests.contracts.log_contract import appended, read_all
from tests.log.log_frames import PARAMS, put

FIRST = "00000000000000000000.seg"


class Place:
    """A closed log of two segments, and what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        create_directory_log(path, PARAMS, clock=ManualClock())
        with self.open() as log:
            for number in range(1, 7):
                log.append([put(number), put(number, partition=3)])
            self.records = read_all(log)
        self.segments = sorted(path.glob("*.seg"))
        assert len(self.segments) == 2

    def open(self) -> DirectoryLog:
        return DirectoryLog(self.path, clock=ManualClock(), segment_bytes=3_500)

    def read(self) -> list[Record]:
        with self.open() as log:
            return read_all(log)

    def findings(self) -> list[str]:
        return [f.rule for f in check_directory_log(self.path) if f.broken]

    def mentions(self) -> list[str]:
        return [f.rule for f in check_directory_log(self.path) if not f.broken]

    @property
    def last(self) -> Path:
        return self.segments[-1]

    def lose_note(self) -> None:
        (self.path / "note").write_bytes(bytes(576))

    def blocks(self, segment: Path) -> list[tuple[int, int]]:
        """Offset and end of each block of an unharmed segment."""
        data = segment.read_bytes()
        found = [0]
        while found[-1] < len(data):
            found.append(found[-1] + int.from_bytes(data[found[-1] + 52 : found[-1] + 56]))
        return list(pairwise(found))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("damage") / "log")


@pytest.fixture
def place(original: Place, tmp_path: Path) -> Place:
    shutil.copytree(original.path, tmp_path / "log")
    copy = object.__new__(Place)
    copy.path = tmp_path / "log"
    copy.records = original.records
    copy.segments = sorted(copy.path.glob("*.seg"))
    return copy


def read_until_damage(log: Log) -> tuple[list[Record], DamageError]:
    after = Position("0", -1)
    records: list[Record] = []
    while True:
        try:
            page = log.read(after, bytes_max=700)
        except DamageError as error:
            return records, error
        assert not page.caught_up, "the end was reached"
        records += page.records
        after = page.next


def place_of(error: DamageError) -> tuple[str, int]:
    segment, byte = error.details["segment"], error.details["byte"]
    assert isinstance(segment, str)
    assert isinstance(byte, int)
    return segment, byte


# -- damage --------------------------------------------------------------------------------------


def test_a_flip_in_any_byte_is_refused_with_its_place(original: Place, tmp_path: Path) -> None:
    """Every byte of every segment means something: no flip goes unseen, whatever it hits."""
    copy = tmp_path / "log"
    shutil.copytree(original.path, copy)
    for segment in original.segments:
        data = segment.read_bytes()
        for start, end in original.blocks(segment):
            before = [r for r in original.records if r.sequence < int(segment.stem) + start]
            # Each byte of block header and entries, and then some of the frames'.
            for at in (*range(start, start + 80), *range(start + 80, end, 11)):
                harmed = bytearray(data)
                harmed[at] ^= 1 << at % 8
                (copy / segment.name).write_bytes(harmed)
                try:
                    log = DirectoryLog(copy)
                except DamageError:
                    assert start == 0, "only the first block is looked at by opening"
                    continue
                with log:
                    records, error = read_until_damage(log)
                assert records == before
                name, byte = place_of(error)
                assert name == segment.name
                assert start <= byte <= at
                assert f"segment {name} byte {byte}" in str(error)
        (copy / segment.name).write_bytes(data)


def test_damage_in_a_frame_names_its_partition(place: Place) -> None:
    """Who repairs by hand wants to know whose events are gone."""
    data = bytearray(place.last.read_bytes())
    start, end = place.blocks(place.last)[1]
    data[end - 5] ^= 4  # in the last frame, of partition 3
    place.last.write_bytes(data)
    with place.open() as log:
        _, error = read_until_damage(log)
    assert error.partition == 3
    assert start < place_of(error)[1] < end
    [finding] = [f for f in check_directory_log(place.path) if f.broken]
    assert finding.rule == "damage"
    assert finding.where == error.where


SEALED: dict[str, Callable[[Place], object]] = {
    "first segment gone": lambda place: place.segments[0].unlink(),
    "first segment short": lambda place: cut(place.segments[0], -1),
    "first segment long": lambda place: lengthen(place.segments[0]),
}
LAST: dict[str, Callable[[Place], object]] = {
    "last segment gone": lambda place: place.last.unlink(),
    "last segment short": lambda place: cut(place.last, -1),
    "last segment empty": lambda place: cut(place.last, 0),
    "last segment swapped": lambda place: shutil.copy(place.segments[0], place.last),
    "last segment renamed": lambda place: place.last.rename(place.path / f"{9_999:020}.seg"),
}


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def cut(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


@pytest.mark.parametrize("harm", [*SEALED, *LAST])
def test_missing_and_misplaced_bytes_are_damage(place: Place, harm: str) -> None:
    """What was acknowledged is refused when it is gone, and no append covers it up."""
    (SEALED | LAST)[harm](place)
    assert_damaged(place)
    if harm in LAST and harm != "last segment swapped":  # what an append looks at: sizes and names
        with place.open() as log, pytest.raises(DamageError):
            log.append([put(9, session=2)])


@pytest.mark.parametrize("harm", SEALED)
def test_a_later_segment_proves_the_one_before_without_any_note(place: Place, harm: str) -> None:
    """(Without note and later segment, the end of the log is where its blocks end.)"""
    SEALED[harm](place)
    place.lose_note()
    assert_damaged(place)


def assert_damaged(place: Place) -> None:
    assert place.findings()
    with contextlib.suppress(DamageError), place.open() as log:
        read_until_damage(log)
    with contextlib.suppress(DamageError), place.open() as log:
        log.append([put(9, session=2)])
    assert place.findings()


def test_check_names_every_harmed_place(place: Place) -> None:
    """One bad block does not hide the next."""
    for segment in place.segments:
        data = bytearray(segment.read_bytes())
        for start, _ in place.blocks(segment)[1::2]:
            data[start + 70] ^= 1
        segment.write_bytes(data)
    harmed = sum(len(place.blocks(segment)[1::2]) for segment in place.segments)
    assert harmed > 2
    assert place.findings() == ["damage"] * harmed


def test_a_harmed_block_before_an_unharmed_one_is_damage_without_any_note(place: Place) -> None:
    """A commit begins only when the one before is durable, so it proves that one."""
    data = bytearray(place.last.read_bytes())
    start, _ = place.blocks(place.last)[-2]
    data[start + 53] ^= 0x40  # its length: the headers lead nowhere from here
    place.last.write_bytes(data)
    place.lose_note()
    with place.open() as log:
        records, error = read_until_damage(log)
    assert place_of(error) == (place.last.name, start)
    assert "an unharmed block follows" in str(error)
    assert records == [r for r in place.records if r.sequence < int(place.last.stem) + start]
    with place.open() as log, pytest.raises(DamageError):
        log.append([put(9, session=2)])
    assert place.last.read_bytes() == bytes(data)


def test_a_newer_format_is_no_damage(place: Place) -> None:
    """The remedy is another: upgrade."""
    data = bytearray(place.last.read_bytes())
    start, end = place.blocks(place.last)[0]
    data[start + 8] = 2
    data[start : start + 4] = checksum(bytes(data[start + 4 : end])).to_bytes(4, "big")
    place.last.write_bytes(data)
    with place.open() as log, pytest.raises(UpgradeError, match="upgrade"):
        read_all(log)


# -- torn tails ----------------------------------------------------------------------------------


def tails(place: Place) -> Iterator[bytes]:
    """Bytes that a writer may leave behind when it dies or the power fails."""
    data = place.last.read_bytes()
    start, end = place.blocks(place.last)[-1]
    block = data[start:end]  # the image of a block, but it belongs elsewhere
    yield b"\0"
    yield bytes(4_096)
    yield block
    yield block[:-1]
    yield block[: len(block) // 2] + bytes(len(block) // 2)
    yield bytes(300) + block
    yield place.segments[0].read_bytes()
    yield bytes(range(256)) * 20


TAILS = 8


@pytest.mark.parametrize("which", range(TAILS))
@pytest.mark.parametrize("note", ["kept", "lost"])
def test_a_torn_tail_is_passed_by_readers_and_cut_by_the_next_append(
    place: Place, which: int, note: str
) -> None:
    """Nobody was told of it. It is kept aside, since a person may want to see it."""
    assert len(list(tails(place))) == TAILS
    tail = list(tails(place))[which]
    whole = place.last.read_bytes()
    place.last.write_bytes(whole + tail)
    if note == "lost":
        place.lose_note()
    assert place.findings() == []
    assert "torn-tail" in place.mentions()
    assert place.read() == place.records
    assert place.last.read_bytes() == whole + tail, "a reader cuts nothing"
    with place.open() as log:
        [reply] = appended(log.append([put(7)]))
        assert [r.sequence for r in read_all(log)][-1] == reply.position.sequence
    assert place.last.read_bytes().startswith(whole)
    assert [path.read_bytes() for path in (place.path / "aside").iterdir()] == [tail]
    assert place.findings() == []
    assert place.mentions() == ["aside"]


def test_a_torn_block_that_holds_images_of_blocks_is_a_torn_tail(place: Place) -> None:
    """A payload may hold part of a log, this one even: an image is no proof of what is before."""
    data = place.last.read_bytes()
    start, end = place.blocks(place.last)[-1]
    images = b"".join(data[a:b] for a, b in place.blocks(place.last))
    with place.open() as log:
        log.append([put(7, data=b"\xc5" + len(images).to_bytes(2, "big") + images)])
    torn = bytearray(place.last.read_bytes())
    assert torn.count(data[start:end]) == 2
    torn[len(data) + 80] ^= 1  # it never reached the disk as it was meant
    place.last.write_bytes(torn)
    place.lose_note()  # nor did the note
    assert place.findings() == []
    assert place.read() == place.records
    with place.open() as log:
        appended(log.append([put(7)]))
    assert place.findings() == []


def test_whole_blocks_after_the_note_are_given(place: Place) -> None:
    """Their writer died before it could note them; they may have been acknowledged."""
    note = (place.path / "note").read_bytes()
    with place.open() as log:
        replies = appended(log.append([put(7), put(7, partition=2)]))
    (place.path / "note").write_bytes(note)
    assert place.mentions() == ["unnoted"]
    found = place.read()
    assert [r.sequence for r in found[-2:]] == [r.position.sequence for r in replies]
    assert place.mentions() == []


@pytest.mark.parametrize("how", ["zeroed", "removed", "cut", "another log's"])
def test_a_lost_note_is_no_damage(place: Place, how: str, tmp_path: Path) -> None:
    """The blocks say where the log ends; time does not go back either."""
    note = place.path / "note"
    if how == "zeroed":
        note.write_bytes(bytes(576))
    elif how == "removed":
        note.unlink()
    elif how == "cut":
        note.write_bytes(note.read_bytes()[:40])
    else:
        other = PARAMS.__class__(log_id="77" * 16)
        create_directory_log(tmp_path / "other", other, clock=ManualClock())
        shutil.copy(tmp_path / "other" / "note", note)
    assert place.findings() == []
    assert "note-lost" in place.mentions()
    clock = ManualClock(place.records[-1].arrival_ms - 5_000)
    with DirectoryLog(place.path, clock=clock) as log:
        [reply] = appended(log.append([put(7)]))
    assert reply.arrival_ms == place.records[-1].arrival_ms
    assert place.read()[:-1] == place.records
    assert place.mentions() == []


def test_time_is_known_when_the_last_segment_is_empty_and_the_note_lost(place: Place) -> None:
    """The last arrival then stands in the segment before."""
    end = int(place.last.stem) + place.last.stat().st_size
    (place.path / f"{end:020}.seg").touch()
    place.lose_note()
    with DirectoryLog(place.path, clock=ManualClock(1)) as log:
        [reply] = appended(log.append([put(7)]))
        assert reply.position.sequence > end
        assert reply.arrival_ms == place.records[-1].arrival_ms


def test_a_segment_begun_before_a_stale_note_is_not_overwritten(place: Place) -> None:
    """A note that the power took back names an earlier segment, and its exact end."""
    note = place.path / "note"
    with place.open() as log:
        log.append([put(7)])
        stale = note.read_bytes()
        for number in range(8, 14):
            log.append([put(number), put(number, partition=3)])
            if len(sorted(place.path.glob("*.seg"))) == 2:
                stale = note.read_bytes()
    assert len(sorted(place.path.glob("*.seg"))) == 3
    found = place.read()
    log = place.open()
    note.write_bytes(stale)
    [reply] = appended(log.append([put(20, session=4)]))
    log.close()
    assert place.read()[:-1] == found
    assert place.read()[-1].sequence == reply.position.sequence
    assert place.findings() == []
