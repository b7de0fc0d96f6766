"""The user's appliers: declared by decorator, given copies, checked in what they return."""

# ruff: noqa: ARG005 (an applier is given item and event, whatever it looks at)

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from appliers.applier import ApplierError, Appliers
from appliers.fold import Fold
from appliers.loading import load_rules
from appliers.ownership import by_key
from appliers.routing import Routing
from binlog.envelope import Envelope, Event
from binlog.errors import PoisonError, RefusedError, UpgradeError
from binlog.params import Params
from binlog.values import ITEM_BYTES_FREE, decode_value
from tests.appliers_core.fold_support import PARAMS, envelope, put, rows_of, run_of

ONE = Params(log_id="cd" * 16, partitions=1)
Applier = Callable[..., Any]


def placed(key: str = "a", data: Any = None, **more: Any) -> Envelope:
    return envelope("Placed", {"id": key}, {"n": 1} if data is None else data, **more)


def folded(appliers: Appliers, *events: Envelope) -> Fold:
    fold = Fold(Routing(ONE, rules=appliers.build()))
    fold.add(run_of(events, partition=0))
    return fold


def with_apply(apply: Applier, **options: Any) -> Appliers:
    appliers = Appliers()
    appliers.on("Placed", table="things", **options)(apply)
    return appliers


def test_an_applier_folds_item_and_event() -> None:
    appliers = Appliers()

    @appliers.on("Placed", table="things", version=1)
    def place(item: dict[str, Any] | None, event: Event) -> dict[str, Any]:
        return {**event.key, "n": (item or {"n": 0})["n"] + event.data["n"]}

    @appliers.on("Cancelled", table="things")
    def cancel(item: dict[str, Any] | None, event: Event) -> None:
        return None

    fold = folded(
        appliers, placed(), placed("b"), placed(), envelope("Cancelled", {"id": "b"}, None)
    )
    assert rows_of(fold) == {"a": (3, {"id": "a", "n": 2}), "b": (4, None)}


def test_without_a_declared_table_it_is_the_events() -> None:
    appliers = Appliers()
    appliers.on("Placed")(lambda item, event: event.key)
    fold = folded(appliers, placed(table="one"), placed(table="two"))
    assert (rows_of(fold, "one"), rows_of(fold, "two")) == (
        {"a": (1, {"id": "a"})},
        {"a": (2, {"id": "a"})},
    )
    with pytest.raises(PoisonError, match="names no table, and its applier none"):
        folded(appliers, placed())


def test_the_event_is_complete() -> None:
    """What cat prints is what an applier sees."""
    seen: list[Event] = []

    def keep(item: object, event: Event) -> dict[str, Any]:
        seen.append(event)
        return event.key

    event = placed(data={"d": Decimal("0.1")}, table="things", expect=0, event_id="e-1")
    folded(with_apply(keep), event)
    assert seen == [
        Event(
            partition=0,
            offset=1,
            version=1,
            id="e-1",
            type="Placed",
            schema=1,
            table="things",
            key={"id": "a"},
            data={"d": Decimal("0.1")},
            meta=None,
            expect=0,
            time_ms=1_000,
            arrival_ms=2_000,
            session="000102030405060708090a0b0c0d0e0f.1",
            number=1,
        )
    ]


def test_one_event_may_touch_several_items_and_tables() -> None:
    """Of keys with the same owner; each is told its key."""
    appliers = Appliers()

    @appliers.on(
        "Placed",
        table="lines",
        keys=lambda event: [{"order": event.key["id"], "line": n} for n in event.data["lines"]],
        owner=lambda key: ("", {"id": key["order"]}),
    )
    def line(item: object, event: Event, key: dict[str, Any]) -> dict[str, Any]:
        return {**key, "of": len(event.data["lines"])}

    @appliers.on(
        "Placed",
        table="orders",
        key=lambda event: {"order": event.key["id"]},
        owner=lambda key: ("", {"id": key["order"]}),
    )
    def order(item: object, event: Event, key: dict[str, Any]) -> dict[str, Any]:
        return {**key, "total": 1}

    fold = Fold(Routing(PARAMS, rules=appliers.build()))
    fold.add(run_of([placed("o-1", {"lines": [1, 2]}), placed("o-1", {"lines": []})]))
    assert sorted(row.version for _, row in fold.rows("lines")) == [1, 1]
    assert [row.version for _, row in fold.rows("orders")] == [2]
    assert fold.counts.routed == 2


def test_an_event_routed_to_no_item_moves_nothing() -> None:
    appliers = with_apply(lambda item, event: event.key, keys=lambda event: [])
    fold = folded(appliers, placed())
    assert (fold.counts.routed, fold.counts.unrouted, fold.tables) == (0, 1, frozenset())


def test_an_item_of_another_owner_is_refused_naming_both_keys() -> None:
    """By default an item belongs to events with its own table and key, and this event names none."""
    appliers = with_apply(lambda item, event: event.key)
    event = next(
        e
        for e in map(placed, map(str, range(99)))
        if run_of([e]).partition != run_of([put(_id(e))]).partition
    )
    with pytest.raises(PoisonError, match="belongs to") as caught:
        Fold(Routing(PARAMS, rules=appliers.build())).add(run_of([event]))
    text = str(caught.value)
    assert f'table \'things\', key {{"id":"{_id(event)}"}}' in text
    assert f'this one is of no table, key {{"id":"{_id(event)}"}}' in text
    assert "declare the table's owner" in text
    fold = Fold(Routing(PARAMS, rules=with_apply(lambda i, e: e.key, owner=by_key).build()))
    fold.add(run_of([event]))
    assert len(rows_of(fold)) == 1


def _id(event: Envelope) -> str:
    return str(decode_value(event.key)["id"])


def test_an_owner_is_asked_for_actions_too() -> None:
    """A table has one owner, whatever kind of event comes."""
    appliers = with_apply(lambda item, event: event.key, owner=by_key)
    stranger = next(
        e
        for e in map(put, map(str, range(99)))
        if run_of([e]).partition != run_of([placed(_id(e))]).partition
    )
    with pytest.raises(PoisonError, match="belongs to events of no table"):
        Fold(Routing(PARAMS, rules=appliers.build())).add(run_of([stranger]))


@pytest.mark.parametrize(
    ("owner", "says"),
    [
        (lambda key: key["nope"], "KeyError: .nope"),
        (lambda key: key, "returned {"),
        (lambda key: ("", {}), "0 attributes"),
        (lambda key: ("x", key), "table name 'x'"),
    ],
)
@pytest.mark.parametrize("event", [placed(), put("a")])
def test_an_owner_that_fails_is_named(event: Envelope, owner: Any, says: str) -> None:
    with pytest.raises(PoisonError, match=f"the owner of table 'things' failed.*{says}"):
        folded(with_apply(lambda item, event: event.key, owner=owner), event)


class BoomError(Exception):
    pass


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("apply", "says"),
    [
        (lambda i, e: _raise(ApplierError("no stock")), "cannot be applied to .* no stock: part"),
        (lambda i, e: _raise(BoomError("bad")), "BoomError: bad"),
        (lambda i, e: _raise(BoomError()), ": BoomError: "),
        (lambda i, e: e.data["absent"], "KeyError: 'absent'"),
        (lambda i, e: _raise(OSError("disk")), "OSError: disk"),
        (lambda i, e: _raise(RecursionError()), "RecursionError"),
        (lambda i, e: [1], "returned a list"),
        (lambda i, e: "text", "returned a str"),
        (lambda i, e: {"n": 1}, "left out the key attribute 'id'"),
        (lambda i, e: {"id": "b"}, "changed a key attribute"),
        (lambda i, e: {"id": 1}, "changed a key attribute"),
        (lambda i, e: {**e.key, "x": 0.5}, "the float 0.5"),
        (lambda i, e: {**e.key, "x": set()}, "set"),
        (lambda i, e: {**e.key, "x": 10**38 + 1}, "39 digits"),
        (lambda i, e: {**e.key, "x": object()}, "of type object"),
        (lambda i, e: {**e.key, "": 1}, "names are text and not empty"),
        (lambda i, e: {**e.key, 1: 1}, "name"),
        (lambda i, e: {**e.key, "_binlog": 1}, "'_binlog' is reserved"),
        (lambda i, e: {**e.key, "x": "\ud800"}, "lone surrogate"),
        (lambda i, e: {**e.key, "x": "y" * ITEM_BYTES_FREE}, "the limit is"),
    ],
)
def test_whatever_an_applier_does_wrong_is_the_events(apply: Applier, says: str) -> None:
    """Replaying would only do it again, so it names the event and the rule that passes it."""
    with pytest.raises(PoisonError, match=says) as caught:
        folded(with_apply(apply), put("b"), placed())
    assert caught.value.details["offset"] == 2
    assert caught.value.details["table"] == "things"
    assert "--exclude" in str(caught.value)


def test_a_poison_error_survives_a_process_boundary() -> None:
    with pytest.raises(PoisonError) as caught:
        folded(with_apply(lambda i, e: _raise(BoomError("bad"))), placed())
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.details) == (str(caught.value), caught.value.details)


def test_an_exit_or_lack_of_memory_is_not_the_events() -> None:
    """These say nothing about the event: they must reach whoever runs the fold."""
    for error in (MemoryError(), KeyboardInterrupt(), SystemExit()):
        with pytest.raises(type(error)):
            folded(with_apply(lambda i, e, error=error: _raise(error)), placed())


@pytest.mark.parametrize("how", ["key", "keys"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "0 attributes"),
        ({"id": None}, "null"),
        ({"id": ""}, "empty"),
        ("a", "the key"),
        (None, "key"),
    ],
)
def test_a_key_that_is_none_is_the_events(how: str, value: Any, says: str) -> None:
    options: dict[str, Any] = {how: (lambda e: value) if how == "key" else (lambda e: [value])}
    with pytest.raises(PoisonError, match=says):
        folded(with_apply(lambda i, e: e.key, **options), placed())


def test_keys_that_name_an_item_twice_are_refused() -> None:
    appliers = with_apply(lambda i, e: e.key, keys=lambda e: [{"id": 1}, {"id": Decimal("1.0")}])
    with pytest.raises(PoisonError, match="twice"):
        folded(appliers, placed())


def test_what_an_applier_does_to_its_arguments_stays_there() -> None:
    """Two appliers, two items, two calls: none sees what another did."""
    appliers = Appliers()

    def spoil(event: Event) -> None:
        event.data["n"] = 100
        event.key["id"] = "other"
        event.data["list"].append(1)

    def key_of(event: Event) -> dict[str, Any]:
        key = dict(event.key)
        spoil(event)
        return key

    @appliers.on("Placed", table="things", key=key_of)
    def first(item: dict[str, Any] | None, event: Event) -> dict[str, Any]:
        result = {**event.key, "n": event.data["n"] + len(event.data["list"])}
        if item is not None:
            result["was"] = item["n"]
            item["n"] = -1
            item["deep"] = True
        spoil(event)
        return result

    @appliers.on("Placed", table="copies")
    def second(item: dict[str, Any] | None, event: Event) -> dict[str, Any]:
        return {**event.key, "n": event.data["n"]}

    event = placed(data={"n": 1, "list": []})
    fold = folded(appliers, event, event)
    assert rows_of(fold) == {"a": (2, {"id": "a", "n": 1, "was": 1})}
    assert rows_of(fold, "copies") == {"a": (2, {"id": "a", "n": 1})}


def test_a_returned_item_is_taken_as_it_is_then() -> None:
    """Changing it afterwards changes no stored item."""
    shared: dict[str, Any] = {"id": "a", "n": 0}

    def apply(item: object, event: Event) -> dict[str, Any]:
        shared["n"] += 1
        return shared

    fold = folded(with_apply(apply), placed())
    shared["n"] = 50
    assert rows_of(fold) == {"a": (1, {"id": "a", "n": 1})}


def test_an_applier_sees_data_of_the_newest_schema() -> None:
    appliers = with_apply(lambda item, event: {**event.key, **event.data})

    @appliers.upcaster("Placed", from_version=1)
    def split(data: dict[str, Any]) -> dict[str, Any]:
        data["m"] = data.pop("n") * 2
        return data

    fold = folded(appliers, placed(), placed("b", {"m": 7}, schema=2))
    assert rows_of(fold) == {"a": (1, {"id": "a", "m": 2}), "b": (2, {"id": "b", "m": 7})}


@pytest.mark.parametrize("declared", [True, False])
def test_an_applier_is_never_given_a_newer_schema(declared: bool) -> None:
    """One that says nothing of schemas was written for the first."""
    appliers = with_apply(lambda item, event: event.key)
    if declared:
        appliers.event_type("Placed", schema=1)
    with pytest.raises(UpgradeError, match=r"schema version 2 of 'Placed'.*offset 2"):
        folded(appliers, placed(), placed(schema=2))


def test_control_events_never_reach_appliers() -> None:
    appliers = with_apply(lambda item, event: _raise(BoomError()))
    fold = folded(appliers, envelope("binlog.noop", {}, None))
    assert (fold.counts.control, fold.counts.events) == (1, 0)
    with pytest.raises(RefusedError, match="built in"):
        appliers.on("binlog.noop", table="things")


def _ok(item: object, event: object) -> None: ...
async def _async(item: object, event: object) -> None: ...
def _generator(item: object, event: object) -> Any:
    yield item


def _one(item: object) -> None: ...
def _four(item: object, event: object, key: object, more: object) -> None: ...
def _keyword(item: object, event: object, *, more: object) -> None: ...


@pytest.mark.parametrize("apply", [_async, _generator, _one, _four, _keyword, 7, None])
def test_a_function_that_cannot_be_an_applier_is_refused_when_declared(apply: Any) -> None:
    with pytest.raises(RefusedError, match="applier"):
        Appliers().on("Placed", table="things")(apply)


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda a: a.on("PutItem", table="things"), "built in"),
        (lambda a: a.on("UpdateItem"), "built in"),
        (lambda a: a.on(""), "event type"),
        (lambda a: a.on(_ok), "event type"),
        (lambda a: a.on("Placed", table="x"), "table name"),
        (lambda a: a.on("Placed", version=0), "version 0"),
        (lambda a: a.on("Placed", version="1"), "version '1'"),
        (lambda a: a.on("Placed", key=_one, keys=_one), "give one"),
        (lambda a: a.on("Placed", owner=by_key), "no table"),
        (lambda a: a.table("things", owner=None), "no function"),
        (lambda a: [a.on("Placed", table="things")(_ok) for _ in "12"], "two appliers"),
        (lambda a: [a.on("Placed", table=t)(_ok) for t in (None, "things")], "two appliers"),
        (lambda a: [a.on("Placed", table=t)(_ok) for t in ("things", None)], "two appliers"),
        (lambda a: [a.table("things", owner=o) for o in (by_key, _one)], "two owners"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(declare: Any, says: str) -> None:
    """When it is made, not when the first event comes."""
    with pytest.raises(RefusedError, match=says):
        declare(Appliers())


def test_rules_do_not_change_once_built() -> None:
    appliers = with_apply(lambda item, event: event.key)
    rules = appliers.build()
    appliers.on("Other", table="things")(_ok)
    assert list(rules.by_type) == ["Placed"]


# -- loading -------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the user's, being the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # undone at the end, `load_rules`' own is not
    return tmp_path


def test_loads_an_object_of_a_module_in_the_current_directory(here: Path) -> None:
    (here / "good_appliers.py").write_text(
        "from appliers.applier import Appliers\n"
        "class config: shop = Appliers()\n"
        "@config.shop.on('Placed', table='things')\n"
        "def place(item, event): return event.key\n"
    )
    assert list(load_rules("good_appliers:config.shop").by_type) == ["Placed"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("nocolon", None, "module:object"),
        (":x", None, "module:object"),
        ("m:", None, "module:object"),
        ("not_there_1:x", None, "no module 'not_there_1'.*looked in"),
        ("not_there_2.sub:x", None, "no module 'not_there_2'"),
        ("bad_import:x", "import surely_not_installed", "'surely_not_installed', which is missing"),
        ("bad_raise:x", "\n1 / 0", "ZeroDivisionError.*bad_raise.py:2"),
        ("bad_syntax:x", "\n\ndef", "SyntaxError.*bad_syntax.py:3"),
        ("bad_object:x", "y = 1", "has no 'x'"),
        ("bad_kind:x", "x = 1", "is a int.*is an Appliers"),
        (
            "bad_path:x",
            "from appliers.applier import Appliers as A\nx = A()\nx.upcaster('P', 2)(lambda d: d)",
            "no upcaster from 1: appliers bad_path:x",
        ),
    ],
)
def test_appliers_that_cannot_be_loaded_say_why(
    here: Path, name: str, text: str | None, says: str
) -> None:
    """One line that a person can act on, exit status 2."""
    if text is not None:
        (here / f"{name.partition(':')[0]}.py").write_text(text)
    with pytest.raises(RefusedError, match=says) as caught:
        load_rules(name)
    assert caught.value.exit_status == 2
