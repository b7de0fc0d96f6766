"""The result of a drill, as it is written down and read again."""

from __future__ import annotations

import msgspec
import pytest

from binlog.drills.record import Record
from binlog.drills.result import SCHEMA, DrillResult, decode_result, encode_result
from tests.drills.sample import sample_failed, sample_result


@pytest.mark.parametrize("result", [sample_result(), sample_failed()], ids=["passed", "failed"])
def test_a_result_is_read_as_it_was_written(result: DrillResult) -> None:
    """Reports are made of the file; what it loses, they lack."""
    assert decode_result(encode_result(result)) == result


def test_a_result_of_a_newer_schema_is_refused() -> None:
    """Fields that this code does not know may change what the others mean."""
    newer = msgspec.structs.replace(sample_result(), schema=SCHEMA + 1)
    with pytest.raises(ValueError, match=f"schema {SCHEMA + 1}"):
        decode_result(encode_result(newer))


def test_a_twin_that_failed_by_accident_is_not_caught() -> None:
    """A twin whose command could not even start proves nothing about the judge."""
    assert sample_failed().caught
    good = sample_result()
    accident = msgspec.structs.replace(
        good, twin="x", passed=False, failure="no such command", verdicts=()
    )
    assert not accident.caught
    assert not good.caught


def test_a_moment_at_the_end_of_a_phase_is_of_that_phase() -> None:
    """A command that goes on is started in less than a millisecond; the runbook has to have it."""
    record = Record(lambda _: None)
    record.mark("note", "started", 1.000_4, 1.000_4)
    assert record.marks[0].begin_s == pytest.approx(1.000_4, abs=1e-6)
