"""A typed value is published as msgspec writes it, without what msgspec's own form would lose."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections import OrderedDict
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.actions import build_many
from binlog.changes import event
from binlog.errors import RefusedError
from binlog.input import new_event_id
from binlog.typed import as_data
from binlog.values import decode_value, encode_value

T = TypeVar("T")
UTC = dt.UTC


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Line(msgspec.Struct):
    sku: str
    price: Decimal


class Placed(msgspec.Struct, rename="camel", tag="OrderPlaced", tag_field="kind"):
    lines_of_it: list[Line]
    labels: frozenset[str] = frozenset({"x"})
    note: str | None = None


class Sparse(msgspec.Struct, omit_defaults=True):
    big: int = 10**6
    rate: Decimal = Decimal("0.5")
    tags: set[str] = msgspec.field(default_factory=set)
    rest: list[int] = msgspec.field(default_factory=list)
    flag: bool = True
    state: str | msgspec.UnsetType = msgspec.UNSET


class Pair(msgspec.Struct, array_like=True, tag="pair"):
    left: int
    right: int


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


@dataclasses.dataclass
class Moved:
    at: dt.date
    by: uuid.UUID


@dataclasses.dataclass(slots=True)
class Slotted:
    n: int
    kept: str | msgspec.UnsetType = msgspec.UNSET


class Point(NamedTuple):
    x: int
    y: Decimal


class Note(TypedDict):
    text: str


class OtherDate(dt.datetime):
    """As pendulum and the fakes of test libraries have it."""


def test_takes_renames_tags_and_nested_types_from_msgspec() -> None:
    """The names in the log are those that the type says, whoever publishes."""
    placed = Placed([Line("a", Decimal("1.50"))])
    assert as_data(placed) == {
        "kind": "OrderPlaced",
        "linesOfIt": [{"sku": "a", "price": Decimal("1.50")}],
        "labels": frozenset({"x"}),
        "note": None,
    }


def test_keeps_what_msgspec_would_turn_into_text_or_lists() -> None:
    """Decimal, bytes and sets are values of an item; as text they could not be added or united."""
    data = as_data(Page([Decimal("1.5"), b"\x00", {1, 2}, bytearray(b"x")]))
    assert data == {"items": [Decimal("1.5"), b"\x00", frozenset({1, 2}), b"x"]}
    assert [type(element) for element in data["items"]] == [Decimal, bytes, frozenset, bytes]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Colour.RED, "red"),
        (Level.LOW, 1),
        (Pair(1, 2), ["pair", 1, 2]),
        (Moved(dt.date(2024, 2, 29), uuid.UUID(int=1)), {"at": "2024-02-29", "by": uuid.UUID(int=1).__str__()}),
        (Slotted(1), {"n": 1}),
        (Point(1, Decimal("0.5")), [1, Decimal("0.5")]),
        (Note(text="x"), {"text": "x"}),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(a=Colour.RED), {"a": "red"}),
        (MappingProxyType({"a": Level.LOW}), {"a": 1}),
        ({1: "a", Colour.RED: "b", dt.date(2024, 1, 2): "c"}, {"1": "a", "red": "b", "2024-01-02": "c"}),
        ({dt.date(2024, 1, 2), dt.date(2024, 1, 3)}, frozenset({"2024-01-02", "2024-01-03"})),
        (dt.datetime(2024, 1, 2, 3, 4, tzinfo=UTC), "2024-01-02T03:04:00Z"),
        (OtherDate(2024, 1, 2, 3, 4, tzinfo=UTC), "2024-01-02T03:04:00Z"),
        (dt.time(1, 2, 3, 4), "01:02:03.000004"),
        (dt.timedelta(days=1, seconds=3), "P1DT3S"),
        (msgspec.structs.replace(Sparse(), rest=[1]), {"rest": [1]}),
        (None, None),
    ],
)  # fmt: skip
def test_publishes_each_kind_of_type(value: object, data: object) -> None:
    """One line of the table in `binlog.typed` each."""
    made = as_data(value)
    assert (made, type(made)) == (data, type(data))
    assert encode_value(made, outer=1) == encode_value(data, outer=1)


def test_leaves_out_what_equals_its_default() -> None:
    """Not only what is the same object: two interpreters must publish the same bytes."""
    assert as_data(Sparse(big=int("1000000"), rate=Decimal("0.50"), tags=set(), rest=[])) == {}
    kept = Sparse(big=5, rate=Decimal(1), tags={"a"}, flag=1)  # type: ignore[arg-type]
    assert as_data(kept) == {"big": 5, "rate": 1, "tags": frozenset({"a"}), "flag": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "the float 1.5 at float: give an int, a Decimal or text"),
        ({"a": [1, 2.5]}, r"the float 2.5 at data\['a'\]\[1\]: give an int"),
        (Placed([Line("a", 1.5)]), r"the float 1.5 at Placed.lines_of_it\[0\].price"),  # type: ignore[arg-type]
        (Pair(1, 0.5), r"the float 0.5 at Pair.right"),  # type: ignore[arg-type]
        (Slotted(0.5), "the float 0.5 at Slotted.n"),  # type: ignore[arg-type]
        (Placed([], labels=frozenset()), "an empty set at Placed.labels: DynamoDB has none"),
        ({"s": {1, "a"}}, r"a set of int, str at data\['s'\]: all strings"),
        ({"s": {(1, 2)}}, r"a set of tuple at data\['s'\]: all strings"),
        ({"s": {True}}, r"a set of bool at data\['s'\]"),
        ({"s": {1.5}}, r"the float 1.5 at data\['s'\]\{\}"),
        ({1: "a", "1": "b"}, "two keys with the text '1' at data"),
        ({b"a": 1}, r"the key b'a' of a map at data: keys are text"),
        ({True: 1}, "the key True of a map at data"),
        ([msgspec.Raw(b"1")], r"a msgspec.Raw, which does not say its format at data\[0\]"),
        ({"z": 1j}, r"a value of type complex is none of DynamoDB's at data\['z'\]"),
    ],
)
def test_refuses_with_the_path_what_no_item_can_hold(value: object, message: str) -> None:
    """Where it stands in the type says which line of the producer to mend."""
    with pytest.raises(RefusedError, match=message):
        as_data(value)
    with pytest.raises(RefusedError, match=message):
        event("OrderPlaced", {"id": 1}, value)


def test_refuses_a_value_that_holds_itself() -> None:
    """As too deep, not with a traceback of a thousand lines."""
    endless: list[Any] = []
    endless.append({"x": endless})
    with pytest.raises(RefusedError, match="nesting above 32 levels"):
        as_data(endless)


def test_events_and_batches_of_actions_take_typed_data() -> None:
    """`event` for one, `build_many` for many; the envelope is that of the plain data."""
    placed = Placed([Line("a", Decimal("1.50"))])
    plain = event("OrderPlaced", {"id": 1}, as_data(placed), event_id="E", now_ms=1)
    assert event("OrderPlaced", {"id": 1}, placed, event_id="E", now_ms=1) == plain
    action = {"Action": "Event", "Type": "OrderPlaced", "Key": {"id": 1}, "Data": placed, "Id": "E"}
    assert build_many([action], now_ms=1, new_id=new_event_id) == [plain]
    assert decode_value(plain.data or b"")["linesOfIt"][0]["price"] == Decimal("1.5")


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**37), 10**37) | st.text() | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-9, max_value=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(plain_values)
def test_plain_data_come_back_as_they_are(value: Any) -> None:
    """So that it does no harm to pass what is data already."""
    assert as_data(value) == value


@given(
    st.builds(
        Placed,
        lines_of_it=st.lists(st.builds(Line, st.text(), st.decimals(-5, 5, places=2)), max_size=3),
        labels=st.frozensets(st.text(), min_size=1, max_size=3),
        note=st.none() | st.text(),
    )
)
def test_msgspec_reads_its_type_back(placed: Placed) -> None:
    """Nothing is lost on the way: the published value converts to an equal typed one."""
    published = decode_value(event("OrderPlaced", {"id": 1}, placed).data or b"")
    assert msgspec.convert(published, Placed) == placed
