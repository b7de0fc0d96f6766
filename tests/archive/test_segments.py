"""Segments: cut at record boundaries, known whole by their own bytes, found by their keys."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from binlog.archive import Archive
from binlog.archive.block import BlockBuilder, decode_block
from binlog.archive.frame_form import restore_frame, strip_frame
from binlog.archive.keys import Place, next_place, parse_segment_key, segment_key
from binlog.clock import ManualClock
from binlog.compression import compress
from binlog.errors import DamageError, MismatchError, UpgradeError
from binlog.frame import HEADER_BYTES, decode_body, decode_header
from binlog.log import Position, Record
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.params import Params
from binlog.sequencer import Sequencer
from binlog.values import encode_value
from tests.archive.archive_world import archive_by_hand, cutter_of, write
from tests.log.log_frames import PARAMS, frame, put

TEXT = encode_value({"text": "the same words again and again " * 300})


def small_log(frames: int = 7, *, partition: int = 0) -> MemoryLog:
    log = MemoryLog(PARAMS, clock=ManualClock(), first_sequence=10**55, sequence_step=10**20 + 1)
    for number in range(1, frames + 1):
        log.append([put(number, partition=partition, data=TEXT)])
    return log


def test_a_chain_holds_every_record_of_its_partition_in_order() -> None:
    """What a reader of the stream gets, a reader of the archive gets."""
    log = small_log()
    archive = archive_by_hand(log)
    chain = archive.chain(0)
    found = [
        (shard, record.sequence, record.arrival_ms, record.partition)
        for info in chain.segments()
        for block in chain.open(info)
        for shard, record in block
    ]
    assert found == [(s, r.sequence, r.arrival_ms, r.partition) for s, r in log.records(0)]


def test_the_records_of_an_archive_number_as_those_of_the_log() -> None:
    """Offsets, digests and the state itself are the same, although the frames were decompressed."""
    log = small_log()
    archive = archive_by_hand(log)
    of_log = Sequencer(log.params, log.genesis, 0)
    of_archive = Sequencer(log.params, log.genesis, 0)
    archived = [
        pair
        for info in archive.chain(0).segments()
        for block in archive.chain(0).open(info)
        for pair in block
    ]
    shrunk = 0
    for (shard, record), (_, kept) in zip(log.records(0), archived, strict=True):
        assert [r.first_offset for r in of_log.feed(shard, record)] == [
            r.first_offset for r in of_archive.feed(shard, kept)
        ]
        assert of_log.encode_state() == of_archive.encode_state()
        shrunk += len(kept.data) > len(record.data)
    assert shrunk == 7  # else nothing was compressed, and this proves nothing


def test_a_held_frame_is_kept_byte_by_byte() -> None:
    """Its bytes are in the sequencer's state, and count against the bound on what is held."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    log.append([put(2, data=TEXT)])
    log.append([put(1, data=TEXT)])
    archive = archive_by_hand(log, records_each=2)
    chain = archive.chain(0)
    [held, first] = [
        record
        for info in chain.segments()
        for block in chain.open(info)
        for _, record in block
        if not decode_header(record.data).genesis
    ]
    originals = [record.data for _, record in log.records(0)][1:]
    assert held.data == originals[0]
    assert first.data != originals[1]
    state = next(iter(chain.segments())).end.state
    sequencer = Sequencer(log.params, log.genesis, 0)
    for shard, record in log.records(0)[:2]:
        sequencer.feed(shard, record)
    assert sequencer.held == 1
    assert state == sequencer.encode_state()


def test_each_segment_names_the_next_one() -> None:
    """The key is a pure function of the segment before: a chain cannot fork."""
    log = small_log()
    archive = archive_by_hand(log, records_each=1)
    infos = list(archive.chain(0).segments())
    assert [info.place for info in infos[:3]] == [Place(1, 0), Place(1, 1), Place(2, 0)]
    for before, after in pairwise(infos):
        assert after.place == before.next_place
        assert after.start == before.end.position
        assert after.digest_before == before.end.digest
    assert infos[0].events == 0  # the genesis record alone
    assert infos[-1].last == 7


@pytest.mark.parametrize(
    ("place", "last", "following"),
    [
        (Place(1, 0), 5, Place(6, 0)),
        (Place(1, 0), 0, Place(1, 1)),
        (Place(6, 3), 5, Place(6, 4)),
        (Place(6, 3), 6, Place(7, 0)),
    ],
)
def test_the_next_place_depends_on_whether_there_were_events(
    place: Place, last: int, following: Place
) -> None:
    """A segment without events keeps the offset and counts its parts."""
    assert next_place(place, last) == following


def test_keys_sort_as_the_chain_does() -> None:
    """A listing is the chain, without reading anything."""
    places = [Place(1, 0), Place(1, 1), Place(9, 0), Place(10, 0), Place(10, 2), Place(10**12, 0)]
    keys = [segment_key(3, place) for place in places]
    assert keys == sorted(keys)
    assert [parse_segment_key(key) for key in keys] == [(3, place) for place in places]
    assert parse_segment_key(keys[0].replace("-0000", "-00000")) is None
    assert parse_segment_key("chain/p00003/" + keys[0].split("/")[2]) is None


def test_the_same_records_make_the_same_bytes() -> None:
    """Two archivers that cut alike write one object, and both are right."""
    log = small_log()
    first, second = (archive_by_hand(log, MemoryObjects()) for _ in range(2))
    assert [
        (entry.key, first.objects.get(entry.key)) for entry in first.objects.list("chain/")
    ] == [(entry.key, second.objects.get(entry.key)) for entry in second.objects.list("chain/")]


def test_finds_the_segment_of_an_offset() -> None:
    """By the keys alone, and the part that holds it."""
    archive = archive_by_hand(small_log(), records_each=2)
    chain = archive.chain(0)
    found = {offset: chain.find(offset) for offset in range(10)}
    assert [offset for offset, info in found.items() if info is None] == [0, 8, 9]
    for offset, info in found.items():
        assert info is None or info.first <= offset <= info.last
    after = list(chain.segments(after_offset=4))
    assert after[0].first <= 5 <= after[0].last
    assert list(chain.segments(after_offset=7)) == []


def test_a_chain_may_be_read_from_any_block_on() -> None:
    """A reader that stands in a segment reads what it needs of it, and the rest is left."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    blob = encode_value({"b": bytes(range(256)) * 1200})
    for number in range(1, 13):
        log.append([put(number, data=blob)])
    archive = archive_by_hand(log, records_each=100)
    chain = archive.chain(0)
    [info] = chain.segments()
    assert len(info.blocks) > 2
    whole = [pair for block in chain.open(info) for pair in block]
    for index, block in enumerate(info.blocks):
        part = [pair for each in chain.open(info, block=index) for pair in each]
        assert part == whole[-len(part) :]
        assert Position(part[0][0], part[0][1].sequence) == block.first
    assert [pair[1].sequence for pair in whole] == [r.sequence for _, r in log.records(0)]


def test_every_flipped_bit_and_every_cut_of_a_segment_is_found() -> None:
    """Nothing is served that is not what was written, wherever the damage is."""
    archive = archive_by_hand(small_log(2), records_each=9)
    entry = next(iter(archive.objects.list("chain/p0000/")))
    data = archive.objects.get(entry.key) or b""

    def read(changed: bytes) -> list[list[tuple[str, Record]]]:
        objects = MemoryObjects()
        again = Archive.create(objects, archive.params, archive.genesis)
        objects.put(entry.key, changed)
        chain = again.chain(0)
        return [block for info in chain.segments() for block in chain.open(info)]

    assert read(data)
    for at in range(len(data)):
        with pytest.raises((DamageError, UpgradeError)) as raised:
            read(data[:at] + bytes((data[at] ^ 1 << at % 8,)) + data[at + 1 :])
        assert entry.key in str(raised.value)
    for end in range(0, len(data), 7):
        with pytest.raises(DamageError):
            read(data[:end])
    with pytest.raises(DamageError):
        read(data + b"\0")


def test_a_segment_under_another_name_is_refused() -> None:
    """A copy that was put in another place would be a fork of the chain."""
    archive = archive_by_hand(small_log(), records_each=3)
    keys = [entry.key for entry in archive.objects.list("chain/p0000/")]
    archive.objects.put(keys[1], archive.objects.get(keys[2]) or b"")
    with pytest.raises(DamageError, match="under another name"):
        list(Archive.open(archive.objects).chain(0).segments())
    moved = keys[2].replace("p0000", "p0003")
    archive.objects.put(moved, archive.objects.get(keys[2]) or b"")
    with pytest.raises(DamageError, match="under another name"):
        Archive.open(archive.objects).chain(3).end()


def test_a_missing_segment_is_named_and_nothing_behind_it_is_given() -> None:
    """A hole is never read over."""
    archive = archive_by_hand(small_log(), records_each=2)
    keys = [entry.key for entry in archive.objects.list("chain/p0000/")]
    archive.objects.delete([keys[2]])
    chain = Archive.open(archive.objects).chain(0)
    steps = chain.segments()
    assert [next(steps).key, next(steps).key] == keys[:2]
    with pytest.raises(DamageError) as raised:
        next(steps)
    assert keys[2] in str(raised.value)
    archive.objects.delete([keys[0]])
    with pytest.raises(DamageError, match=r"missing|hole"):
        list(Archive.open(archive.objects).chain(0).segments())


def test_a_segment_of_another_history_is_not_gone_on_with() -> None:
    """It is whole, of this log and in its place, and does not begin where the one before it ends."""
    archive = archive_by_hand(small_log(), records_each=2)
    other = MemoryLog(PARAMS, clock=ManualClock(), first_sequence=10**55, sequence_step=10**20 + 1)
    for number in range(1, 8):
        other.append([put(number, session=2, data=TEXT)])
    fork = archive_by_hand(other, records_each=2)
    keys = [entry.key for entry in archive.objects.list("chain/p0000/")]
    archive.objects.put(keys[2], fork.objects.get(keys[2]) or b"")
    chain = Archive.open(archive.objects).chain(0)
    by_info = (info.key for info in chain.segments())
    by_outline = (outline.key for outline in chain.outlines())
    for steps in (by_info, by_outline):
        assert [next(steps), next(steps)] == keys[:2]
        with pytest.raises(DamageError, match="does not go on where") as raised:
            next(steps)
        assert keys[2] in str(raised.value)


def test_a_state_of_another_place_is_not_gone_on_with() -> None:
    """An end that says one thing and whose state says another is damage, whoever wrote it."""
    log = small_log()
    archive = archive_by_hand(log, records_each=2)
    infos = list(archive.chain(0).segments())
    wrong = msgspec.structs.replace(
        infos[-1],
        end=msgspec.structs.replace(infos[-1].end, state=infos[-2].end.state),
    )
    lineage = cutter_of(log, archive, 0)
    with pytest.raises(DamageError, match="its end state is of another place"):
        lineage.go_on_at(wrong)


def test_an_archive_of_another_log_and_one_of_a_newer_format_are_refused() -> None:
    """Two logs in one archive would be one chain of both."""
    archive = archive_by_hand(small_log())
    other = MemoryLog(Params(log_id="2e" * 16, partitions=4))
    with pytest.raises(MismatchError, match="of the log"):
        Archive.create(archive.objects, other.params, other.genesis)
    data = archive.objects.get("archive.json") or b""
    newer = msgspec.json.encode({**msgspec.json.decode(data), "format": 2, "more": 1})
    archive.objects.put("archive.json", newer)
    with pytest.raises(UpgradeError, match="upgrade binlog"):
        Archive.open(archive.objects)


def test_a_segment_of_another_log_is_refused() -> None:
    """It may have been copied into the wrong bucket."""
    archive = archive_by_hand(small_log())
    other = MemoryLog(Params(log_id="2e" * 16, partitions=4))
    objects = MemoryObjects()
    foreign = Archive.create(objects, other.params, other.genesis)
    for entry in archive.objects.list("chain/"):
        objects.put(entry.key, archive.objects.get(entry.key) or b"")
    with pytest.raises(MismatchError, match="of the log 1f1f"):
        foreign.chain(0).end()


def test_the_loser_of_a_race_stands_at_the_winners_end() -> None:
    """ "It exists" is not "it is mine": the winner may have cut elsewhere."""
    log = small_log()
    archive = Archive.create(MemoryObjects(), log.params, log.genesis)
    winner, loser = (cutter_of(log, archive, 0) for _ in range(2))
    records = log.records(0)
    for shard, record in records[:5]:
        winner.feed(shard, record)
    for shard, record in records[:3]:
        loser.feed(shard, record)
    info = write(archive, winner)
    cut = loser.cut()
    assert not archive.objects.put_new(cut.key, cut.data)
    loser.settle(cut, archive.chain(0).end())
    assert loser.position == info.end.position
    assert loser.sequencer.encode_state() == winner.sequencer.encode_state()
    assert loser.records == 0
    for shard, record in records[5:]:
        loser.feed(shard, record)
    write(archive, loser)
    assert [i.last for i in Archive.open(archive.objects).chain(0).segments()] == [4, 7]


def test_stripping_a_frame_and_restoring_it_changes_only_its_compression() -> None:
    """Everything that the sequencer reads of it is as it was."""
    original = frame(1, data=TEXT, count=3)
    stripped = strip_frame(original)
    assert stripped is not None
    restored = restore_frame(*stripped)
    before, after = decode_header(original), decode_header(restored)
    assert before.compressed
    assert not after.compressed
    assert decode_body(original, before) == decode_body(restored, after)
    same = {"compressed": False, "body_crc": 0}
    assert msgspec.structs.replace(before, **same) == msgspec.structs.replace(after, **same)
    plain = frame(1)
    assert restore_frame(*(strip_frame(plain) or (b"", b""))) == plain
    broken = original[:-1] + bytes((original[-1] ^ 255,))
    assert strip_frame(broken) is None or restore_frame(*strip_frame(broken)) != original  # type: ignore[misc]
    assert strip_frame(original[: HEADER_BYTES - 1]) is None


def test_a_block_gives_back_foreign_records_with_any_key() -> None:
    """A partition key may be anything, a lone surrogate too."""
    builder = BlockBuilder()
    records = [
        Record(10**55, 5, -1, b"whatever", "caf\u00e9"),
        Record(10**55 + 7, 3, 2, b"not a frame"),
        Record(10**55 + 9, 9, -1, b"", "\ud800"),
        Record(4, 9, -1, b"x", ""),
    ]
    for shard, record in zip([0, 0, 0, 1], records, strict=True):
        builder.add(shard, record, accepted=False)
    raw = builder.encode()
    found = decode_block(compress(raw), raw_bytes=len(raw), partition=2, shards=["a", "b"])
    assert [record for _, record in found] == records
    assert [shard for shard, _ in found] == ["a", "a", "a", "b"]
