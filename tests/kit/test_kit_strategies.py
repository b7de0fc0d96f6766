"""Strategies from types give what a log gives back of such a type, from all of its width."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st
from msgspec import Meta

from binlog.testing.types.described import name_of_type
from binlog.testing.types.hostile import CONTAINERS_MAX, HOSTILE_SHARE, MANY_KEYS
from binlog.testing.types.strategies import values
from binlog.values import decode_value, encode_item, encode_value
from tests.kit.strategy_types import (
    ZOO,
    Chain,
    Choices,
    Containers,
    Even,
    Line,
    Loose,
    Moved,
    Note,
    Owner,
    Page,
    Placed,
    Point,
    Row,
    Sets,
    Sparse,
    Times,
    Tree,
)


def sample(strategy: st.SearchStrategy[Any], count: int, number: int = 1) -> list[Any]:
    """``count`` examples, the same at every run."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def twenty(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, min_size=20, max_size=20)


def smallest(
    strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool] = lambda _: True
) -> Any:
    # Some profiles do not shrink, and here shrinking is what is tested.
    phases = [Phase.generate, Phase.shrink]
    options = settings(max_examples=5_000, database=None, deadline=None, phases=phases)
    return find(strategy, condition, settings=options)


def exactly(value: Any) -> Any:
    """Equal only for values of the same types: 1, true and Decimal(1) are three."""
    if isinstance(value, dict):
        return {name: exactly(element) for name, element in value.items()}
    if isinstance(value, list):
        return [exactly(element) for element in value]
    if isinstance(value, frozenset):
        return frozenset(map(exactly, value))
    return type(value), value


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 1 if isinstance(value, frozenset) else 0


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for element in value.values() for leaf in leaves(element)]
    if isinstance(value, list | frozenset):
        return [leaf for element in value for leaf in leaves(element)]
    return [value]


class LooseButRaw(Loose):
    raw: Any


# -- the law: published data of the type ---------------------------------------------------------


@pytest.mark.parametrize("hostile", [True, False], ids=["hostile", "plain"])
@pytest.mark.parametrize("kind", ZOO, ids=str)
def test_gives_published_data_that_msgspec_takes_for_the_type(kind: Any, hostile: bool) -> None:
    """msgspec is the judge of bounds, tags and names; the log's own bytes are that of the rest."""
    judge = LooseButRaw if kind is Loose else kind  # msgspec converts nothing to its Raw
    for value in sample(values(kind, hostile=hostile), 40):
        again = decode_value(encode_value(value, outer=1))
        assert exactly(again) == exactly(value)
        msgspec.convert(value, judge, str_keys=True)
        if isinstance(value, dict):
            encode_item({"id": "a" * 2_048, **value})


@settings(max_examples=30)
@given(st.data())
def test_data_of_two_draws_share_nothing(data: st.DataObject) -> None:
    """An applier that changes what it was given must not change another example."""
    strategy = values(Loose)
    for value in (data.draw(strategy), data.draw(strategy)):
        before = encode_value(value, outer=1)
        again = data.draw(strategy)
        for part in (again["any"], again["raw"]):
            if isinstance(part, dict):
                part["changed"] = 1
            elif isinstance(part, list):
                part.append(1)
        assert encode_value(value, outer=1) == before


# -- smallest and absent -------------------------------------------------------------------------

ZERO_ID = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Placed, {"type": "OrderPlaced", "lines": [], "total": 0}),
        (Line, {"skuCode": "a", "unitPrice": 0}),
        (Owner, {"pet": {"kind": "Cat"}}),
        (Row, ["row", 0]),
        (Sparse, {}),
        (Moved, {"place": ""}),
        (Point, [0]),
        (Note, {"text": ""}),
        (Page[int], {"items": []}),
        (Tree, {"value": 0}),
        (Chain, {"value": 0, "next": None}),
        (Even, {}),
        (Loose, {"any": 0, "raw": 0, "buffer": b""}),
        (set[int], frozenset({0})),
        (int | None, None),
        (
            Times,
            {
                "any_zone": "2024-01-01T00:00:00Z",
                "zoned": "2024-01-01T00:00:00Z",
                "naive": "2024-01-01T00:00:00",
                "clock": "00:00:00Z",
                "day": "2024-01-01",
                "span": "P0D",
                "id": ZERO_ID,
            },
        ),
    ],
    ids=lambda value: name_of_type(value) if isinstance(value, type) else "",
)
def test_the_smallest_example_is_the_plainest(kind: Any, data: Any) -> None:
    """A failure shows what matters, and nothing that does not."""
    assert exactly(smallest(values(kind))) == exactly(data)


@pytest.mark.parametrize(
    ("kind", "condition", "data"),
    [
        (
            Placed,
            lambda v: any(line["unitPrice"] >= 4 for line in v["lines"]),
            {
                "type": "OrderPlaced",
                "lines": [{"skuCode": "a", "unitPrice": 4}],
                "total": 0,
            },
        ),
        (
            Placed,
            lambda v: v.get("note") is not None and "colour" in v,
            {"type": "OrderPlaced", "lines": [], "total": 0, "note": "", "colour": "red"},
        ),
        (Tree, lambda v: depth(v) > 4, None),
        (Moved, lambda v: "\x00" in v["place"], {"place": "\x00"}),
        (int, lambda v: v > 10**37, 10**38 - 1),
    ],
)
def test_failures_shrink_to_what_matters(
    kind: Any, condition: Callable[[Any], bool], data: Any
) -> None:
    """Each optional field by itself, each number to the least that fails."""
    found = smallest(values(kind), condition)
    if kind is Tree:
        data = {"value": 0, "children": [{"value": 0, "children": [{"value": 0}]}]}
    assert found == data


def test_a_field_with_a_default_is_sometimes_absent_and_a_required_one_never() -> None:
    """What is absent is what events from before the field look like."""
    met = Counter(name for value in sample(values(Line), 300) for name in value)
    assert met["skuCode"] == met["unitPrice"] == 300
    assert 75 < met["count"] < 225
    absent = [set(Sparse.__struct_encode_fields__) - set(v) for v in sample(values(Sparse), 300)]
    assert {frozenset(names) for names in absent} >= {frozenset(), frozenset({"state"})}


def test_what_omit_defaults_leaves_out_is_never_there() -> None:
    """No publisher of such a type sends a default."""
    for value in sample(values(Sparse), 300):
        assert value.get("n") != 0
        assert value.get("text") != ""
        assert value.get("items") != []


# -- hostile values ------------------------------------------------------------------------------

EDGES: list[tuple[str, Any, Callable[[Any], bool]]] = [
    ("38 digits", int, lambda v: v == 10**38 - 1),
    ("beyond 64 bits", int, lambda v: v == 2**64),
    ("any 38 digits", int, lambda v: 10**37 < v < 10**38 - 1),
    ("the greatest number", Decimal, lambda v: v == (10**38 - 1) * 10**88),
    ("the smallest number", Decimal, lambda v: v == Decimal("1E-130")),
    ("below zero and tiny", Decimal, lambda v: v == Decimal("-1E-130")),
    ("38 digits after the point", Decimal, lambda v: v == Decimal("0." + "9" * 38)),
    ("a whole Decimal is an int", Decimal, lambda v: v == 10 and type(v) is int),
    ("a bound", Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)], lambda v: v == -(2**63)),
    ("the other bound", Annotated[int, Meta(lt=2**63 - 1)], lambda v: v == 2**63 - 2),
    ("a wide multiple", Annotated[int, Meta(multiple_of=12)], lambda v: v > 2**64 and v % 12 == 0),
    ("empty text", str, lambda v: v == ""),
    ("U+0000", str, lambda v: "\x00" in v),
    ("astral", str, lambda v: any(ord(c) > 0xFFFF for c in v)),
    ("combining", str, lambda v: any(unicodedata.combining(c) for c in v)),
    ("long text", str, lambda v: len(v) >= 1_000),
    ("long binary", bytes, lambda v: len(v) >= 1_000),
    ("empty binary", bytes, lambda v: v == b""),
    ("the longest allowed", Line, lambda v: len(v["skuCode"]) == 20),
    ("many keys", dict[str, int], lambda v: len(v) == MANY_KEYS),
    ("no keys", dict[str, int], lambda v: v == {}),
    ("many elements", list[int], lambda v: len(v) == 50),
    ("equal when normalized", dict[str, int], lambda v: {"é", "e\u0301"} <= set(v)),
    ("maps to the limit", Loose, lambda v: depth(v) == CONTAINERS_MAX and type(v["any"]) is dict),
    ("lists to the limit", Loose, lambda v: depth(v) == CONTAINERS_MAX and type(v["any"]) is list),
    ("any kind of set", Loose, lambda v: type(v["any"]) is frozenset),
    ("the first year", Times, lambda v: v["naive"].startswith("0001-")),
    ("the last year", Times, lambda v: v["day"].startswith("9999-")),
    ("another zone", Times, lambda v: v["zoned"].endswith("+05:45")),
    ("no zone", Times, lambda v: len(v["any_zone"]) == 19),
    ("a span below zero", Times, lambda v: v["span"].startswith("-P")),
    ("each member", Choices, lambda v: v["literal"] is None and v["level"] == 2),
    ("the other of a union", Owner, lambda v: v["pet"]["kind"] == "Dog"),
    ("an array without its default", Row, lambda v: len(v) == 2),
    ("numbers as keys", Containers, lambda v: "-1" in v["by_number"]),
    ("a set of each kind", Sets, lambda v: {type(m) for m in v["any"]} == {bytes}),
    ("three deep", Chain, lambda v: v["next"] and v["next"]["next"]),
]


@pytest.mark.parametrize(("kind", "met"), [edge[1:] for edge in EDGES], ids=[e[0] for e in EDGES])
def test_reaches_every_edge(kind: Any, met: Callable[[Any], bool]) -> None:
    """An edge that no example reaches proves nothing."""
    options = settings(
        max_examples=4_000, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    find(values(kind), lambda value: bool(met(value)), settings=options)


@pytest.mark.parametrize("kind", [int, Decimal, str, bytes], ids=str)
def test_one_value_in_eight_is_hostile(kind: Any) -> None:
    """As documented: most examples look like the domain."""
    # In lists: of single draws Hypothesis gives none twice, and soon has only rare ones left.
    ordinary = {repr(v) for vs in sample(twenty(values(kind, hostile=False)), 30) for v in vs}
    found = [repr(value) for vs in sample(twenty(values(kind)), 150) for value in vs]
    share = sum(value not in ordinary for value in found) / len(found)
    assert 0.5 / HOSTILE_SHARE < share < 1.5 / HOSTILE_SHARE


def test_without_hostile_values_there_are_none() -> None:
    """For appliers whose numbers have a meaning."""
    for value in sample(values(Loose, hostile=False), 300):
        assert depth(value) <= 4
        for leaf in leaves(value):
            assert len(leaf) < 20 if isinstance(leaf, str | bytes) else abs(leaf or 0) <= 1_000


def test_values_meet_each_other() -> None:
    """Bugs are where two events name the same thing."""
    found = sample(values(Moved), 200)
    assert Counter(value["place"] for value in found).most_common(1)[0][1] > 10


def test_an_example_is_small_where_it_is_a_tree() -> None:
    """A recursion ends soon, whatever it branches into."""
    sizes = sorted(len(encode_value(value)) for value in sample(values(Tree), 300))
    assert sizes[150] < 200
    assert sizes[-1] < 20_000
