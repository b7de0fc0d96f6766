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

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from appliers.applier import NO_RULES
from binlog.envelope import Envelope
from binlog.testing.subject import Source

Item = dict[str, Any]


class Invariants(msgspec.Struct, frozen=True):
    """What must be true of the user's items; either raises `AssertionError` where it is not.

    ``item(table, key, item)`` is asked once for each version that an item ever has, ``None`` where
    it is deleted. ``replica(vector, tables)`` is asked at each vector that a replica's checkpoints
    ever stand at: ``tables`` are the live items there, by table, in the order of their keys.
    """

    item: Callable[[str, Item, Item | None], object] | None = None
    replica: Callable[[dict[int, int], Mapping[str, Sequence[Item]]], object] | None = None


class World:
    """See the module. A broken law raises `Violation`, with story and test if it was told."""

    def __init__(
        self,
        rules: Source = NO_RULES,
        *,
        kinesis: bool = True,
        tell: bool = False,
        invariants: Invariants | None = None,
        name: str = "rules",
    ) -> None:
        """``kinesis``: a log that takes frames of any age, as Kinesis does, in two shards; without
        it one that refuses them, as a directory log does. ``name`` is what ``code`` calls the rules.
        """
        self.met: Counter[str] = Counter()
        self.story: list[str] = []
        self.code: list[str] = []

    # -- producers -------------------------------------------------------------------------------

    def publish(self, process: int, events: Sequence[Envelope]) -> None:
        """A process (0 to 2) publishes events, in order; none if its queue is full.

        Their own time is replaced by the world's, which tells each event from all others.
        """

    def call(self, process: int, *fates: str, answered: bool = True) -> None:
        """A process makes its next call to the log, if it has one to make.

        Each frame of the call meets the next of ``fates`` (again from the first where they are
        fewer; "land" where there are none): "land", "duplicate", "lose reply", "late", "lose",
        "throttle", or "found later": acknowledged, and found by readers only after frames that
        were sent behind it. Not ``answered``: the reply is under way until `answer`.
        """

    def answer(self, process: int) -> None:
        """The oldest reply under way reaches the process; perhaps it has given up long ago."""

    def tick(self, ms: int) -> None:
        """Time goes on, for all clocks alike."""

    def kill(self, process: int) -> None:
        """The process dies and starts again: what it had is gone, what it sent may land yet."""

    def forget(self, process: int) -> None:
        """The process was cloned, or restored from a snapshot: its next session is a new family's."""

    def again(self, process: int, which: int) -> None:
        """Somebody who does not know what became of an event publishes it again, by its id."""

    # -- the log ---------------------------------------------------------------------------------

    def land(self, which: int = 0) -> None:
        """A late frame lands, if one is under way: the oldest is 0, and counting goes around."""

    def find_delayed(self) -> None:
        """Readers find what was "found later"."""

    def reshard(self, which: int) -> None:
        """Two open shards merge if ``which`` is odd, else one splits; nothing where none can."""

    def hold_back(self) -> None:
        """Readers see nothing of what lands from now on."""

    def release(self) -> None:
        """Readers see everything again."""

    def damage(self, partition: int, which: int) -> None:
        """A record lands that is no frame of its partition, for one of many reasons."""

    # -- consumers -------------------------------------------------------------------------------

    def consume(self, replica: int, pages: int = 1_000, records: int = 1_000) -> None:
        """A replica's consumer goes on: at most ``pages`` pages of at most ``records`` records.

        Where an event cannot be applied, by what the user's code itself declares (`ApplierError`)
        or by what an action means, the operator leaves it out: every replica is rebuilt with that
        exclusion before it goes on, and the reference leaves it out, too.

        Raises:
            Violation: an applier fails otherwise than by an `ApplierError`.
        """

    def restart(self, replica: int) -> None:
        """The consumer's process is replaced by one that begins at the store's checkpoints."""

    def crash(self, replica: int, after: int, *, heard: bool = False, records: int = 1_000) -> None:
        """The consumer goes on and dies after ``after`` durable steps of a commit.

        ``heard``: it lives, and hears of a time-out; what was done it does not know.
        """

    def zombie(self, replica: int, records: int = 1) -> None:
        """A second consumer begins where the store's checkpoints are, as if it were alone."""

    def wake(self, replica: int, pages: int = 1) -> None:
        """The second consumer goes on from where it stood, however long ago."""

    def overtake(
        self, replica: int, by: str = "zombie", at: str = "read", pages: int = 1
    ) -> None:
        """One consumer of the replica goes on in the middle of a batch of the other.

        ``by``: "zombie" while the consumer works, or "consumer" while the zombie does. ``at``:
        "read", before an answer of the store arrives, which is then outdated; or "write", between
        what was read and the first write.
        """

    # -- operators -------------------------------------------------------------------------------

    def resolve(self, replica: int, which: int = 0) -> None:
        """Somebody decides on what the replica's consumer reports as halted."""

    def noop(self, partition: int) -> None:
        """Somebody moves the mark of a quiet partition."""

    def rebuild(self, replica: int) -> None:
        """The replica is rebuilt into a new generation; its consumer goes on with the old one."""

    def drill(self, *sevenths: int) -> None:
        """A rebuild into an empty store, of so many sevenths of each partition; none: to the end."""

    # -- checks ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Hold all that was written so far against the reference.

        Raises:
            Violation: a law is broken.
        """

    def settle(self) -> None:
        """Let all come to rest, and hold it against reference and ledger.

        Everything is sent and found, halts are decided, sessions expire, replicas catch up.

        Raises:
            Violation: a law is broken.
        """
