"""The in-memory log does to a producer and a consumer what Kinesis does, when it is told to."""

from __future__ import annotations

from random import Random

import pytest

from binlog.clock import ManualClock
from binlog.errors import RefusedError
from binlog.frame import decode_header
from binlog.log import Appended, Expired, Failed, Position, Put, Record, Reply
from binlog.logs import Chaos, Fate, MemoryLog
from tests.log.log_frames import PARAMS, put


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(PARAMS, clock=ManualClock())


def firsts(log: MemoryLog, partition: int = 0) -> list[int]:
    """The first numbers of a partition's frames, in log order, without the genesis record."""
    return [decode_header(record.data).first for _, record in log.records(partition)][1:]


def again(sent: Put) -> Put:
    return Put(sent.partition, sent.data, tried=True)


def outcome(reply: Reply) -> tuple[bool, bool]:
    """(acknowledged, certainly not sent)."""
    return isinstance(reply, Appended), isinstance(reply, Failed) and reply.untouched


@pytest.mark.parametrize(
    ("fate", "landed", "told"),
    [
        (Fate.LAND, [1], (True, False)),
        (Fate.DUPLICATE, [1, 1], (True, False)),
        (Fate.LOSE_REPLY, [1], (False, False)),
        (Fate.LATE, [], (False, False)),
        (Fate.LOSE, [], (False, False)),
        (Fate.THROTTLE, [], (False, True)),
    ],
)
def test_a_frame_meets_its_fate(
    log: MemoryLog, fate: Fate, landed: list[int], told: tuple[bool, bool]
) -> None:
    """What lands and what the caller is told are two things; the next frame is spared."""
    log.script(fate)
    [reply] = log.append([put(1)])
    assert firsts(log) == landed
    assert outcome(reply) == told
    assert len(log.ghosts) == (fate is Fate.LATE)
    [reply] = log.append([put(2)])
    assert isinstance(reply, Appended)
    assert firsts(log) == [*landed, 2]


def test_a_late_frame_lands_behind_its_successors_with_the_birth_of_its_try(log: MemoryLog) -> None:
    """The ghost that closed generations and predecessors exist for."""
    clock = log._clock
    assert isinstance(clock, ManualClock)
    born = clock.now_ms()
    log.script(Fate.LATE)
    log.append([put(1)])
    clock.advance(1_000)
    log.append([put(2)])
    log.append([put(3)])
    clock.advance(1_000)
    position = log.land()
    assert firsts(log) == [2, 3, 1]
    [*_, (_, last)] = log.records(0)
    assert (last.sequence, last.arrival_ms) == (position.sequence, born + 2_000)
    assert decode_header(last.data).born_ms == born
    assert log.ghosts == []


def test_an_old_frame_under_way_is_not_called_expired(log: MemoryLog) -> None:
    """``Expired`` says: not now and not later. A ghost may land later."""
    clock = log._clock
    assert isinstance(clock, ManualClock)
    sent = put(1, born_ms=clock.now_ms())
    log.script(Fate.LATE)
    log.append([sent])
    clock.advance(PARAMS.session_age_ms + 1)
    [reply] = log.append([again(sent)])
    assert outcome(reply) == (False, False)
    log.ghosts.clear()
    assert log.append([again(sent)]) == [Expired(clock.now_ms())]


def test_a_kinesis_does_not_judge_age() -> None:
    clock = ManualClock()
    log = MemoryLog(PARAMS, clock=clock, enforce_age=False)
    sent = put(1, born_ms=clock.now_ms())
    clock.advance(PARAMS.session_life_ms * 2)
    assert isinstance(log.append([sent])[0], Appended)


def test_frames_of_a_call_land_in_the_order_told_and_are_answered_in_the_order_given(
    log: MemoryLog,
) -> None:
    """PutRecords keeps no order."""
    log.order(2, 0, 1)
    log.script(Fate.THROTTLE, Fate.LAND, Fate.LAND)
    replies = log.append([put(1), put(2), put(3)])
    assert firsts(log) == [3, 2]
    assert [outcome(reply) for reply in replies] == [(False, True), (True, False), (True, False)]


def test_what_is_held_back_is_seen_after_the_release(log: MemoryLog) -> None:
    [shard] = log.shards()
    log.hold_back()
    log.append([put(1)])
    page = log.read(Position(shard.id, -1))
    assert len(page.records) == PARAMS.partitions
    assert page.caught_up
    assert firsts(log) == [1]
    log.release()
    assert len(log.read(page.next).records) == 1


def read_shard(log: MemoryLog, shard: str) -> tuple[list[Record], bool]:
    page = log.read(Position(shard, -1))
    return page.records, page.closed


def test_a_split_closes_the_parent_and_shares_its_partitions(log: MemoryLog) -> None:
    """A partition goes whole to one child; numbers begin again there."""
    [parent] = log.shards()
    log.append([put(1, partition=p) for p in range(4)])
    low, high = log.split(parent.id)
    log.append([put(2, partition=p) for p in range(4)])
    shards = {shard.id: shard for shard in log.shards()}
    assert [s.id for s in log.shards()] == [parent.id, low, high], "parents before children"
    assert shards[parent.id].closed
    assert shards[low].parents == shards[high].parents == (parent.id,)
    assert (shards[low].partitions, shards[high].partitions) == (
        frozenset({0, 1}),
        frozenset({2, 3}),
    )
    records, closed = read_shard(log, parent.id)
    assert (len(records), closed) == (8, True)
    for name, partitions in ((low, [0, 1]), (high, [2, 3])):
        records, closed = read_shard(log, name)
        assert [(r.sequence, r.partition) for r in records] == list(enumerate(partitions))
        assert not closed
    assert firsts(log) == [1, 2]


def test_a_merge_waits_for_both_parents() -> None:
    log = MemoryLog(PARAMS, clock=ManualClock(), shards=4)
    names = [shard.id for shard in log.shards()]
    child = log.merge(names[1], names[2])
    log.append([put(1, partition=p) for p in range(4)])
    [*_, last] = log.shards()
    assert (last.id, last.parents, last.partitions) == (
        child,
        (names[1], names[2]),
        frozenset({1, 2}),
    )
    assert [r.partition for r in read_shard(log, child)[0]] == [1, 2]
    with pytest.raises(ValueError, match="closed"):
        log.split(names[1])
    with pytest.raises(ValueError, match="itself"):
        log.merge(child, child)


def test_a_closed_shard_says_so_only_at_its_end(log: MemoryLog) -> None:
    [parent] = log.shards()
    log.append([put(1)])
    log.split(parent.id)
    page = log.read(Position(parent.id, -1), bytes_max=1)
    pages = [page]
    while not page.closed:
        page = log.read(page.next, bytes_max=1)
        pages.append(page)
    assert sum(len(page.records) for page in pages) == 5


def test_anything_can_be_placed_in_the_log(log: MemoryLog) -> None:
    """Records that are no frames, times that go back, partition keys that are not ours (S7)."""
    [shard] = log.shards()
    log.inject(2, b"junk", arrival_ms=5)
    log.inject_foreign("user-17", b"sample", shard=shard.id)
    records, _ = read_shard(log, shard.id)
    assert [(r.partition, r.data, r.partition_key) for r in records[-2:]] == [
        (2, b"junk", ""),
        (-1, b"sample", "user-17"),
    ]
    assert records[-2].arrival_ms == 5
    wanted = log.read(Position(shard.id, -1), partitions=frozenset({1}))
    assert [r.partition for r in wanted.records] == [1, -1], "foreign ones are for everybody"


def chaotic(seed: int) -> tuple[list[object], list[tuple[str, Record]], int]:
    log = MemoryLog(PARAMS, clock=ManualClock(), shards=2, chaos=Chaos(Random(seed)))
    replies: list[object] = []
    for number in range(1, 60):
        replies += [
            outcome(reply) for reply in log.append([put(number, partition=p) for p in range(4)])
        ]
    records = [entry for partition in range(4) for entry in log.records(partition)]
    return replies, records, len(log.ghosts)


def test_chaos_is_the_same_for_the_same_seed_and_meets_every_fate() -> None:
    """A failing run can be run again; a run without ghosts and duplicates would prove nothing."""
    assert chaotic(1) == chaotic(1)
    replies, records, ghosts = chaotic(1)
    assert chaotic(2)[1] != records
    assert set(replies) == {(True, False), (False, False), (False, True)}
    assert ghosts < 20
    per_partition = [
        [decode_header(r.data).first for _, r in records if r.partition == partition][1:]
        for partition in range(4)
    ]
    assert any(numbers != sorted(numbers) for numbers in per_partition), "nothing landed late"
    assert any(len(set(numbers)) < len(numbers) for numbers in per_partition), "no duplicate"
    assert any(len(set(numbers)) < 59 for numbers in per_partition), "nothing was lost"


def test_unknown_shards_and_numbers_are_refused() -> None:
    log = MemoryLog(PARAMS, clock=ManualClock(), first_sequence=49 * 10**54, sequence_step=10)
    [shard] = log.shards()
    first = 49 * 10**54
    assert len(log.read(Position(shard.id, first)).records) == PARAMS.partitions - 1
    for wrong in (first + 1, first + 10 * PARAMS.partitions):
        with pytest.raises(RefusedError):
            log.read(Position(shard.id, wrong))
    with pytest.raises(ValueError, match="5 shards for 4 partitions"):
        MemoryLog(PARAMS, shards=5)
