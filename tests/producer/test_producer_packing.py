"""From a queue to frames: how many events go into one, and where they go."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from binlog.columns import KINDS_MAX
from binlog.errors import TooLargeError
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.values import encode_value
from tests.producer.desk import Desk, appended, event, header_of, ids_of, key_in

KEY = key_in(0)
OTHER = key_in(1)


def test_a_key_has_its_partition_for_ever() -> None:
    """Written down once: another hash would put new events of a key beside the old ones."""
    keys = ("order-1", "order-2", "order-3", "customer-17")
    found = [partition_of(ordering_key("orders", encode_value({"id": k})), 64) for k in keys]
    assert found == [40, 39, 0, 24]  # by md5sum


def test_frames_keep_every_bound_of_the_log() -> None:
    """A frame beyond one would halt its partition."""
    params = Params(
        log_id="ab" * 16,
        partitions=4,
        frame_events_max=50,
        frame_bytes_max=20_000,
        body_bytes_max=16_000,
    )
    desk = Desk(params=params, frame_bytes_goal=1_000_000)
    many = [event(KEY, f"{n}", size=n % 900, kind=f"Kind{n % 300}") for n in range(700)]
    desk.offer(many)
    sent: list[str] = []
    while (send := desk.poll()) is not None:
        for put in send.puts:
            header = header_of(put.data)
            assert header.count <= 50
            assert len(put.data) <= 20_000
            assert header.body_bytes <= 16_000
            sent += ids_of(put.data)
        desk.reply(send, appended())
    assert sent == [str(n) for n in range(700)]


def test_a_frame_has_no_more_kinds_than_it_can_name() -> None:
    """The index of a kind is one byte."""
    desk = Desk()
    desk.begin()
    desk.offer([event(KEY, f"{n}", kind=f"Kind{n}") for n in range(KINDS_MAX + 1)])
    sent: list[str] = []
    while (send := desk.poll()) is not None:
        sent += [name for put in send.puts for name in ids_of(put.data)]
        desk.reply(send, appended())
    assert sent == [f"{n}" for n in range(KINDS_MAX + 1)]


def test_frames_are_closed_at_about_the_goal_of_compressed_bytes() -> None:
    """24 KiB are one billing unit of Kinesis: half-full frames cost double."""
    desk = Desk()
    desk.begin()
    desk.offer([event(KEY, f"{n:05}", size=20) for n in range(30_000)])
    sizes: list[int] = []
    while (send := desk.poll()) is not None:
        sizes += [len(put.data) for put in send.puts]
        desk.reply(send, appended())
    steady = sizes[len(sizes) // 2 : -1]
    assert min(steady) > 0.8 * 24 * 1024
    assert max(steady) < 1.2 * 24 * 1024


def test_an_event_too_large_is_refused_with_its_size_and_the_limit() -> None:
    """And nothing of the publish is taken: half a batch would be worse than none."""
    params = Params(log_id="ab" * 16, partitions=4, frame_bytes_max=20_000)
    desk = Desk(params=params)
    with pytest.raises(TooLargeError, match=r"has \d+ bytes, the limit is 20000: event big") as e:
        desk.offer([event(KEY, "small"), event(OTHER, "big", size=21_000)])
    assert cast(int, e.value.details["size"]) > 21_000
    assert desk.core.pending_events == 0
    assert desk.poll() is None


def test_a_large_event_that_compresses_well_is_taken() -> None:
    """The limit is of the frame's bytes, so only they may decide."""
    params = Params(log_id="ab" * 16, partitions=4, frame_bytes_max=20_000)
    desk = Desk(params=params)
    large = msgspec.structs.replace(event(KEY, "big"), data=encode_value({"a": "x" * 100_000}))
    desk.offer([large])
    assert len(desk.send().puts[0].data) < 20_000
