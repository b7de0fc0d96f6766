"""The producer's state machine, driven by hand: one claim of P1-P5 and P7 a test."""

from __future__ import annotations

import msgspec
import pytest

from binlog.errors import NotSentError, StorageError, UnknownOutcomeError
from binlog.frame import Predecessor, Session
from binlog.log import Failed
from binlog.params import Params
from binlog.producer import Outcome
from binlog.producer.session import renewal_age_s, tolerance_ms
from tests.producer.desk import (
    BORN,
    EXPIRED,
    FAMILIES,
    LOST,
    PARAMS,
    THROTTLED,
    Desk,
    appended,
    event,
    events,
    header_of,
    ids_of,
    key_in,
)

A_S = PARAMS.session_age_ms / 1000
KEY = key_in(0)
OTHER = key_in(1)


# -- one frame at a time, the same bytes ---------------------------------------------------------


def test_sends_nothing_of_a_partition_while_a_frame_of_it_is_undecided() -> None:
    """P3: two frames in flight could land in the other order, and the first one could fail."""
    desk = Desk(calls_max=10)
    desk.begin()
    desk.offer(events(KEY, 1))
    send = desk.send()
    desk.offer(events(KEY, 1, start=1))
    assert desk.poll() is None
    desk.reply(send, LOST)
    desk.now += 10
    assert [ids_of(put.data) for put in desk.send().puts] == [[f"{KEY}-0"]]
    assert desk.poll() is None


def test_sends_identical_bytes_again_and_says_that_they_were_tried() -> None:
    """P3: the copy that lands second is dropped only if it is the same frame."""
    desk = Desk()
    desk.begin()
    desk.offer(events(KEY, 3))
    first = desk.send()
    desk.offer(events(KEY, 3, start=3))  # must not slip into the frame
    for _ in range(4):
        desk.reply(first, LOST)
        desk.now += 10
        again = desk.send()
        assert again.puts == [msgspec.structs.replace(first.puts[0], tried=True)]
        first = again


def test_a_throttled_frame_is_not_called_tried() -> None:
    """A log may take `tried` for a reason to search, and the producer for a doubt."""
    desk = Desk()
    desk.begin()
    desk.offer(events(KEY, 1))
    desk.reply(desk.send(), THROTTLED)
    desk.now += 10
    assert desk.send().puts[0].tried is False


def test_failed_frames_are_sent_again_before_anything_newer_of_their_partition() -> None:
    """P3: and the frames of other partitions do not wait for them."""
    desk = Desk()
    desk.begin()
    desk.offer(events(KEY, 1))
    desk.offer(events(OTHER, 1))
    desk.reply(desk.send(), LOST, appended())
    desk.offer(events(KEY, 1, start=1))
    desk.offer(events(OTHER, 1, start=1))
    desk.now += 10
    send = desk.send()
    assert [ids_of(put.data) for put in send.puts] == [[f"{KEY}-0"], [f"{OTHER}-1"]]


def test_calls_at_once_share_no_partition() -> None:
    """Kinesis wants independent calls; each partition still has one frame under way."""
    desk = Desk(calls_max=2)
    desk.begin()
    desk.offer(events(KEY, 1))
    one = desk.send()
    desk.offer(events(KEY, 1, start=1))
    desk.offer(events(OTHER, 1))
    two = desk.send()
    assert {put.partition for put in one.puts} == {0}
    assert {put.partition for put in two.puts} == {1}
    desk.offer(events(key_in(2), 1))
    assert desk.poll() is None  # both calls are out
    desk.reply(two, appended())
    assert [put.partition for put in desk.send().puts] == [2]
    desk.reply(one, appended())
    assert [ids_of(put.data) for put in desk.send().puts] == [[f"{KEY}-1"]]


# -- numbers -------------------------------------------------------------------------------------


def test_numbers_are_consecutive_from_one_in_every_partition() -> None:
    """P2, S2: a gap would be waited for until the partition halts."""
    desk = Desk()
    taken: dict[int, list[int]] = {0: [], 1: []}
    for step in range(5):
        desk.offer(events(KEY, step + 1))
        desk.offer(events(OTHER, 2))
        while (send := desk.poll()) is not None:
            for put in send.puts:
                header = header_of(put.data)
                taken[put.partition] += range(header.first, header.last + 1)
            desk.reply(send, appended())
    assert taken == {0: list(range(1, 16)), 1: list(range(1, 11))}


def test_numbers_are_taken_when_a_frame_is_sent_not_while_an_event_waits() -> None:
    """P1: an event that waited through a renewal belongs to the new session."""
    desk = Desk(linger_s=1_000.0, queue_wait_s=10_000.0)
    desk.offer(events(KEY, 1))
    desk.core.flush(desk.now)
    desk.reply(desk.send(), appended())
    desk.offer(events(KEY, 1, start=1))
    desk.now += renewal_age_s(PARAMS) + 1_000
    header = header_of(desk.send().puts[0].data)
    assert (header.session.generation, header.first) == (2, 1)


def test_numbers_of_a_frame_that_never_left_are_used_again() -> None:
    """Nothing of it can be in the log, so the next frame must not leave a gap behind it."""
    desk = Desk(give_up_s=5.0)
    desk.begin()
    desk.offer(events(KEY, 2), "one")
    desk.reply(desk.send(), THROTTLED)
    desk.offer(events(KEY, 1, start=2), "two")
    desk.now += 5
    header = header_of(desk.send().puts[0].data)
    assert (header.first, header.count, header.session.generation) == (2, 1, 1)
    [(ticket, delivery)] = desk.told
    assert ticket == "one"
    assert delivery.outcome is Outcome.FAILED
    assert isinstance(delivery.error, NotSentError)


# -- outcomes ------------------------------------------------------------------------------------


def test_acknowledges_with_the_numbers_that_the_events_got() -> None:
    """What a user stores as proof must find the event again."""
    desk = Desk()
    desk.begin()
    desk.offer([event(KEY, "a"), event(OTHER, "b"), event(KEY, "c")], "one")
    desk.offer([event(KEY, "d")], "two")
    send = desk.send()
    assert [ids_of(put.data) for put in send.puts] == [["a", "c", "d"], ["b"]]
    desk.reply(send, appended())
    session = Session(FAMILIES[0], 1)
    assert [
        (t, d.outcome, d.partition, list(d.indexes), d.session, d.first) for t, d in desk.told
    ] == [
        ("one", Outcome.ACKNOWLEDGED, 0, [0, 2], session, 2),
        ("two", Outcome.ACKNOWLEDGED, 0, [0], session, 4),
        ("one", Outcome.ACKNOWLEDGED, 1, [1], session, 2),
    ]
    assert desk.core.pending_bytes == desk.core.pending_events == 0


def test_a_frame_that_was_tried_and_runs_out_of_time_is_unknown() -> None:
    """P5: never acknowledged, never failed; the error names what has to be resolved."""
    desk = Desk(give_up_s=30.0)
    desk.begin()
    desk.offer(events(KEY, 2))
    desk.reply(desk.send(), LOST)
    desk.now += 30
    assert desk.poll() is None
    [(_, delivery)] = desk.told
    assert delivery.outcome is Outcome.UNKNOWN
    assert isinstance(delivery.error, UnknownOutcomeError)
    assert delivery.error.__cause__ is LOST.error
    frame = delivery.frame
    assert frame is not None
    assert (frame.session, frame.partition) == (Session(FAMILIES[0], 1), 0)
    assert (frame.first, frame.last, frame.born_ms) == (2, 3, BORN)


def test_a_frame_whose_call_does_not_return_is_unknown_at_its_deadline() -> None:
    """The first attempt may land at any time: untouched is only what the log says is."""
    desk = Desk(give_up_s=30.0)
    desk.begin()
    desk.offer(events(KEY, 1))
    desk.send()
    desk.now += 30
    desk.poll()
    assert desk.outcomes() == [Outcome.UNKNOWN]


def test_a_throttle_after_a_lost_reply_does_not_end_the_doubt() -> None:
    """Untouched is said of one attempt, not of the frame."""
    desk = Desk(give_up_s=30.0)
    desk.begin()
    desk.offer(events(KEY, 1))
    desk.reply(desk.send(), LOST)
    desk.now += 10
    desk.reply(desk.send(), THROTTLED)
    desk.now += 20
    desk.poll()
    assert desk.outcomes() == [Outcome.UNKNOWN]


@pytest.mark.parametrize(
    ("untouched", "outcome"), [(True, Outcome.FAILED), (False, Outcome.UNKNOWN)]
)
def test_a_final_failure_is_not_tried_again(untouched: bool, outcome: Outcome) -> None:
    """A full disk does not get emptier by trying; whether it is certain depends on the log."""
    desk = Desk()
    desk.begin()
    desk.offer(events(KEY, 1))
    desk.reply(desk.send(), Failed(StorageError("disk full"), untouched=untouched, final=True))
    assert desk.outcomes() == [outcome]
    desk.now += 1_000
    assert desk.poll() is None


def test_a_late_reply_changes_nothing() -> None:
    """P5: an unknown is final until resolved; a second outcome would be a guess."""
    desk = Desk(calls_max=2, give_up_s=30.0)
    desk.begin()
    desk.offer(events(KEY, 1))
    send = desk.send()
    desk.now += 30
    desk.poll()
    assert desk.outcomes() == [Outcome.UNKNOWN]
    desk.reply(send, appended())
    assert desk.outcomes() == [Outcome.UNKNOWN]
    desk.offer(events(KEY, 1, start=1))
    predecessor = header_of(desk.send().puts[0].data).predecessor
    assert predecessor == Predecessor(1, 1, BORN)  # not the number that the late reply names


def test_a_late_reply_does_not_touch_the_frame_that_came_after() -> None:
    """The partition has moved on; the reply of an old call is not that of the new frame."""
    desk = Desk(calls_max=2, give_up_s=30.0)
    desk.begin()
    desk.offer(events(KEY, 1))
    old = desk.send()
    desk.now += 30
    desk.offer(events(KEY, 1, start=1), "new")
    new = desk.send()
    desk.reply(old, LOST)
    desk.reply(new, appended())
    assert [(t, d.outcome) for t, d in desk.told] == [
        ("t", Outcome.UNKNOWN),
        ("new", Outcome.ACKNOWLEDGED),
    ]


def test_events_that_waited_too_long_fail_without_a_number() -> None:
    """They were never tried, so it is certain; what is behind them goes on."""
    desk = Desk(queue_wait_s=50.0, give_up_s=1_000.0)
    desk.begin()
    desk.offer(events(KEY, 1), "flying")
    desk.reply(desk.send(), LOST)
    desk.offer(events(KEY, 2, start=1), "waited")
    desk.now += 25
    desk.offer(events(KEY, 1, start=3), "fresh")
    desk.now += 25
    send = desk.send()
    assert [(t, d.outcome, list(d.indexes)) for t, d in desk.told] == [
        ("waited", Outcome.FAILED, [0, 1])
    ]
    desk.reply(send, appended())
    assert ids_of(desk.send().puts[0].data) == [f"{KEY}-3"]
    assert header_of(desk.core._flights[0].data).first == 3


def test_abandon_leaves_nothing_without_an_outcome() -> None:
    """On close: queued is failed, under way or tried is unknown."""
    desk = Desk()
    desk.begin()
    desk.offer(events(KEY, 1), "tried")
    desk.offer(events(OTHER, 1), "throttled")
    desk.reply(desk.send(), LOST, THROTTLED)
    desk.offer(events(key_in(2), 1), "out")
    desk.send()
    desk.offer(events(KEY, 1, start=1), "queued")
    desk.core.abandon()
    assert {t: d.outcome for t, d in desk.core.outcomes()} == {
        "tried": Outcome.UNKNOWN,
        "throttled": Outcome.FAILED,
        "out": Outcome.UNKNOWN,
        "queued": Outcome.FAILED,
    }
    assert desk.core.pending_bytes == desk.core.pending_events == 0


# -- sessions ------------------------------------------------------------------------------------


def test_giving_up_ends_the_session_and_the_next_one_names_what_was_acknowledged() -> None:
    """P5, P7: the given-up frame may land late; the sequencer must know that it is closed, and
    must not number the new events before those that are acknowledged.
    """
    desk = Desk(give_up_s=30.0)
    desk.begin()
    desk.offer(events(KEY, 4))
    desk.reply(desk.send(), appended())
    desk.offer(events(KEY, 1, start=4))
    desk.reply(desk.send(), LOST)
    desk.now += 30
    desk.offer(events(KEY, 1, start=5))
    desk.offer(events(OTHER, 1, start=5))
    first = desk.send()
    assert header_of(first.puts[0].data).born_ms == 0
    desk.reply(first, appended(BORN + 5, born_ms=BORN + 5))
    second = desk.send()
    headers = [header_of(first.puts[0].data), header_of(second.puts[0].data)]
    assert [h.session for h in headers] == [Session(FAMILIES[0], 2)] * 2
    assert [h.first for h in headers] == [1, 1]
    assert [h.predecessor for h in headers] == [
        Predecessor(1, 5, BORN),
        Predecessor(1, 1, BORN),
    ]


def test_only_the_first_frame_of_a_generation_names_a_predecessor() -> None:
    """P7, and what names it is the last acknowledged generation, not the last one tried."""
    desk = Desk(give_up_s=30.0)
    desk.begin()
    for generation in (2, 3):  # two sessions in a row that end in doubt
        desk.offer(events(KEY, 1, start=generation))
        desk.reply(desk.send(), LOST)
        desk.now += 30
        desk.poll()
    desk.offer(events(KEY, 1, start=9))
    first = desk.send()
    desk.reply(first, appended())
    desk.offer(events(KEY, 1, start=10))
    headers = [header_of(first.puts[0].data), header_of(desk.send().puts[0].data)]
    assert [h.session.generation for h in headers] == [3, 3]
    assert [h.predecessor for h in headers] == [Predecessor(1, 1, BORN), None]


def test_renews_the_session_before_its_age() -> None:
    """P2: to the very moment; later the log refuses, or P4 must say unknown."""
    desk = Desk()
    desk.begin()
    begun = desk.now
    desk.now = begun + renewal_age_s(PARAMS) - 0.001
    desk.offer(events(KEY, 1))
    send = desk.send()
    assert header_of(send.puts[0].data).session.generation == 1
    desk.reply(send, appended())
    desk.now = begun + renewal_age_s(PARAMS)
    desk.offer(events(KEY, 1, start=1))
    assert header_of(desk.send().puts[0].data).session.generation == 2
    assert renewal_age_s(PARAMS) < A_S


def test_renewal_waits_until_the_partition_has_nothing_in_flight() -> None:
    """P1: the old frame would be closed by the new generation's, and lost if it landed."""
    desk = Desk(give_up_s=10_000.0)
    desk.begin()
    desk.now += renewal_age_s(PARAMS) - 1
    desk.offer(events(KEY, 1))
    desk.reply(desk.send(), LOST)
    desk.now += 10
    desk.offer(events(KEY, 1, start=1))
    old = desk.send()
    assert [header_of(put.data).session.generation for put in old.puts] == [1]
    desk.reply(old, appended())
    assert header_of(desk.send().puts[0].data).predecessor == Predecessor(1, 2, BORN)


def test_an_acknowledgement_that_arrived_too_late_is_unknown() -> None:
    """P4: by the log's time. Later than A the session may be forgotten, and its ghosts count."""
    limit = BORN + PARAMS.session_age_ms + tolerance_ms(PARAMS)
    for arrival, outcome, generation in (
        (limit, Outcome.ACKNOWLEDGED, 1),
        (limit + 1, Outcome.UNKNOWN, 2),
    ):
        desk = Desk()
        desk.begin()
        desk.offer(events(KEY, 1))
        desk.reply(desk.send(), appended(arrival))
        assert desk.outcomes() == [outcome]
        desk.offer(events(KEY, 1, start=1))
        assert header_of(desk.send().puts[0].data).session.generation == generation


def test_an_acknowledgement_well_before_the_sessions_birth_is_unknown() -> None:
    """A service's clock went back: readers refuse what is born in their future, and halt."""
    for early, outcome in (
        (PARAMS.born_tolerance_ms, Outcome.ACKNOWLEDGED),
        (PARAMS.born_tolerance_ms + 1, Outcome.UNKNOWN),
    ):
        desk = Desk()
        desk.begin()
        desk.offer(events(KEY, 1))
        desk.reply(desk.send(), appended(BORN - early))
        assert desk.outcomes() == [outcome]


def test_the_tolerance_never_comes_near_the_end_of_a_sessions_life() -> None:
    """P4: with a short L a fixed minute would call expired frames acknowledged."""
    short = Params(log_id="ab" * 16, session_age_ms=1_000, session_life_ms=1_100)
    assert short.session_age_ms + tolerance_ms(short) < short.session_life_ms


def test_events_refused_for_their_sessions_age_go_first_into_the_next_one() -> None:
    """D1: refused for its age is certainly not in the log, so nothing is lost or reordered."""
    desk = Desk()
    desk.begin()
    desk.offer(events(KEY, 2))
    send = desk.send()
    desk.offer(events(KEY, 1, start=2))
    desk.reply(send, EXPIRED)
    assert desk.told == []
    send = desk.send()
    assert ids_of(send.puts[0].data) == [f"{KEY}-{n}" for n in range(3)]
    header = header_of(send.puts[0].data)
    assert (header.session.generation, header.first) == (2, 1)
    assert send.puts[0].tried is False
    desk.reply(send, appended())
    assert desk.outcomes() == [Outcome.ACKNOWLEDGED] * 2


def test_the_first_frame_of_a_session_travels_alone_until_its_birth_is_known() -> None:
    """P2: the log stamps it; two unborn frames in doubt could be stamped with two births."""
    desk = Desk(calls_max=4)
    desk.offer(events(KEY, 1))
    desk.offer(events(OTHER, 1))
    first = desk.send()
    assert [header_of(put.data).born_ms for put in first.puts] == [0]
    assert desk.poll() is None
    desk.reply(first, LOST)
    desk.now += 10
    first = desk.send()
    assert desk.poll() is None
    desk.reply(first, appended(BORN + 7, born_ms=BORN + 3))
    assert [header_of(put.data).born_ms for put in desk.send().puts] == [BORN + 3]


def test_a_session_whose_first_frame_never_left_may_still_send_one() -> None:
    """Otherwise one throttle at the start would stop the producer for ever."""
    desk = Desk(give_up_s=5.0)
    desk.offer(events(KEY, 1))
    desk.reply(desk.send(), THROTTLED)
    desk.now += 5
    desk.offer(events(OTHER, 1))
    [put] = desk.send().puts
    assert put.partition == 1
    assert header_of(put.data).born_ms == 0


def test_the_family_is_taken_at_the_first_send_and_again_in_a_forked_process() -> None:
    """P1: a family taken before the fork would number two processes' events alike."""
    desk = Desk()
    desk.offer(events(KEY, 1))
    desk.pid = 2  # forked before anything was sent
    send = desk.send()
    assert header_of(send.puts[0].data).session == Session(FAMILIES[0], 1)
    desk.reply(send, appended())
    desk.pid = 3
    desk.offer(events(KEY, 1, start=1))
    header = header_of(desk.send().puts[0].data)
    assert header.session == Session(FAMILIES[1], 1)
    assert header.predecessor is None  # generations of another family are not its own


def test_a_restored_snapshot_takes_another_family() -> None:
    """P1: the process id alone does not tell a cloned memory."""
    desk = Desk()
    desk.begin()
    desk.lineage.forget()
    desk.offer(events(KEY, 1))
    assert header_of(desk.send().puts[0].data).session == Session(FAMILIES[1], 1)


# -- births that are known beforehand ------------------------------------------------------------


def test_P2_a_birth_that_the_log_tells_is_in_the_first_frame_and_nobody_waits() -> None:
    """On Kinesis nothing stamps a frame later, and a slow call holds only its partitions."""
    desk = Desk(calls_max=10, birth_ms=lambda: BORN)
    desk.offer(events(KEY, 1))
    first = desk.send()
    assert header_of(first.puts[0].data).born_ms == BORN
    desk.offer(events(OTHER, 1))
    second = desk.send()  # the first one's reply is still to come
    assert header_of(second.puts[0].data).born_ms == BORN
    desk.reply(first, LOST)
    desk.now += 10
    assert desk.send().puts[0].data == first.puts[0].data
