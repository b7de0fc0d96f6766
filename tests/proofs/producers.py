"""Real producers on a hostile log, and a ledger of what each event's owner was told.

The producers keep their rules and the log breaks every promise but one: what it acknowledged, it
has. It duplicates, loses, delays, answers late or never, reorders, reshards; an acknowledged frame
may be found a little behind frames that were sent after it, as Kinesis allows. Processes are
killed, forked and restarted, clocks go on. All of it is decided by the bytes of the steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import msgspec

from binlog.clock import ManualClock
from binlog.columns import decode_columns
from binlog.envelope import Envelope
from binlog.frame import Session, decode_body, decode_header
from binlog.log import Appended, Position, Record, Reply
from binlog.logs.chaos import Fate
from binlog.logs.memory import MemoryLog
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.producer.core import ProducerCore, Send
from binlog.producer.options import ProducerOptions
from binlog.producer.outcome import Delivery, Outcome
from binlog.producer.outcome import Frame as SentFrame
from binlog.producer.session import Lineage
from binlog.testing.world.records import Frame
from tests.proofs.histories import small_event

STEP_BYTES = 6
PROCESSES = 3
START_MS = 10_000

PARAMS = Params(
    log_id="a7" * 16,
    partitions=3,
    session_age_ms=400,
    session_life_ms=1_000,
    born_tolerance_ms=40,
    id_window=4,
    hold_frames_max=32,
)
TICKS = (
    *[1] * 10,
    *[3] * 10,
    *[7] * 8,
    *[15] * 6,
    30,
    30,
    45,
    85,
    85,
    90,
    120,
    319,
    321,
    399,
    401,
    600,
    999,
    1_002,
)
LAND, LATE, ACKED_LATE = Fate.LAND, Fate.LATE, "acknowledged, found later"
FATES: tuple[Fate | str, ...] = (
    *[LAND] * 10,
    *[Fate.DUPLICATE] * 2,
    *[Fate.LOSE_REPLY] * 4,
    *[LATE] * 4,
    *[Fate.LOSE] * 3,
    *[Fate.THROTTLE] * 3,
    *[ACKED_LATE] * 3,
)


@dataclass
class Published:
    """One event as its owner sees it. ``serial`` tells it from all others."""

    serial: int
    process: int
    event: Envelope
    partition: int
    outcome: Outcome | None = None  # None: none yet, or its process died before it had one
    session: Session | None = None
    number: int = 0
    frame: SentFrame | None = None  # that it travelled in, if it was sent


@dataclass
class Delayed:
    """An acknowledged frame that readers do not find yet."""

    partition: int
    data: bytes
    arrival: int


@dataclass
class Process:
    """One process life after the other, in one place."""

    core: ProducerCore
    lineage: Lineage
    open: dict[int, list[Published]] = field(default_factory=dict)  # by ticket
    calls: list[tuple[Send, list[Reply]]] = field(default_factory=list)  # replies under way


@dataclass
class Producers:
    """The world without readers."""

    log: MemoryLog
    clock: ManualClock
    ledger: list[Published] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    processes: list[Process] = field(default_factory=list)
    delayed: list[Delayed] = field(default_factory=list)
    serials: count[int] = field(default_factory=lambda: count(1))
    entropy: count[int] = field(default_factory=lambda: count(1))
    deaths: int = 0
    make_event: Callable[[int, int, int], Envelope] = lambda a, _b, _c: small_event(a)

    @classmethod
    def begin(
        cls,
        *,
        kinesis: bool,
        make_event: Callable[[int, int, int], Envelope] | None = None,
        clock: ManualClock | None = None,
    ) -> Producers:
        """``kinesis``: a log that takes frames of any age, with long sequence numbers."""
        clock = clock or ManualClock(START_MS)
        log = MemoryLog(
            PARAMS,
            clock=clock,
            shards=2 if kinesis else 1,
            first_sequence=10**55 if kinesis else 0,
            sequence_step=10**20 + 1 if kinesis else 1,
            enforce_age=not kinesis,
        )
        world = cls(log, clock)
        if make_event is not None:
            world.make_event = make_event
        world.processes = [world.start(index) for index in range(PROCESSES)]
        return world

    def start(self, index: int) -> Process:
        lineage = Lineage(
            entropy=lambda size: next(self.entropy).to_bytes(size, "big"), pid=lambda: 1
        )
        options = ProducerOptions(
            linger_s=0.004 * (index % 2),
            frame_bytes_goal=150,
            queue_wait_s=0.25,
            give_up_s=0.4 if index == 2 else 0.08,
            retry_first_s=0.004,
            retry_most_s=0.02,
            calls_max=1 + index % 2,
            id_window=index != 1,
        )
        core = ProducerCore(
            PARAMS, self.log.genesis, options=options, lineage=lineage, random=Random(index)
        )
        return Process(core, lineage)

    # -- steps -----------------------------------------------------------------------------------

    def step(self, step: bytes) -> None:
        op, who, a, b, c, d = step
        index = who % PROCESSES
        op %= 32
        if op == 0 and d % 2:
            self.leave_a_ghost(index, self.make_event(a, b, c))
        elif op < 9:
            seeds = ((a, b, c), (b, c, a), (c, a, b))[: 1 + d % 3]
            self.publish(index, [self.make_event(*seed) for seed in seeds])
        elif op < 22:
            self.work(index, (a, b), reply_at_once=c % 4 > 0)
        elif op < 24:
            self.answer(index)
        elif op < 27:
            self.tick(TICKS[a % len(TICKS)])
        elif op == 27:
            self.again(index, a)
        elif op == 28:
            self.land(a)
        elif op == 29:
            self.find_delayed()
        elif op == 30:
            self.reshard(a)
        elif a % 4 == 0:
            self.kill(index)
        else:
            self.processes[index].lineage.forget()
            self.met["forgotten family"] += 1

    def publish(self, index: int, events: list[Envelope]) -> None:
        process = self.processes[index]
        published = []
        for event in events:
            serial = next(self.serials)
            own = event_with(event, serial)
            partition = partition_of(ordering_key(own.table, own.key), PARAMS.partitions)
            published.append(Published(serial, index + PROCESSES * self.deaths, own, partition))
        ticket = published[0].serial
        envelopes = [p.event for p in published]
        if process.core.offer(ticket, envelopes, self.now, is_urgent=ticket % 2 == 0):
            process.open[ticket] = published
            self.ledger += published

    def leave_a_ghost(self, index: int, event: Envelope) -> None:
        """A frame is late, its session gives it up, and the next one goes on in its partition."""
        fates = {fate: FATES.index(fate) for fate in (LAND, LATE)}
        for fate, wait_ms in ((LATE, 410 if index == 2 else 85), (LAND, 1)):
            self.publish(index, [event])
            self.tick(5)
            self.work(index, (fates[fate], fates[fate]), reply_at_once=True)
            self.tick(wait_ms)
            self.work(index, (fates[LAND], fates[LAND]), reply_at_once=True)

    def overtake(self, index: int, event: Envelope) -> None:
        """An acknowledged frame is found behind the one that was sent after it."""
        for fate in (ACKED_LATE, LAND):
            place = FATES.index(fate)
            self.publish(index, [event])
            self.tick(5)
            self.work(index, (place, place), reply_at_once=True)

    def again(self, index: int, which: int) -> None:
        """An application that does not know emits the same event again, by the same id (P6)."""
        unknown = [p for p in self.ledger if p.outcome is not Outcome.ACKNOWLEDGED]
        if unknown:
            self.publish(index, [unknown[which % len(unknown)].event])
            self.met["emitted again"] += 1

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def tick(self, ms: int) -> None:
        if ms > 20:
            self.find_delayed()  # a frame is found within seconds, not within L
        self.clock.advance(ms)

    def work(self, index: int, fates: tuple[int, int], *, reply_at_once: bool) -> None:
        """One process makes its next call, if it has one to make."""
        process = self.processes[index]
        send = process.core.poll(self.now)
        self.hear(process)
        if send is None:
            if process.core.pending_events:
                self.tick(2)
            return
        chosen = [FATES[(fates[i % 2] + i // 2) % len(FATES)] for i in range(len(send.puts))]
        process.calls.append((send, self.call(send, chosen)))
        if reply_at_once:
            self.answer(index)

    def call(self, send: Send, chosen: list[Fate | str]) -> list[Reply]:
        """What the log makes of a call."""
        self.log.script(*(LATE if fate is ACKED_LATE else Fate(fate) for fate in chosen))
        before = len(self.log.ghosts)
        replies = self.log.append(send.puts)
        ghosts = self.log.ghosts[before:]
        self.met.update(str(fate) for fate in chosen)
        self.met.update(type(reply).__name__ for reply in replies)
        for i, (put, fate) in enumerate(zip(send.puts, chosen, strict=True)):
            ghost = next((g for g in ghosts if g.partition == put.partition), None)
            if fate is ACKED_LATE and ghost is not None:
                self.log.ghosts.remove(ghost)
                arrival = self.log.now_ms()
                born = decode_header(ghost.data).born_ms
                self.delayed.append(Delayed(ghost.partition, ghost.data, arrival))
                replies[i] = Appended(arrival, Position("somewhere", 0), born)
        return replies

    def answer(self, index: int) -> None:
        """The oldest reply under way reaches its process; perhaps long after it gave up."""
        process = self.processes[index]
        if process.calls:
            send, replies = process.calls.pop(0)
            process.core.reply(send.call, replies, self.now)
            self.hear(process)

    def hear(self, process: Process) -> None:
        for ticket, delivery in process.core.outcomes():
            assert isinstance(ticket, int)
            self.note(process.open[ticket], delivery)

    def note(self, published: list[Published], delivery: Delivery) -> None:
        """Enter an outcome into the ledger: exactly one for each event."""
        for i, index in enumerate(delivery.indexes):
            entry = published[index]
            assert entry.outcome is None, "a second outcome"
            assert entry.partition == delivery.partition
            entry.outcome, entry.session = delivery.outcome, delivery.session
            entry.number = delivery.first + i
            entry.frame = delivery.frame
            self.met[delivery.outcome.name] += 1

    def kill(self, index: int) -> None:
        """The process dies; its replies are lost, and its events keep the outcome they have."""
        self.met["killed"] += bool(self.processes[index].core.pending_events)
        self.deaths += 1
        self.processes[index] = self.start(index)

    def land(self, which: int) -> None:
        if self.log.ghosts:
            self.log.land(self.log.ghosts[which % len(self.log.ghosts)])
            self.met["ghost landed"] += 1

    def find_delayed(self) -> None:
        for delayed in self.delayed:
            self.log.inject(delayed.partition, delayed.data, arrival_ms=delayed.arrival)
        self.delayed.clear()

    def reshard(self, which: int) -> None:
        shards = [shard for shard in self.log.shards() if not shard.closed]
        if len(shards) > 1 and which % 2:
            self.log.merge(shards[0].id, shards[1].id)
            self.met["resharded"] += 1
        elif len(shards[0].partitions) > 1:
            self.log.split(shards[0].id)
            self.met["resharded"] += 1

    def settle(self) -> None:
        """Everything comes to rest: calls are answered, what can be sent is sent."""
        self.find_delayed()
        for index, process in enumerate(self.processes):
            while process.calls:
                self.answer(index)
            for _ in range(1_000):
                self.work(index, (0, 0), reply_at_once=True)
                if not process.core.pending_events:
                    break
                self.tick(5)
            assert not process.core.pending_events, "an event without an outcome"

    # -- what the log holds ----------------------------------------------------------------------

    def records(self, partition: int) -> list[tuple[str, Record]]:
        return self.log.records(partition)


def event_with(event: Envelope, serial: int) -> Envelope:
    """The event, told from all others by its time, which no rule looks at."""
    return msgspec.structs.replace(event, time_ms=serial)


def meaning_of(record: Record) -> Frame:
    """A record of a log on which only producers wrote, for the reference."""
    header = decode_header(record.data)
    columns = decode_columns(decode_body(record.data, header), header.count)
    return Frame(
        record.arrival_ms,
        header.session,
        header.born_ms,
        header.first,
        tuple(columns.envelopes()),
        header.predecessor,
        header.id_window,
        record.data,
    )
