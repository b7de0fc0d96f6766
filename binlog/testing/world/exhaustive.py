"""Every trace of two small sessions, and a crash of the reader after every record of each.

Enumerated: two sessions write to one partition, three frames each, of 2, 1 and 2 events. A session
sends a frame when the one before it is acknowledged (at most one in flight), and every attempt
carries the same bytes. To each frame one of these happens, each combination of them:

=============  ============================================================================
acknowledged   its one attempt lands
re-sent        it lands and its reply is lost; the second attempt lands too, at any later time
duplicated     it lands twice in a row
late           an attempt times out and the second one lands; the first one's copy lands
               anywhere behind it, also behind later frames of its session; the last copy of
               all also when all sessions have expired
found later    acknowledged, and found anywhere behind, also behind later frames of its session;
               to one frame of the six at most (all others are where they were acknowledged)
=============  ============================================================================

in every interleaving of all that lands, for three shapes:

* strangers: two families;
* generations: the second session is the next generation of the first one's family, and waits for
  all of it;
* given up: the same, but the first session gives its last frame up unheard. The frame never lands,
  or lands anywhere behind; the second session waits for the two frames before it.

(Where a real producer would begin the second generation only after the first, here it begins at
any time: more traces, and the same has to hold.)

Checked on each: what the reader makes of the log is what `model` makes of it; offsets are dense;
the ledger holds (every acknowledged event exactly once, nothing else but whole or not at all what
was given up) and so does the order of sessions and generations. And, for each record, of a reader
that crashes after it, and of one that crashes after every record: it goes on from the encoded state
of its checkpoint to the same events, offsets, digest and state, byte for byte, as the reader that
never crashed; fed the record before its checkpoint again, it gives nothing and stays as it was. (A
reader that crashes before its checkpoint has moved is one that crashed after an earlier record.)
The slow `specification` judges one log in `SPECIFIED_EVERY`.

Not enumerated: time otherwise, which stands still until it passes all sessions' ends, so that no
frame waits then; halts and their RESOLVE; the id window; events cut into frames anew; several
partitions; what a crash does to items. For these there are `seeded` runs.

How it is done in time. Traces that differ only in what a producer knew when leave the same log, so
each log is read once; traces are counted by themselves (`traces.count_traces`). What a reader makes
of a record is worked out once for all logs that bring it there with all that it holds the same,
byte for byte as `pickle` writes the object (hidden caches and all, only counters left out), and
the record and its sequence number the same. Sequence numbers count down to a log's end, for this.
Every log is then walked from its first record to its last, for every reader, and judged.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import NamedTuple

from binlog.control import genesis_frame
from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Predecessor, Session
from binlog.halt import Halted
from binlog.log import Record
from binlog.params import Params
from binlog.producer.outcome import Outcome
from binlog.sequencer import Sequencer
from binlog.sequencer_state import Counters
from binlog.testing.violation import Violation
from binlog.testing.world.ledger import check_ledger, check_order
from binlog.testing.world.model import judge
from binlog.testing.world.records import Frame, Log
from binlog.testing.world.specification import SEQUENCED, Limits, Reference, Verdict
from binlog.testing.world.traces import (
    EXPIRED,
    GIVEN_UP,
    SHAPES,
    STRANGERS,
    count_traces,
    frame_number,
    logs_of,
)
from binlog.values import encode_value

SIZES = (2, 1, 2)
"""Events of a session's first, second and third frame."""
SPECIFIED_EVERY = 1_000
VIOLATIONS_MAX = 10
"""After so many the walk ends: more of them say nothing more."""

NOW_MS = 5_000
_END = 10**55 + 10**24  # the sequence number behind the last record
_PARAMS = Params(log_id="ea" * 16, partitions=1)
_LATE_MS = NOW_MS + _PARAMS.session_life_ms + 1
_LIMITS = Limits(
    _PARAMS.session_life_ms, _PARAMS.id_window, _PARAMS.hold_frames_max, _PARAMS.hold_bytes_max
)

Progress = Callable[[str, int], None]


class Exhaustion(NamedTuple):
    """What was walked; with `VIOLATIONS_MAX` violations, the walk ended before all of ``traces``.

    ``crashes`` are pairs of a log and a record after which its reader dies; ``specified`` are the
    logs that the slow specification judged, too.
    """

    traces: int
    logs: int
    crashes: int
    specified: int
    violations: list[Violation]
    seconds: float


# -- what is written -------------------------------------------------------------------------


@dataclass(slots=True)
class _Published:
    """One event as its owner sees it."""

    serial: int
    event: Envelope
    outcome: Outcome
    session: Session
    number: int
    partition: int = 0


@dataclass
class _Written:
    """Frames, events and ledger of a shape. An event's name is a byte: 16 * session + number."""

    log: Log
    frames: dict[int, Frame]
    sessions: dict[Session, int]
    ledger: list[_Published]
    events: dict[int, Envelope]

    @classmethod
    def of(cls, shape: str, count: int) -> _Written:
        log = Log(_PARAMS)
        related = shape != STRANGERS
        sessions = (Session(b"A" * 16, 1), Session((b"A" if related else b"B") * 16, 2))
        waits_for = sum(SIZES[: count - (shape == GIVEN_UP)])
        written = cls(log, {}, {s: i for i, s in enumerate(sessions)}, [], {})
        serial = 0
        for who, session in enumerate(sessions):
            number = 1
            for frame in range(count):
                events: list[Envelope] = []
                for _ in range(SIZES[frame]):
                    serial += 1
                    event = _event(serial)
                    lost = shape == GIVEN_UP and not who and frame == count - 1
                    outcome = Outcome.UNKNOWN if lost else Outcome.ACKNOWLEDGED
                    place = number + len(events)
                    written.ledger.append(_Published(serial, event, outcome, session, place))
                    written.events[16 * who + place] = event
                    events.append(event)
                before = None
                if who and related and not frame:
                    before = Predecessor(1, waits_for, NOW_MS)
                made = Frame(NOW_MS, session, NOW_MS, number, tuple(events), before)
                name = frame_number(who, frame)
                written.frames[name] = log.encoded(made)
                written.frames[name + EXPIRED] = replace(written.frames[name], arrival=_LATE_MS)
                number += len(events)
        return written


def _event(serial: int) -> Envelope:
    key = {"id": "ab"[serial % 2]}
    data = encode_value({**key, "n": serial})
    return Envelope(f"e{serial}", PUT_ITEM, 1, "items", encode_value(key), data, time_ms=serial)


# -- the readers -----------------------------------------------------------------------------


class _Node(NamedTuple):
    """A reader as it is: all that it holds, and the state that its checkpoint would hold."""

    held: bytes  # pickled, without its counters
    state: int  # by number
    offset: int


@dataclass
class _Walk:
    """Reads the logs of one shape; what a reader does from where it stands is done once."""

    written: _Written
    reader: type[Sequencer]
    nodes: list[_Node] = field(default_factory=list)
    numbers: dict[bytes, int] = field(default_factory=dict)  # of nodes, by what they hold
    states: dict[tuple[bytes, bytes, int], int] = field(default_factory=dict)
    restarts: dict[int, int] = field(default_factory=dict)  # by state: the node restored from it
    steps: dict[tuple[int, int, int], tuple[int, bytes]] = field(default_factory=dict)
    judged: set[bytes] = field(default_factory=set)
    start: int | None = None  # the node that has read the genesis record

    def begin(self) -> int:
        """The node that every reader starts from."""
        if self.start is None:
            log = self.written.log
            opening = genesis_frame(log.params, log.genesis, log.partition)
            record = Record(1, NOW_MS, log.partition, opening)
            self.start, _ = self.fed(self.node(self.restored(None)), record)
        return self.start

    # -- readers, shared where they are the same ---------------------------------------------

    def restored(self, state: bytes | None) -> Sequencer:
        log = self.written.log
        return self.reader(log.params, log.genesis, log.partition, state)

    def node(self, reader: Sequencer) -> int:
        """The number of the node that ``reader`` is."""
        reader.counters = Counters()  # they count what was met and decide nothing
        held = pickle.dumps(reader)
        number = self.numbers.get(held)
        if number is None:
            number = self.numbers[held] = len(self.nodes)
            state = self.state(reader)
            self.nodes.append(_Node(held, state, reader.offset))
            if state not in self.restarts:
                self.restarts[state] = number  # until it is known: it may be this very one
                restored = self.node(self.restored(reader.encode_state()))
                self.restarts[state] = restored
                if self.nodes[restored].state != state:
                    raise Violation("it is not restored as it was saved", law="crash")
        return number

    def state(self, reader: Sequencer) -> int:
        """The number of what a checkpoint would hold, and of what can be seen from outside."""
        seen = reader.encode_state(), reader.digest, reader.offset
        return self.states.setdefault(seen, len(self.states))

    def fed(self, node: int, record: Record) -> tuple[int, bytes]:
        """The node after ``record``, and the names of the events that it gave."""
        shard, offset = self.written.log.shard, self.nodes[node].offset
        reader: Sequencer = pickle.loads(self.nodes[node].held)  # noqa: S301 (made above)
        runs = reader.feed(shard, record)
        names = b""
        for run in runs:
            if run.first_offset != offset + len(names) + 1:
                raise Violation(f"offset {run.first_offset} after {offset}", law="dense offsets")
            base = 16 * self.written.sessions[run.session]
            names += bytes([base + number for number in run.numbers])
        events = [event for run in runs for event in run.columns.envelopes()]
        if events != [self.written.events[name] for name in names]:
            raise Violation("the content of an event has changed", law="nothing alien")
        after = self.node(reader)
        crashed = self.nodes[self.restarts[self.nodes[after].state]].held
        for again in (reader, pickle.loads(crashed)):  # noqa: S301
            if again.feed(shard, record) or self.state(again) != self.nodes[after].state:
                raise Violation("a record fed again changed something", law="state is a fold")
        return after, names

    def step(self, node: int, frame: int, left: int) -> tuple[int, bytes]:
        """The same for a frame that ``left`` records follow; remembered."""
        written = self.written.frames[frame]
        record = Record(_END - (left + 1) * 10**20, written.arrival, 0, written.data)
        done = self.steps[node, frame, left] = self.fed(node, record)
        return done

    # -- one log -----------------------------------------------------------------------------

    def check(self, log: bytes) -> Verdict:
        """Read one log in every way and hold it against the model.

        Raises:
            Violation: something does not hold.
        """
        try:
            names = self.read(log)
            verdict = judge(_LIMITS, [self.written.frames[frame] for frame in log])
            self.compare(names, verdict)
        except (Halted, Violation) as error:
            what, law = f"the reader halted: {error}", "nothing halts"
            if isinstance(error, Violation):
                what, law = error.what, error.law
            story = [
                f"frame {frame % 4 + 1} of session {'AB'[frame // 4 % 2]} lands"
                + (", all sessions have expired" if frame >= EXPIRED else "")
                for frame in log
            ]
            repeat = "scripts/soak --exhaustive"
            raise Violation(what, law=law, story=story, repeat=repeat) from error
        return verdict

    def read(self, log: bytes) -> bytes:
        """The names of all events, by the reader that never crashes; all others give the same.

        One that crashes after every record is one after the other of those that crash once: each
        of them is compared, by the state of its checkpoint, after each record.
        """
        nodes, steps = self.nodes, self.steps
        node, left = self.begin(), len(log)
        path, given = [node], []
        for frame in log:
            left -= 1
            node, names = steps.get((node, frame, left)) or self.step(node, frame, left)
            path.append(node)
            given.append(names)
        count = len(log)
        # (To remember which rest of a log was read after which node gained nothing, and held much.)
        for done in range(count):
            crashed = self.restarts[nodes[path[done]].state]
            for i in range(done, count):
                if crashed == path[i]:
                    break  # it is as if it had never crashed
                key = crashed, log[i], count - 1 - i
                crashed, names = steps.get(key) or self.step(*key)
                if names != given[i] or nodes[crashed].state != nodes[path[i + 1]].state:
                    what = f"a crash after {done} records changed what record {i + 1} gave"
                    raise Violation(what, law="crash")
        return b"".join(given)

    def compare(self, names: bytes, verdict: Verdict) -> None:
        """What was read against the model and the ledger."""
        sessions = self.written.sessions
        wanted = bytes([16 * sessions[t.session] + t.number for t in verdict.sequenced])
        if verdict.trouble is not None or names != wanted:
            what = f"it was read as {say(names)}, and is {say(wanted)}"
            raise Violation(what, law="sequencer is its specification")
        if names in self.judged:
            return
        check_ledger(self.written.ledger, 0, verdict)
        check_order((t.session, t.event) for t in verdict.sequenced if t.event is not None)
        found = {(t.session, t.number) for t in verdict.taken if t.what == SEQUENCED}
        unknown = [p for p in self.written.ledger if p.outcome is Outcome.UNKNOWN]
        if len({(p.session, p.number) in found for p in unknown}) > 1:
            raise Violation("a part of a frame was accepted", law="frames are whole")
        self.judged.add(names)

    def specify(self, log: bytes, verdict: Verdict) -> None:
        """What the slow specification says of a log, against the model."""
        history = [self.written.frames[frame] for frame in log]
        if Reference(_LIMITS, history).judge().taken != verdict.taken:
            raise Violation("the model is not its specification", law="model")


def say(names: bytes) -> str:
    """Events for people: A1 is the first event of the first session."""
    return " ".join(f"{'AB'[name // 16]}{name % 16}" for name in names) or "nothing"


def exhaustive(
    progress: Progress | None = None,
    *,
    shapes: Sequence[str] = SHAPES,
    frames: int = 3,
    found_later: int = 1,
    ending: bool = True,
    reader: type[Sequencer] = Sequencer,
) -> Exhaustion:
    """Walk all of it; ``progress`` hears the shape and its logs so far, every 10,000 logs.

    Fewer ``frames`` a session, and found later, make it a smaller walk of the same kind; so does
    ``ending=False``, where no session ever expires.

    Raises:
        ValueError: frames so few that a session would name one of which nothing was acknowledged.
    """
    if frames < 1 + (GIVEN_UP in shapes):
        raise ValueError(f"{frames} frames a session of {', '.join(shapes)}")
    started = perf_counter()
    traces = logs = crashes = specified = 0
    violations: list[Violation] = []
    for shape in shapes:
        walk = _Walk(_Written.of(shape, frames), reader)
        size = {"frames": frames, "found_later": found_later}
        traces += count_traces(shape, **size, ending=ending)
        for number, log in enumerate(logs_of(shape, **size, ending=ending)):
            if len(violations) == VIOLATIONS_MAX:
                break
            logs += 1
            crashes += len(log)
            try:
                verdict = walk.check(log)
                if number % SPECIFIED_EVERY == 0:
                    specified += 1
                    walk.specify(log, verdict)
            except Violation as violation:
                violations.append(violation)
            if progress is not None and number % 10_000 == 0:
                progress(shape, number)
    return Exhaustion(traces, logs, crashes, specified, violations, perf_counter() - started)
