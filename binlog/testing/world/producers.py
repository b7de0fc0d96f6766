"""Real producers on a hostile log, and a ledger of what each event's owner was told.

The producers keep their rules and the log breaks every promise but one: what it acknowledged, it
has. It duplicates, loses, delays, answers late or never, reorders, reshards; an acknowledged frame
may be found a little behind frames that were sent after it, as Kinesis allows. Processes are
killed, forked and restarted, clocks go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from binlog.clock import ManualClock
from binlog.envelope import Envelope
from binlog.errors import StorageError
from binlog.frame import Session, decode_header
from binlog.log import Appended, Failed, Position, Put, Reply
from binlog.logs.chaos import Fate
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.producer.core import ProducerCore, Send
from binlog.producer.options import ProducerOptions
from binlog.producer.outcome import Delivery, Outcome
from binlog.producer.outcome import Frame as SentFrame
from binlog.producer.session import Lineage
from binlog.testing.violation import Violation
from binlog.testing.world.log import WorldLog
from binlog.values import encode_value

PROCESSES = 3
START_MS = 10_000
FOUND_MS = 20
"""Readers find an acknowledged frame before a longer wait is over."""

PARAMS = Params(
    log_id="a7" * 16,
    partitions=3,
    session_age_ms=400,
    session_life_ms=1_000,
    born_tolerance_ms=40,
    id_window=4,
    hold_frames_max=6,
)
FOUND_LATER = "found later"
FATES: dict[str, Fate] = {fate.value: fate for fate in Fate} | {FOUND_LATER: Fate.LATE}
OPTIONS = tuple(
    ProducerOptions(
        linger_s=0.004 * (index % 2),
        frame_bytes_goal=(1_000, 3_000, 8_000)[index],
        queue_wait_s=0.25,
        give_up_s=0.4 if index == 2 else 0.08,
        retry_first_s=0.004,
        retry_most_s=0.02,
        calls_max=1 + index % 2,
        id_window=index == 0,
    )
    for index in range(PROCESSES)
)


@dataclass(slots=True)
class Published:
    """One event as its owner sees it. ``serial``, its time, tells it from all others."""

    serial: int
    process: int
    event: Envelope
    partition: int
    outcome: Outcome | None = None  # None: none yet, or its process died before it had one
    session: Session | None = None
    number: int = 0
    frame: SentFrame | None = None  # that it travelled in, if it is not known what became of it


@dataclass(slots=True)
class Delayed:
    """An acknowledged frame that readers do not find yet."""

    partition: int
    data: bytes
    arrival: int


@dataclass(slots=True)
class Process:
    """One process life after the other, in one place."""

    core: ProducerCore
    lineage: Lineage
    open: dict[int, list[Published]] = field(default_factory=dict)  # by ticket
    calls: list[tuple[Send, list[Reply]]] = field(default_factory=list)  # replies under way


class Producers:
    """The world without readers."""

    def __init__(
        self,
        *,
        kinesis: bool,
        met: Counter[str] | None = None,
        options: Sequence[ProducerOptions] = OPTIONS,
    ) -> None:
        """``kinesis``: a log that takes frames of any age, with long sequence numbers."""
        self.clock = ManualClock(START_MS)
        self.log = WorldLog(PARAMS, clock=self.clock, kinesis=kinesis)
        self.ledger: list[Published] = []
        self.met: Counter[str] = Counter() if met is None else met
        self.delayed: list[Delayed] = []
        self.deaths = 0
        self._options = options
        self._serial = 0
        self._families = 0
        self._homes: dict[tuple[str, bytes], int] = {}
        self.processes = [self._start(index) for index in range(PROCESSES)]

    def _start(self, index: int) -> Process:
        lineage = Lineage(entropy=self._family, pid=lambda: 1)
        core = ProducerCore(
            PARAMS,
            self.log.genesis,
            options=self._options[index],
            lineage=lineage,
            random=Random(index),
        )
        return Process(core, lineage)

    def _family(self, size: int) -> bytes:
        self._families += 1
        return self._families.to_bytes(size, "big")

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    # -- what happens ----------------------------------------------------------------------------

    def publish(self, index: int, events: Sequence[Envelope]) -> list[Published]:
        """The entries of the ledger; none if there was no room for the events."""
        if not events:
            return []
        process, life, homes = self.processes[index], index + PROCESSES * self.deaths, self._homes
        ticket = self._serial + 1
        published = []
        for event in events:
            self._serial += 1
            place = event.table, event.key
            partition = homes.get(place)
            if partition is None:
                partition = homes[place] = partition_of(ordering_key(*place), PARAMS.partitions)
            own = Envelope(
                event.id,
                event.type,
                event.schema,
                event.table,
                event.key,
                event.data,
                event.meta,
                event.expect,
                self._serial,
            )
            published.append(Published(self._serial, life, own, partition))
        envelopes = [entry.event for entry in published]
        if not process.core.offer(ticket, envelopes, self.now, is_urgent=ticket % 2 == 0):
            self.met["queue full"] += 1
            return []
        process.open[ticket] = published
        self.ledger += published
        return published

    def again(self, index: int, which: int) -> list[Published]:
        """An application that does not know emits the same event again, by the same id (P6)."""
        unknown = [p for p in self.ledger if p.outcome is not Outcome.ACKNOWLEDGED]
        if not unknown:
            return []
        self.met["emitted again"] += 1
        return self.publish(index, [unknown[which % len(unknown)].event])

    def call(
        self, index: int, fates: Sequence[str] = (), *, answered: bool = True
    ) -> list[tuple[Put, str]]:
        """One process makes its next call, if it has one to make; its frames and their fates.

        A process that has to wait, waits 2 ms.
        """
        process = self.processes[index]
        send = process.core.poll(self.now)
        self._hear(process)
        if send is None:
            if process.core.pending_events:
                self.tick(2)
            return []
        fates = fates or ("land",)
        chosen = [fates[i % len(fates)] for i in range(len(send.puts))]
        process.calls.append((send, self._append(send, chosen)))
        if answered:
            self.answer(index)
        return list(zip(send.puts, chosen, strict=True))

    def _append(self, send: Send, chosen: Sequence[str]) -> list[Reply]:
        """What the log makes of a call."""
        log = self.log
        log.script(*[FATES[fate] for fate in chosen])
        before = len(log.ghosts)
        replies = log.append(send.puts)
        self.met.update(chosen)
        self.met.update([type(reply).__name__ for reply in replies])
        if FOUND_LATER not in chosen:
            return replies
        ghosts = log.ghosts[before:]
        for i, (put, fate) in enumerate(zip(send.puts, chosen, strict=True)):
            ghost = next((g for g in ghosts if g.partition == put.partition), None)
            if fate == FOUND_LATER and ghost is not None:
                log.ghosts.remove(ghost)
                arrival = log.now_ms()
                born = decode_header(ghost.data).born_ms
                self.delayed.append(Delayed(ghost.partition, ghost.data, arrival))
                replies[i] = Appended(arrival, Position("somewhere", 0), born)
        return replies

    def answer(self, index: int) -> bool:
        """The oldest reply under way reaches its process; perhaps long after it gave up."""
        process = self.processes[index]
        if not process.calls:
            return False
        send, replies = process.calls.pop(0)
        process.core.reply(send.call, replies, self.now)
        self._hear(process)
        return True

    def _hear(self, process: Process) -> None:
        for ticket, delivery in process.core.outcomes():
            assert isinstance(ticket, int)
            self._note(process.open[ticket], delivery)

    def _note(self, published: list[Published], delivery: Delivery) -> None:
        """Enter an outcome into the ledger: exactly one for each event."""
        for number, index in enumerate(delivery.indexes, delivery.first):
            entry = published[index]
            if entry.outcome is not None:
                raise _not_one_outcome(entry, "a second outcome")
            if entry.partition != delivery.partition:
                raise _not_one_outcome(entry, f"an outcome in partition {delivery.partition}")
            entry.outcome, entry.session = delivery.outcome, delivery.session
            entry.number = number
            entry.frame = delivery.frame
        self.met[delivery.outcome.name] += len(delivery.indexes)

    def tick(self, ms: int) -> None:
        if ms > FOUND_MS:
            self.find_delayed()  # a frame is found within seconds, not within L
        self.clock.advance(ms)

    def kill(self, index: int) -> int:
        """The process dies; its replies are lost, and its events keep the outcome they have."""
        pending = self.processes[index].core.pending_events
        self.met["killed"] += bool(pending)
        self.deaths += 1
        self.processes[index] = self._start(index)
        return pending

    def forget(self, index: int) -> None:
        self.processes[index].lineage.forget()
        self.met["forgotten family"] += 1

    def land(self, which: int) -> bool:
        ghosts = self.log.ghosts
        if not ghosts:
            return False
        self.log.land(ghosts[which % len(ghosts)])
        self.met["ghost landed"] += 1
        return True

    def find_delayed(self) -> int:
        """How many frames were found."""
        count = len(self.delayed)
        for delayed in self.delayed:
            self.log.inject(delayed.partition, delayed.data, arrival_ms=delayed.arrival)
        self.delayed.clear()
        return count

    def reshard(self, which: int) -> str:
        """What was done, in words; nothing where nothing can be."""
        shards = [shard for shard in self.log.shards() if not shard.closed]
        if len(shards) > 1 and which % 2:
            self.log.merge(shards[0].id, shards[1].id)
            done = f"shards {shards[0].id} and {shards[1].id} merged"
        elif len(shards[0].partitions) > 1:
            self.log.split(shards[0].id)
            done = f"shard {shards[0].id} was split"
        else:
            return ""
        self.met["resharded"] += 1
        return done

    def check_alive(self) -> None:
        """At rest a producer can send what it is given. It is told at once that it could not.

        Raises:
            Violation: one makes no call.
        """
        event = Envelope("still there", "StillThere", 1, "", encode_value({}), None)
        for index, process in enumerate(self.processes):
            core = process.core
            core.offer(0, [event], self.now, is_urgent=True)
            send = core.poll(self.now)
            if send is None or len(send.puts) != 1:
                raise Violation(
                    f"the producer of process {index} is at rest, and does not send what it is given",
                    law="producers go on",
                )
            refused = Failed(StorageError("at rest"), untouched=True, final=True)
            core.reply(send.call, [refused], self.now)
            [(_, delivery)] = core.outcomes()
            if delivery.outcome is not Outcome.FAILED or core.pending_events:
                raise Violation(
                    f"the producer of process {index} does not say that its call was refused",
                    law="producers go on",
                )

    def settle(self) -> None:
        """Everything comes to rest: calls are answered, what can be sent is sent."""
        self.find_delayed()
        for index, process in enumerate(self.processes):
            while process.calls:
                self.answer(index)
            for _ in range(1_000):
                self.call(index)
                if not process.core.pending_events:
                    break
                self.tick(5)
            for entry in (entry for published in process.open.values() for entry in published):
                if entry.outcome is None:
                    raise _not_one_outcome(entry, "no outcome")


def _not_one_outcome(entry: Published, what: str) -> Violation:
    event = entry.event
    return Violation(
        f"{what}: {event.type} {event.id!r}, published as number {entry.serial}",
        law="one outcome for each event",
    )
