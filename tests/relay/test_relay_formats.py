"""What records become: formats, ids, and what is no event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from binlog.clock import ManualClock
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.events import events
from binlog.logs.memory import MemoryLog
from binlog.reader import Reader
from binlog.relay import ForeignInbox, Inbound, LogInbox, Relay, make_convert
from binlog.relay.convert import check_fits, unreadable
from binlog.relay.frames import marks_of, place_of
from binlog.relay.relay import Report
from binlog.values import decode_value
from tests.relay.foreign_world import append_native, new_log


def inbound(data: bytes, *, key: str = "customer-7", number: int = 10**55) -> Inbound:
    return Inbound("shardId-0", number, key, 1_700_000_000_123, data)


def only(envelopes: Any) -> Envelope:
    [envelope] = envelopes
    assert isinstance(envelope, Envelope)
    return envelope


ID = f"relay/shardId-0/{10**55}"
ORIGIN = {"shard": "shardId-0", "sequence": str(10**55), "partition_key": "customer-7"}


def test_a_line_is_what_append_makes_of_it_under_the_id_of_its_place() -> None:
    convert = make_convert(table="users", key_names=("id",))
    made = only(convert(inbound(b'{"id": "ann", "n": 1.50}\n')))
    assert (made.id, made.type, made.table, made.time_ms) == (
        ID,
        "PutItem",
        "users",
        1_700_000_000_123,
    )
    assert decode_value(made.meta or b"") == {"relay": ORIGIN}
    action = {"Action": "DeleteItem", "Table": "users", "Key": {"id": 1}, "Id": "mine"}
    gone = only(convert(inbound(json.dumps(action | {"Meta": {"by": "x"}}).encode())))
    assert (gone.id, gone.type) == (ID, "DeleteItem")
    assert decode_value(gone.meta or b"") == {"by": "x", "relay": {**ORIGIN, "id": "mine"}}


def test_several_lines_are_several_events_and_the_same_ones_each_time() -> None:
    convert = make_convert(table="users")
    record = inbound(b'{"a": 1}\n\n{"a": 2}\n{"Action": "BatchWrite", "Data": [{"v": "x"}]}')
    made = convert(record)
    assert [each.id for each in made] == [f"{ID}/0", f"{ID}/1", f"{ID}/2"]
    assert list(made) == list(convert(record))
    assert [decode_value(each.key)["id"] for each in made[:2]] == [f"{ID}/0", f"{ID}/1"]


def test_json_and_raw_become_events_of_the_type_that_is_given() -> None:
    as_json = only(make_convert(payload="json", event_type="Click")(inbound(b' {"x": [1, null]} ')))
    assert decode_value(as_json.data or b"") == {"x": [1, None]}
    raw = only(make_convert(payload="raw", event_type="Sample")(inbound(b"\0\xff")))
    assert decode_value(raw.data or b"") == b"\0\xff"
    for made in (as_json, raw):
        assert (made.id, made.table, decode_value(made.key)) == (
            ID,
            "",
            {"partition_key": "customer-7"},
        )


@pytest.mark.parametrize(
    "options",
    [
        {"payload": "json"},
        {"payload": "raw", "event_type": ""},
        {"payload": "raw", "event_type": "binlog.noop"},
        {"payload": "raw", "event_type": "T", "table": "users"},
        {"payload": "json", "event_type": "T", "key_names": ("id",)},
        {"payload": "actions", "event_type": "T"},
        {"table": "no table"},
        {"key_names": ("a", "a")},
    ],
)
def test_options_that_cannot_go_together_are_refused_before_anything_is_read(
    options: dict[str, Any],
) -> None:
    with pytest.raises(RefusedError):
        make_convert(**options)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n\n",
        b"{",
        b"\xff",
        b"[1]",
        b'{"id": 1, "id": 2}',
        b'{"id": NaN}',
        b"[" * 100_000,
        b'{"id": ' + b"9" * 50_000 + b"}",
        b'{"id": "x"}\n{"id": ',
        json.dumps({"id": "x" * 3_000}).encode(),
        json.dumps({"id": "x", "blob": "x" * 500_000}).encode(),
        b'{"Action": "PutItem", "Data": {"id": 1}, "Meta": {"relay": 1}}',
        b'{"Action": "Nonsense"}',
    ],
)
def test_what_is_no_event_is_refused_and_says_why(data: bytes) -> None:
    convert = make_convert(table="users", key_names=("id",))
    with pytest.raises(RefusedError) as refused:
        convert(inbound(data))
    assert refused.value.what
    kept = unreadable(inbound(data), refused.value.what)
    content = decode_value(kept.data or b"")["unreadable"]
    assert content["data"] == data
    assert content["sequence"] == str(10**55)
    assert place_of(kept.id) == ("shardId-0", 10**55)
    check_fits([kept], new_log().params)


# -- in the log ----------------------------------------------------------------------------------


def carry(log: MemoryLog, clock: ManualClock, **options: Any) -> Report:
    return relay_of(log, clock, **options).run(once=True)


def relay_of(log: MemoryLog, clock: ManualClock, **options: Any) -> Relay:
    convert = make_convert(table="users", key_names=("id",))
    inbox = options.pop("inbox", None) or ForeignInbox(log)
    return Relay(
        inbox,
        log,
        convert,
        monotonic=clock.monotonic,
        pause=lambda s: clock.advance(max(1, round(s * 1000))),
        **options,
    )


def read(log: MemoryLog, *, control: bool = False) -> list[Any]:
    reader, found = Reader(log), []
    while (runs := reader.read()) is not None:
        for run in runs:
            found += [e for e in events(run) if control or not e.type.startswith("binlog.")]
    return found


def test_stop_ends_before_the_record_and_again_there() -> None:
    """What lies before it is relayed; what lies behind it waits, in order."""
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    for data in (b'{"id": 1}', b"{", b'{"id": 2}'):
        log.inject_foreign("k", data, shard="shard-0000")
    place = log._shards["shard-0000"].records[-2].sequence
    for _ in range(2):
        with pytest.raises(RefusedError, match="a record that is no event") as stopped:
            carry(log, clock)
        assert stopped.value.where == f"shard shard-0000 record {place}"
        assert stopped.value.sequence == place
    relay = relay_of(log, clock)
    for _ in range(2):  # and where somebody goes on with the same one
        with pytest.raises(RefusedError, match="a record that is no event"):
            relay.run(once=True)
    assert [event.key for event in read(log)] == [{"id": 1}]
    assert carry(log, clock, on_error="keep").unreadable == 1
    assert sorted(event.key["id"] for event in read(log)) == [1, 2]


def test_keep_puts_the_record_whole_into_the_log_and_goes_on() -> None:
    """Never dropped silently: a control record that no applier sees, once."""
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    for data in (b"\0bad", b'{"id": 1}'):
        log.inject_foreign("k", data, shard="shard-0000")
    report = carry(log, clock, on_error="keep")
    assert (report.events, report.unreadable) == (2, 1)
    assert carry(log, clock, on_error="keep") == Report()
    kept = [e for e in read(log, control=True) if e.id.startswith("unreadable/")]
    assert [e.data["unreadable"]["data"] for e in kept] == [b"\0bad"]
    assert [event.key for event in read(log)] == [{"id": 1}]


def test_a_record_too_large_to_be_kept_stops_the_relay_whatever_it_was_told() -> None:
    clock = ManualClock(1_000_000)
    log = new_log(clock, frame_bytes_max=50_000)
    log.inject_foreign("k", bytes(60_000), shard="shard-0000")
    with pytest.raises(RefusedError, match="the event has 60"):
        carry(log, clock, on_error="keep")


def test_a_million_byte_page_is_cut_into_frames_within_the_pinned_bounds() -> None:
    clock = ManualClock(1_000_000)
    log = new_log(clock, frame_bytes_max=30_000, body_bytes_max=60_000, frame_events_max=7)
    for number in range(60):
        body = {"id": "same", "n": number, "text": chr(97 + number % 26) * 2_000}
        log.inject_foreign("k", json.dumps(body).encode(), shard="shard-0000")
    assert carry(log, clock).events == 60
    assert [event.data["n"] for event in read(log)] == list(range(60))


def test_the_order_under_one_key_is_kept_across_a_reshard() -> None:
    """A child shard is read when its parents are over."""
    clock = ManualClock(1_000_000)
    log = new_log(clock)
    numbers = iter(range(100))

    def put(shard: str) -> None:
        log.inject_foreign("k", json.dumps({"id": "x", "n": next(numbers)}).encode(), shard=shard)

    for _ in range(3):
        put("shard-0000")
    low, high = log.split("shard-0000")
    put(high)
    merged = log.merge(high, low)
    put(merged)
    carry(log, clock)
    assert [event.data["n"] for event in read(log)] == [0, 1, 2, 3, 4]


def test_another_logs_events_come_as_they_are_and_its_control_records_stay() -> None:
    clock = ManualClock(1_000_000)
    source = new_log(clock)
    for number in range(8):
        append_native(source, number % 4, number)
    source.inject_foreign("k", b'{"id": "f"}', shard="shard-0000")
    carry(source, clock)
    clock.advance(1)
    log = MemoryLog(log_params(), clock=clock)
    assert carry(log, clock, inbox=LogInbox(source)).events == 9
    assert carry(log, clock, inbox=LogInbox(source)).events == 0
    append_native(source, 0, 99)
    assert carry(log, clock, inbox=LogInbox(source)).events == 1

    def shown(events: list[Any]) -> list[Any]:
        return sorted(
            [(e.type, e.table, str(e.key), str(e.data), e.time_ms, e.schema) for e in events]
        )

    assert shown(read(log)) == shown(read(source))
    first = read(log)[0]
    assert first.id.startswith("relay/p000")
    assert first.meta["relay"]["id"].startswith("own/")


def log_params() -> Any:
    return new_log().params.__class__(log_id="3d" * 16, partitions=2)


def test_the_foreign_records_of_a_log_that_skips_them_are_no_inbox() -> None:
    with pytest.raises(RefusedError, match="skips foreign records"):
        ForeignInbox(new_log(foreign="skip"))


def test_a_mark_that_nobody_of_us_wrote_says_nothing() -> None:
    """Anybody may write under the family of a relay."""
    for data in (None, b"", b"\xff", b"\x80", b"\xc0"):
        assert marks_of(Envelope("mark/1", "binlog.relay", 1, "", b"\x80", data)) == {}
