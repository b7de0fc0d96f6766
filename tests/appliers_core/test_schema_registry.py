"""Upcasters: one path from version 1, complete when built; every reader sees the newest data."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from binlog.envelope import Event
from binlog.errors import DamageError, PoisonError, RefusedError, UpgradeError
from binlog.events import events
from binlog.schema import Registry, Schemas
from binlog.values import encode_value
from tests.appliers_core.fold_support import delete, envelope, put, run_of, update


def two_steps() -> Schemas:
    registry = Registry()

    @registry.upcaster("Placed", from_version=2)
    def second(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "path": [*data["path"], 2]}

    @registry.upcaster("Placed", 1)
    def first(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "path": [*data["path"], 1]}

    return registry.build()


@pytest.mark.parametrize(("schema", "path"), [(1, [1, 2]), (2, [2]), (3, [])])
def test_data_takes_every_step_from_its_version_on(schema: int, path: list[int]) -> None:
    assert two_steps().upcast("Placed", schema, {"path": []}) == (3, {"path": path})


def test_a_type_nobody_declared_passes_as_it_is() -> None:
    assert two_steps().upcast("Other", 7, {"x": 1}) == (7, {"x": 1})
    assert two_steps().current("Other") is None


def test_a_newer_version_than_known_stops_the_program() -> None:
    """Its data mean what this code cannot know."""
    with pytest.raises(
        UpgradeError, match=r"schema version 4 of 'Placed', this code knows up to 3"
    ):
        two_steps().upcast("Placed", 4, {"path": []})


def test_the_newest_version_is_the_declared_or_what_the_steps_reach() -> None:
    registry = Registry()
    registry.event_type("Declared", schema=1)
    registry.upcaster("Stepped", 1)(dict)
    built = registry.build()
    assert (built.current("Declared"), built.current("Stepped")) == (1, 2)
    assert built.types() == ["Declared", "Stepped"]


Declare = Callable[[Registry], Any]


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda r: r.upcaster("A", 2)(dict), "'A' has schema 3, but no upcaster from 1"),
        (
            lambda r: [r.upcaster("A", n)(dict) for n in (1, 3)],
            "'A' has schema 4, but no upcaster from 2",
        ),
        (lambda r: r.event_type("A", schema=2), "'A' has schema 2, but no upcaster from 1"),
        (
            lambda r: [r.event_type("A", schema=1), r.upcaster("A", 1)(dict)],
            "'A' has schema 1, but an upcaster from 1",
        ),
        (lambda r: [r.upcaster("A", 1)(f) for f in (dict, list)], "two upcasters of 'A'"),
        (lambda r: [r.event_type("A", schema=n) for n in (1, 2)], "declared before as 1"),
        (lambda r: r.upcaster("PutItem", 1), "built in"),
        (lambda r: r.event_type("binlog.noop"), "built in"),
        (lambda r: r.event_type(""), "event type"),
        (lambda r: r.upcaster("A", 0), "from_version 0"),
        (lambda r: r.upcaster("A", True), "from_version True"),
        (lambda r: r.event_type("A", schema="2"), "schema '2'"),
    ],
)
def test_a_path_that_is_missing_or_ambiguous_is_refused_when_built(
    declare: Declare, says: str
) -> None:
    """Not years later, when the first old event is met."""

    def build() -> None:
        registry = Registry()
        declare(registry)
        registry.build()

    with pytest.raises(RefusedError, match=says):
        build()


def test_every_reader_sees_upcast_events() -> None:
    run = run_of(
        [
            put("a", n=Decimal("0.5")),
            envelope("Placed", {"id": "b"}, {"path": []}, schema=1, event_id="e-2"),
            delete("c"),
        ],
        partition=3,
        first=5,
    )
    run = msgspec.structs.replace(
        run,
        columns=msgspec.structs.replace(
            run.columns, metas=[None, encode_value({"by": "me"}), None]
        ),
    )
    found = list(events(run, two_steps(), timeline=1))
    assert [(e.offset, e.version, e.type, e.schema, e.data, e.meta) for e in found] == [
        (5, (1 << 48) + 5, "PutItem", 1, {"id": "a", "n": Decimal("0.5")}, None),
        (6, (1 << 48) + 6, "Placed", 3, {"path": [1, 2]}, {"by": "me"}),
        (7, (1 << 48) + 7, "DeleteItem", 1, None, None),
    ]
    assert found[1] == Event(
        partition=3,
        offset=6,
        version=(1 << 48) + 6,
        id="e-2",
        type="Placed",
        schema=3,
        table="",
        key={"id": "b"},
        data={"path": [1, 2]},
        meta={"by": "me"},
        expect=None,
        time_ms=1_000,
        arrival_ms=2_000,
        session="000102030405060708090a0b0c0d0e0f.1",
        number=6,
    )


def test_control_events_are_events_too() -> None:
    """`cat --control` shows them."""
    [event] = events(run_of([envelope("binlog.noop", {}, None)], partition=0))
    assert event.type == "binlog.noop"


def _float(_: Any) -> Any:
    return {"x": 0.5}


@pytest.mark.parametrize(
    ("upcast", "says"),
    [
        (lambda data: data["absent"], r"KeyError: 'absent'"),
        (_float, r"the float 0\.5"),
        (lambda data: {**data, "x": object()}, "of type object"),
    ],
)
def test_an_upcaster_that_fails_is_named_with_the_event(upcast: Any, says: str) -> None:
    """It would fail on the same event at every reading."""
    registry = Registry()
    registry.upcaster("Placed", 1)(upcast)
    run = run_of([put("a"), envelope("Placed", {"id": "a"}, {}, event_id="e-9")], partition=1)
    reader = events(run, registry.build())
    assert next(reader).offset == 1
    with pytest.raises(PoisonError, match=f"{says}.*: partition 1, offset 2, id 'e-9'") as caught:
        next(reader)
    assert caught.value.details["offset"] == 2


def test_an_upcaster_may_change_what_it_is_given() -> None:
    """It gets data of its own; nobody else sees it."""
    registry = Registry()

    @registry.upcaster("Placed", 1)
    def take(data: dict[str, Any]) -> dict[str, Any]:
        data["n"] = data.pop("old")
        return data

    run = run_of([envelope("Placed", {"id": "a"}, {"old": 1})], partition=0)
    for _ in range(2):
        assert [e.data for e in events(run, registry.build())] == [{"n": 1}]


def test_what_an_upcaster_returns_is_canonical() -> None:
    registry = Registry()
    registry.upcaster("Placed", 1)(
        lambda data: {"n": Decimal("2.50"), "s": {1, 2}, "t": (1,), **data}
    )
    [event] = events(run_of([envelope("Placed", {"id": "a"}, {})], partition=0), registry.build())
    assert event.data == {"n": Decimal("2.5"), "s": frozenset({1, 2}), "t": [1]}
    assert type(event.data["t"]) is list


@pytest.mark.parametrize("field", ["key", "data"])
def test_bytes_that_are_no_value_are_named(field: str) -> None:
    broken = msgspec.structs.replace(update("a"), **{field: b"\xc1"})
    with pytest.raises(DamageError, match="partition 0, offset 2"):
        list(events(run_of([put("a"), broken], partition=0)))


def test_a_key_that_is_no_map_is_damage() -> None:
    broken = msgspec.structs.replace(put("a"), key=encode_value(1))
    with pytest.raises(DamageError, match="a key that is no map"):
        list(events(run_of([broken], partition=0)))


class Placed(msgspec.Struct):
    """Of the newest version."""

    total: int


class Shipped(msgspec.Struct, tag="OrderShipped"):
    """Its tag is its name."""


class OldPlaced(msgspec.Struct):
    """Of version 1."""


def test_a_python_type_names_an_event_type_and_describes_its_data() -> None:
    registry = Registry()
    registry.event_type(Placed, schema=2)
    registry.event_type(Shipped)
    registry.upcaster(Placed, from_version=1, data=OldPlaced)(lambda data: data)
    schemas = registry.build()
    assert schemas.types() == ["OrderShipped", "Placed"]
    assert [schemas.data_type("Placed", n) for n in range(4)] == [None, OldPlaced, Placed, None]
    assert schemas.data_type("OrderShipped", 1) is Shipped
    assert schemas.data_type("Other", 1) is None


def test_two_types_for_the_same_data_are_refused() -> None:
    registry = Registry()
    registry.event_type(Placed)
    registry.event_type("Placed", data=Placed)
    with pytest.raises(RefusedError, match="two types for the data of 'Placed'"):
        registry.event_type("Placed", data=OldPlaced)
