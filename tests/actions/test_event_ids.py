"""Ids of events: UUIDs of version 7, each one once, whoever asks and however many."""

from __future__ import annotations

import threading
import uuid

from hypothesis import given
from hypothesis import strategies as st

from binlog.actions import build, build_many
from binlog.ids import event_ids

NOW_MS = 1_700_000_000_123


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_each_is_a_uuid_of_version_7_of_the_time_given(now_ms: int, random: bytes) -> None:
    new_id = event_ids(now_ms, entropy=lambda size: random[:size])
    for found in (new_id(), new_id(), new_id()):
        parsed = uuid.UUID(found)
        assert str(parsed) == found
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert parsed.int >> 80 == now_ms


@given(st.binary(min_size=10, max_size=10))
def test_ids_grow_whatever_they_begin_with(random: bytes) -> None:
    """The largest start leaves room for 2^47: a counter that came round would repeat itself."""
    new_id = event_ids(NOW_MS, entropy=lambda size: random[:size])
    ids = [new_id() for _ in range(300)]
    assert ids == sorted(set(ids))


def test_the_last_digits_never_need_one_more() -> None:
    new_id = event_ids(NOW_MS, entropy=lambda size: b"\xff" * size)
    assert {len(new_id()) for _ in range(10)} == {36}


def test_batches_of_one_moment_share_no_id() -> None:
    """73 bits are drawn for each."""
    batches = [event_ids(NOW_MS) for _ in range(200)]
    ids = [new_id() for new_id in batches for _ in range(50)]
    assert len(set(ids)) == len(ids)


def test_threads_that_share_a_batch_share_no_id() -> None:
    new_id = event_ids()
    found: list[list[str]] = [[] for _ in range(4)]

    def take(into: list[str]) -> None:
        into += [new_id() for _ in range(2_000)]

    threads = [threading.Thread(target=take, args=(each,)) for each in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for ids in found for each in ids}) == 8_000


def test_what_is_built_without_ids_is_given_some() -> None:
    action = {"Action": "PutItem", "Table": "orders", "Key": {"id": "1"}, "Data": {"a": 1}}
    first = build_many([action] * 3, now_ms=NOW_MS)
    second = build_many([action] * 3, now_ms=NOW_MS)
    [single] = build(action, now_ms=NOW_MS)
    ids = [each.id for each in (*first, *second, single)]
    assert len(set(ids)) == 7
    assert all(uuid.UUID(each).int >> 80 == NOW_MS for each in ids)
