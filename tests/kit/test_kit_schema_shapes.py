"""Shapes of event data: described from types, compared, sampled, fitted."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest

from appliers.lock import shape as s
from appliers.lock.comparison import changes
from appliers.lock.describe import schema_of
from appliers.lock.fitting import misfit
from appliers.lock.patterns import matching
from appliers.lock.samples import SAMPLES_MAX, SAMPLES_WANTED, samples
from appliers.lock.scalars import NoSampleError
from binlog.errors import RefusedError
from binlog.typed import as_data
from binlog.values import encode_value

Meta = msgspec.Meta


class Card(msgspec.Struct, tag="card"):
    number: str


class Cash(msgspec.Struct, tag="cash"):
    pass


class Node(msgspec.Struct):
    name: str
    kids: list[Node] = []


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    S = 1
    L = 3


class Point(NamedTuple):
    x: int
    y: int = 0


class Wide(msgspec.Struct, rename="camel"):
    """One of everything that can be published."""

    total_cents: Annotated[int, Meta(ge=0, le=99)]
    price: Decimal
    code: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    blob: Annotated[bytes, Meta(max_length=4)]
    flag: bool
    colour: Colour
    size: Size
    literal: Literal["a", "b", 1]
    by: Card | Cash | None
    tree: Node
    at: Annotated[dt.datetime, Meta(tz=True)]
    day: dt.date
    took: dt.timedelta
    ref: uuid.UUID
    point: Point
    pair: tuple[int, str]
    many: Annotated[list[str], Meta(min_length=2, max_length=5)]
    names: frozenset[str]
    prices: dict[str, Decimal]
    by_number: dict[int, str]
    anything: Any
    note: str = "-"
    tags: list[str] = msgspec.field(default_factory=list)
    made: str = msgspec.field(default_factory=lambda: "x")
    maybe: int | msgspec.UnsetType = msgspec.UNSET


def one(data_type: Any) -> s.Schema:
    return schema_of(data_type, name="E, schema 1")


# -- describing ------------------------------------------------------------------------------------


def record(name: str, *, struct: Any = True, **fields: Any) -> Any:
    """A Struct of that name, or a dataclass; a field is a type, or a type and a default."""
    listed = [(n, *(f if isinstance(f, tuple) else (f,))) for n, f in fields.items()]
    if struct:
        return msgspec.defstruct(name, listed, kw_only=True)
    return dataclasses.make_dataclass(name, listed, kw_only=True)


def list_of(kind: Any) -> Any:
    return list[kind]


class AsTypedDict(TypedDict):
    total: int
    note: str


def test_struct_dataclass_and_typed_dict_of_the_same_fields_have_one_shape() -> None:
    """A shape is what is published, so changing the kind of class is no change of the schema."""
    fields = {"total": int, "note": str}
    shapes = [
        one(record("E", **fields)),
        one(record("Other", struct=False, **fields)),
        one(AsTypedDict),
    ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_fields_stand_under_the_name_that_they_are_published_with() -> None:
    data = one(Wide).data
    assert isinstance(data, s.Record)
    assert {"totalCents", "byNumber"} <= data.fields.keys()
    assert data.fields["note"].default == {"S": "-"}
    assert data.fields["tags"].default == {"L": []}
    assert data.fields["maybe"].absence == "may be left out"
    assert data.fields["made"].made_by
    assert data.fields["point"].type == s.Ref("Point")


def test_every_field_of_a_published_value_fits_its_described_shape() -> None:
    """Describing agrees with what `binlog.typed` publishes, or a lock would be about nothing."""
    value = Wide(
        5,
        Decimal("1.5"),
        "EUR",
        b"x",
        True,
        Colour.BLUE,
        Size.L,
        1,
        Card("4"),
        Node("a", [Node("b")]),
        dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
        dt.date(2024, 2, 29),
        dt.timedelta(seconds=3),
        uuid.UUID(int=7),
        Point(1),
        (1, "x"),
        ["a", "b"],
        frozenset({"n"}),
        {"a": Decimal(2)},
        {7: "seven"},
        {"x": [1, None]},
    )
    assert misfit(one(Wide), as_data(value)) is None


def test_the_shape_survives_its_json() -> None:
    schema = one(Wide)
    assert msgspec.convert(msgspec.to_builtins(schema), s.Schema) == schema


def test_two_classes_of_one_name_stay_two_records() -> None:
    first, second = record("Line", a=int), record("Line", b=str)
    schema = one(record("E", one=first, two=second))
    assert sorted(schema.records) == ["Line", "Line#2"]
    assert misfit(schema, {"one": {"a": 1}, "two": {"b": "x"}}) is None
    assert misfit(schema, {"one": {"b": "x"}, "two": {"b": "x"}}) == "one.a is missing"


class Own:
    pass


@pytest.mark.parametrize(
    ("data_type", "says"),
    [
        (record("E", deep=record("D", price=float)), "the field deep.price is a float"),
        (record("E", lines=list[Own]), "the field lines[] is a Own"),
        (float, "its data is a float"),
        (record("E", ratio=(int, 0.5)), "the field ratio has a default that no event can hold"),
        (record("E", both=list[int] | set[int]), "cannot be described"),
    ],
)
def test_refuses_what_no_event_can_hold_and_names_the_field(data_type: Any, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        one(data_type)
    assert says in str(caught.value)
    assert "E, schema 1" in str(caught.value)


# -- comparing -------------------------------------------------------------------------------------

Text20 = Annotated[str, Meta(max_length=20)]
Text9 = Annotated[str, Meta(max_length=9)]
Upper = Annotated[str, Meta(pattern="^[A-Z]+$")]

BREAKING: list[tuple[str, Any, Any, str, str, str, str]] = [
    # kind of change, old, new, what is found: kind, path, before, after
    ("removed", {"a": int, "b": str}, {"a": int}, "field removed", "b", "text", ""),
    ("required", {"a": int}, {"a": int, "b": int}, "required field added", "b", "", "int"),
    ("type", {"a": int}, {"a": str}, "type changed", "a", "int", "text"),
    ("narrowed", {"a": Any}, {"a": str}, "type changed", "a", "any", "text"),
    ("decimal", {"a": Decimal}, {"a": int}, "type changed", "a", "decimal", "int"),
    ("form", {"a": str}, {"a": uuid.UUID}, "type changed", "a", "text", "uuid"),
    ("renamed", {"a": int, "z": str}, {"b": int, "z": str}, "field renamed", "a", "'a'", "'b'"),
    ("default", {"a": (int, 1)}, {"a": (int, 2)}, "default changed", "a", "default 1", "default 2"),
    ("no default", {"a": (int, 1)}, {"a": int}, "default removed", "a", "default 1", "required"),
    ("null", {"a": int | None}, {"a": int}, "member removed", "a", "null", "only int"),
    ("list", {"a": list[int]}, {"a": list[str]}, "type changed", "a[]", "int", "text"),
    ("map", {"a": dict[str, int]}, {"a": dict[str, str]}, "type changed", "a{}", "int", "text"),
    ("set", {"a": list[str]}, {"a": set[str]}, "type changed", "a", "list of text", "set of text"),
    (
        "tuple",
        {"a": tuple[int, int]},
        {"a": tuple[int, str]},
        "type changed",
        "a[1]",
        "int",
        "text",
    ),
    (
        "low",
        {"a": Annotated[int, Meta(ge=0)]},
        {"a": Annotated[int, Meta(gt=0)]},
        "bound tightened",
        "a",
        "int from 0",
        "int above 0",
    ),
    (
        "high",
        {"a": int},
        {"a": Annotated[int, Meta(le=9)]},
        "bound tightened",
        "a",
        "int",
        "int to 9",
    ),
    (
        "step",
        {"a": Annotated[int, Meta(multiple_of=5)]},
        {"a": Annotated[int, Meta(multiple_of=10)]},
        "bound tightened",
        "a",
        "int in steps of 5",
        "int in steps of 10",
    ),
    (
        "one way each",
        {"a": Annotated[int, Meta(ge=0, le=5)]},
        {"a": Annotated[int, Meta(ge=1, le=9)]},
        "bound tightened",
        "a",
        "int from 0 to 5",
        "int from 1 to 9",
    ),
    (
        "length",
        {"a": Text20},
        {"a": Text9},
        "bound tightened",
        "a",
        "text of at most 20 characters",
        "text of at most 9 characters",
    ),
    (
        "pattern",
        {"a": str},
        {"a": Upper},
        "bound tightened",
        "a",
        "text",
        "text that matches '^[A-Z]+$'",
    ),
    (
        "literal",
        {"a": Literal["x", "y"]},
        {"a": Literal["x"]},
        "value removed",
        "a",
        "'y'",
        "only 'x'",
    ),
    ("enum", {"a": Colour}, {"a": Literal["red"]}, "value removed", "a", "'blue'", "only 'red'"),
    (
        "member",
        {"a": Card | Cash},
        {"a": Card},
        "member removed",
        "a",
        "record Cash (type 'cash')",
        "only record Card (type 'card')",
    ),
    (
        "deep",
        {"a": list_of(record("L", p=int))},
        {"a": list_of(record("L", p=str))},
        "type changed",
        "a[].p",
        "int",
        "text",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "kind", "path", "before", "after"),
    [row[1:] for row in BREAKING],
    ids=[row[0] for row in BREAKING],
)
def test_what_old_events_do_not_fit_is_breaking(
    old: dict[str, Any], new: dict[str, Any], kind: str, path: str, before: str, after: str
) -> None:
    """Each kind of incompatible change is found alone, with its place and both types in words."""
    found = changes(one(record("E", **old)), one(record("E", **new)))
    assert [(c.kind, c.path, c.before, c.after) for c in found if c.breaking] == [
        (kind, path, before, after)
    ]


COMPATIBLE: list[tuple[str, Any, Any, list[str]]] = [
    ("nothing", {"a": int}, {"a": int}, []),
    ("optional", {"a": int}, {"a": int, "b": (int, 0)}, ["field added"]),
    ("default", {"a": int}, {"a": (int, 0)}, ["default added"]),
    (
        "bound",
        {"a": Annotated[int, Meta(ge=1)]},
        {"a": Annotated[int, Meta(ge=0)]},
        ["bound widened"],
    ),
    ("same bound", {"a": Annotated[int, Meta(gt=0)]}, {"a": Annotated[int, Meta(ge=1)]}, []),
    ("length", {"a": Text9}, {"a": Text20}, ["bound widened"]),
    ("pattern", {"a": Upper}, {"a": str}, ["bound widened"]),
    ("null", {"a": int}, {"a": int | None}, ["member added"]),
    ("member", {"a": Card}, {"a": Card | Cash}, ["member added"]),
    ("value", {"a": Literal["x"]}, {"a": Literal["x", "y"]}, ["value added"]),
    ("any", {"a": int}, {"a": Any}, ["type widened"]),
    ("decimal", {"a": int}, {"a": Decimal}, ["type widened"]),
    ("enum as text", {"a": Colour}, {"a": str}, ["type widened"]),
    ("enum as literal", {"a": Colour}, {"a": Literal["blue", "red"]}, []),
    ("uuid as text", {"a": uuid.UUID}, {"a": str}, ["type widened"]),
    ("record's class", {"a": record("L", p=int)}, {"a": record("M", struct=False, p=int)}, []),
    ("order", {"a": int, "b": str}, {"b": str, "a": int}, []),
]


@pytest.mark.parametrize(
    ("old", "new", "kinds"), [row[1:] for row in COMPATIBLE], ids=[row[0] for row in COMPATIBLE]
)
def test_what_old_events_fit_is_compatible(
    old: dict[str, Any], new: dict[str, Any], kinds: list[str]
) -> None:
    """A check that cries wolf is switched off, so these pass; they are named all the same."""
    found = changes(one(record("E", **old)), one(record("E", **new)))
    assert [(c.kind, c.breaking) for c in found] == [(kind, False) for kind in kinds]


def test_a_changed_tag_is_called_that_at_the_top_and_in_a_union() -> None:
    def tagged(name: str, tag: str) -> Any:
        return msgspec.defstruct(name, [], tag=tag)

    [top] = changes(one(tagged("E", "placed")), one(tagged("E", "ordered")))
    assert (top.kind, top.before, top.after) == ("tag changed", "type 'placed'", "type 'ordered'")
    inside = [one(record("E", by=Card | tagged("Coins", tag))) for tag in ("coins", "pennies")]
    [found] = changes(*inside)
    assert (found.kind, found.path, found.breaking) == ("tag changed", "by", True)


def test_a_list_of_fields_is_compared_by_place() -> None:
    """In an array_like Struct the names are not published, and the order is."""

    def row(*names: str) -> Any:
        return msgspec.defstruct("Row", [(name, int) for name in names], array_like=True)

    assert changes(one(row("a", "b")), one(row("x", "y"))) == []
    assert [c.kind for c in changes(one(row("a", "b")), one(row("a")))] == ["field removed"]
    assert [c.kind for c in changes(one(row("a")), one(record("Row", a=int)))] == ["type changed"]


class Branch(msgspec.Struct):
    name: str
    kids: list[Branch] = []
    parent: Branch | None = None


def test_a_record_that_holds_itself_is_compared_to_the_end() -> None:
    found = changes(one(Node), one(Branch))
    assert [(c.kind, c.path, c.breaking) for c in found] == [("field added", "parent", False)]


# -- sampling --------------------------------------------------------------------------------------


def test_samples_fit_their_shape_and_can_be_published() -> None:
    found = samples(one(Wide))
    assert 10 < len(found) <= SAMPLES_MAX
    assert len({encode_value(value, outer=1) for _, value in found}) == len(found)
    for label, value in found:
        assert misfit(one(Wide), value) is None, label


def test_samples_reach_bounds_members_null_absence_and_empty() -> None:
    """What appliers and upcasters forget is what they are shown."""

    class E(msgspec.Struct):
        n: Annotated[int, Meta(ge=3, lt=9)]
        by: Card | Cash | None
        words: list[Literal["x", "y"]]
        note: str = ""

    values = [value for _, value in samples(one(E))]
    assert {value["n"] for value in values} >= {3, 8}
    assert {"card", "cash", None} == {v["by"] and v["by"]["type"] for v in values}
    assert [] in [value["words"] for value in values]
    assert {"x", "y"} == {word for value in values for word in value["words"]}
    assert any("note" not in value for value in values)
    assert any(value.get("note") == "" for value in values)


def test_no_member_value_or_field_is_left_out_for_being_one_of_many() -> None:
    """What is left out first are second bounds, never what only one sample would show."""
    tags = [f"t{n}" for n in range(9)]
    union: Any = None
    for tag in tags:
        union = union | msgspec.defstruct(tag.upper(), [], tag=tag)
    fields = {f"f{n}": Annotated[int, Meta(ge=n, le=n + 9)] for n in range(9)}
    values = [value for _, value in samples(one(record("E", by=union, **fields)))]
    assert len(values) > SAMPLES_WANTED
    assert {value["by"] and value["by"]["type"] for value in values} == {None, *tags}
    for n in range(9):
        assert {value[f"f{n}"] for value in values} >= {n, n + 9}
    narrow = [value for _, value in samples(one(record("E", **dict.fromkeys("abcdefgh", str))))]
    assert len(narrow) == SAMPLES_WANTED


def test_samples_are_the_same_under_another_hash_seed() -> None:
    """A lock must not change because somebody else runs it: sets and dicts have no say."""
    program = (
        "from tests.kit.test_kit_schema_shapes import Wide, one\n"
        "from appliers.lock.samples import samples\n"
        "from binlog.values import encode_value\n"
        "print([(label, encode_value(v, outer=1).hex()) for label, v in samples(one(Wide))])\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


class Endless(msgspec.Struct):
    inner: Endless


@pytest.mark.parametrize(
    ("data_type", "says"),
    [
        (Endless, "holds itself without an end"),
        (record("E", a=Annotated[str, Meta(pattern=r"(?=x)y")]), "that matches"),
        (record("E", a=Annotated[int, Meta(ge=5, le=4)]), "int from 5 to 4"),
    ],
)
def test_says_of_what_there_is_no_sample(data_type: Any, says: str) -> None:
    with pytest.raises(NoSampleError) as caught:
        samples(one(data_type))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{3}-\d+$",
        r"^(red|green)(/\w+)?$",
        r"^[^a-z]+$",
        r"\A\S+@\S+\.[a-z]{2,}\Z",
        r"^#[0-9a-f]{6}$",
        r"^\+?\d{1,3}(?: \d{2}){3}$",
        r"^urn:[a-z]+?:.*$",
        r"^(?P<year>\d{4})-W(?:0[1-9]|5[0-3])$",
        "",
    ],
)
def test_finds_texts_for_the_patterns_that_people_write(pattern: str) -> None:
    assert matching(pattern)
