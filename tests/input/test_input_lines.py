"""Lines in, envelopes out: what a line means, and which line is refused for what."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.envelope import Envelope
from binlog.errors import RefusedError, TooLargeError
from binlog.input import LINE_BYTES_MAX, InputFormat, InputLines, new_event_id
from binlog.values import decode_value

NOW_MS = 1_700_000_000_000


def reader(
    input_format: InputFormat = "actions",
    *,
    table: str | None = "users",
    keys: list[str] | None = None,
) -> InputLines:
    numbers = itertools.count(1)
    return InputLines(
        input_format=input_format,
        table=table,
        key_names=keys,
        now_ms=lambda: NOW_MS,
        new_id=lambda: f"id-{next(numbers)}",
    )


def read(*lines: bytes, **options: Any) -> list[Envelope]:
    source = reader(**options)
    batch = source.take(b"".join(line + b"\n" for line in lines))
    if batch.refused:
        raise batch.refused
    assert not source.finish().envelopes
    return list(batch.envelopes)


def show(envelope: Envelope) -> dict[str, Any]:
    """The fields that say something, decoded."""
    fields = {
        "id": envelope.id,
        "type": envelope.type,
        "table": envelope.table,
        "key": decode_value(envelope.key),
        "data": None if envelope.data is None else decode_value(envelope.data),
        "meta": None if envelope.meta is None else decode_value(envelope.meta),
        "expect": envelope.expect,
    }
    assert envelope.time_ms == NOW_MS
    return {name: value for name, value in fields.items() if value is not None}


# -- the two lines of the seed document ----------------------------------------------------------


def test_seed_line_put_item_stores_its_text_under_data() -> None:
    [event] = read(b'{"Action": "PutItem", "Data": "This is my test data"}')
    assert show(event) == {
        "id": "id-1",
        "type": "PutItem",
        "table": "users",
        "key": {"id": "id-1"},
        "data": {"id": "id-1", "Data": "This is my test data"},
    }


def test_seed_line_batch_write_stores_each_element_as_an_item() -> None:
    line = b'{"Action": "BatchWrite", "Data": [{"item1": "value"}, {"item2": "value2"}]}'
    first, second = read(line)
    assert show(first) == {
        "id": "id-1/0",
        "type": "PutItem",
        "table": "users",
        "key": {"id": "id-1/0"},
        "data": {"id": "id-1/0", "item1": "value"},
        "meta": {"batch": "id-1"},
    }
    assert show(second)["data"] == {"id": "id-1/1", "item2": "value2"}


@pytest.mark.parametrize(
    "line",
    [
        b'{"Action": "PutItem", "Data": "This is my test data"}',
        b'{"Action": "BatchWrite", "Data": [{"item1": "value"}, {"item2": "value2"}]}',
        b'{"id": "a"}',
    ],
)
def test_a_line_that_needs_a_table_is_refused_without_one(line: bytes) -> None:
    with pytest.raises(RefusedError, match=r"no table.*line 1.*--table"):
        read(line, table=None)


# -- the formats -----------------------------------------------------------------------------------


def test_a_line_without_action_is_an_item() -> None:
    [event] = read(b'{"id": "ann", "n": 0.10}', keys=["id"])
    shown = show(event)
    assert (shown["type"], shown["key"]) == ("PutItem", {"id": "ann"})
    assert str(shown["data"]["n"]) == "0.1"


def test_format_items_takes_every_line_for_an_item() -> None:
    line = b'{"id": "ann", "Action": "DeleteItem", "Table": "x"}'
    [event] = read(line, input_format="items", keys=["id"])
    assert show(event)["data"] == {"id": "ann", "Action": "DeleteItem", "Table": "x"}


@pytest.mark.parametrize(
    ("line", "data"),
    [
        (
            {"id": {"S": "a"}, "b": {"B": "AAE="}, "s": {"NS": ["2", "1.0"]}},
            {"id": "a", "b": b"\0\1", "s": frozenset({1, 2})},
        ),
        ({"Item": {"id": {"S": "a"}}}, {"id": "a"}),  # a line of a table's export
        ({"id": {"S": "a"}, "Action": {"S": "x"}}, {"id": "a", "Action": "x"}),
        (
            {"Action": "PutItem", "Key": {"id": {"S": "a"}}, "Data": {"S": "text"}},
            {"id": "a", "Data": "text"},
        ),
        (
            {"Action": "PutItem", "Data": {"id": {"S": "a"}, "M": {"M": {}}}},
            {"id": "a", "M": {}},
        ),
        (
            {
                "Action": "UpdateItem",
                "Key": {"id": {"S": "a"}},
                "Data": {
                    "Set": {"x": {"B": ""}},
                    "Remove": ["y"],
                    "Add": {"n": {"N": "1"}},
                    "Delete": {"t": {"SS": ["u"]}},
                },
            },
            {"Set": {"x": b""}, "Remove": ["y"], "Add": {"n": 1}, "Delete": {"t": frozenset("u")}},
        ),
        (
            {"Action": "Event", "Type": "Seen", "Key": {"id": {"N": "1"}}, "Data": {"L": []}},
            [],
        ),
    ],
)
def test_format_dynamodb_reads_typed_values(line: dict[str, Any], data: object) -> None:
    [event] = read(json.dumps(line).encode(), input_format="dynamodb", keys=["id"])
    assert show(event)["data"] == data


def test_format_dynamodb_reads_a_batch_of_typed_items_and_deletes() -> None:
    line = {
        "Action": "BatchWrite",
        "Id": "B",
        "Meta": {"why": {"S": "x"}},
        "Data": [{"id": {"S": "a"}}, {"Delete": {"id": {"S": "b"}}}],
    }
    put, delete = read(json.dumps(line).encode(), input_format="dynamodb", keys=["id"])
    assert show(put)["data"] == {"id": "a"}
    assert (delete.type, show(delete)["key"], show(delete)["id"]) == (
        "DeleteItem",
        {"id": "b"},
        "B/1",
    )
    assert show(put)["meta"] == {"batch": "B", "why": "x"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"id": "a"}, "attribute 'id': \"a\" is no typed value"),
        (
            {"Action": "PutItem", "Data": {"id": {"N": "x"}}},
            "Data: attribute 'id': 'x' is no number",
        ),
        ({"Action": "DeleteItem", "Key": {"id": "a"}}, "Key: attribute 'id'"),
        (
            {"Action": "UpdateItem", "Key": {"id": {"S": "a"}}, "Data": {"Set": {"x": 1}}},
            "Data: attr",
        ),
        (
            {"Action": "PutItem", "Data": {"id": {"S": "a"}}, "Meta": {"x": 1}},
            "Meta: attribute 'x'",
        ),
        ({"Action": "Nope"}, "the action 'Nope' is unknown"),
    ],
)
def test_format_dynamodb_says_which_field_is_not_typed(line: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read(json.dumps(line).encode(), input_format="dynamodb", keys=["id"])
    assert says in str(caught.value)
    assert ": line 1" in str(caught.value)


# -- refusals --------------------------------------------------------------------------------------

GOOD = b'{"id": "ann", "n": 1}'


def nested(levels: int) -> bytes:
    return b'{"id": "a", "v": ' + b"[" * levels + b"]" * levels + b"}"


REFUSED: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello", "no JSON"),
    "cut short": (b'{"id": "a"', "no JSON"),
    "no object": (b'["id"]', "a line is an object"),
    "duplicate name": (b'{"id": "a", "id": "a"}', "'id' stands twice"),
    "duplicate name inside": (b'{"id": "a", "v": {"x": 1, "x": 1}}', "'x' stands twice"),
    "invalid UTF-8": (b'{"id": "\xff"}', "invalid UTF-8"),
    "encoded surrogate": (b'{"id": "\xed\xa0\x80"}', "invalid UTF-8"),
    "lone surrogate": (b'{"id": "a", "v": "\\ud800"}', "lone surrogate"),
    "lone surrogate in a name": (b'{"id": "a", "\\udc00": 1}', "lone surrogate"),
    "NaN": (b'{"id": "a", "v": NaN}', "NaN is no number"),
    "Infinity": (b'{"id": "a", "v": Infinity}', "Infinity is no number"),
    "-Infinity": (b'{"id": "a", "v": -Infinity}', "-Infinity is no number"),
    "1e400": (b'{"id": "a", "v": 1e400}', "out of range"),
    "39 digits": (b'{"id": "a", "v": ' + b"1" * 39 + b"}", "39 digits, the limit is 38"),
    "39 digits after the point": (b'{"id": "a", "v": 0.' + b"3" * 39 + b"}", "39 digits"),
    "39 digits as an expected version": (
        b'{"Action": "PutItem", "Data": {"id": "a"}, "Expect": ' + b"1" * 39 + b"}",
        "39 digits",
    ),
    "depth 33": (nested(32), "nesting above 32"),
    "depth 50": (nested(50), "nesting above 32"),
    "depth 100,000": (b"[" * 100_000, "nesting above 32"),
    "depth 100,000 of objects": (b'{"v":' * 100_000, "nesting above 32"),
    "item above 400 KB": (b'{"id": "a", "v": "' + b"x" * 409_600 + b'"}', "the limit is"),
    "missing key attribute": (b'{"n": 1}', "the key attribute 'id' is missing"),
    "empty key attribute": (b'{"id": ""}', "the key attribute 'id' is empty"),
    "null key attribute": (b'{"id": null}', "the key attribute 'id' is a null"),
    "boolean key attribute": (b'{"id": true}', "the key attribute 'id' is a bool"),
    "key above 2,048 bytes": (b'{"id": "' + b"x" * 2_049 + b'"}', "2049 bytes, the limit is 2048"),
    "_binlog": (b'{"id": "a", "_binlog": 1}', "'_binlog' is reserved"),
    "table name too short": (b'{"Action": "PutItem", "Table": "ab", "Data": {"id": "a"}}', "table"),
    "table name with a slash": (
        b'{"Action": "PutItem", "Table": "a/bc", "Data": {"id": "a"}}',
        "the table name 'a/bc'",
    ),
    "table name too long": (
        b'{"Action": "PutItem", "Table": "' + b"t" * 256 + b'", "Data": {"id": "a"}}',
        "the table name",
    ),
    "table name with a line end": (
        b'{"Action": "PutItem", "Table": "users\\n", "Data": {"id": "a"}}',
        "the table name",
    ),
    "Data and Key disagree": (
        b'{"Action": "PutItem", "Key": {"id": "a"}, "Data": {"id": "b"}}',
        "the key attribute 'id' is 'a', Data has 'b'",
    ),
    "unknown action": (b'{"Action": "Put", "Data": {"id": "a"}}', "the action 'Put' is unknown"),
    "unknown field": (b'{"Action": "PutItem", "Date": {"id": "a"}}', "unknown field 'Date'"),
    "Expect on a batch": (
        b'{"Action": "BatchWrite", "Data": [{"id": "a"}], "Expect": 1}',
        "Expect on a BatchWrite",
    ),
    "a batch's second element": (
        b'{"Action": "BatchWrite", "Data": [{"id": "a"}, {"id": ""}]}',
        "element 1: the key attribute 'id' is empty",
    ),
    "DeleteItem without Key": (b'{"Action": "DeleteItem"}', "DeleteItem without Key"),
    "DeleteItem with Data": (
        b'{"Action": "DeleteItem", "Key": {"id": "a"}, "Data": {}}',
        "DeleteItem with Data",
    ),
    "update of a key attribute": (
        b'{"Action": "UpdateItem", "Key": {"id": "a"}, "Data": {"Set": {"id": "b"}}}',
        "the key attribute 'id' cannot be updated",
    ),
    "event of a built-in type": (
        b'{"Action": "Event", "Type": "PutItem", "Key": {"id": "a"}}',
        "is reserved",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_the_line_by_its_number_and_keeps_those_before_it(name: str) -> None:
    line, says = REFUSED[name]
    source = reader(keys=["id"])
    batch = source.take(b"\n".join([GOOD, b"", GOOD, line, GOOD, b""]))
    assert batch.refused is not None
    assert says in str(batch.refused)
    assert ": line 4" in str(batch.refused)
    assert "\n" not in str(batch.refused)
    assert batch.refused.exit_status == 2
    assert batch.refused.details["line"] == 4
    assert batch.lines == [1, 3]
    assert [decode_value(e.key) for e in batch.envelopes] == [{"id": "ann"}] * 2


def test_a_second_key_attribute_may_have_1024_bytes_and_no_more() -> None:
    """DynamoDB's limits for a partition and a sort key, whichever comes first in the line."""
    keys = ["id", "sort"]
    fits = json.dumps({"sort": "s" * 1_024, "id": "i" * 2_048}).encode()
    assert read(fits, keys=keys)
    with pytest.raises(TooLargeError, match="1025 bytes, the limit is 1024"):
        read(json.dumps({"sort": "s" * 1_025, "id": "i"}).encode(), keys=keys)
    with pytest.raises(TooLargeError, match="2049 bytes, the limit is 2048"):
        read(json.dumps({"sort": "s", "id": "i" * 2_049}).encode(), keys=keys)


def test_32_levels_are_taken() -> None:
    assert read(nested(31), keys=["id"])


# -- pieces ----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.sampled_from([GOOD, b"", b" \t\r", GOOD + b"\r", b'{"id": "\xc3\xa9\xf0\x9f\x98\x80"}']),
        max_size=6,
    ),
    st.lists(st.integers(0, 200), max_size=6),
    st.booleans(),
)
def test_the_pieces_in_which_bytes_arrive_do_not_matter(
    lines: list[bytes], cuts: list[int], ends: bool
) -> None:
    data = b"\n".join(lines) + b"\n" * ends
    source = reader(keys=["id"])
    numbers, keys = [], []
    for start, stop in itertools.pairwise(
        sorted({0, *(min(c, len(data)) for c in cuts), len(data)})
    ):
        batch = source.take(data[start:stop])
        numbers += batch.lines
        keys += [envelope.key for envelope in batch.envelopes]
    last = source.finish()
    assert batch_free(last)
    wanted = [n for n, line in enumerate(lines, 1) if line.strip()]
    assert numbers + last.lines == wanted
    assert len(keys) + len(last.envelopes) == len(wanted)


def batch_free(batch: Any) -> bool:
    return batch.refused is None


def test_a_line_is_given_as_soon_as_its_end_arrives_and_not_before() -> None:
    source = reader(keys=["id"])
    assert not source.take(GOOD).envelopes
    assert len(source.take(b"\n" + GOOD).envelopes) == 1
    assert source.finish().lines == [2]


def test_a_refused_last_line_without_an_end_has_its_number() -> None:
    source = reader(keys=["id"])
    assert source.take(GOOD + b"\n" + b'{"id":').refused is None
    refused = source.finish().refused
    assert refused is not None
    assert "line 2" in str(refused)


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    source = reader(keys=["id"])
    piece = b"x" * (LINE_BYTES_MAX // 4)
    for _ in range(4):
        assert source.take(piece).refused is None
    refused = source.take(b"x").refused
    assert isinstance(refused, TooLargeError)
    assert "line 1" in str(refused)


def test_a_batch_counts_as_one_line() -> None:
    batch = reader(keys=["id"]).take(
        GOOD + b'\n{"Action": "BatchWrite", "Data": [{"id": "a"}, {"id": "b"}]}\n' + GOOD + b"\n"
    )
    assert batch.lines == [1, 2, 2, 3]


def test_event_ids_sort_by_time() -> None:
    made = [new_event_id() for _ in range(1_000)]
    assert sorted(made) == made
    assert len(set(made)) == 1_000


@pytest.mark.parametrize("name", ["n" * 256, "é" * 128])
def test_a_key_attributes_name_has_255_bytes_at_most(name: str) -> None:
    """Only DynamoDB minds, and would refuse what a replica in a file has taken."""
    for line in (
        {name: "a"},
        {"Action": "DeleteItem", "Key": {name: "a"}},
        {"Action": "UpdateItem", "Key": {"id": "a", name: 1}, "Data": {"Set": {"n": 1}}},
        {"Action": "BatchWrite", "Data": [{"Delete": {name: "a"}}]},
        {"Action": "Event", "Type": "Seen", "Key": {name: "a"}},
    ):
        keys = [name] if line == {name: "a"} else None
        with pytest.raises(TooLargeError, match="has 256 bytes, the limit is 255: line 1"):
            read(json.dumps(line).encode(), keys=keys)
    [fits] = read(json.dumps({"id": "a", name: 1}).encode(), keys=["id"])
    assert fits.data is not None
    assert name in decode_value(fits.data), "an attribute that is of no key"
    [fits] = read(json.dumps({name[1:]: "a"}).encode(), keys=[name[1:]])
    assert decode_value(fits.key) == {name[1:]: "a"}
