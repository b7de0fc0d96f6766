"""How long the producer's state machine waits: for company, for a retry, for room."""

from __future__ import annotations

from binlog.producer import Outcome
from tests.producer.desk import (
    EXPIRED,
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

KEY = key_in(0)
OTHER = key_in(1)


def test_events_linger_for_company_and_a_full_frame_does_not() -> None:
    """Linger trades delay for larger frames; there is nothing to win once one is full."""
    desk = Desk(linger_s=0.5)
    desk.offer(events(KEY, 1))
    assert desk.poll() is None
    assert desk.core.wakeup() == desk.now + 0.5
    desk.now += 0.4
    desk.offer(events(KEY, 1, start=1))
    desk.now += 0.1
    send = desk.send()
    assert ids_of(send.puts[0].data) == [f"{KEY}-0", f"{KEY}-1"]
    desk.reply(send, appended())
    desk.offer([event(KEY, f"{n}", size=1_000) for n in range(100)])
    assert desk.poll() is not None


def test_urgent_events_do_not_linger_and_take_along_what_does() -> None:
    """A blocking append waits for the disk, not for company."""
    desk = Desk(linger_s=0.5)
    desk.offer(events(KEY, 1))
    desk.core.offer("t", events(KEY, 1, start=1), desk.now, is_urgent=True)
    assert ids_of(desk.send().puts[0].data) == [f"{KEY}-0", f"{KEY}-1"]


def test_back_off_is_bounded_random_and_grows() -> None:
    """Full jitter: all producers of an outage must not come back at the same moment."""
    desk = Desk(retry_first_s=1.0, retry_most_s=8.0, give_up_s=10_000.0)
    desk.begin()
    desk.offer(events(KEY, 1))
    send = desk.send()
    waits = []
    for bound in (1.0, 2.0, 4.0, 8.0, 8.0, 8.0):
        desk.reply(send, THROTTLED)
        at = desk.core.wakeup()
        assert at is not None
        waits.append((at - desk.now) / bound)
        assert 0 <= waits[-1] <= 1
        assert desk.poll() is None
        desk.now = at
        send = desk.send()
    assert len(set(waits)) == len(waits)


def test_there_is_no_room_beyond_the_queue_until_something_is_decided() -> None:
    """Back-pressure counts what is in flight too: memory is memory."""
    desk = Desk(queue_bytes_max=10_000)
    desk.begin()
    assert desk.offer([event(KEY, "a", size=6_000)])
    send = desk.send()
    assert not desk.offer([event(OTHER, "b", size=6_000)])
    assert desk.core.pending_events == 1
    desk.reply(send, appended())
    assert desk.offer([event(OTHER, "b", size=60_000)])  # alone: otherwise it could never go


def test_wakes_up_for_each_deadline_and_for_nothing_else() -> None:
    """A shell that sleeps until `wakeup` must not miss a retry, nor spin."""
    desk = Desk(give_up_s=30.0, queue_wait_s=120.0, retry_first_s=0.1)
    assert desk.core.wakeup() is None
    desk.begin()
    assert desk.core.wakeup() is None
    desk.offer(events(KEY, 1))
    assert desk.core.wakeup() == desk.now
    send = desk.send()
    assert desk.core.wakeup() == desk.now + 30
    desk.reply(send, LOST)
    retry = desk.core.wakeup()
    assert retry is not None
    assert desk.now <= retry <= desk.now + 0.1
    desk.offer(events(KEY, 1, start=1))
    assert desk.core.wakeup() in {retry, desk.now}


def test_events_refused_for_age_keep_the_deadline_that_they_had() -> None:
    """They have waited since they came, whatever session they were packed for."""
    desk = Desk(queue_wait_s=50.0, give_up_s=1_000.0, linger_s=0.0)
    desk.begin()
    desk.offer(events(KEY, 1))
    send = desk.send()
    desk.now += 30
    desk.poll()
    desk.reply(send, EXPIRED)
    desk.core._session = None
    blocked = desk.core._session_at(desk.now)
    blocked.launched = True  # as if its first frame were on its way
    desk.now += 19
    desk.poll()
    assert desk.told == []
    desk.now += 1
    desk.poll()
    assert desk.outcomes() == [Outcome.FAILED]


def test_events_behind_a_first_frame_that_was_given_up_go_when_they_have_lingered() -> None:
    """Its session waits for no reply any more: they were woken up by their deadline, and failed."""
    desk = Desk(linger_s=0.5, give_up_s=1.0)
    desk.offer(events(KEY, 1))
    desk.now += 0.5
    send = desk.send()
    desk.now += 2.0
    desk.reply(send, LOST)
    assert desk.outcomes() == [Outcome.UNKNOWN]
    desk.offer(events(KEY, 1, start=1))
    assert desk.poll() is None
    assert desk.core.wakeup() == desk.now + 0.5
    desk.now += 0.5
    assert header_of(desk.send().puts[0].data).session.generation == 2


def test_events_behind_a_first_frame_that_takes_long_go_when_its_session_has_aged() -> None:
    """Nothing else of the session may be sent before its birth is known, but of the next one."""
    desk = Desk(calls_max=2, give_up_s=10_000.0, queue_wait_s=10_000.0)
    desk.offer(events(KEY, 1))
    desk.send()
    born = desk.now
    desk.now += 1.0
    desk.offer(events(OTHER, 1))
    assert desk.poll() is None
    renewal = desk.core.wakeup()
    assert renewal == born + PARAMS.session_age_ms * 0.8 / 1000
    desk.now = renewal
    assert header_of(desk.send().puts[0].data).session.generation == 2
