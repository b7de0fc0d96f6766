"""`ReplayMachine`: everything that can happen to a replica of yours, in any order.

::

    class Shop(ReplayMachine):
        applier = shop
        events = [Placed, Paid]
        key = "order"

        def item_invariant(self, table, key, item):
            assert item is None or item["balance"] >= 0


    TestShop = Shop.TestCase  # or, in a test of your own: Shop.check()

Three processes publish the events, crash, send again and give up; frames are lost, doubled, late,
or overtake each other; shards split and merge. Two replicas follow, one with memory and one
without, are killed in the middle of a commit, woken up as zombies, halted by damage, rebuilt. At
rest every replica must be what reference and ledger say, and your invariants hold for every
version of every item, and at every vector where a replica ever stood.

What is found is told as the shortest story that is found, with a test that repeats it. Each rule
is a method; a subclass may add rules of its own, which act on ``self.world``
(`binlog.testing.world.world.World`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from binlog.envelope import Envelope
from binlog.testing.invariants import invariants_of
from binlog.testing.machine_run import MachineTestCase, check_machine
from binlog.testing.recorder import Recorder
from binlog.testing.subject import Source, rules_of
from binlog.testing.types.strategies import event_strategy
from binlog.testing.world.judge import Item
from binlog.testing.world.world import World

PROCESSES, REPLICAS, PARTITIONS = 3, 2, 3
DAMAGES_MAX = 3  # of a world: more, and it does nothing but stand still

processes = st.integers(0, PROCESSES - 1)
replicas = st.integers(0, REPLICAS - 1)
partitions = st.integers(0, PARTITIONS - 1)
few = st.integers(0, 7)
pages = st.sampled_from([1_000, 1, 2, 3])
records = st.sampled_from([1_000, 1, 2, 7])
ticks = st.sampled_from([1, 3, 7, 15, 30, 85, 120, 321, 401, 600, 1_002])
fates = st.lists(
    st.sampled_from(
        ["land", "land", "duplicate", "lose reply", "late", "lose", "throttle", "found later"]
    ),
    max_size=2,
)
# Of the running machine: what it publishes is known when it is checked.
one_event = st.runner().flatmap(lambda machine: machine.event)
some_events = st.runner().flatmap(lambda machine: st.lists(machine.event, min_size=1, max_size=3))


class ReplayMachine(RuleBasedStateMachine):
    """See the module. Subclass it, and set at least ``applier``."""

    applier: ClassVar[Source]
    """The `Appliers` to prove, or its name as ``module:object``."""
    events: ClassVar[Any] = None
    """Types of events, or a strategy of envelopes; ``None``: all types that the appliers declare."""
    key: ClassVar[Any] = "id"
    """The attribute that is the events' key, or two, or a strategy of keys."""
    table: ClassVar[str | None] = None
    """The events' table; ``None``: that of the items which they make."""
    fields: ClassVar[Any] = None
    """Strategies in the place of those that a type's fields would get, by name."""

    TestCase = MachineTestCase()  # as Hypothesis' machines have it

    event: ClassVar[st.SearchStrategy[Envelope]]
    met: ClassVar[Counter[str]]
    world: World
    recorder: Recorder

    # -- what the user says ----------------------------------------------------------------------

    def item_invariant(self, table: str, key: Item, item: Item | None, /) -> None:
        """What is true of each version that an item ever has; ``None`` where it is deleted.

        Raises:
            AssertionError: it is not.
        """

    def replica_invariant(self, tables: Mapping[str, Sequence[Item]], /) -> None:
        """What is true of all live items together, at each vector where a replica ever stands.

        Raises:
            AssertionError: it is not.
        """

    @classmethod
    def check(cls, examples: int | None = None, *, steps: int | None = None) -> None:
        """Let all that happen, in ``examples`` worlds (100) of at most ``steps`` rules each (40).

        Raises:
            Violation: with the shortest story that was found; or something rare never happened,
                in at least 100 examples and in twice as many more.
        """
        __tracebackhide__ = True
        check_machine(cls, examples, steps)

    @classmethod
    def new_world(cls, *, kinesis: bool = True, tell: bool = False) -> World:
        """A world with these appliers and invariants, where nothing has happened yet."""
        return World(
            cls.applier,
            kinesis=kinesis,
            tell=tell,
            invariants=invariants_of(cls, ReplayMachine),
            name=f"{cls.__name__}.applier",
        )

    @classmethod
    def events_to_publish(cls) -> st.SearchStrategy[Envelope]:
        """The events of the examples.

        Raises:
            RefusedError: there is no strategy for them; it says why.
        """
        found: st.SearchStrategy[Envelope] = event_strategy(
            rules_of(cls.applier), cls.events, key=cls.key, table=cls.table, fields=cls.fields
        )
        return found

    # -- the world -------------------------------------------------------------------------------

    @initialize(kinesis=st.booleans())
    def begin(self, kinesis: bool) -> None:  # noqa: FBT001
        """On Kinesis, or on a directory log."""
        self.recorder = Recorder(self.new_world(kinesis=kinesis), kinesis=kinesis)
        self.world = cast("World", self.recorder)

    def teardown(self) -> None:
        """All comes to rest, and is held against reference and ledger."""
        if hasattr(self, "recorder") and self.recorder.error is None:
            self.world.settle()
            self.met.update(self.world.met)

    # -- producers -------------------------------------------------------------------------------

    @rule(process=processes, events=some_events, fates=fates, ms=ticks)
    def publish(self, process: int, events: list[Envelope], fates: list[str], ms: int) -> None:
        """A process publishes, and makes its next call."""
        self.world.publish(process, events)
        self.world.tick(ms)
        self.world.call(process, *fates)

    @rule(burst=st.lists(st.tuples(processes, some_events, fates), min_size=2, max_size=4))
    def publish_more(self, burst: list[tuple[int, list[Envelope], list[str]]]) -> None:
        """Processes publish at the same time."""
        for process, events, _ in burst:
            self.world.publish(process, events)
        self.world.tick(5)
        for process, _, fates in burst:
            self.world.call(process, *fates)

    @rule(calls=st.lists(st.tuples(processes, fates, ticks), min_size=1, max_size=5))
    def call(self, calls: list[tuple[int, list[str], int]]) -> None:
        """Processes go on with what they have: first tries and later ones."""
        for process, fates, ms in calls:
            self.world.tick(ms)
            self.world.call(process, *fates)

    @rule(process=processes, fates=fates, ms=ticks)
    def hear_late(self, process: int, fates: list[str], ms: int) -> None:
        """A reply is long under way."""
        self.world.call(process, *fates, answered=False)
        self.world.tick(ms)
        self.world.answer(process)

    @rule(process=processes, cloned=st.booleans())
    def kill(self, process: int, cloned: bool) -> None:  # noqa: FBT001
        """A process dies, or goes on as a copy of itself."""
        if cloned:
            self.world.forget(process)
        else:
            self.world.kill(process)

    @rule(process=processes, which=few)
    def send_again(self, process: int, which: int) -> None:
        """An application sends what it knows nothing of, by the same id."""
        self.world.again(process, which)
        self.world.tick(5)
        self.world.call(process)

    @rule(process=processes, by=processes, event=one_event, landed=st.booleans())
    def die_before_hearing(self, process: int, by: int, event: Envelope, landed: bool) -> None:  # noqa: FBT001
        """Somebody sends it again, by the same id: a copy if it landed, the first one if not."""
        self.world.publish(process, [event])
        self.world.tick(5)
        self.world.call(process, "lose reply" if landed else "lose")
        self.world.kill(process)
        self.world.again(by, -1)
        self.world.tick(5)
        self.world.call(by)

    @rule(
        process=processes,
        event=one_event,
        more=one_event,
        wait_ms=st.sampled_from([0, 0, 700, 1_050]),
    )
    def let_a_ghost_land_behind_the_next_session(
        self, process: int, event: Envelope, more: Envelope, wait_ms: int
    ) -> None:
        """A frame is late, its session gives it up, the next one goes on, and then it lands.

        Without the closing of older generations it would overwrite a newer value.
        """
        world = self.world
        for fate, published, given_up_ms in (
            ("late", event, 410 if process == 2 else 85),
            ("land", more, 1),
        ):
            world.publish(process, [published])
            world.tick(5)
            world.call(process, fate)
            world.tick(given_up_ms)
            world.call(process)
        world.tick(wait_ms)
        world.land(-1)

    @rule(process=processes, event=one_event, more=one_event)
    def let_a_frame_overtake_an_acknowledged_one(
        self, process: int, event: Envelope, more: Envelope
    ) -> None:
        """Of one partition, if the events are of one key: the overtaking frame has to be held."""
        for fate, published in (("found later", event), ("land", more)):
            self.world.publish(process, [published])
            self.world.tick(5)
            self.world.call(process, fate)

    @rule(which=few, wait_ms=st.sampled_from([0, 0, 50, 1_050]))
    def let_a_ghost_land(self, which: int, wait_ms: int) -> None:
        """A frame that was given up lands, perhaps when its session is closed or expired by now."""
        self.world.tick(wait_ms)
        if wait_ms:
            self.world.noop(which % PARTITIONS)
        self.world.land(which)

    def _send(self, process: int, events: list[Envelope]) -> None:
        self.world.publish(process, events)
        self.world.tick(5)
        self.world.call(process)

    # -- the log ---------------------------------------------------------------------------------

    @rule(which=few, hide=st.booleans())
    def reshard(self, which: int, hide: bool) -> None:  # noqa: FBT001
        """Shards split or merge, and readers may hear of it late."""
        if hide:
            self.world.hold_back()
        self.world.reshard(which)

    @rule()
    def show_what_landed(self) -> None:
        """Readers see everything again."""
        self.world.find_delayed()
        self.world.release()

    @precondition(lambda self: self.world.met["damaged"] < DAMAGES_MAX)
    @rule(partition=partitions, which=st.integers(0, 40))
    def damage(self, partition: int, which: int) -> None:
        """What is no frame of its partition halts all readers there."""
        self.world.damage(partition, which)

    @rule(partition=partitions, ms=ticks)
    def move_the_mark(self, partition: int, ms: int) -> None:
        """Time passes in a quiet partition: sessions expire there."""
        self.world.tick(ms)
        self.world.noop(partition)

    # -- replicas --------------------------------------------------------------------------------

    @rule(replica=replicas, pages=pages, records=records)
    def consume(self, replica: int, pages: int, records: int) -> None:
        """A replica follows, for some pages of some size."""
        self.world.consume(replica, pages, records)

    @rule(replica=replicas)
    def restart(self, replica: int) -> None:
        """Its consumer begins at the checkpoints."""
        self.world.restart(replica)

    @rule(
        replica=replicas,
        events=some_events,
        after=st.integers(0, 4),
        heard=st.booleans(),
        records=records,
    )
    def break_a_commit(
        self,
        replica: int,
        events: list[Envelope],
        after: int,
        heard: bool,  # noqa: FBT001
        records: int,
    ) -> None:
        """The consumer dies in the middle of a commit, or is not told how it ended."""
        self._send(0, events)
        self.world.crash(replica, after, heard=heard, records=records)

    @rule(replica=replicas, records=records, pages=st.integers(1, 3))
    def start_a_zombie(self, replica: int, records: int, pages: int) -> None:
        """A second consumer begins where the first one stands."""
        self.world.zombie(replica, records)
        self.world.consume(replica, pages)

    @rule(replica=replicas, pages=st.integers(1, 3))
    def wake_the_zombie(self, replica: int, pages: int) -> None:
        """It goes on from where it stood, however long ago."""
        self.world.wake(replica, pages)

    @rule(
        replica=replicas,
        events=some_events,
        by=st.sampled_from(["zombie", "consumer"]),
        at=st.sampled_from(["read", "write"]),
        pages=st.integers(1, 3),
    )
    def let_one_consumer_overtake_the_other(
        self, replica: int, events: list[Envelope], by: str, at: str, pages: int
    ) -> None:
        """Between what the other read and what it writes."""
        self.world.zombie(replica, 1)
        self._send(0, events)
        self.world.overtake(replica, by, at, pages)

    @rule(
        replica=replicas,
        events=st.lists(one_event, min_size=2, max_size=6),
        woken=st.integers(1, 4),
        in_the_middle=st.booleans(),
    )
    def let_a_zombie_wake_up_late(
        self,
        replica: int,
        events: list[Envelope],
        woken: int,
        in_the_middle: bool,  # noqa: FBT001
    ) -> None:
        """It writes what it read when it was alone, record by record.

        The other one is past it, or about to be, by events that follow in the same items.
        """
        world = self.world
        world.consume(replica)
        world.zombie(replica, 1)
        for event in events:
            self._send(0, [event])
        world.restart(replica)
        if in_the_middle:
            world.overtake(replica, "zombie", "write", woken)
        else:
            world.consume(replica)
            world.wake(replica, woken)

    # -- operators -------------------------------------------------------------------------------

    @rule(replica=replicas, which=few)
    def resolve(self, replica: int, which: int) -> None:
        """Somebody decides on what is halted."""
        self.world.resolve(replica, which)

    @rule(replica=replicas)
    def rebuild(self, replica: int) -> None:
        """Into a new generation; the old consumer does not know."""
        self.world.rebuild(replica)

    @rule(sevenths=st.lists(few, min_size=PARTITIONS, max_size=PARTITIONS))
    def drill(self, sevenths: list[int]) -> None:
        """A rebuild to a vector, in the middle of frames too."""
        self.world.release()
        self.world.drill(*sevenths)

    @rule()
    def look(self) -> None:
        """Everything written so far is held against the reference."""
        self.world.check()
