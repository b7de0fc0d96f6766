"""The relay is killed at every step, its replies are lost, and it is started twice: each record of
the inbox becomes its events exactly once, and none is missing. The inbox is the ledger.

"Every step" is every call that it makes on the log and the inbox, before the call and after it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Semaphore, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binlog.clock import ManualClock
from binlog.errors import LostError, StorageError
from binlog.foreign import relay_id
from binlog.log import Log, Put, Reply
from binlog.logs import DirectoryLog, create_directory_log
from binlog.logs.chaos import Fate
from binlog.logs.memory import MemoryLog
from binlog.params import Params
from binlog.reader import Reader
from binlog.relay import ForeignInbox, Inbox, LogInbox, Relay, make_convert
from tests.log.kinesis_world import KinesisWorld
from tests.relay.foreign_world import all_foreign, items, key_in, new_log

CONVERT = make_convert(table="users", key_names=("id",))


class Crash(BaseException):
    """The relay's process ends here."""


class Steps:
    """Counts the calls of a relay; at one of them its process ends."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.left = crash_at
        self.count = 0
        self._landing: list[int] = []
        self._log: MemoryLog | None = None

    def land(self, log: MemoryLog, steps: list[int]) -> None:
        """At these steps a frame that is under way lands, the oldest one."""
        self._log, self._landing = log, steps

    def tick(self) -> None:
        self.count += 1
        if self._log is not None and self._log.ghosts and self.count in self._landing:
            self._log.land()
        if self.left is not None:
            if not self.left:
                raise Crash
            self.left -= 1

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            done = function(*args, **kwargs)
            self.tick()
            return done

        return call


class Stepped:
    """A log or an inbox whose calls are steps."""

    def __init__(self, inner: Any, steps: Steps, *names: str) -> None:
        self._inner = inner
        for name in names:
            setattr(self, name, steps.around(getattr(inner, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Piecemeal:
    """A log that tells births and takes the frames of a call one by one, in no order of theirs."""

    calls_max = 1
    frames_per_s = 1.0

    def __init__(self, log: MemoryLog, steps: Steps) -> None:
        self._log = log
        self._steps = steps
        self.read = steps.around(log.read)
        self.step = -1  # backwards

    def birth_ms(self) -> int:
        return self._log.now_ms()

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        replies: list[Reply] = []
        for frame in frames[:: self.step]:
            self._steps.tick()
            replies += self._log.append([frame])
        self._steps.tick()
        return replies[:: self.step]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def pause_of(clock: ManualClock) -> Callable[[float], None]:
    return lambda seconds: clock.advance(max(1, round(seconds * 1000)))


def accepted(log: Log) -> Counter[str]:
    """The ids of events that every reader gets, with how often."""
    reader, found = Reader(log), Counter[str]()
    while (runs := reader.read()) is not None:
        for run in runs:
            found.update(i for i in run.columns.ids if i.startswith(("relay/", "unreadable/")))
    reader.raise_halts()
    return found


def relay_of(
    log: Log,
    clock: ManualClock,
    steps: Steps,
    inbox: Callable[[Any], Inbox],
    seed: int = 0,
    *,
    piecemeal: bool = False,
) -> Relay:
    stepped: Any = Stepped(log, steps, "append", "read")
    if piecemeal:
        assert isinstance(log, MemoryLog)
        stepped = Piecemeal(log, steps)
    source: Any = inbox(stepped)
    return Relay(
        source,
        stepped,
        CONVERT,
        monotonic=clock.monotonic,
        pause=pause_of(clock),
        random_bits=Random(seed).getrandbits,
    )


def kill_everywhere(
    make: Callable[[], tuple[Log, ManualClock, Callable[[Any], Inbox], Counter[str]]],
    *,
    piecemeal: bool = False,
) -> int:
    """A relay killed at its n-th step and started again, for every n that there is."""
    crash_at = 0
    while True:
        log, clock, inbox, wanted = make()
        steps = Steps(crash_at)
        with suppress(Crash):
            relay = relay_of(log, clock, steps, inbox, seed=crash_at, piecemeal=piecemeal)
            relay.run(once=True)
        before = accepted(log)
        assert before <= wanted, f"killed at step {crash_at}"
        seed = crash_at + 10_000
        relay = relay_of(log, clock, Steps(), inbox, seed=seed, piecemeal=piecemeal)
        relay.run(once=True)
        assert accepted(log) == wanted, f"killed at step {crash_at}"
        assert relay.report.events == wanted.total() - before.total()
        log.close()
        if steps.left:  # it came to its end before
            return steps.count
        crash_at += 1


@pytest.mark.parametrize("piecemeal", [False, True])
def test_a_relay_of_foreign_records_is_killed_at_every_step(piecemeal: bool) -> None:
    def make() -> tuple[Log, ManualClock, Callable[[Any], Inbox], Counter[str]]:
        clock = ManualClock(1_000_000)
        log = new_log(clock, shards=2)
        for number, data in enumerate(items(range(12))):
            log.inject_foreign(f"k{number % 5}", data, shard=f"shard-000{number % 2}")
        log.split("shard-0000")
        log.inject_foreign("k", items([99])[0], shard="shard-0002")
        wanted = Counter(relay_id(record.place) for _, record in all_foreign(log))
        return log, clock, ForeignInbox, wanted

    assert kill_everywhere(make, piecemeal=piecemeal) > 20


def test_a_relay_between_directories_is_killed_at_every_step(tmp_path: Path) -> None:
    """The log stamps births itself here, and an append may have been written all the same."""
    number = 0

    def make() -> tuple[Log, ManualClock, Callable[[Any], Inbox], Counter[str]]:
        nonlocal number
        number += 1
        clock = ManualClock(1_700_000_000_000)
        source = new_log(clock)
        for index, data in enumerate(items(range(7))):
            source.inject_foreign(f"k{index % 3}", data, shard="shard-0000")
        relay_of(source, clock, Steps(), ForeignInbox).run(once=True)
        path = tmp_path / str(number)
        create_directory_log(path, Params(log_id="2e" * 16, partitions=3))
        log = DirectoryLog(path, clock=clock)
        events = Reader(source)
        wanted = Counter[str]()
        while (runs := events.read()) is not None:
            wanted.update(
                f"relay/p{run.partition:04d}/{offset}"
                for run in runs
                for offset, each in enumerate(run.columns.envelopes(), run.first_offset)
                if not each.is_control
            )
        assert wanted.total() == 7
        return log, clock, lambda _: LogInbox(source), wanted

    assert kill_everywhere(make) > 10


def test_a_relay_on_a_stream_is_killed_at_every_step() -> None:
    """Births come from the service's Date, and an acknowledgement is no acceptance."""

    def make() -> tuple[Log, ManualClock, Callable[[Any], Inbox], Counter[str]]:
        world = KinesisWorld(shards=2)
        for number, data in enumerate(items(range(9))):
            world.foreign(f"k{number}", data, hash_key=(number % 2) * (2**127))
        world.clock.advance(5_000)
        log = world.open()
        wanted = Counter(relay_id(record.place) for _, record in all_foreign(log))
        assert wanted.total() == 9
        return log, world.clock, ForeignInbox, wanted

    assert kill_everywhere(make) > 10


# -- what the log does to it ---------------------------------------------------------------------


@settings(max_examples=150)
@given(st.data())
def test_lost_replies_copies_and_late_frames_change_nothing(data: st.DataObject) -> None:
    """A frame may land twice, or after the relay that sent it is gone."""
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    for number, each in enumerate(items(range(data.draw(st.integers(1, 9))))):
        log.inject_foreign(f"k{number % 3}", each, shard="shard-0000")
    wanted = Counter(relay_id(record.place) for _, record in all_foreign(log))
    fates = [Fate.LAND, *Fate]
    log.script(*data.draw(st.lists(st.sampled_from(fates), max_size=24)))
    piecemeal = data.draw(st.booleans())
    for seed in range(4):
        steps = Steps(data.draw(st.none() | st.integers(0, 40)) if seed < 3 else None)
        steps.land(log, data.draw(st.lists(st.integers(0, 60), max_size=6)))
        relay = relay_of(log, clock, steps, ForeignInbox, seed, piecemeal=piecemeal)
        with suppress(Crash, StorageError, LostError):
            relay.run(once=True)
        for _ in range(data.draw(st.integers(0, len(log.ghosts)))):
            log.land(data.draw(st.sampled_from(log.ghosts)))
        clock.advance(data.draw(st.sampled_from([0, 1, 500_000])))
    relay_of(log, clock, Steps(), ForeignInbox, 99).run(once=True)
    while log.ghosts:
        log.land()
    assert accepted(log) == wanted


class Player:
    """A relay in a thread that makes one call of the log at a time, when it is told to."""

    def __init__(self, log: MemoryLog, clock: ManualClock, seed: int, *, piecemeal: bool) -> None:
        self._go, self._back = Semaphore(0), Semaphore(0)
        self._killed = False
        self.over = False
        self.error: BaseException | None = None
        steps = Steps()
        steps.tick = self._wait  # type: ignore[method-assign]
        relay = relay_of(log, clock, steps, ForeignInbox, seed, piecemeal=piecemeal)
        self._thread = Thread(target=self._run, args=(relay,))
        self._thread.start()

    def _run(self, relay: Relay) -> None:
        try:
            self._wait(first=True)
            relay.run(once=True)
        except BaseException as error:  # noqa: BLE001 - looked at by who joins the thread
            self.error = error
        self.over = True
        self._back.release()

    def _wait(self, *, first: bool = False) -> None:
        if not first:
            self._back.release()
        self._go.acquire()
        if self._killed:
            raise Crash

    def step(self) -> None:
        """To before or after its next call."""
        if not self.over:
            self._go.release()
            self._back.acquire()

    def kill(self) -> None:
        self._killed = True
        self.step()
        self._thread.join()


met: Counter[str] = Counter()


@settings(max_examples=100)
@given(st.data())
def relays_by_mistake(data: st.DataObject) -> None:
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    players: list[Player] = []
    piecemeal = data.draw(st.booleans())
    total = 0
    try:
        for seed in range(data.draw(st.integers(4, 30))):
            action = data.draw(st.sampled_from(["put", "start", *["go on"] * 4]))
            if action == "put":
                for each in items(range(total, total + data.draw(st.integers(1, 3)))):
                    log.inject_foreign(f"k{total % 5}", each, shard="shard-0000")
                    total += 1
            elif action == "start" and len(players) < 3:
                players.append(Player(log, clock, seed, piecemeal=piecemeal))
            elif players:
                player = data.draw(st.sampled_from(players))
                for _ in range(data.draw(st.integers(1, 12))):
                    player.step()
            clock.advance(data.draw(st.sampled_from([0, 0, 1])))
        met["at once"] += sum(not player.over for player in players) > 1
    finally:
        for player in players:
            player.kill()
    met["taken over"] += any(isinstance(player.error, LostError) for player in players)
    for player in players:
        assert isinstance(player.error, LostError | Crash | None)
    relay_of(log, clock, Steps(), ForeignInbox, 99).run(once=True)
    wanted = Counter(relay_id(record.place) for _, record in all_foreign(log))
    assert accepted(log) == wanted


def test_relays_by_mistake_do_each_others_work_and_none_twice() -> None:
    """The youngest goes on; an older one ends, whether it has sent something or not."""
    met.clear()
    relays_by_mistake()
    print(dict(met))
    assert met["at once"]
    assert met["taken over"]


def test_an_older_relay_that_still_sends_is_closed_and_told() -> None:
    """A zombie's frames are acknowledged by the log, and by no reader."""
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    log.inject_foreign("k", items([1])[0], shard="shard-0000")
    older = relay_of(log, clock, Steps(), ForeignInbox, 1)
    older.step()
    clock.advance(1)
    log.inject_foreign("k", items([2])[0], shard="shard-0000")
    younger = relay_of(log, clock, Steps(), ForeignInbox, 2)
    younger.run(once=True)
    log.inject_foreign("k", items([3])[0], shard="shard-0000")
    with pytest.raises(LostError, match="another relay"):
        older.run(once=True)
    younger.run(once=True)
    assert sorted(accepted(log).values()) == [1, 1, 1]
    assert younger.report.events == 2


class LandsAtStart(ForeignInbox):
    """What is still under way lands when a relay has found out what is there."""

    def go_on(self, done: Mapping[str, int]) -> None:
        super().go_on(done)
        assert isinstance(self._log._inner, MemoryLog)  # type: ignore[attr-defined]
        self._log._inner.land()  # type: ignore[attr-defined]


def leave_a_ghost(partition: int) -> tuple[MemoryLog, ManualClock]:
    """A log to which a relay has sent an event when it died; it is still under way."""
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    steps = Steps()
    dead = relay_of(log, clock, steps, ForeignInbox, 1)
    dead.run(once=True)
    log.script(Fate.LATE)
    item = json.dumps({"id": key_in(partition)}).encode()
    log.inject_foreign("k", item, shard="shard-0000")
    steps.left = 3  # it ends when it hears of the failure
    with suppress(Crash):
        dead.run(once=True)
    assert [ghost.partition for ghost in log.ghosts] == [partition]
    clock.advance(1)
    return log, clock


@pytest.mark.parametrize("partition", range(4))
def test_a_frame_of_a_dead_relay_that_lands_late_counts_for_nobody(partition: int) -> None:
    """P7: behind the fence, which is therefore in every partition."""
    log, clock = leave_a_ghost(partition)
    relay_of(log, clock, Steps(), LandsAtStart, 2).run(once=True)
    assert list(accepted(log).values()) == [1]


@pytest.mark.parametrize("partition", range(4))
def test_a_frame_of_a_dead_relay_that_lands_just_before_the_fence_is_seen(partition: int) -> None:
    """It counts for every reader, so the relay reads up to its fence before it sends."""
    log, clock = leave_a_ghost(partition)
    relay = relay_of(log, clock, Steps(), ForeignInbox, 2)
    stepped: Any = relay._log
    append = stepped.append

    def landing(frames: Sequence[Put]) -> list[Reply]:
        if log.ghosts:
            log.land()
        replies: list[Reply] = append(frames)
        return replies

    stepped.append = landing
    assert relay.run(once=True).events == 0
    assert list(accepted(log).values()) == [1]


def test_an_acknowledgement_is_no_acceptance() -> None:
    """What a younger relay has closed is acknowledged, and no mark may say that it is done."""
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    older = relay_of(log, clock, Steps(), ForeignInbox, 1, piecemeal=True)
    older.step()
    clock.advance(1)
    steps = Steps()
    younger = relay_of(log, clock, steps, ForeignInbox, 2, piecemeal=True)
    steps.tick = stop_after_append(steps, log)  # type: ignore[method-assign]
    forwards: Any = younger._log
    forwards.step = 1
    with pytest.raises(Crash):  # its fence is in the first partition only
        younger.step()
    for partition in (0, 1, 1):  # marks go to another one
        item = json.dumps({"id": key_in(partition)}).encode()
        log.inject_foreign("k", item, shard="shard-0000")
        with suppress(LostError):
            older.step()
    clock.advance(1)
    relay_of(log, clock, Steps(), ForeignInbox, 3).run(once=True)
    assert sorted(accepted(log).values()) == [1] * 3


def stop_after_append(steps: Steps, log: MemoryLog) -> Callable[[], None]:
    """Ends the relay before the second frame that it appends."""
    before = sum(len(log.records(p)) for p in range(4))

    def tick() -> None:
        steps.count += 1
        if sum(len(log.records(p)) for p in range(4)) > before:
            raise Crash

    return tick


def test_a_relay_outlives_its_sessions() -> None:
    """A session takes events for half of its age; hours later it is another generation."""
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    relay = relay_of(log, clock, Steps(), ForeignInbox, 1)
    for number, data in enumerate(items(range(6))):
        log.inject_foreign("k", data, shard="shard-0000")
        relay.run(once=True)
        clock.advance(1_000 if number % 2 else 3_600_000)
    assert sorted(accepted(log).values()) == [1] * 6


class Slow:
    """A log on which an append takes longer than a session lives, now and then."""

    def __init__(self, log: MemoryLog, clock: ManualClock) -> None:
        self._log = log
        self._clock = clock
        self.slow = 0

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        if self.slow:
            self.slow -= 1
            self._clock.advance(16 * 60_000)
        return self._log.append(frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@pytest.mark.parametrize("enforce_age", [False, True])
def test_what_is_acknowledged_too_late_is_looked_for_and_sent_again(enforce_age: bool) -> None:
    """P4: after its session's age nobody can promise that readers count it."""
    clock = ManualClock(1_000_000)
    params = Params(log_id="1f" * 16, partitions=4)
    log = MemoryLog(params, clock=clock, enforce_age=enforce_age)
    for data in items(range(3)):
        log.inject_foreign("k", data, shard="shard-0000")
    slow: Any = Slow(log, clock)
    relay = Relay(
        ForeignInbox(slow), slow, CONVERT, monotonic=clock.monotonic, pause=pause_of(clock)
    )
    relay.run(once=True)
    for data in items(range(3, 6)):
        log.inject_foreign("k", data, shard="shard-0000")
    slow.slow = 1
    relay.run(once=True)
    assert not slow.slow
    assert sorted(accepted(log).values()) == [1] * 6
