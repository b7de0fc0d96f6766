"""Actions to envelopes: what each one becomes, and that what is refused is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import count
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.actions import ActionBuilder, build, build_many
from binlog.checked import Checked, check_envelopes
from binlog.columns import columns_of, decode_columns, encode_body
from binlog.envelope import Envelope
from binlog.errors import RefusedError, TooLargeError
from binlog.values import ITEM_BYTES_FREE, decode_value, encode_value
from tests.values.strategies import items, names, nested, scalars, sets, values

NOW = 1_700_000_000_123


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"new-{next(numbers)}"


def made(action: Any, **defaults: Any) -> list[Envelope]:
    return build(action, now_ms=NOW, new_id=ids(), **defaults)


def one(action: Any, **defaults: Any) -> Envelope:
    [envelope] = made(action, **defaults)
    return envelope


def key_of(envelope: Envelope) -> object:
    return decode_value(envelope.key)


def data_of(envelope: Envelope) -> Any:
    assert envelope.data is not None
    return decode_value(envelope.data)


# -- what an action becomes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "defaults", "key", "item"),
    [
        (
            {"Action": "PutItem", "Table": "T.1", "Key": {"id": 1}, "Data": {"a": 2}},
            {},
            {"id": 1},
            {"id": 1, "a": 2},
        ),
        (
            {"Action": "PutItem", "Table": "T.1", "Key": {"id": "x"}, "Data": {"a": 2}},
            {},
            {"id": "x"},
            {"id": "x", "a": 2},
        ),
        (
            {"Action": "PutItem", "Key": {"p": 1, "s": b"2"}, "Data": {"s": b"2"}},
            {"table": "T.1"},
            {"p": 1, "s": b"2"},
            {"p": 1, "s": b"2"},
        ),
        (
            {"Action": "PutItem", "Data": {"p": 1, "s": 2, "a": 3}},
            {"table": "T.1", "key_names": ["p", "s"]},
            {"p": 1, "s": 2},
            {"p": 1, "s": 2, "a": 3},
        ),
        (
            {"p": 1, "a": None},
            {"table": "T.1", "key_names": ["p"]},
            {"p": 1},
            {"p": 1, "a": None},
        ),
        (
            {"Action": "PutItem", "Data": "This is my test data"},
            {"table": "T.1"},
            {"id": "new-1"},
            {"id": "new-1", "Data": "This is my test data"},
        ),
        (
            {"Action": "PutItem", "Data": [1], "Id": "mine"},
            {"table": "T.1"},
            {"id": "mine"},
            {"id": "mine", "Data": [1]},
        ),
        (
            {"Action": "PutItem", "Data": {"n": 5, "k": Decimal("1.0")}, "Key": {"k": 1}},
            {"table": "T.1"},
            {"k": 1},
            {"n": 5, "k": 1},
        ),
    ],
)
def test_a_put_stores_data_and_key_together(
    action: dict[str, Any], defaults: dict[str, Any], key: object, item: object
) -> None:
    """However the key is given: in the line, by the table's names, or by the event's id."""
    for given_as in (action, MappingProxyType(action)):
        envelope = one(given_as, **defaults)
        assert (envelope.type, envelope.schema, envelope.table) == ("PutItem", 1, "T.1")
        assert (key_of(envelope), data_of(envelope)) == (key, item)
        assert envelope.time_ms == NOW


def test_the_quick_way_of_a_put_makes_the_same_envelope_as_the_slow_one() -> None:
    """`build_many` goes past most checks for a plain PutItem of a table that it knows."""
    actions = [
        {"Action": "PutItem", "Table": "T.1", "Key": {name: value}, "Data": data}
        for name, value in [("id", "x"), ("id", "y" * 512), ("id", "z" * 513), ("n", 5)]
        for data in ({}, {"a": 1}, {"a": [{"b": None}]}, {"a": {Decimal("1.50")}}, {"a": 2**64})
    ]
    builder = ActionBuilder(new_id=lambda: "same")
    assert builder.build_many(actions, NOW) == [builder._put(each, NOW) for each in actions]


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({"Key": {"id": "x"}, "Data": {"a": 1.5}}, "float"),
        ({"Key": {"id": "x"}, "Data": {"_binlog": 1}}, "reserved"),
        ({"Key": {"_binlog": "x"}, "Data": {}}, "reserved"),
        ({"Key": {"": "x"}, "Data": {}}, "names are text|attribute"),
        ({"Key": {"id": ""}, "Data": {}}, "'id' is empty"),
        ({"Key": {"id": "\ud800"}, "Data": {}}, "surrogate"),
        ({"Key": {"id": "x"}, "Data": {"a": "\ud800"}}, "surrogate"),
        ({"Key": {"id": "x"}, "Data": {"id": "y"}}, "'id' is 'x', Data has 'y'"),
        ({"Key": {"id": "é" * 1_025}, "Data": {}}, "2050 bytes, the limit is 2048"),
        ({"Key": {"id": "x"}, "Data": {"a": "x" * ITEM_BYTES_FREE}}, "limit is 4"),
        ({"Key": {"id": "x"}, "Data": {}, "data": 1}, "unknown field 'data'"),
    ],
)
def test_the_quick_way_refuses_what_the_slow_one_does(action: dict[str, Any], says: str) -> None:
    """And says which action of the many it was; none of them is made."""
    builder = ActionBuilder(new_id=lambda: "same")
    good = {"Action": "PutItem", "Table": "T.1", "Key": {"id": "x"}, "Data": {}}
    bad = {"Action": "PutItem", "Table": "T.1", **action}
    with pytest.raises(RefusedError, match=says) as e:
        builder.build_many([good, bad], NOW)
    assert e.value.details["index"] == 1


def test_a_delete_names_its_item_and_carries_nothing() -> None:
    """Its envelope has no data; that is how a reader knows it."""
    envelope = one({"Action": "DeleteItem", "Key": {"id": 1}, "Expect": 7}, table="T.1")
    assert (envelope.type, envelope.data, envelope.expect) == ("DeleteItem", None, 7)
    assert key_of(envelope) == {"id": 1}
    assert one({"Action": "DeleteItem", "Key": {"id": 1}, "Data": None}, table="T.1").data is None


def test_an_update_carries_its_sections_as_data_without_the_empty_ones() -> None:
    """One meaning, one sequence of bytes: the id window compares them."""
    change = {
        "Remove": ["z", "y"],
        "Set": {"a": 1, "b": nested(31, "deep")},
        "Add": {"n": Decimal("1.50"), "s": {"x"}},
        "Delete": {},
    }
    envelope = one({"Action": "UpdateItem", "Key": {"id": 1}, "Data": change}, table="T.1")
    assert data_of(envelope) == {
        "Set": {"a": 1, "b": nested(31, "deep")},
        "Remove": ["y", "z"],
        "Add": {"n": Decimal("1.5"), "s": frozenset({"x"})},
    }


def test_a_batch_is_one_envelope_an_element_with_the_batch_in_its_meta() -> None:
    """Not atomic, so each is told apart; together again by ``meta.batch``."""
    action = {
        "Action": "BatchWrite",
        "Id": "B",
        "Meta": {"by": "me"},
        "Data": [{"id": 1, "a": 2}, {"Delete": {"id": 3}}, {"id": 4}],
    }
    batch = made(action, table="T.1", key_names=["id"])
    assert [(e.id, e.type, key_of(e)) for e in batch] == [
        ("B/0", "PutItem", {"id": 1}),
        ("B/1", "DeleteItem", {"id": 3}),
        ("B/2", "PutItem", {"id": 4}),
    ]
    for envelope in batch:
        assert envelope.meta is not None
        assert decode_value(envelope.meta) == {"by": "me", "batch": "B"}


def test_the_elements_of_a_batch_without_a_key_are_items_of_their_own_ids() -> None:
    """The seed document's second example."""
    batch = made(
        {"Action": "BatchWrite", "Data": [{"item1": "value"}, {"item2": "value2"}]}, table="T.1"
    )
    assert [data_of(e) for e in batch] == [
        {"id": "new-1/0", "item1": "value"},
        {"id": "new-1/1", "item2": "value2"},
    ]


def test_a_domain_event_keeps_its_type_schema_and_any_data() -> None:
    """Its key orders it; a table is not needed."""
    action = {
        "Action": "Event",
        "Type": "OrderPaid",
        "Schema": 3,
        "Key": {"order": 7},
        "Data": [1, {"by": "card"}],
    }
    envelope = one(action)
    assert (envelope.type, envelope.schema, envelope.table) == ("OrderPaid", 3, "")
    assert (key_of(envelope), data_of(envelope)) == ({"order": 7}, [1, {"by": "card"}])
    by_name = one({**action, "Key": None, "Data": {"order": 7}}, key_names=["order"], table="T.1")
    assert (key_of(by_name), by_name.table) == ({"order": 7}, "T.1")
    assert data_of(one({"Action": "Event", "Type": "X", "Key": {"a": 1}})) is None


# -- what is refused -----------------------------------------------------------------------------

PUT = {"Action": "PutItem", "Table": "T.1", "Key": {"id": 1}, "Data": {}}
UPDATE = {"Action": "UpdateItem", "Table": "T.1", "Key": {"id": 1}, "Data": {}}
DELETE = {"Action": "DeleteItem", "Table": "T.1", "Key": {"id": 1}}
BATCH = {"Action": "BatchWrite", "Table": "T.1", "Data": [{"a": 1}]}
EVENT = {"Action": "Event", "Type": "X", "Key": {"id": 1}}


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({"Action": "Put"}, "the action 'Put' is unknown: one of PutItem"),
        ({"Action": ["PutItem"]}, r"the action \['PutItem'\] is unknown"),
        ({**PUT, "Tabel": "x"}, "unknown field 'Tabel'"),
        ({**PUT, "Type": "x"}, "unknown field 'Type'"),
        ({"a": 1}, "no table"),
        ({**PUT, "Table": "ab"}, "the table name 'ab'"),
        ({**PUT, "Table": "a/b.c"}, "the table name 'a/b.c'"),
        ({**PUT, "Table": "x" * 256}, "the table name"),
        ({**PUT, "Table": 5}, "the table name 5"),
        ({"Action": "PutItem", "Table": "T.1"}, "PutItem without Data"),
        ({**PUT, "Key": 5}, "the key 5"),
        ({**PUT, "Key": {}}, "a key of 0 attributes"),
        ({**PUT, "Key": {"a": 1, "b": 2, "c": 3}}, "a key of 3 attributes"),
        ({**PUT, "Key": {"id": None}}, "'id' is a null"),
        ({**PUT, "Key": {"id": True}}, "'id' is a bool"),
        ({**PUT, "Key": {"id": 1.5}}, "'id' is a float"),
        ({**PUT, "Key": {"id": [1]}}, "'id' is a list"),
        ({**PUT, "Key": {"id": b""}}, "'id' is empty"),
        ({**PUT, "Key": {"id": 1}, "Data": {"id": True}}, "'id' is 1, Data has True"),
        ({**PUT, "Key": {"a": "x", "b": "x" * 1_025}}, "'b' has 1025 bytes, the limit is 1024"),
        ({**PUT, "Key": {"a": b"x" * 2_049, "b": 1}}, "'a' has 2049 bytes, the limit is 2048"),
        ({**PUT, "Key": {"n" * 3_700: "x"}}, "3700 bytes, the limit is 255"),
        ({**PUT, "Id": ""}, "the Id ''"),
        ({**PUT, "Id": 17}, "the Id 17"),
        ({**PUT, "Id": "é" * 128}, "the Id has 256 bytes, the limit is 255"),
        ({**PUT, "Id": "\ud800"}, "the Id holds a lone surrogate"),
        ({**PUT, "Meta": [1]}, "Meta is no object"),
        ({**PUT, "Meta": {"a": 1.5}}, "float"),
        ({**PUT, "Meta": {"a": "x" * 70_000}}, "the limit is 65536"),
        ({**PUT, "Expect": -1}, "Expect -1"),
        ({**PUT, "Expect": True}, "Expect True"),
        ({**PUT, "Expect": 2**63}, "Expect 9"),
        ({**PUT, "Expect": "1"}, "Expect '1'"),
        ({**DELETE, "Data": {}}, "DeleteItem with Data"),
        ({**DELETE, "Key": None}, "DeleteItem without Key"),
        ({**DELETE, "Key": {"_binlog": 1}}, "reserved"),
        ({**UPDATE, "Key": None}, "UpdateItem without Key"),
        ({**UPDATE, "Data": None}, "UpdateItem without Data"),
        ({**UPDATE, "Data": {"Put": {}}}, "UpdateItem has no 'Put'"),
        ({**UPDATE, "Data": {"Set": ["a"]}}, "Set takes an object"),
        ({**UPDATE, "Data": {"Remove": {"a": 1}}}, "Remove takes a list"),
        ({**UPDATE, "Data": {"Remove": [1]}}, "the attribute name 1"),
        ({**UPDATE, "Data": {"Remove": ["a", "a"]}}, "names 'a' twice"),
        ({**UPDATE, "Data": {"Set": {"a": 1}, "Add": {"a": 1}}}, "names 'a' twice"),
        ({**UPDATE, "Data": {"Set": {"id": 1}}}, "the key attribute 'id' cannot be updated"),
        ({**UPDATE, "Data": {"Remove": ["id"]}}, "the key attribute 'id' cannot be updated"),
        ({**UPDATE, "Data": {"Set": {"_binlog": 1}}}, "reserved"),
        ({**UPDATE, "Data": {"Add": {"a": "1"}}}, "Add 'a': a number or a set is needed, not str"),
        ({**UPDATE, "Data": {"Add": {"a": True}}}, "a number or a set is needed, not bool"),
        ({**UPDATE, "Data": {"Delete": {"a": ["x"]}}}, "Delete 'a': a set is needed, not list"),
        ({**UPDATE, "Data": {"Set": {"a": nested(32, 1)}}}, "nesting above 32"),
        ({**UPDATE, "Data": {"Set": {"a": "x" * ITEM_BYTES_FREE}}}, "the limit is 4"),
        ({**BATCH, "Data": []}, "without a list of items"),
        ({**BATCH, "Data": {"a": 1}}, "without a list of items"),
        ({**BATCH, "Expect": 1}, "Expect on a BatchWrite"),
        ({**BATCH, "Key": {"id": 1}}, "Key on a BatchWrite"),
        ({**BATCH, "Meta": {"batch": "other"}}, "Meta.batch is the batch's id"),
        ({**BATCH, "Data": [{"a": 1}, {"a": 1.5}]}, "element 1: the float"),
        ({**BATCH, "Data": [{"Delete": {"id": None}}]}, "element 0: .*'id' is a null"),
        ({**BATCH, "Id": "x" * 254}, "the Id has 256 bytes"),
        ({**EVENT, "Type": None}, "the event Type None"),
        ({**EVENT, "Type": ""}, "the event Type ''"),
        ({**EVENT, "Type": "PutItem"}, "'PutItem' is reserved"),
        ({**EVENT, "Type": "binlog.noop"}, "'binlog.noop' is reserved"),
        ({**EVENT, "Type": "é" * 128}, "the event Type has 256 bytes"),
        ({**EVENT, "Schema": 0}, "the Schema 0"),
        ({**EVENT, "Schema": "1"}, "the Schema '1'"),
        ({**EVENT, "Key": None}, "an Event without Key"),
        ({**EVENT, "Data": 1.5}, "float"),
        ({**EVENT, "Data": nested(34, 1)}, "nesting above 32"),
        ({**EVENT, "Data": "x" * 409_600}, "the limit is 409600"),
    ],
)
def test_refuses_what_breaks_a_rule_and_says_which(action: dict[str, Any], says: str) -> None:
    """Before anything has a number: a reader that meets a number has to apply it."""
    with pytest.raises(RefusedError, match=says) as e:
        made(action)
    assert isinstance(e.value, TooLargeError) == ("the limit is" in str(e.value))


@pytest.mark.parametrize(
    ("key_names", "item", "says"),
    [
        (["id"], {"a": 1}, "the key attribute 'id' is missing"),
        (["p", "s"], {"p": 1}, "the key attribute 's' is missing"),
        (["p", "s"], {"p": "x", "s": "x" * 1_025}, "'s' has 1025 bytes"),
        (["s", "p"], {"p": "x", "s": "x" * 2_049}, "'s' has 2049 bytes, the limit is 2048"),
    ],
)
def test_the_tables_key_names_say_which_attribute_is_the_first(
    key_names: list[str], item: dict[str, Any], says: str
) -> None:
    """The partition key may be twice as long, whatever the order in the line."""
    with pytest.raises(RefusedError, match=says):
        made(item, table="T.1", key_names=key_names)


@pytest.mark.parametrize("key_names", [[], ["a", "a"], ["a", "b", "c"]])
def test_a_table_has_one_or_two_key_attributes(key_names: list[str]) -> None:
    """DynamoDB's rule, checked once and not line by line."""
    with pytest.raises(RefusedError, match="one or two attributes"):
        made({"a": 1}, table="T.1", key_names=key_names)


def test_many_are_made_in_order_or_not_at_all() -> None:
    """And the place of the refused one is in the error."""
    actions: list[dict[str, Any]] = [PUT, DELETE, {**BATCH, "Id": "B"}, UPDATE, EVENT]
    envelopes = build_many(actions, now_ms=NOW, new_id=ids())
    assert isinstance(envelopes, Checked)
    assert [e.id for e in envelopes] == ["new-1", "new-2", "B/0", "new-3", "new-4"]
    with pytest.raises(RefusedError) as e:
        build_many([*actions, {"Action": "?"}], now_ms=NOW, new_id=ids())
    assert e.value.details["index"] == 5


# -- the law: what passes here no reader refuses -------------------------------------------------

keys = st.dictionaries(
    names.filter(lambda name: name != "_binlog"),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
    | st.integers(-5, 2**70)
    | st.binary(min_size=1, max_size=4),
    min_size=1,
    max_size=2,
)
metas = st.none() | st.dictionaries(names.filter(lambda name: name != "batch"), values, max_size=3)
expects = st.none() | st.integers(0, 2**63 - 1)


@st.composite
def actions(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(
        st.sampled_from(["PutItem", "UpdateItem", "DeleteItem", "BatchWrite", "Event", None])
    )
    key = draw(keys)
    item = draw(items)
    if kind is None:
        return {**item, **key}
    action: dict[str, Any] = {"Action": kind, "Meta": draw(metas)}
    if kind != "BatchWrite":
        action |= {"Key": key, "Expect": draw(expects)}
    if kind == "PutItem":
        action["Data"] = {name: item[name] for name in item if name not in key}
    elif kind == "BatchWrite":
        action["Data"] = draw(
            st.lists(items.map(lambda i: {**i, "id": "x"}), min_size=1, max_size=3)
        )
        action["Data"].append({"Delete": key})
    elif kind == "UpdateItem":
        free = [name for name in item if name not in key]
        action["Data"] = {
            "Set": {name: item[name] for name in free[::2]},
            "Remove": free[1::4],
            "Add": {name: draw(sets | st.integers(-3, 3)) for name in free[3::4]},
        }
    elif kind == "Event":
        action |= {"Type": "Thing", "Data": draw(scalars | values)}
    return action


@given(st.lists(actions(), min_size=1, max_size=8))
def test_what_passes_here_no_reader_refuses(drawn: list[dict[str, Any]]) -> None:
    """A frame that a reader refuses halts its partition for everybody."""
    envelopes = Checked()
    for action in drawn:
        names_of = None if "Action" in action and action["Action"] != "BatchWrite" else ["id"]
        item = {} if "Action" in action else {"id": "x"}
        envelopes += made({**action, **item}, table="T.1", key_names=names_of)
    columns = decode_columns(encode_body(columns_of(envelopes)), len(envelopes))
    assert list(columns.envelopes()) == envelopes
    check_envelopes(list(envelopes))


def test_an_item_of_32_levels_passes_and_is_read() -> None:
    """It was accepted here once, and halted every reader: the bounds must be the same."""
    envelope = one({**PUT, "Data": {"a": nested(31, "leaf")}})
    decode_columns(encode_body(columns_of([envelope])), 1)
    with pytest.raises(RefusedError, match="nesting above 32"):
        one({**PUT, "Data": {"a": nested(32, "leaf")}})


# -- envelopes made by hand ----------------------------------------------------------------------


def hand_made(**fields: Any) -> Envelope:
    base: dict[str, Any] = {
        "id": "e",
        "type": "PutItem",
        "schema": 1,
        "table": "T.1",
        "key": encode_value({"id": 1}),
        "data": encode_value({"id": 1, "a": 2}),
    }
    return Envelope(**{**base, **fields})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"id": ""}, "the Id ''"),
        ({"schema": 0}, "the Schema 0"),
        ({"expect": -1}, "Expect -1"),
        ({"time_ms": -1}, "the time -1"),
        ({"time_ms": 1.5}, "the time 1.5"),
        ({"key": "text"}, "the key is a str"),
        ({"key": b"\xc1"}, "bytes that are no value"),
        ({"key": encode_value([1])}, "the key is no map"),
        ({"key": encode_value({"id": None})}, "'id' is a null"),
        (
            {"key": b"\x82\xa1b\x01\xa1a\x02", "data": None, "type": "DeleteItem"},
            "not in canonical",
        ),
        ({"data": None}, "the data is a NoneType"),
        ({"data": encode_value([1])}, "the data of a PutItem is no map"),
        ({"data": b"\x81\xa2id\xd3\x00\x00\x00\x00\x00\x00\x00\x01"}, "not in canonical bytes"),
        ({"data": encode_value({"id": 2})}, "the item and its key disagree"),
        ({"data": encode_value({"a": 2})}, "the item and its key disagree"),
        ({"data": encode_value({"_binlog": 2})}, "reserved"),
        ({"type": "DeleteItem"}, "a DeleteItem has no data"),
        ({"type": "UpdateItem"}, "UpdateItem has no 'id'|UpdateItem has no 'a'"),
        ({"type": "UpdateItem", "data": encode_value({"Set": {}})}, "not in canonical bytes"),
        ({"type": "Thing", "data": "text"}, "the data is a str"),
        ({"type": "Thing", "data": b"\xa1"}, "bytes that are no value"),
        ({"type": "Thing", "table": "x"}, "the table name 'x'"),
        ({"type": "binlog.noop"}, "reserved"),
        ({"table": ""}, "the table name ''"),
        ({"meta": encode_value([1])}, "Meta is no object"),
    ],
)
def test_an_envelope_made_by_hand_is_checked_whole(fields: dict[str, Any], says: str) -> None:
    """`Producer.publish` takes anybody's envelopes; the log has to stay readable."""
    check_envelopes([hand_made()])
    with pytest.raises(RefusedError, match=says) as e:
        check_envelopes([hand_made(), hand_made(**fields)])
    assert e.value.details["index"] == 1


def test_either_attribute_of_a_hand_made_key_may_be_the_long_one() -> None:
    """Canonical bytes are sorted by name and do not tell which is the partition key."""
    for key in ({"a": "x" * 2_000, "b": "y"}, {"a": "y", "b": "x" * 2_000}):
        check_envelopes([hand_made(type="DeleteItem", data=None, key=encode_value(key))])
    both = encode_value({"a": "x" * 1_025, "b": "x" * 1_025})
    with pytest.raises(TooLargeError):
        check_envelopes([hand_made(type="DeleteItem", data=None, key=both)])
