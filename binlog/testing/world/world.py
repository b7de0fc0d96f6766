"""The simulated world: everything that happens to a running system, each as a method.

One log, three processes that publish, and replicas that follow: number 0 keeps its consumer in
memory, number 1 starts a new one at each turn from the store's checkpoints, as a Lambda does.
Nothing happens by itself: the same calls give the same world, to the byte, on any machine. Time
is a clock that `tick` moves, randomness is counted, and there is one thread.

The code that runs in it is the product's: the producer's core, the sequencer, the fold, the write
rules, the consumers' engine, the rebuild. What breaks stands around them: the log, the stores, and
whoever operates them. `settle` lets all come to rest and holds everything that was ever written
against the reference (`judge`).

Arguments are small and literal, so that a world that went wrong can be written down as a test:
``World(shop, tell=True)`` keeps ``story``, in the domain's words, and ``code``.
"""

from __future__ import annotations

from collections.abc import Sequence

from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.testing.world.narrator import events_in
from binlog.testing.world.producers import FATES
from binlog.testing.world.replicas import RECORDS
from binlog.testing.world.stage import Stage
from binlog.testing.world.truth import PARTITIONS


class World(Stage):
    """See the module. A broken law raises `Violation`, with story and test if it was told."""

    # -- producers -------------------------------------------------------------------------------

    def publish(self, process: int, events: Sequence[Envelope]) -> None:
        """A process (0 to 2) publishes events, in order; none if its queue is full.

        Their own time is replaced by the world's, which tells each event from all others.
        """
        self._check_process(process)
        if self._teller:
            self._teller.called("publish", process, list(events))
        published = self.producers.publish(process, events)
        if self._teller:
            self._teller.published(process, published)

    def call(self, process: int, *fates: str, answered: bool = True) -> None:
        """A process makes its next call to the log, if it has one to make.

        Each frame of the call meets the next of ``fates`` (again from the first where they are
        fewer; "land" where there are none): "land", "duplicate", "lose reply", "late", "lose",
        "throttle", or "found later": acknowledged, and found by readers only after frames that
        were sent behind it. Not ``answered``: the reply is under way until `answer`.
        """
        self._check_process(process)
        for fate in fates:
            if fate not in FATES:
                raise RefusedError(f"the fate {fate!r}", do=f"one of: {', '.join(FATES)}")
        if not self._teller:
            self.producers.call(process, fates, answered=answered)
            return
        self._teller.called("call", process, *fates, **({} if answered else {"answered": False}))
        with self._listening():
            sent = self.producers.call(process, fates, answered=answered)
            self._teller.sent(process, [put.data for put, _ in sent], [fate for _, fate in sent])

    def answer(self, process: int) -> None:
        """The oldest reply under way reaches the process; perhaps it has given up long ago."""
        self._check_process(process)
        if self._teller:
            self._teller.called("answer", process)
        with self._listening():
            self.producers.answer(process)

    def tick(self, ms: int) -> None:
        """Time goes on, for all clocks alike."""
        if self._teller:
            self._teller.called("tick", ms)
            self._teller.waited(ms)
        self.producers.tick(ms)

    def kill(self, process: int) -> None:
        """The process dies and starts again: what it had is gone, what it sent may land yet."""
        self._check_process(process)
        pending = self.producers.kill(process)
        if self._teller:
            self._teller.called("kill", process)
            self._teller.say(
                f"process {process} is killed"
                + (f", with {pending} events on its hands" if pending else "")
            )

    def forget(self, process: int) -> None:
        """The process was cloned, or restored from a snapshot: its next session is a new family's."""
        self._check_process(process)
        self.producers.forget(process)
        if self._teller:
            self._teller.called("forget", process)
            self._teller.say(f"process {process} is restored from a snapshot of its memory")

    def again(self, process: int, which: int) -> None:
        """Somebody who does not know what became of an event publishes it again, by its id."""
        self._check_process(process)
        if self._teller:
            self._teller.called("again", process, which)
        published = self.producers.again(process, which)
        if self._teller and published:
            self._teller.say(
                "somebody does not know what became of an event, and publishes it again"
            )
            self._teller.published(process, published)

    # -- the log ---------------------------------------------------------------------------------

    def land(self, which: int = 0) -> None:
        """A late frame lands, if one is under way: the oldest is 0, and counting goes around."""
        ghosts = self.log.ghosts
        if self._teller and ghosts:
            self._teller.called("land", which)
            frame = events_in(ghosts[which % len(ghosts)].data)
            self._teller.say(f"what was under way lands at last: {frame}")
        self.producers.land(which)

    def find_delayed(self) -> None:
        """Readers find what was "found later"."""
        if self._teller and self.producers.delayed:
            self._teller.called("find_delayed")
            found = ", ".join(events_in(each.data) for each in self.producers.delayed)
            self._teller.say(f"readers find what the log had: {found}")
        self.producers.find_delayed()

    def reshard(self, which: int) -> None:
        """Two open shards merge if ``which`` is odd, else one splits; nothing where none can."""
        unread = self._is_behind()
        done = self.producers.reshard(which)
        self.met["resharded in the middle"] += bool(done and unread)
        if self._teller and done:
            self._teller.called("reshard", which)
            self._teller.say(f"the log is resharded: {done}")

    def hold_back(self) -> None:
        """Readers see nothing of what lands from now on."""
        self.log.hold_back()
        if self._teller:
            self._teller.called("hold_back")
            self._teller.say("readers see nothing new from now on")

    def release(self) -> None:
        """Readers see everything again."""
        self.log.release()
        if self._teller:
            self._teller.called("release")
            self._teller.say("readers see everything again")

    def damage(self, partition: int, which: int) -> None:
        """A record lands that is no frame of its partition, for one of many reasons."""
        why = self.operators.damage(self._partition(partition), which)
        self.met["damaged"] += 1
        if self._teller:
            self._teller.called("damage", partition, which)
            self._teller.say(f"a record that is no frame lands in partition {partition}: {why}")

    def stray(self, partition: int, family: int, generation: int, number: int) -> None:
        """A frame of a broken program lands: a no-op with this number in a session of its own.

        Earlier numbers may never come: it waits then, until its session expires, or too much waits,
        which halts the partition. Number 1 of a generation waits for number 2 of the one before it.
        """
        if generation < 1 or number < 1:
            raise RefusedError(f"generation {generation}, number {number}", do="each from 1 on")
        self.operators.stray(self._partition(partition), family, generation, number)
        self.met["strays"] += 1
        if self._teller:
            self._teller.called("stray", partition, family, generation, number)
            self._teller.say(
                f"a broken program writes number {number} of its session {family}.{generation} into"
                f" partition {partition}: an event that no applier takes"
            )

    # -- consumers -------------------------------------------------------------------------------

    def consume(self, replica: int, pages: int = 1_000, records: int = 1_000) -> None:
        """A replica's consumer goes on: at most ``pages`` pages of at most ``records`` records.

        Where an event cannot be applied, by what the user's code itself declares (`ApplierError`)
        or by what an action means, the operator leaves it out: every replica is rebuilt with that
        exclusion before it goes on, and the reference leaves it out, too.

        Raises:
            Violation: an applier fails otherwise than by an `ApplierError`.
        """
        target = self._replica(replica)
        if self._teller:
            self._teller.called("consume", replica, *_given(pages, records))
        self._turn(target, lambda: target.consume(pages, records))

    def restart(self, replica: int) -> None:
        """The consumer's process is replaced by one that begins at the store's checkpoints."""
        self._replica(replica).engine = None
        if self._teller:
            self._teller.called("restart", replica)
            self._teller.say(f"replica {replica} gets a new consumer")

    def crash(self, replica: int, after: int, *, heard: bool = False, records: int = 1_000) -> None:
        """The consumer goes on and dies after ``after`` durable steps of a commit.

        ``heard``: it lives, and hears of a time-out; what was done it does not know.
        """
        target = self._replica(replica)
        if self._teller:
            self._teller.called("crash", replica, after, **({"heard": True} if heard else {}))
        self._turn(target, lambda: target.crash(after, records, heard=heard))

    def zombie(self, replica: int, records: int = 1) -> None:
        """A second consumer begins where the store's checkpoints are, as if it were alone."""
        target = self._replica(replica)
        if self._teller:
            self._teller.called("zombie", replica, *([] if records == 1 else [records]))
            self._teller.say(f"replica {replica} gets a second consumer, which falls asleep")
        target.start_zombie(records)

    def wake(self, replica: int, pages: int = 1) -> None:
        """The second consumer goes on from where it stood, however long ago."""
        target = self._replica(replica)
        if self._teller:
            self._teller.called("wake", replica, *([] if pages == 1 else [pages]))
            if target.zombie is not None:
                self._teller.say(f"the second consumer of replica {replica} goes on")
        self._guarded(target, lambda: target.wake(pages))

    def overtake(self, replica: int, by: str = "zombie", at: str = "read", pages: int = 1) -> None:
        """One consumer of the replica goes on in the middle of a batch of the other.

        ``by``: "zombie" while the consumer works, or "consumer" while the zombie does. ``at``:
        "read", before an answer of the store arrives, which is then outdated; or "write", between
        what was read and the first write.
        """
        target = self._replica(replica)
        if by not in ("zombie", "consumer") or at not in ("read", "write"):
            raise RefusedError(
                f"overtake by {by!r} at {at!r}", do="by zombie or consumer, at read or write"
            )
        if self._teller:
            self._teller.called("overtake", replica, by, at, *([] if pages == 1 else [pages]))
            if target.zombie is not None:
                where = "before an answer arrives" if at == "read" else "before the first write"
                who = "second" if by == "zombie" else "first"
                self._teller.say(
                    f"replica {replica}: the {who} consumer goes on amid the other, {where}"
                )

        def turn() -> str:
            target.overtake(pages, by_zombie=by == "zombie", at_read=at == "read")
            return "paused"

        self._turn(target, turn)

    # -- operators -------------------------------------------------------------------------------

    def resolve(self, replica: int, which: int = 0) -> None:
        """Somebody decides on what the replica's consumer reports as halted."""
        self._resolve(self._replica(replica), which)
        if self._teller:
            self._teller.called("resolve", replica, which)

    def noop(self, partition: int) -> None:
        """Somebody moves the mark of a quiet partition."""
        self.operators.noop(self._partition(partition))
        if self._teller:
            self._teller.called("noop", partition)

    def rebuild(self, replica: int) -> None:
        """The replica is rebuilt into a new generation; its consumer goes on with the old one."""
        target = self._replica(replica)
        if self._teller:
            self._teller.called("rebuild", replica)
            self._teller.say(f"replica {replica} is rebuilt; its consumer goes on with the old one")
        self._rebuild(target)

    def drill(self, *sevenths: int) -> None:
        """A rebuild into an empty store, of so many sevenths of each partition; none: to the end.

        Nothing while the log is halted, or readers do not see its end.

        Raises:
            Violation: it is not what the reference holds.
        """
        if self._teller:
            self._teller.called("drill", *sevenths)
        self._judged(self.judge.look)
        if self.truth.troubled or self.log.holds_back:
            return
        end = self.truth.end()
        vector = {p: end.get(p, 0) * n // 7 for p, n in zip(PARTITIONS, sevenths, strict=False)}
        self._drill(vector if sevenths else end)

    # -- checks ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Hold all that was written so far against the reference.

        Raises:
            Violation: a law is broken.
        """
        if self._teller:
            self._teller.called("check")
        self._judged(self.judge.look)

    def settle(self) -> None:
        """Let all come to rest, and hold it against reference and ledger.

        Everything is sent and found, halts are decided, sessions expire, replicas catch up.

        Raises:
            Violation: a law is broken.
        """
        if self._teller:
            self._teller.called("settle")
            self._teller.say("everything comes to rest")
        self._judged(self._settle)


def _given(pages: int, records: int) -> list[int]:
    if records != RECORDS:
        return [pages, records]
    return [] if pages == RECORDS else [pages]
