"""The walk through every small trace: it finds what is broken, and it leaves no trace out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb

import msgspec
import pytest

from binlog.arrival import Decisions
from binlog.log import Record
from binlog.run import Run
from binlog.sequencer import Sequencer
from binlog.sequencer_state import SequencerState
from binlog.sessions import Sessions
from binlog.testing.world.exhaustive import exhaustive
from binlog.testing.world.traces import (
    GENERATIONS,
    GIVEN_UP,
    SHAPES,
    STRANGERS,
    count_traces,
    logs_of,
)

# -- it finds nothing -------------------------------------------------------------------------


def test_no_trace_of_two_frames_a_session_is_broken() -> None:
    """Every fate, interleaving and crash, for all shapes, with any number of frames found later;
    each log judged by the slow specification too, in part."""
    heard: list[str] = []
    found = exhaustive(lambda shape, _: heard.append(shape), frames=2, found_later=4)
    assert found.violations == []
    assert found.traces == sum(count_traces(shape, frames=2, found_later=4) for shape in SHAPES)
    assert found.crashes > 6 * found.logs
    assert found.specified > 0
    assert tuple(heard) == SHAPES
    print(f"{found.traces} traces, {found.logs} logs, {found.crashes} crashes")


@pytest.mark.slow
def test_no_trace_of_three_frames_is_broken_where_one_is_given_up() -> None:
    found = exhaustive(shapes=[GIVEN_UP], found_later=0, ending=False)
    assert found.violations == []
    assert (found.traces, found.logs) == (3_857_080, 146_291)


# -- it leaves nothing out --------------------------------------------------------------------


def every_trace(frames: int, found_later: int) -> Counter[tuple[str, ...]]:
    """Happenings written out one by one, by another hand.

    ``A1`` lands, ``A1?`` is sent only, ``!`` is the end of all sessions.
    """
    found: Counter[tuple[str, ...]] = Counter()

    def go(
        trace: list[str], sent: list[int], due: list[str], copies: list[str], owed: list[str]
    ) -> None:
        all_sent = sent == [frames, frames] and not due and not owed
        if all_sent and not copies:
            found[tuple(trace)] += 1
        if all_sent and len(copies) == 1 and "!" not in trace:
            go([*trace, "!"], sent, due, copies, owed)
        for who in (0, 1):
            again = [name for name in due if name[0] == "AB"[who]]
            if again:
                go([*trace, again[0]], sent, [n for n in due if n != again[0]], copies, owed)
            elif sent[who] < frames:
                name = f"{'AB'[who]}{sent[who] + 1}"
                then = [n + (i == who) for i, n in enumerate(sent)]
                go([*trace, name], then, due, copies, owed)  # acknowledged
                go([*trace, name], then, [*due, name], copies, owed)  # re-sent
                go([*trace, name, name], then, due, copies, owed)  # duplicated
                go([*trace, name], then, due, [*copies, name], owed)  # late
                if sum(n[-1] == "?" for n in trace) < found_later:
                    go([*trace, f"{name}?"], then, due, copies, [*owed, name])
        for name in copies:
            go([*trace, name], sent, due, [n for n in copies if n != name], owed)
        for name in owed:
            go([*trace, name], sent, due, copies, [n for n in owed if n != name])

    go([], [0, 0], [], [], [])
    return found


def log_left_by(trace: tuple[str, ...]) -> bytes:
    log, end = b"", 0
    for name in trace:
        end |= 8 * (name == "!")
        if name != "!" and name[-1] != "?":
            log += bytes([{"A1": 0, "A2": 1, "B1": 4, "B2": 5}[name] + end])
    return log


@pytest.mark.parametrize("found_later", [0, 1, 4])
def test_all_traces_are_counted_and_every_log_of_one_is_read(found_later: int) -> None:
    """Against traces that are written out one by one."""
    traces = every_trace(2, found_later)
    assert count_traces(STRANGERS, frames=2, found_later=found_later) == sum(traces.values())
    logs = [*logs_of(STRANGERS, frames=2, found_later=found_later)]
    assert len(logs) == len(set(logs))
    assert set(logs) == set(map(log_left_by, traces))


def test_there_are_as_many_logs_as_arithmetic_says() -> None:
    """Of a session: one or two records a frame, its first records in order; then interleaved."""
    of_session = {3: 1, 4: 6, 5: 15, 6: 15}
    wanted = sum(m * n * comb(a + b, a) for a, m in of_session.items()
                 for b, n in of_session.items())  # fmt: skip
    assert wanted == 540_140
    assert sum(1 for _ in logs_of(STRANGERS, found_later=0, ending=False)) == wanted
    assert count_traces(STRANGERS, found_later=0, ending=False) == 7_714_160


# -- it finds what is broken ------------------------------------------------------------------


class LosesHeld(Sequencer):
    """Its checkpoint has no held frames."""

    def encode_state(self, *, place: bytes = b"") -> bytes:
        state = SequencerState.decode(super().encode_state(place=place))
        for session in state.sessions:
            session.held = []
        return state.encode()


class LosesDigest(Sequencer):
    """Its checkpoint has no digest."""

    def encode_state(self, *, place: bytes = b"") -> bytes:
        state = SequencerState.decode(super().encode_state(place=place))
        return msgspec.structs.replace(state, digest=bytes(32)).encode()

    def _load(self, state: SequencerState) -> None:
        super()._load(state)
        self.digest = b"?" * 32 if self._begun else self.digest


class ForgetsSessions(Sequencer):
    """Its checkpoint has no sessions: after a crash a copy is news."""

    def encode_state(self, *, place: bytes = b"") -> bytes:
        state = SequencerState.decode(super().encode_state(place=place))
        return msgspec.structs.replace(state, sessions=[]).encode()


class Tires(Sequencer):
    """Right for five records after it was made, and then it loses what a record gives: nothing of
    this is in its checkpoint."""

    met = 0

    def feed(self, shard: str, record: Record, decisions: Decisions = {}) -> Sequence[Run]:  # noqa: B006
        self.met += 1
        runs = super().feed(shard, record, decisions)
        return runs if self.met < 6 else runs[1:]


class SkipsHoles(Sequencer):
    """Takes a frame that is ahead as if the missing one were there."""

    def feed(self, shard: str, record: Record, decisions: Decisions = {}) -> Sequence[Run]:  # noqa: B006
        runs = super().feed(shard, record, decisions)
        for state in self._sessions.states():
            if state.held and state.waits_for is None:
                state.next = state.held[0].first
        return runs


@pytest.mark.parametrize(
    ("reader", "law"),
    [
        (LosesHeld, "crash"),
        (LosesDigest, "crash"),
        (ForgetsSessions, "state is a fold"),
        (Tires, "crash"),
        (SkipsHoles, "sequencer is its specification"),
    ],
)
def test_a_broken_reader_is_found(reader: type[Sequencer], law: str) -> None:
    found = exhaustive(frames=2, reader=reader)
    assert found.violations
    assert law in {violation.law for violation in found.violations}
    assert all(violation.story for violation in found.violations)


@pytest.mark.parametrize("rule", ["waits", "is_closed"])
def test_a_rule_of_generations_that_is_broken_is_found(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predecessor ignored; older generations not closed. Strangers never see either."""
    monkeypatch.setattr(Sessions, rule, lambda *_: False)
    assert exhaustive(frames=2, shapes=[GENERATIONS, GIVEN_UP]).violations
    assert not exhaustive(frames=2, found_later=0, shapes=[STRANGERS]).violations


def test_a_reader_that_admits_what_has_expired_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sessions, "is_expired", lambda *_: False)
    assert exhaustive(frames=2).violations
    assert not exhaustive(frames=2, ending=False).violations


def test_no_session_names_one_of_which_nothing_was_acknowledged() -> None:
    """No producer writes that, and the shape would judge what cannot happen."""
    with pytest.raises(ValueError, match="1 frames a session of given up"):
        exhaustive(shapes=["given up"], frames=1)
