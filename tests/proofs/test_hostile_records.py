"""A hostile record is refused within fixed memory, and loses nothing else (invariant 23)."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from binlog.columns import columns_of, encode_body
from binlog.control import params_envelope
from binlog.errors import UpgradeError
from binlog.frame import Session, encode_frame
from binlog.halt import Halted
from binlog.testing.world.garbage import GARBAGE, bomb, flip_version, resealed
from binlog.testing.world.records import START_MS, Frame, Garbage, Log
from tests.proofs.drive import Driver
from tests.proofs.histories import PARAMS, small_event

ONE, TWO = Session(bytes([1] * 16), 1), Session(bytes([2] * 16), 1)
LOG = Log(PARAMS)


def frame(session: Session, first: int = 1) -> Frame:
    events = (small_event(first), small_event(first + 1))
    return LOG.encoded(Frame(START_MS, session, START_MS, first, events))


@pytest.mark.parametrize("why", [why for why, _ in GARBAGE])
def test_a_record_that_is_no_frame_halts_where_it_stands_and_changes_nothing(why: str) -> None:
    """S7: what lies before it is numbered; what is fed again after it was put right goes on."""
    data = dict(GARBAGE)[why](LOG, frame(TWO))
    halted = Driver(LOG).run([frame(ONE), Garbage(START_MS, why, data), frame(ONE, 3)])
    assert halted.halt is not None
    assert (halted.halt.rule, halted.halt.offset) == ("undecodable", 2)
    assert halted.state == Driver(LOG).run([frame(ONE)]).state


def test_a_bomb_is_decompressed_no_further_than_its_header_says() -> None:
    """Half a gigabyte in 50 KB: refused without ever being held."""
    record = Garbage(START_MS, "a bomb", bomb(LOG, frame(TWO), 512 * 1024 * 1024, 100_000))
    assert len(record.data) < 60_000
    tracemalloc.start()
    try:
        driven = Driver(LOG).run([record])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert driven.halt is not None
    assert peak < 8 * 1024 * 1024


def test_the_log_and_not_the_code_says_which_frame_versions_are_right() -> None:
    """S3: above what PARAMS allow every reader halts alike; what they allow and this code cannot
    read stops the program, since another reader goes on."""
    newer = flip_version(LOG, frame(TWO), 2)
    sequencer = Driver(LOG).new()
    opening, not_allowed = LOG.records([Garbage(START_MS, "newer", resealed(newer))])
    sequencer.feed(LOG.shard, opening)
    with pytest.raises(Halted):
        sequencer.feed(LOG.shard, not_allowed)
    change = params_envelope({"frame_version": 2}, new_id=lambda: "change", now_ms=START_MS)
    body = encode_body(columns_of([change]))
    allows = encode_frame(LOG.header(frame(ONE), 1, 1), body)
    [_, allowing] = LOG.records([Garbage(START_MS, "PARAMS", allows)])
    sequencer.feed(LOG.shard, allowing)
    with pytest.raises(UpgradeError):
        sequencer.feed(LOG.shard, not_allowed)
    above = msgspec.structs.replace(not_allowed, data=resealed(flip_version(LOG, frame(TWO), 3)))
    with pytest.raises(Halted):
        sequencer.feed(LOG.shard, above)
