"""A run as plain data, and how it is run: what producers and consumers do, what calls meet.

`Story` holds steps and a schedule of faults; `run` plays it in a `Place`, the double or a stand-in,
and gives what occurred. The ledger of what producers were told and the reference, which reads the
stream past every fault, are the judges. Whatever fails carries the story as a test to paste.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Literal, NamedTuple, Protocol

from appliers.store import Checkpoint, Store
from appliers.summary import summarize
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.errors import BinlogError
from binlog.logs.kinesis import KinesisLog
from binlog.producer.outcome import Frame
from binlog.producer.resolve import Verdict, resolve
from binlog.values import encode_value
from consumers.local import Following, replicate
from scripts.standins.proxy_faults import Fault
from scripts.standins.proxy_intruder import Intruder
from tests.faults.fault_judge import Truth, check_ledger, check_replica, truth_of
from tests.log.kinesis_ledger import Ledger, Publishes

KEYS = 5
_FINISH_TRIES = 3
_CERTAIN_MS = 3 * 3_600_000
Dies = Literal["", "before", "between", "after"]

# -- the data ------------------------------------------------------------------------------------


class Publish(NamedTuple):
    """Process ``by`` publishes so many ``events``, and makes up to ``calls`` calls."""

    by: int
    events: int
    calls: int = 99


class Restart(NamedTuple):
    """Process ``by`` ends, and another takes its place. ``dies``: it decides nothing any more."""

    by: int
    dies: bool = False


class Follow(NamedTuple):
    """The consumer of replica ``into`` goes to the log's end, or dies on the way.

    It is killed at its first batch with writes: ``before`` the commit, ``between`` the item writes
    and the checkpoint, or ``after`` it, before it heard of it.
    """

    into: int
    dies: Dies = ""


class Pass(NamedTuple):
    """Time goes by (on a stand-in it does so by itself)."""

    ms: int


class Land(NamedTuple):
    """What is late lands now."""


class Ask(NamedTuple):
    """All unknown outcomes are to be resolved."""


Step = Publish | Restart | Follow | Pass | Land | Ask


class Story(NamedTuple):
    """``skew_ms``: how far the service's clock is ahead of everybody else's."""

    steps: Sequence[Step]
    faults: Sequence[Fault] = ()
    shards: int = 2
    skew_ms: int = 0


def as_test(story: Story, play: str) -> str:
    """A test to paste. ``play`` is the expression that plays ``STORY``."""
    steps = "\n".join(f"            {step!r}," for step in story.steps)
    faults = "\n".join(f"            {fault!r}," for fault in story.faults)
    return (
        "def test_what_was_found() -> None:\n"
        f"    story = Story(\n        [\n{steps}\n        ],\n        [\n{faults}\n        ],\n"
        f"        shards={story.shards},\n        skew_ms={story.skew_ms},\n    )\n"
        f"    {play.replace('STORY', 'story')}\n"
    )


# -- where it happens ----------------------------------------------------------------------------


class Replica(Protocol):
    """A store that is opened anew by each life of its consumer."""

    name: str

    def open(self) -> Store: ...


class Place(Protocol):
    """A stream that is a log, behind faults; and the ways around them."""

    intruder: Intruder
    client: Any  # of the stream, past the faults
    stream: str
    replicas: Sequence[Replica]
    hours_pass: bool  # `go_by` can let hours go by, in no time

    def open(self, *, faults: bool) -> KinesisLog: ...

    def producer(self, log: KinesisLog, life: int) -> Publishes: ...

    def let_send(self, producer: Publishes, calls: int | None) -> None:
        """So many calls more, if the producer makes them when it is told to; None: to the end."""

    def end(self, producer: Publishes) -> None:
        """The producer's process is over, whatever it has left undone."""

    def go_by(self, ms: int) -> None: ...

    def wait_until_back(self) -> None:
        """If the service is away, wait until it is back."""

    def is_expected(self, error: BinlogError) -> bool:
        """Whether a consumer may stop so under these faults, and go on when it is started again."""


class Killed(BaseException):
    """The consumer's process is over."""


class Mortal:
    """A store under a consumer that dies while it commits."""

    def __init__(self, store: Store, dies: Dies) -> None:
        self._store = store
        self._dies = dies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(
        self, generation: str, writes: Sequence[Any], checkpoints: Sequence[Checkpoint], **rest: Any
    ) -> list[Any]:
        if not writes or not self._dies:
            return self._store.commit(generation, writes, checkpoints, **rest)
        if self._dies == "between":
            self._store.commit(generation, writes, [], **rest)
        elif self._dies == "after":
            self._store.commit(generation, writes, checkpoints, **rest)
        raise Killed


# -- the run -------------------------------------------------------------------------------------


def event_of(name: str, number: int) -> Envelope:
    """Of a few keys that all processes write to; most of them count what was applied."""
    key = encode_value({"id": f"k{number % KEYS}"})
    id_ = f"{name}/{number}"
    if number % 11 == 10:
        return Envelope(id_, DELETE_ITEM, 1, "tab", key, None)
    if number % 7 == 6:
        item = encode_value({"id": f"k{number % KEYS}", "last": id_, "applied": 0})
        return Envelope(id_, PUT_ITEM, 1, "tab", key, item)
    change = encode_value({"Set": {"last": id_}, "Add": {"applied": 1}})
    return Envelope(id_, UPDATE_ITEM, 1, "tab", key, change)


class Run:
    """One story in one place."""

    def __init__(self, place: Place, story: Story) -> None:
        self.place = place
        self.story = story
        self.ledger = Ledger(event_of)
        self.met: Counter[str] = Counter()
        self._lives: dict[int, tuple[str, KinesisLog, Publishes]] = {}
        self._numbers: Counter[str] = Counter()
        self._begun = 0
        self._verdicts: dict[Frame, Verdict] = {}

    def play(self) -> Counter[str]:
        """All steps, then rest, then judgement; what occurred."""
        try:
            for step in self.story.steps:
                self.do(step)
            self._come_to_rest()
        finally:
            for _, log, producer in self._lives.values():
                self.place.end(producer)
                log.close()
        truth = self._judge()
        self.met.update(check_ledger(truth, self.ledger))
        self.met.update({f"{name} (model)": count for name, count in truth.met.items()})
        self._check_verdicts(truth)
        self._check_replicas(truth)
        intruder = self.place.intruder
        self.met.update({" ".join(what): count for what, count in intruder.met.items()})
        return self.met

    # -- steps -----------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        match step:
            case Publish(by, events, calls):
                name, _, producer = self._life(by)
                first = self._numbers[name]
                self._numbers[name] += events
                self.ledger.publish(producer, name, range(first, first + events))
                self.place.let_send(producer, calls)
            case Restart(by, dies):
                if by in self._lives:
                    self._end(by, dies=dies)
            case Follow(into, dies):
                self._follow(self.place.replicas[into % len(self.place.replicas)], dies)
            case Pass(ms):
                self.place.go_by(ms)
            case Land():
                self.met["landed by themselves"] += self.place.intruder.land_all()
            case Ask():
                self._ask()

    def _life(self, by: int) -> tuple[str, KinesisLog, Publishes]:
        if by not in self._lives:
            log = self._open()
            self._begun += 1
            life = f"p{by}.{self._begun}", log, self.place.producer(log, self._begun)
            self._lives[by] = life
        return self._lives[by]

    def _open(self) -> KinesisLog:
        """A process that cannot begin is begun again."""
        for left in range(20, -1, -1):
            try:
                return self.place.open(faults=True)
            except BinlogError as error:
                if not left or not self.place.is_expected(error):
                    raise
                self.met["could not begin"] += 1
                self.place.wait_until_back()
        raise AssertionError("unreachable")

    def _end(self, by: int, *, dies: bool) -> None:
        name, log, producer = self._lives.pop(by)
        if not dies:
            self.place.let_send(producer, None)
        self.place.end(producer)
        if dies and self.ledger.died(name):
            self.met["producer died with events on their way"] += 1
        log.close()

    def _follow(self, replica: Replica, dies: Dies, *, faults: bool = True) -> bool:
        """One life of a consumer; whether it came to the end of the log."""
        try:
            with (
                closing(self.place.open(faults=faults)) as log,
                closing(replica.open()) as store,
            ):
                how = Following(once=True, page_bytes=4_000)
                replicate(log, Mortal(store, dies), how)
        except Killed:
            self.met[f"consumer killed {dies} commit"] += 1
        except BinlogError as error:
            if not self.place.is_expected(error):
                raise
            self.met["consumer stopped"] += 1
        else:
            return True
        return False

    def _ask(self) -> None:
        frames = [f for f in self.ledger.in_doubt if self._verdicts.get(f) in _OPEN]
        try:
            with closing(self.place.open(faults=True)) as log:
                found = resolve(log, frames)
        except BinlogError as error:
            if not self.place.is_expected(error):
                raise
            self.met["resolve failed"] += 1
            return
        for frame, resolved in found.items():
            self._verdicts[frame] = resolved.verdict
            self.met[f"resolved: {resolved.verdict.value}"] += 1

    def _come_to_rest(self) -> None:
        """Producers decide all they have; nothing is on its way; consumers reach the end."""
        for by in list(self._lives):
            self._end(by, dies=False)
        self.place.intruder.quiet()
        self.place.wait_until_back()
        self._ask()
        if self.place.hours_pass:
            self.place.go_by(_CERTAIN_MS)
            self._ask()
            left = [frame for frame, verdict in self._verdicts.items() if verdict in _OPEN]
            assert not left, f"hours later nobody can say what became of {left}"
        for replica in self.place.replicas:
            for _ in range(_FINISH_TRIES):
                if self._follow(replica, "", faults=False):
                    break
            else:
                raise AssertionError(f"{replica.name} did not come to the end without any fault")

    # -- judgement -------------------------------------------------------------------------------

    def _judge(self) -> Truth:
        with closing(self.place.open(faults=False)) as log:
            self.met.update(self.ledger.check(log))  # as our own reader sees it
            return truth_of(
                self.place.client, self.place.stream, log.params, skew_ms=self.story.skew_ms
            )

    def _check_verdicts(self, truth: Truth) -> None:
        """What was resolved stayed so: late copies landed since."""
        ids = truth.ids
        for frame, verdict in self._verdicts.items():
            counts = {ids[name] for name in self.ledger.in_doubt[frame]}
            if verdict is Verdict.ACKNOWLEDGED:
                assert counts == {1}, f"{frame} was resolved as acknowledged: {counts}"
            if verdict is Verdict.NEVER:
                assert counts == {0}, f"{frame} was resolved as never to count: {counts}"

    def _check_replicas(self, truth: Truth) -> None:
        summaries = {}
        for replica in self.place.replicas:
            with closing(replica.open()) as store:
                check_replica(truth, store)
                summaries[replica.name] = summarize(store)
        assert len({repr(each.tables) for each in summaries.values()}) <= 1, summaries


_OPEN = {None, Verdict.UNDECIDED}


def play(place: Place, story: Story, *, test: str) -> Counter[str]:
    """Run a story; what fails says how to run it again. ``test`` is as in `as_test`."""
    try:
        return Run(place, story).play()
    except BaseException as error:
        error.add_note(f"As a test of its own:\n\n{as_test(story, test)}")
        raise


def check_met(met: Counter[str], wanted: Sequence[str]) -> None:
    """Whatever was meant to happen has happened, or the tests have shown nothing (24)."""
    never = [what for what in wanted if not met[what]]
    assert not never, f"never met: {', '.join(never)}\nmet: {dict(sorted(met.items()))}"
