"""What every log must do, as functions that are run on each of them.

A claim takes a `Place`: ``place.open()`` is another handle on the same log, as another process
would have one; ``place.clock`` is what all of them read. What is opened is closed by whoever runs
the claim.
"""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import pytest

from binlog.clock import ManualClock
from binlog.errors import BinlogError, RefusedError, TooLargeError
from binlog.frame import decode_body, decode_header
from binlog.log import Appended, Expired, Log, Position, Put, Record, Reply
from binlog.params import Params
from tests.log.log_frames import PARAMS, frame, put

AGE = PARAMS.session_age_ms
OTHER = Params(log_id="99" * 16, partitions=PARAMS.partitions)


class Place(ABC):
    """Where one log is.

    ``cannot`` says of a claim why it is not made of this log. ``coarse_ms`` is how far what the log
    tells of its own time may be from what readers see, and from the clock. ``keeps_age`` is false
    of a log that takes frames of any age (P4 is then the producer's).
    """

    cannot: Mapping[str, str] = MappingProxyType({})
    coarse_ms = 0
    keeps_age = True

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.opened: list[Log] = []

    def open(self) -> Log:
        self.opened.append(self.open_one())
        return self.opened[-1]

    def again(self, log: Log) -> Log:  # noqa: ARG002
        """Another handle, or ``log`` itself where only that one remembers what it stamped."""
        return self.open()

    def hold_to(self, claim: Claim) -> None:
        """Make a claim of this place, unless there is a reason not to."""
        if reason := self.cannot.get(claim.__name__):
            pytest.skip(reason)
        claim(self)

    @abstractmethod
    def open_one(self) -> Log: ...


Claim: TypeAlias = Callable[[Place], None]
CLAIMS: list[Claim] = []


def claim(function: Claim) -> Claim:
    CLAIMS.append(function)
    return function


# -- making things, reading things ---------------------------------------------------------------


def appended(replies: Iterable[Reply]) -> list[Appended]:
    found = list(replies)
    assert all(isinstance(reply, Appended) for reply in found), found
    return [reply for reply in found if isinstance(reply, Appended)]


def read_all(
    log: Log,
    after: Position | None = None,
    *,
    partitions: frozenset[int] | None = None,
    bytes_max: int = 1 << 20,
) -> list[Record]:
    """All records of the one shard, until caught up."""
    [shard] = log.shards()
    after = after or Position(shard.id, -1)
    records: list[Record] = []
    while True:
        page = log.read(after, partitions=partitions, bytes_max=bytes_max)
        assert page.records or page.caught_up or page.next != after, "no progress"
        records += page.records
        after = page.next
        if page.caught_up:
            return records


def events(log: Log) -> list[Record]:
    """Without the genesis records."""
    return [r for r in read_all(log) if not decode_header(r.data).genesis]


def some_history(log: Log) -> None:
    """Commits of one and of several frames, of all partitions and sizes."""
    for number in range(1, 6):
        log.append([put(number, session=1, data=b"\xc4\x40" + bytes(64))])
        log.append(
            [
                put(number, session=2, partition=number % PARAMS.partitions, count=number)
                for _ in range(number)
            ]
        )


# -- what is there -------------------------------------------------------------------------------


@claim
def every_partition_begins_with_the_genesis_record(place: Place) -> None:
    """A sharded log has no first record, so each partition carries the pinned rules itself."""
    log = place.open()
    records = read_all(log)
    assert [r.partition for r in records] == list(range(PARAMS.partitions))
    for record in records:
        header = decode_header(record.data)
        assert header.genesis
        assert decode_body(record.data, header) == log.genesis
        assert header.partition == record.partition
        assert 0 <= record.arrival_ms - header.born_ms <= place.coarse_ms


@claim
def one_shard_holds_every_partition(place: Place) -> None:
    log = place.open()
    [shard] = log.shards()
    assert shard.partitions == frozenset(range(PARAMS.partitions))
    assert not shard.parents
    assert not shard.closed


@claim
def what_is_appended_is_read_back_by_everybody(place: Place) -> None:
    """Byte for byte, at the position and with the times that the reply names."""
    one, two = place.open(), place.open()
    puts = [put(1), put(1, partition=2, count=3), put(1, partition=1)]
    replies = appended(one.append(puts))
    for log in (one, two, place.open()):
        found = events(log)
        assert [r.partition for r in found] == [0, 2, 1]
        for sent, reply, record in zip(puts, replies, found, strict=True):
            assert record.sequence == reply.position.sequence
            assert 0 <= reply.arrival_ms - record.arrival_ms <= place.coarse_ms
            header = decode_header(record.data)
            assert header.born_ms == reply.born_ms
            assert record.data[136:] == sent.data[136:]


@claim
def handles_append_by_turns(place: Place) -> None:
    """Positions grow over all writers: there is one order."""
    logs = [place.open() for _ in range(3)]
    replies = [appended(logs[n % 3].append([put(n, session=n)]))[0] for n in range(1, 13)]
    positions = [reply.position.sequence for reply in replies]
    assert positions == sorted(set(positions))
    assert [decode_header(r.data).first for r in events(logs[0])] == list(range(1, 13))


@claim
def frames_of_a_partition_land_in_the_order_given(place: Place) -> None:
    log = place.open()
    log.append([put(n, session=1) for n in (3, 1, 2)])
    assert [decode_header(r.data).first for r in events(log)] == [3, 1, 2]


@claim
def no_frames_are_no_commit(place: Place) -> None:
    log = place.open()
    before = read_all(log)
    assert log.append([]) == []
    assert read_all(log) == before


@claim
def a_frame_of_the_largest_size_is_taken(place: Place) -> None:
    log = place.open()
    full = frame()
    full += bytes(PARAMS.frame_bytes_max - len(full))
    appended(log.append([Put(0, full)]))
    assert len(read_all(log)[-1].data) == PARAMS.frame_bytes_max


# -- time (D1) -----------------------------------------------------------------------------------


@claim
def born_is_stamped_once_for_all_of_a_call(place: Place) -> None:
    log = place.open()
    place.clock.advance(123)
    replies = appended(log.append([put(1), put(1, partition=1), put(1, partition=2, session=9)]))
    [born], [arrival] = {r.born_ms for r in replies}, {r.arrival_ms for r in replies}
    assert 0 <= arrival - born <= place.coarse_ms
    assert born <= place.clock.now_ms() <= arrival


@claim
def a_stamped_frame_is_kept_as_it_is(place: Place) -> None:
    log = place.open()
    born = place.clock.now_ms() - 5
    sent = put(1, born_ms=born)
    [reply] = appended(log.append([sent]))
    assert reply.born_ms == born
    assert events(log)[0].data == sent.data


@claim
def arrival_never_goes_back(place: Place) -> None:
    """Else one fast clock would make the acknowledged frames of all others expire."""
    one, two = place.open(), place.open()
    [first] = appended(one.append([put(1)]))
    place.clock.advance(-60_000)
    [second] = appended(two.append([put(1, session=2)]))
    assert second.arrival_ms == first.arrival_ms
    assert second.born_ms == first.arrival_ms
    assert one.now_ms() >= first.arrival_ms
    place.clock.advance(120_000)
    [third] = appended(one.append([put(1, session=3)]))
    assert third.arrival_ms == place.clock.now_ms() > second.arrival_ms


@claim
def a_session_is_taken_up_to_its_age_and_not_after(place: Place) -> None:
    log = place.open()
    born = place.clock.now_ms()
    place.clock.advance(AGE)
    appended(log.append([put(1, born_ms=born)]))
    place.clock.advance(1)
    before = read_all(log)
    [reply] = log.append([put(2, born_ms=born)])
    assert reply == Expired(place.clock.now_ms())
    assert read_all(log) == before


@claim
def an_old_frame_does_not_keep_others_out(place: Place) -> None:
    log = place.open()
    born = place.clock.now_ms()
    place.clock.advance(AGE + 1)
    replies = log.append([put(1), put(1, session=2, born_ms=born), put(1, session=3, partition=1)])
    assert [type(reply) for reply in replies] == [Appended, Expired, Appended]
    assert [decode_header(r.data).session.family[-1] for r in events(log)] == [1, 3]


@claim
def an_old_frame_that_landed_when_it_was_tried_is_acknowledged(place: Place) -> None:
    """Its first reply was lost; refusing it now would report an event as failed that is there."""
    log = place.open()
    born = place.clock.now_ms()
    sent = put(1, born_ms=born)
    log.append([put(1, session=5)])
    [first] = appended(log.append([sent]))
    log.append([put(1, session=6)])
    place.clock.advance(AGE + 1)
    for other in (log, place.open()):
        [again] = other.append([Put(sent.partition, sent.data, tried=True)])
        assert again == first
    assert len(events(log)) == 3


@claim
def an_old_frame_that_did_not_land_has_failed(place: Place) -> None:
    log = place.open()
    born = place.clock.now_ms()
    place.clock.advance(AGE + 1)
    log.append([put(1, born_ms=0)])  # the same but for its birth
    assert log.append([put(1, born_ms=born, tried=True)]) == [Expired(place.clock.now_ms())]


@claim
def a_session_keeps_the_birth_that_a_lost_reply_gave_it(place: Place) -> None:
    """With a second birth its age would begin anew, and its numbers be taken for new ones."""
    log = place.open()
    sent = put(1)
    [first] = appended(log.append([sent]))
    place.clock.advance(5_000)
    retried, more = Put(0, sent.data, tried=True), put(1, partition=1)
    second, third = appended(place.again(log).append([retried, more]))
    assert second.born_ms == third.born_ms == first.born_ms
    place.clock.advance(AGE)
    late = put(1, partition=2, born_ms=first.born_ms)
    if place.keeps_age:
        [reply] = place.open().append([late])
        assert isinstance(reply, Expired)


# -- refused -------------------------------------------------------------------------------------


@claim
def what_is_no_frame_of_this_log_is_refused_whole(place: Place) -> None:
    """All of the call, before any of it is written."""
    log = place.open()
    good = put(1)
    future = place.clock.now_ms() + PARAMS.born_tolerance_ms
    before = read_all(log)
    for bad in (
        Put(0, frame(params=OTHER)),
        Put(0, frame(params=Params(log_id=PARAMS.log_id, partitions=8))),
        Put(1, frame(partition=0)),
        Put(PARAMS.partitions, frame(partition=PARAMS.partitions)),
        Put(-1, frame()),
        Put(0, b""),
        Put(0, b"BLFR" + bytes(40)),
        Put(0, b"XXXX" + frame()[4:]),
        put(1, session=2, born_ms=future + 1 + place.coarse_ms),
    ):
        with pytest.raises(RefusedError):
            log.append([good, bad])
    with pytest.raises(TooLargeError) as caught:
        log.append([good, Put(0, frame() + bytes(PARAMS.frame_bytes_max))])
    assert caught.value.limit == PARAMS.frame_bytes_max
    assert read_all(log) == before
    appended(log.append([good, put(1, session=2, born_ms=future - place.coarse_ms)]))


@claim
def a_position_that_the_log_does_not_have_is_refused(place: Place) -> None:
    """A consumer with a checkpoint of another log must not begin somewhere."""
    log = place.open()
    [reply] = appended(log.append([put(1)]))
    shard, last = reply.position.shard, reply.position.sequence
    for wrong in (Position("elsewhere", -1), Position(shard, last + 1_000_000)):
        with pytest.raises(BinlogError) as caught:
            log.read(wrong)
        assert not caught.value.retriable
    assert read_all(log, reply.position) == []


@claim
def a_closed_log_is_refused(place: Place) -> None:
    log = place.open()
    [shard] = log.shards()
    log.close()
    log.close()
    with pytest.raises(RefusedError, match="closed"):
        log.append([put(1)])
    with pytest.raises(RefusedError, match="closed"):
        log.read(Position(shard.id, -1))


# -- reading -------------------------------------------------------------------------------------


@claim
def reading_goes_on_after_any_record(place: Place) -> None:
    """``after`` is exclusive, and a stranger's position is as good as one's own."""
    log = place.open()
    some_history(log)
    records = read_all(log)
    [shard] = log.shards()
    for index, record in enumerate(records):
        after = Position(shard.id, record.sequence)
        assert read_all(place.open(), after) == records[index + 1 :]
        assert read_all(log, after, bytes_max=1) == records[index + 1 :]


@claim
def pages_are_about_as_large_as_asked(place: Place) -> None:
    log = place.open()
    for number in range(1, 20):
        log.append([put(number, data=b"\xc5\x04\x00" + bytes(1_024))])
    [shard] = log.shards()
    after = Position(shard.id, -1)
    sizes = []
    while True:
        page = log.read(after, bytes_max=3_000)
        sizes.append(sum(len(record.data) for record in page.records))
        after = page.next
        if page.caught_up:
            break
    assert 8 <= len(sizes) <= 12
    assert all(0 < size <= 3_000 for size in sizes[:-1]), sizes


@claim
def only_wanted_partitions_are_given_and_the_rest_is_passed(place: Place) -> None:
    log = place.open()
    some_history(log)
    records = read_all(log)
    [shard] = log.shards()
    for size in range(PARAMS.partitions + 1):
        for chosen in itertools.combinations(range(PARAMS.partitions), size):
            wanted = frozenset(chosen)
            expected = [r for r in records if r.partition in wanted]
            assert read_all(log, partitions=wanted) == expected
            assert read_all(log, partitions=wanted, bytes_max=500) == expected
    page = log.read(Position(shard.id, -1), partitions=frozenset())
    while not page.caught_up:
        page = log.read(page.next, partitions=frozenset())
    assert page.next == Position(shard.id, records[-1].sequence)


@claim
def caught_up_is_said_at_the_end_and_only_there(place: Place) -> None:
    log, other = place.open(), place.open()
    records = read_all(log)
    [shard] = log.shards()
    last = Position(shard.id, records[-1].sequence)
    page = log.read(last)
    assert (page.records, page.next, page.caught_up, page.closed) == ([], last, True, False)
    other.append([put(1)])
    page = log.read(last)
    assert [r.partition for r in page.records] == [0]


@claim
def a_follower_gets_what_comes(place: Place) -> None:
    log, other = place.open(), place.open()
    [shard] = log.shards()
    last = Position(shard.id, read_all(log)[-1].sequence)
    got: list[Record] = []
    follower = threading.Thread(
        target=lambda: got.extend(log.read(last, partitions=frozenset({1}), wait_s=1e9).records)
    )
    follower.start()
    other.append([put(1)])  # not wanted
    other.append([put(1, partition=1)])
    follower.join(timeout=60)
    assert not follower.is_alive()
    assert [r.partition for r in got] == [1]


@claim
def waiting_in_vain_ends(place: Place) -> None:
    log = place.open()
    [shard] = log.shards()
    last = Position(shard.id, read_all(log)[-1].sequence)
    page = log.read(last, wait_s=0.001)
    assert page.caught_up
    assert page.next == last
    assert not page.records


@claim
def a_position_can_be_said_in_words(place: Place) -> None:
    log = place.open()
    [reply] = appended(log.append([put(1)]))
    assert any(character.isdigit() for character in log.locate(reply.position))


@claim
def a_stamp_tells_what_stands_at_a_place(place: Place) -> None:
    """The same from every handle and for ever, and another one where another record stands."""
    log = place.open()
    shard = log.shards()[0].id
    positions = [reply.position for n in (1, 2, 3) for reply in appended(log.append([put(n)]))]
    stamps = [log.stamp(position) for position in positions]
    assert len(set(stamps)) == 3
    assert all(stamps)
    assert stamps == [place.open().stamp(position) for position in positions]
    assert log.stamp(Position(shard, -1)) == b""


@claim
def threads_append_at_once(place: Place) -> None:
    """Any thread may call anything: nothing is lost, nothing is mixed."""
    log = place.open()
    replies: list[Reply] = []

    def work(session: int) -> None:
        for number in range(1, 11):
            replies.extend(log.append([put(number, session=session, partition=session % 4)]))

    threads = [threading.Thread(target=work, args=(session,)) for session in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    positions = {reply.position.sequence for reply in appended(replies)}
    found = events(log)
    assert {r.sequence for r in found} == positions
    assert len(positions) == 40
    for session in range(1, 5):
        firsts = [
            decode_header(r.data).first
            for r in found
            if decode_header(r.data).session.family[-1] == session
        ]
        assert firsts == list(range(1, 11))
