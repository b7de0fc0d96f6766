"""The judges of archives and of what a stream forgot can fail: each falsehood is found, and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from binlog.errors import TrimmedError
from binlog.frame import decode_header
from binlog.log import Position, Record
from binlog.testing.world.producers import PARAMS
from tests.proofs.archive_reference import Told, differs
from tests.proofs.archive_scene import SCENE, Chain
from tests.proofs.forgetful import ForgetfulLog


def wrong_with(partition: int, chain: Chain) -> list[str]:
    return SCENE.reference.check_chain(partition, chain, SCENE.verdict(partition))


def test_the_chains_of_the_rule_are_right_and_there_is_much_in_them() -> None:
    """Else nothing below would show anything."""
    told = [each for p in range(PARAMS.partitions) for each, _ in SCENE.chain(p)]
    placed = [each for p in range(PARAMS.partitions) for _, cut in SCENE.chain(p) for each in cut]
    for partition in range(PARAMS.partitions):
        assert wrong_with(partition, SCENE.chain(partition)) == []
        assert wrong_with(partition, SCENE.chain(partition)[:-1]) == []
    assert any(not each.events for each in told), "no segment without an event"
    assert any(len(each.shards) > 1 for each in told), "no reshard within a segment"
    assert any(record.partition < 0 for _, record in placed), "no foreign record"


_CHANGES: dict[str, Callable[[Told], Told]] = {
    "key": lambda t: replace(t, key=t.key.replace(".seg", "-0000.seg")),
    "partition": lambda t: replace(t, partition=t.partition + 1),
    "first": lambda t: replace(t, first=t.first + 1),
    "part": lambda t: replace(t, part=t.part + 1),
    "last": lambda t: replace(t, last=t.last + 1),
    "offset": lambda t: replace(t, offset=t.offset - 1),
    "events": lambda t: replace(t, events=t.events + 1),
    "records": lambda t: replace(t, records=t.records - 1),
    "start": lambda t: replace(t, start=Position(t.start.shard, t.start.sequence + 1)),
    "ends too early": lambda t: replace(t, end=Position(t.end.shard, t.end.sequence - 1)),
    "ends too late": lambda t: replace(t, end=Position(t.end.shard, 10**60)),
    "digest before": lambda t: replace(t, digest_before=bytes(31) + b"x"),
    "digest": lambda t: replace(t, digest=bytes(31) + b"x"),
    "first arrival": lambda t: replace(t, arrival_first_ms=t.arrival_first_ms - 1),
    "last arrival": lambda t: replace(t, arrival_last_ms=t.arrival_last_ms + 1),
    "shards": lambda t: replace(t, shards=frozenset()),
}


@pytest.mark.parametrize("what", _CHANGES)
def test_a_segment_that_says_something_else_of_itself_is_found(what: str) -> None:
    """In the middle of a chain, where nothing but that is wrong."""
    chain = SCENE.chain(0)
    chain[1] = _CHANGES[what](chain[1][0]), chain[1][1]
    assert wrong_with(0, chain)


def test_a_gap_an_overlap_an_alien_and_another_order_are_found() -> None:
    """By their records: what a segment says of itself may be as it likes."""
    good = SCENE.chain(0)
    told, placed = good[1]
    alien = SCENE.chain(1)[1][1]
    for cut in (
        placed[1:],
        [good[0][1][-1], *placed],
        placed[::-1],
        alien,
        placed[:1],
        [],
    ):
        assert wrong_with(0, [good[0], (told, cut), *good[2:]])
    for chain in ([*good[:1], *good[2:]], [good[0], good[0], *good[1:]], [*good, good[-1]]):
        assert wrong_with(0, chain)


def test_a_record_that_is_not_as_it_was_is_found() -> None:
    """A frame may be kept decompressed, and nothing else may be done to it."""
    records = [each for _, cut in SCENE.chain(0) for each in cut]
    shard, record = next(each for each in records[1:] if each[1].partition == 0)
    assert differs((shard, record), (shard, record)) == ""
    assert decode_header(record.data).body_bytes
    for changed in (
        Record(record.sequence, record.arrival_ms + 1, 0, record.data),
        Record(record.sequence, record.arrival_ms, 1, record.data),
        Record(record.sequence, record.arrival_ms, 0, record.data, "key"),
        Record(record.sequence, record.arrival_ms, 0, record.data[:-1]),
    ):
        assert differs((shard, record), (shard, changed))
    assert differs((shard, record), ("other", record))


def test_a_log_that_forgets_tells_it_wherever_it_cannot_be_excluded() -> None:
    """And gives what is left of it as before."""
    log = ForgetfulLog(SCENE.log)
    [first, *_] = log.shards()
    whole = log.read(Position(first.id, -1), bytes_max=1 << 60).records
    assert not log.forget(whole[0].arrival_ms - 1)
    assert log.forget(whole[3].arrival_ms)
    other = log.open()
    for at in (-1, whole[0].sequence, whole[3].sequence):
        with pytest.raises(TrimmedError):
            other.read(Position(first.id, at))
    left = next(r for r in whole if r.arrival_ms > whole[3].arrival_ms)
    page = other.read(Position(first.id, left.sequence), bytes_max=1 << 60)
    assert page.records == whole[whole.index(left) + 1 :]


def test_a_place_whose_end_was_seen_late_enough_is_never_forgotten() -> None:
    """Its shard was open, and what came later is there still."""
    log = ForgetfulLog(SCENE.log)
    shard = next(each.id for each in log.shards() if not each.closed)
    end = log.read(Position(shard, -1), bytes_max=1 << 60).next
    seen_ms = log.seen_ms(end)
    assert seen_ms is not None
    log.forget(SCENE.log.now_ms())
    other = log.open()
    for told in (None, 0, seen_ms):  # as late as the last one that is forgotten
        if told is not None:
            other.note_seen(end, told)
        with pytest.raises(TrimmedError):
            other.read(end)
    other.note_seen(end, seen_ms + 1_000)
    assert other.read(end).records == []


def test_a_shard_of_which_nothing_is_left_is_not_listed() -> None:
    log = ForgetfulLog(SCENE.log)
    closed = [shard.id for shard in log.shards() if shard.closed]
    assert closed
    log.forget(SCENE.log.now_ms() - 1)
    assert set(closed) <= {shard.id for shard in log.shards()}, "closed no longer ago than that"
    log.forget(SCENE.log.now_ms())
    assert not {shard.id for shard in log.shards()} & set(closed)
    with pytest.raises(TrimmedError):
        log.read(Position(closed[0], 10**60))
