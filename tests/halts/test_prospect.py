"""What a decision is said to do is what it does, across shards too."""

from __future__ import annotations

from random import Random

from binlog.cli.halted import describe_prospect
from binlog.clock import ManualClock
from binlog.control import resolve_frame
from binlog.frame import Predecessor, stamp_born
from binlog.halt import DECISIONS, Halt, resolution_for
from binlog.logs import MemoryLog
from binlog.params import Params
from binlog.prospect import Prospect, prospect, prospects
from binlog.reader import Checked, Reader
from tests.log.log_frames import frame

PARAMS = Params(log_id="1f" * 16, partitions=1, hold_frames_max=2)
START_MS = 1_800_000_000_000


def inject(log: MemoryLog, *numbers: int, session: int = 1, arrival_ms: int = START_MS) -> None:
    for number in numbers:
        data = frame(number, session=session, born_ms=START_MS, params=PARAMS)
        log.inject(0, data, arrival_ms=arrival_ms)


def halted(log: MemoryLog) -> tuple[Halt, Checked]:
    reader = Reader(log)
    while reader.read() is not None:
        pass
    return reader.halts[0], reader.checkpoint(0)


def decide(log: MemoryLog, halt: Halt, decision: str) -> Reader:
    """Write the decision, and read everything again."""
    family = bytes([len(log.records(0))]) * 16
    newest = max(record.arrival_ms for _, record in log.records(0))
    data = resolve_frame(
        log.params,
        log.genesis,
        resolution_for(halt, decision),
        family=family,
        now_ms=START_MS,
    )
    log.inject(0, stamp_born(data, newest), arrival_ms=newest)
    reader = Reader(log)
    while reader.read() is not None:
        pass
    return reader


def random_log(seed: int) -> MemoryLog:
    """Sessions whose frames come in disorder, some never; shards split and merge meanwhile."""
    random = Random(seed)
    log = MemoryLog(PARAMS, clock=ManualClock(START_MS))
    now = START_MS
    for _ in range(random.randint(6, 24)):
        now += random.choice((0, 0, 1, PARAMS.session_life_ms // 5))
        draw = random.random()
        if draw < 0.08:
            log.inject(0, b"not a frame", arrival_ms=now)
        elif draw < 0.14:
            open_shard = next(s.id for s in reversed(log.shards()) if s.partitions and not s.closed)
            log.split(open_shard)
        else:
            inject(log, random.randint(1, 7), session=random.randint(1, 3), arrival_ms=now)
    return log


def test_what_is_foretold_happens() -> None:
    """For every decision: as many events get offsets, and the next halt is where it was said."""
    tried = sum(foretell_and_decide(seed) for seed in range(150))
    assert tried > 150, "too few of the histories halt: the claim is empty"


def foretell_and_decide(seed: int) -> int:
    """Try every decision on the history of ``seed``; how many there were."""
    tried = 0
    for decision in ("hold", "gap", "skip", "accept", "drop"):
        log = random_log(seed)
        reader = Reader(log)
        while reader.read() is not None:
            pass
        if 0 not in reader.halts or decision not in DECISIONS[reader.halts[0].rule]:
            continue
        tried += 1
        halt, place = halted(log)
        before = len(log.records(0))
        foretold = prospect(log, halt, place, decision)
        assert len(log.records(0)) == before, "looking changes nothing"
        after = decide(log, halt, decision)
        if decision == "hold":
            # It follows further holds as well, which nobody has decided here.
            assert (foretold.next_halt is None) == (0 not in after.halts), seed
            continue
        resolve_events = 0 if 0 in after.halts else 1
        assert foretold.next_halt == after.halts.get(0), seed
        found = after.checkpoint(0).offset - place.offset - resolve_events
        assert foretold.accepted == found, (seed, decision)
    return tried


def test_the_harmless_decision_comes_first() -> None:
    """Hold, where the missing frame lies ahead; found in a child shard as well."""
    log = MemoryLog(PARAMS, clock=ManualClock(START_MS))
    inject(log, 2, 3, 4)
    halt, place = halted(log)
    assert [p.loses_nothing for p in prospects(log, halt, place)] == [False] * 3
    log.split("shard-0000")
    inject(log, 5, 6, 7, 8, 1)
    first, *others = prospects(log, halt, place)
    assert (first.decision, first.loses_nothing) == ("hold", True)
    assert first.accepted == 8
    assert not any(p.loses_nothing for p in others)


def test_a_gap_says_what_will_come_too_late() -> None:
    """The number that was given up lies ahead: that event would be lost."""
    log = MemoryLog(PARAMS, clock=ManualClock(START_MS))
    inject(log, 2, 3, 4, 1)
    halt, place = halted(log)
    found = prospect(log, halt, place, "gap")
    assert found == Prospect(
        decision="gap",
        accepted=3,
        dropped=0,
        given_up=(1, 1),
        late=1,
        closed=0,
        loses_nothing=False,
        next_halt=None,
    )


def test_a_gap_says_which_frames_of_earlier_generations_it_drops() -> None:
    """A session that waits for its predecessor begins by the gap, and so closes what it named."""
    log = MemoryLog(PARAMS, clock=ManualClock(START_MS))
    predecessor = Predecessor(1, 3, START_MS)
    for number in (1, 2, 3):
        data = frame(number, generation=2, born_ms=START_MS, params=PARAMS, predecessor=predecessor)
        log.inject(0, data, arrival_ms=START_MS)
    inject(log, 1, 2, 3)  # the predecessor's own, acknowledged and late
    halt, place = halted(log)
    assert halt.detail.endswith(f"; a gap also closes the generations before {halt.session}")
    found = {each.decision: each for each in prospects(log, halt, place)}
    assert {decision: each.closed for decision, each in found.items()} == {
        "hold": 0,
        "gap": 3,
        "skip": 0,
    }
    assert found["gap"].given_up is None, "no number of its own is missing"
    assert "3 frames of them would be lost" in describe_prospect(found["gap"])
    reader = decide(log, halt, "gap")
    assert reader.checkpoint(0).offset == 3 + 1, "its own frames and the RESOLVE, as foretold"


def test_frames_of_another_family_are_not_counted_as_closed_by_a_gap() -> None:
    log = MemoryLog(PARAMS, clock=ManualClock(START_MS))
    inject(log, 2, 3, 4)
    for generation in (2, 1):  # another family closes a generation of its own
        data = frame(1, session=2, generation=generation, born_ms=START_MS, params=PARAMS)
        log.inject(0, data, arrival_ms=START_MS)
    halt, place = halted(log)
    assert "generations" not in halt.detail
    assert prospect(log, halt, place, "gap").closed == 0
