"""The threaded producer: who waits, who does the I/O, and that everybody hears."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import pytest

from binlog.clock import SystemClock
from binlog.errors import (
    DamageError,
    NotSentError,
    RefusedError,
    StorageError,
    UnknownOutcomeError,
)
from binlog.log import Failed, Put, Reply
from binlog.logs.chaos import Fate
from binlog.logs.memory import MemoryLog
from binlog.producer import Ack, Acks, Delivery, Outcome, Producer, ProducerOptions
from binlog.reader import Reader
from tests.producer.desk import PARAMS, event, events, ids_of, key_in

KEY = key_in(0)
OTHER = key_in(1)
WAIT_S = 60.0  # for what happens at once, unless the test fails


class GateLog(MemoryLog):
    """A log whose commits wait at a gate, and which remembers them."""

    def __init__(self) -> None:
        super().__init__(PARAMS)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.commits: list[list[str]] = []
        self.threads: list[int] = []
        self.error: Exception | None = None

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        self.commits.append([name for put in frames for name in ids_of(put.data)])
        self.threads.append(threading.get_ident())
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return super().append(frames)


@pytest.fixture
def log() -> GateLog:
    return GateLog()


@pytest.fixture
def producer(log: GateLog) -> Iterator[Producer]:
    with Producer(log) as made:
        yield made
        log.gate.set()


def ids_in(log: MemoryLog) -> set[str]:
    reader = Reader(log)
    found: set[str] = set()
    while (runs := reader.read()) is not None:
        for run in runs:
            found.update(run.columns.ids)
    return found


def start(target: object, *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args)  # type: ignore[arg-type]
    thread.start()
    return thread


# -- the four ways to publish --------------------------------------------------------------------


def test_append_returns_the_acknowledgement_and_starts_no_thread(
    producer: Producer, log: GateLog
) -> None:
    """The caller does the I/O: a hand-off to a thread costs more than the commit's own work."""
    before = set(threading.enumerate())
    first, second = producer.append(event(KEY, "a")), producer.append(event(KEY, "b"))
    assert isinstance(first, Ack)
    assert (first.partition, first.number, second.number) == (0, 1, 2)
    assert first.session == second.session
    assert not set(threading.enumerate()) - before
    assert set(log.threads) == {threading.get_ident()}


def test_append_many_acknowledges_each_event_in_the_order_given(producer: Producer) -> None:
    """Frames answer by partition; the caller thinks in the order of the call."""
    batch = [event(OTHER, "a"), event(KEY, "b"), event(OTHER, "c"), event(KEY, "d")]
    acks = producer.append_many(batch)
    assert isinstance(acks, Acks)
    assert [(ack.partition, ack.number) for ack in acks] == [(1, 1), (0, 1), (1, 2), (0, 2)]
    assert acks[-1] == list(acks)[3]
    assert len(acks) == 4


def test_a_batch_is_one_commit_once_the_session_lives(producer: Producer, log: GateLog) -> None:
    """The first frame of a session brings its birth; after it a commit takes all partitions."""
    producer.append(event(KEY, "first"))
    producer.append_many([event(key_in(n % 4), f"e{n}") for n in range(100)])
    assert len(log.commits) == 2
    assert len(log.commits[1]) == 100


def test_publish_gives_one_future_for_one_event_or_for_all(producer: Producer) -> None:
    """In a web application nobody waits; what is asked for later is the same as `append` gives."""
    one: Future[Ack] = producer.publish(event(KEY, "a"))
    many: Future[Acks] = producer.publish_many(events(OTHER, 3))
    assert one.result(WAIT_S).number == 1
    assert [ack.number for ack in many.result(WAIT_S)] == [1, 2, 3]


def test_nothing_published_is_acknowledged_at_once(producer: Producer) -> None:
    """A loop over batches meets an empty one sooner or later."""
    assert list(producer.append_many([])) == []
    assert list(producer.publish_many([]).result(0)) == []
    producer.flush()


def test_outcomes_are_told_frame_by_frame_before_the_call_returns(producer: Producer) -> None:
    """The command prints a line an event as it becomes durable, without a future an event."""
    told: list[Delivery] = []
    batch = [event(KEY, "a"), event(OTHER, "b"), event(KEY, "c")]
    producer.append_many(batch, on_delivery=told.append)
    assert [(d.partition, list(d.indexes), d.first) for d in told] == [(0, [0, 2], 1), (1, [1], 1)]
    assert {d.outcome for d in told} == {Outcome.ACKNOWLEDGED}


def test_a_failing_on_delivery_harms_nobody(producer: Producer, log: GateLog) -> None:
    """It runs in the leader's thread: its error must not become another caller's."""

    def fail(delivery: Delivery) -> None:
        raise ValueError(delivery)

    assert len(producer.append_many(events(KEY, 2), on_delivery=fail)) == 2
    assert producer.append(event(KEY, "next")).number == 3


def test_an_on_delivery_that_waits_for_its_producer_is_told_so(producer: Producer) -> None:
    """It would wait for itself for ever."""
    raised: list[BaseException] = []

    def wait(_: Delivery) -> None:
        try:
            producer.append(event(KEY, "inner"))
        except RuntimeError as error:
            raised.append(error)

    producer.append_many(events(KEY, 1), on_delivery=wait)
    assert len(raised) == 1


# -- group commit --------------------------------------------------------------------------------


def test_what_gathers_during_a_commit_goes_with_the_next_one(log: GateLog) -> None:
    """Group commit: ten waiting threads cost two commits, not ten."""
    with Producer(log) as producer:
        producer.append(event(KEY, "first"))
        log.gate.clear()
        acks: list[Ack] = []
        threads = [start(lambda: acks.append(producer.append(event(KEY, "leader"))))]
        for _ in range(2):
            assert log.entered.acquire(timeout=WAIT_S)
        for n in range(9):
            key = key_in(n % 4)
            threads.append(start(lambda k=key, n=n: acks.append(producer.append(event(k, f"{n}")))))
        wait_for(lambda: producer._core.pending_events == 10)
        log.gate.set()
        for thread in threads:
            thread.join(WAIT_S)
        assert len(acks) == 10
        assert [len(commit) for commit in log.commits] == [1, 1, 9]


def test_many_threads_lose_nothing_and_keep_their_order(log: GateLog) -> None:
    """All ways at once, from many threads: every event once, each thread's in its order."""
    with Producer(log, options=ProducerOptions(queue_bytes_max=20_000)) as producer:

        def work(name: int) -> None:
            key = key_in(name % 4)
            for n in range(0, 60, 3):
                producer.append(event(key, f"{name}.{n:03}"))
                producer.publish(event(key, f"{name}.{n + 1:03}"))
                producer.publish_many([event(key, f"{name}.{n + 2:03}")])

        threads = [start(work, name) for name in range(8)]
        for thread in threads:
            thread.join(WAIT_S)
        producer.flush(WAIT_S)
    sent = [name for commit in log.commits for name in commit]
    assert sorted(sent) == sorted({f"{name}.{n:03}" for name in range(8) for n in range(60)})
    for name in range(8):
        mine = [each for each in sent if each.startswith(f"{name}.")]
        assert mine == sorted(mine)
    assert ids_in(log) == set(sent)


def wait_for(condition: object) -> None:
    """Poll for something that happens at once in another thread."""
    tick = threading.Event()
    for _ in range(int(WAIT_S / 0.002)):
        if condition():  # type: ignore[operator]
            return
        tick.wait(0.002)
    raise AssertionError("did not happen")


# -- outcomes that are no acknowledgement --------------------------------------------------------


def test_an_unknown_outcome_is_raised_with_all_the_deliveries(log: GateLog) -> None:
    """The caller must learn what is certain and what is not, event by event."""
    options = ProducerOptions(give_up_s=0.05, retry_first_s=0.2)
    with Producer(log, options=options) as producer:
        producer.append(event(KEY, "first"))
        log.script(Fate.LAND, Fate.LOSE_REPLY, *[Fate.LOSE] * 100)
        with pytest.raises(UnknownOutcomeError, match="1 of 2 events may or may not be") as e:
            producer.append_many([event(KEY, "a"), event(OTHER, "b")])
        assert [d.outcome for d in e.value.deliveries] == [  # type: ignore[attr-defined]
            Outcome.ACKNOWLEDGED,
            Outcome.UNKNOWN,
        ]
        log._fates.clear()
        future = producer.publish(event(OTHER, "c"))
        assert future.result(WAIT_S).session.generation == 2


def test_a_final_failure_before_the_first_byte_is_not_sent(
    producer: Producer, log: GateLog
) -> None:
    """`RefusedError` from a log means that it wrote nothing; the numbers are free again."""
    producer.append(event(KEY, "first"))
    log.error = RefusedError("no such partition")
    with pytest.raises(NotSentError, match="no such partition"):
        producer.append(event(KEY, "a"))
    log.error = None
    assert producer.append(event(KEY, "b")).number == 2


@pytest.mark.parametrize("error", [DamageError("bad bytes"), ValueError("a bug")])
def test_a_log_that_raises_leaves_the_frames_in_doubt(
    producer: Producer, log: GateLog, error: Exception
) -> None:
    """Whatever it was, nobody can say how far it got."""
    producer.append(event(KEY, "first"))
    log.error = error
    with pytest.raises(UnknownOutcomeError, match=str(error)) as e:
        producer.append(event(KEY, "a"))
    assert e.value.__cause__ is not None
    log.error = None
    assert producer.append(event(KEY, "b")).session.generation == 2


def test_an_interrupted_append_goes_on_in_the_next_call(producer: Producer, log: GateLog) -> None:
    """Ctrl-C in the leader: its frames stay in doubt and are sent again, with the same bytes."""
    producer.append(event(KEY, "first"))
    log.error = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        producer.append(event(KEY, "a"))
    log.error = None
    producer.flush(WAIT_S)
    assert log.commits == [["first"], ["a"], ["a"]]
    assert ids_in(log) == {"first", "a"}


def test_a_cancelled_future_does_not_stop_the_event(log: GateLog) -> None:
    """It is on its way; cancelling only says that nobody listens."""
    with Producer(log) as producer:
        log.gate.clear()
        future = producer.publish(event(KEY, "a"))
        assert log.entered.acquire(timeout=WAIT_S)
        assert future.cancel()
        log.gate.set()
    assert ids_in(log) == {"a"}


def test_refused_events_leave_no_trace(producer: Producer, log: GateLog) -> None:
    """All or nothing, before anything has a number."""
    bad = event(OTHER, "")
    for attempt in (producer.append_many, producer.publish_many):
        with pytest.raises(RefusedError, match=r"the Id ''.*: event 1") as e:
            attempt([event(KEY, "good"), bad])
        assert e.value.details["index"] == 1
    producer.flush()
    assert log.commits == []


# -- room, flush, close --------------------------------------------------------------------------


def test_a_full_queue_blocks_until_there_is_room(log: GateLog) -> None:
    """Back-pressure: a publisher faster than the disk must become as slow as the disk."""
    with Producer(log, options=ProducerOptions(queue_bytes_max=10_000)) as producer:
        log.gate.clear()
        producer.publish(event(KEY, "a", size=8_000))
        assert log.entered.acquire(timeout=WAIT_S)
        thread = start(lambda: producer.publish(event(KEY, "b", size=8_000)))
        thread.join(0.05)
        assert thread.is_alive()
        log.gate.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert ids_in(log) == {"a", "b"}


@pytest.mark.parametrize(
    "options",
    [
        ProducerOptions(queue_bytes_max=10_000, when_full="raise"),
        ProducerOptions(queue_bytes_max=10_000, full_wait_s=0.02),
    ],
)
def test_a_full_queue_raises_at_once_or_after_its_time(
    log: GateLog, options: ProducerOptions
) -> None:
    """A request with a deadline of its own would rather answer 503 than wait."""
    with Producer(log, options=options) as producer:
        log.gate.clear()
        producer.publish(event(KEY, "a", size=8_000))
        assert log.entered.acquire(timeout=WAIT_S)
        with pytest.raises(NotSentError, match=r"no room: 8.*queue_bytes_max is 10000"):
            producer.publish(event(KEY, "b", size=8_000))
        log.gate.set()
    assert ids_in(log) == {"a"}


def test_a_blocked_publisher_does_the_work_itself(log: GateLog) -> None:
    """Without a sender thread nobody else would make room."""
    with Producer(log, options=ProducerOptions(queue_bytes_max=2_000)) as producer:
        producer._wake_sender = lambda: None  # type: ignore[method-assign]
        futures = [producer.publish(event(KEY, f"{n}", size=1_500)) for n in range(5)]
        assert [future.done() for future in futures] == [True] * 4 + [False]


def test_flush_waits_for_what_was_published_and_does_not_linger(log: GateLog) -> None:
    """An hour of linger must not become an hour of flush."""
    with Producer(log, options=ProducerOptions(linger_s=3_600.0)) as producer:
        future = producer.publish(event(KEY, "a"))
        producer.flush(WAIT_S)
        assert future.done()


def test_flush_says_when_time_is_up(log: GateLog) -> None:
    """And the events go on."""
    with Producer(log) as producer:
        log.gate.clear()
        future = producer.publish(event(KEY, "a"))
        assert log.entered.acquire(timeout=WAIT_S)
        with pytest.raises(TimeoutError, match="1 events without an outcome"):
            producer.flush(0.01)
        log.gate.set()
        assert future.result(WAIT_S).number == 1


def test_close_makes_everything_durable_and_takes_nothing_more(log: GateLog) -> None:
    """And its thread ends; repeats do nothing."""
    producer = Producer(log, options=ProducerOptions(linger_s=3_600.0))
    futures = [producer.publish(event(KEY, f"{n}")) for n in range(50)]
    producer.close()
    producer.close()
    assert all(future.result(0) for future in futures)
    assert producer._thread is not None
    assert not producer._thread.is_alive()
    for attempt in (producer.append, producer.publish):
        with pytest.raises(NotSentError, match="the producer is closed"):
            attempt(event(KEY, "late"))


def test_close_in_time_leaves_nothing_without_an_outcome(log: GateLog) -> None:
    """A process that must end now learns what is certain and what is not."""
    producer = Producer(log)
    producer.append(event(KEY, "first"))
    log.gate.clear()
    flying = producer.publish(event(KEY, "a"))
    assert log.entered.acquire(timeout=WAIT_S)
    assert log.entered.acquire(timeout=WAIT_S)
    queued = producer.publish(event(KEY, "b"))
    producer.close(0.02)
    with pytest.raises(UnknownOutcomeError):
        flying.result(0)
    with pytest.raises(NotSentError):
        queued.result(0)
    log.gate.set()


def test_throttled_events_are_sent_again_by_the_caller_that_waits(log: GateLog) -> None:
    """Back-off is the producer's: a caller of `append` hears only of outcomes."""
    options = ProducerOptions(retry_first_s=0.001, retry_most_s=0.002)
    with Producer(log, options=options, clock=SystemClock()) as producer:
        log.script(*[Fate.THROTTLE] * 5, *[Fate.LOSE_REPLY] * 3)
        assert producer.append(event(KEY, "a")).number == 1
    assert len(log.commits) == 9
    assert ids_in(log) == {"a"}


def test_a_retriable_error_of_the_log_is_tried_again(log: GateLog) -> None:
    """A lock that was not free, a disk that hiccuped: the frame is in doubt, not lost."""
    options = ProducerOptions(retry_first_s=0.001, retry_most_s=0.002)
    replies = iter([StorageError("hiccup"), StorageError("hiccup"), None])
    real = log.append

    def append(frames: Sequence[Put]) -> list[Reply]:
        error = next(replies, None)
        return [Failed(error)] * len(frames) if error else real(frames)

    log.append = append  # type: ignore[method-assign]
    with Producer(log, options=options) as producer:
        assert producer.append(event(KEY, "a")).number == 1


def test_an_interrupt_while_outcomes_are_told_loses_none_of_them(
    producer: Producer, log: GateLog
) -> None:
    """Ctrl-C may fall into anybody's callback: what is decided is told by the next leader."""
    told: list[Delivery] = []

    def interrupt(delivery: Delivery) -> None:
        told.append(delivery)
        if len(told) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        producer.append_many([event(KEY, "a"), event(OTHER, "b")], on_delivery=interrupt)
    producer.flush(WAIT_S)
    assert [(d.partition, d.outcome) for d in told] == [
        (0, Outcome.ACKNOWLEDGED),
        (1, Outcome.ACKNOWLEDGED),
    ]
    assert not producer._open
