"""Numbers at the end of what their fields hold: refused where they come in, never met later."""

from __future__ import annotations

import msgspec
import pytest

from binlog.arrival import Decisions
from binlog.frame import NUMBER_MAX, Predecessor, Session
from binlog.halt import HOLD_BOUND, UNDECODABLE, Halted
from binlog.sequencer import Sequencer
from binlog.testing.world.records import Frame, Log
from tests.proofs.histories import PARAMS, small_event

SESSION = Session(b"f" * 16, 2)
LOG = Log(msgspec.structs.replace(PARAMS, hold_frames_max=1))


def frame(first: int, count: int = 1, predecessor: Predecessor | None = None) -> Frame:
    events = tuple(small_event(number) for number in range(count))
    return LOG.encoded(Frame(1_001, SESSION, 1_000, first, events, predecessor))


def test_a_number_that_no_state_could_hold_is_undecodable() -> None:
    """A gap given up before it led to a sequencer that could not be saved any more."""
    *records, last = LOG.records([frame(3), frame(2**64 - 2, count=2)])
    sequencer = Sequencer(LOG.params, LOG.genesis, LOG.partition)
    for record in records:
        sequencer.feed("shard", record)
    with pytest.raises(Halted) as halted:
        sequencer.feed("shard", last)
    assert halted.value.halt.rule == UNDECODABLE


@pytest.mark.parametrize("anew", [False, True])
def test_the_largest_number_is_taken_and_the_state_kept(*, anew: bool) -> None:
    """By the short way and by the long one; the next number is refused by both."""
    *records, beyond = LOG.records([frame(NUMBER_MAX - n) for n in (2, 1, 0, -1)])
    sequencer = Sequencer(LOG.params, LOG.genesis, LOG.partition)
    for index, record in enumerate(records):
        if anew:
            sequencer = Sequencer(LOG.params, LOG.genesis, LOG.partition, sequencer.encode_state())
        gap: Decisions = {(HOLD_BOUND, str(SESSION)): "gap"} if index == 2 else {}
        sequencer.feed("shard", record, gap)
    assert sequencer.accepted_up_to(SESSION) == NUMBER_MAX
    sequencer.encode_state()
    with pytest.raises(Halted):
        sequencer.feed("shard", beyond)


def test_a_predecessor_may_name_any_number() -> None:
    """It is waited for until it expires, and nothing is counted from it."""
    sequencer = Sequencer(LOG.params, LOG.genesis, LOG.partition)
    for record in LOG.records([frame(1, 1, Predecessor(2**64 - 1, 2**64 - 1, 1_000))]):
        sequencer.feed("shard", record)
    state = sequencer.encode_state()
    assert Sequencer(LOG.params, LOG.genesis, LOG.partition, state).held == 1
