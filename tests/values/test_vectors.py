"""Vectors as people write them, and the order between them."""

from __future__ import annotations

import pytest

from binlog.errors import DamageError, RefusedError
from binlog.params import Params, decode_genesis, encode_genesis
from binlog.vector import (
    OFFSET_MAX,
    minimum,
    offset_of,
    parse_vector,
    version_of,
    without_zeros,
)


@pytest.mark.parametrize(
    ("text", "vector"),
    [
        ("{}", {}),
        ('{"0": 12, "5": 7}', {0: 12, 5: 7}),
        (' {"5":7,\n"0":12}\n', {0: 12, 5: 7}),
        ('{"1": 0, "2": 3}', {2: 3}),
        (f'{{"0": {OFFSET_MAX}}}', {0: OFFSET_MAX}),
    ],
)
def test_reads_a_vector_in_partition_order_without_zeros(text: str, vector: dict[int, int]) -> None:
    assert parse_vector(text, 16) == vector
    assert list(parse_vector(text.encode(), 16)) == sorted(vector)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no vector"),
        ("12", "no vector"),
        ("[1]", "no vector"),
        ("{0: 1}", "no vector"),
        ('{"0": 1, "0": 2}', "'0' stands twice"),
        ('{"0": 1, "00": 2}', "'00' is no partition"),
        ('{"+1": 1}', "'+1' is no partition"),
        ('{" 1": 1}', "' 1' is no partition"),
        ('{"1_0": 1}', "'1_0' is no partition"),
        ('{"\u0661": 1}', "is no partition"),
        ('{"' + "1" * 5_000 + '": 1}', "is no partition"),
        ('{"": 1}', "'' is no partition"),
        ('{"0": "1"}', "no whole number"),
        ('{"0": 1.5}', "no whole number"),
        ('{"0": true}', "no whole number"),
        ('{"0": null}', "no whole number"),
        ('{"16": 1}', "the vector names partition 16: this log has partitions 0 to 15"),
        ('{"-1": 1}', "the vector names partition -1"),
        ('{"0": -1}', "the vector names offset -1 of partition 0"),
        (f'{{"0": {OFFSET_MAX + 1}}}', "the vector names offset"),
        ("[" * 100_000, "no vector"),
        ("\udcff", "no vector"),
    ],
)
def test_refuses_what_is_no_vector_of_this_log(text: str, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_vector(text, 16)
    assert says in str(caught.value)


def test_the_minimum_is_at_or_before_all() -> None:
    assert minimum([]) == {}
    assert minimum([{0: 3, 1: 2}, {0: 1, 2: 9}]) == {0: 1}
    assert without_zeros({3: 1, 1: 0, 2: 5}) == {2: 5, 3: 1}


def test_a_version_is_the_offset_in_the_first_timeline_and_grows_with_the_next() -> None:
    assert version_of(0, 17) == 17
    assert version_of(1, 1) > version_of(0, OFFSET_MAX)
    assert offset_of(version_of(3, 17)) == 17


@pytest.mark.parametrize(
    "change",
    [
        {"partitions": 0},
        {"partitions": 4_097},
        {"session_age_ms": 0},
        {"session_age_ms": 3_600_000},
        {"id_window": 0},
        {"hold_frames_max": 0},
        {"hold_bytes_max": -1},
        {"frame_bytes_max": 0},
        {"body_bytes_max": 0},
        {"frame_events_max": 0},
        {"born_tolerance_ms": -1},
        {"timeline": -1},
        {"log_id": "AB" * 16},
        {"log_id": "ab"},
    ],
)
def test_parameters_that_no_log_can_have_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\d|below"):
        Params(**({"log_id": "ab" * 16} | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"format":1,"rules":1,"log_id":"\xff"}',
        encode_genesis(Params(log_id="ab" * 16)).replace(b'"id_window":1024', b'"id_window":0'),
        encode_genesis(Params(log_id="ab" * 16)).replace(b"id_window", b"id_widow"),
        encode_genesis(Params(log_id="ab" * 16)).replace(b'"divert"', b'"eat"'),
    ],
)
def test_a_damaged_genesis_record_is_damage(data: bytes) -> None:
    with pytest.raises(DamageError, match="no genesis record"):
        decode_genesis(data, "somewhere")
