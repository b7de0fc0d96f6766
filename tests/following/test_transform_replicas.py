"""A transformed log in every way that there is to follow it, and items transformed by hand: equal."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from appliers.applier import ApplierError, Appliers, Rules
from appliers.redaction import pseudonym
from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from appliers.summary import summarize
from binlog.changes import delete_item, event, put_item, update_item
from binlog.envelope import Envelope, Event
from binlog.errors import ConflictError, MismatchError
from binlog.values import decode_value, encode_value
from consumers.delivery import Worker, Working
from consumers.local import Following, replicate
from consumers.redrive import Redrive
from snapshots.check_store import RowCheck
from snapshots.counterpart import verify_against_log
from snapshots.rebuild import Wanted, rebuild
from tests.appliers_core.fold_support import Model
from tests.delivery.delivery_support import append, batch, new_log

SECRET = "a secret of sixteen bytes"
VARIABLE = "TRANSFORM_REPLICA_SECRET"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


def token(value: Any) -> Any:
    if isinstance(value, frozenset):
        return frozenset(map(token, value))
    return hmac.new(SECRET.encode(), encode_value(value), "sha256").hexdigest()[:40]


def shop_rules() -> Rules:
    shop = Appliers()
    shop.transform(
        "customers",
        version=1,
        to="people",
        rename={"mail": "email", "id": "pid"},
        drop=("card",),
        redact={"mail": pseudonym(VARIABLE), "tags": pseudonym(VARIABLE), "visits": 0},
    )
    shop.transform("users", version=1, redact={"id": pseudonym(VARIABLE)})
    shop.transform("cats", version=1, to="pets")
    shop.transform("dogs", version=1, to="pets", rename={"tags": "marks"})
    shop.table("pets", owner=pet_owner)
    return shop.build()


def pet_owner(key: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return ("cats" if key["id"] >= 10 else "dogs"), key


def transformed(table: str, item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a whole item becomes: no word of events."""
    if table == "customers":
        after = {"pid" if name == "id" else name: v for name, v in item.items() if name != "card"}
        if "mail" in after:
            after["email"] = token(after.pop("mail"))
        if "tags" in after:
            after["tags"] = token(after["tags"])
        if "visits" in after:
            after["visits"] = 0
        return "people", after
    if table == "users":
        return "users", {**item, "id": token(item["id"])}
    if table == "dogs" and "tags" in item:
        after = dict(item)
        after["marks"] = after.pop("tags")
        return "pets", after
    return ("pets" if table in ("cats", "dogs") else table), item


NUMBERS = {"customers": (0, 3), "users": (0, 2), "cats": (10, 12), "dogs": (0, 2), "plain": (0, 2)}
TAGS = st.frozensets(st.sampled_from("xyz"), min_size=1)


@st.composite
def histories(draw: st.DrawFn) -> Envelope:
    """One event. Each attribute has one kind of value, so that every one can be applied."""
    table = draw(st.sampled_from(sorted(NUMBERS)))
    key = {"id": draw(st.integers(*NUMBERS[table]))}
    values: dict[str, Any] = {
        "mail": st.sampled_from(["a@b", "", "c"]),
        "card": st.integers(0, 3),
        "tags": TAGS,
        "visits": st.integers(-2, 2),
        "free": st.sampled_from([None, [1], {"mail": 1}]),
    }
    names = draw(st.lists(st.sampled_from(sorted(values)), unique=True, max_size=4))
    match draw(st.sampled_from(["put", "update", "update", "delete"])):
        case "put":
            return put_item(table, {**key, **{n: draw(values[n]) for n in names}}, key="id")
        case "delete":
            return delete_item(table, key)
    change: dict[str, Any] = {}
    for name in names:
        section = draw(st.sampled_from(["Set", "Remove", *_more(name)]))
        if section == "Remove":
            change.setdefault(section, []).append(name)
        else:
            change.setdefault(section, {})[name] = draw(values[name])
    return update_item(table, key, change)


def _more(name: str) -> tuple[str, ...]:
    return {"tags": ("Add", "Delete"), "visits": ("Add",), "card": ("Add",)}.get(name, ())


def reference(events: Sequence[Envelope]) -> dict[str, list[dict[str, Any]]]:
    """The items of the log as it is, folded one event at a time, and transformed at the end."""
    model = _AnyKey()
    for offset, each in enumerate(events, 1):
        model.apply(each, offset)
    found: dict[str, list[dict[str, Any]]] = {}
    for (table, _), (_, item) in model.items.items():
        if item is not None:
            target, after = transformed(table, item)
            found.setdefault(target, []).append(after)
    return {table: sorted(items, key=repr_of) for table, items in sorted(found.items())}


class _AnyKey(Model):
    """Only live items are looked at, so whatever the version is will do."""


def repr_of(item: dict[str, Any]) -> bytes:
    return encode_value(item)


def items_of(store: Any) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for generation in store.generations():
        for table in generation.tables:
            live = [decode_value(row.data) for _, row in store.scan(table) if row.data is not None]
            if live:
                found[table] = sorted(live, key=repr_of)
    return dict(sorted(found.items()))


@settings(deadline=None)
@given(st.lists(st.lists(histories(), min_size=1, max_size=6), max_size=4), st.integers(1, 5))
def test_all_who_follow_a_transformed_log_agree_with_items_transformed_by_hand(
    turns: list[list[Envelope]], size: int
) -> None:
    rules, log = shop_rules(), new_log()
    pulled, delivered = MemoryStore(), MemoryStore()
    events: list[Envelope] = []
    for turn in turns:
        append(log, *turn)
        events += turn
        replicate(log, pulled, Following(once=True, rules=rules))  # a restart each
    [shard] = log.shards()
    records = batch(log, shard.id)
    worker = Worker(log, delivered.open(), Working(rules=rules))
    for begin in range(0, len(records), size):
        again = max(0, begin - size)  # the batch before comes twice
        if begin % 2:
            worker = Worker(log, delivered.open(), Working(rules=rules))
        assert worker.apply(shard.id, records[again : begin + size]).first_failed is None
    rebuilt = MemoryStore()
    rebuild(log, rebuilt, Wanted(rules=rules))
    assert items_of(pulled) == reference(events)
    assert summarize(pulled).tables == summarize(rebuilt).tables
    if events:
        assert summarize(pulled).tables == summarize(delivered).tables
    for generation in pulled.generations():
        check = RowCheck(log, pulled, generation, rules)
        assert [f for table in generation.tables for f in check.findings(table)] == []
    note(f"{min(len(events), 3)} events")


def test_verify_lays_the_transforms_on_the_log(tmp_path: Path) -> None:
    rules, log = shop_rules(), new_log()
    append(log, *(put_item("customers", {"id": n, "card": n}, key="id") for n in range(5)))
    store = SQLiteStore(tmp_path / "s.db")
    replicate(log, store, Following(once=True, rules=rules))
    with verify_against_log(store, log, rules=rules) as found:
        assert not [d for table in found.tables for d in found.differences(table)]
        assert "people" in found.tables
    with pytest.raises((MismatchError, ConflictError)), verify_against_log(store, log):
        pass


def test_a_changed_transform_is_another_generation() -> None:
    def rules(version: int, **how: Any) -> Rules:
        shop = Appliers()
        shop.transform("customers", version=version, **how)
        return shop.build()

    log, store = new_log(), MemoryStore()
    append(log, put_item("customers", {"id": 1, "card": 1}, key="id"))
    replicate(log, store, Following(once=True, rules=rules(1, drop=("card",))))
    for changed, what in (
        (rules(2, drop=("card",)), "version 1 before, version 2 now"),
        (rules(1, drop=("card", "x")), "other drop now, and still version 1"),
        (rules(1, drop=("card",), to="people"), "other to now"),
        (Appliers().build(), "version 1 before, none now"),
    ):
        with pytest.raises(MismatchError, match=f"transform of table customers: .*{what}") as error:
            replicate(log, store, Following(once=True, rules=changed, same_meaning=True))
        assert "make a new generation: binlog rebuild" in str(error.value)
    rebuild(log, store, Wanted(rules=rules(2, drop=("card",))))
    replicate(log, store, Following(once=True, rules=rules(2, drop=("card",))))


def test_another_secret_is_another_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    log, store = new_log(), MemoryStore()
    append(log, put_item("users", {"id": 1}, key="id"))
    replicate(log, store, Following(once=True, rules=shop_rules()))
    [generation] = store.generations()
    assert SECRET not in generation.fingerprint
    monkeypatch.setenv(VARIABLE, "another one, which is long enough")
    with pytest.raises(MismatchError, match="transform of table users: other redact now"):
        replicate(log, store, Following(once=True, rules=shop_rules()))


# -- domain events, and what waits ---------------------------------------------------------------

ORDERS = Appliers()
BROKEN: set[str] = set()
ORDERS.transform("orders", version=1, rename={"a": "b", "b": "a"})


@ORDERS.transforms("Paid")
def without_card(event: Event) -> Event | None:
    """Raises where it is laid on an event twice."""
    if event.data["by"] == "nobody":
        return None
    if event.data["by"] == "cash":
        raise ApplierError("no cash")
    data = {name: value for name, value in event.data.items() if name != "card"}
    return msgspec.structs.replace(event, data={**data, "last": event.data["card"][-2:]})


@ORDERS.on("Paid", table="orders")
def pay(item: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
    if BROKEN:
        raise ApplierError("not now")
    assert "card" not in event.data
    return {**(item or event.key), "paid": event.data["last"]}


def paid(number: int, by: str = "card") -> Envelope:
    data = {"card": "4711-0815", "by": by}
    return event("Paid", {"id": number}, data, table="orders", meta={"from": "till"})


def test_what_waits_is_put_back_as_it_was_transformed_and_only_once() -> None:
    """The renames change places, so a second time would show."""
    rules, log, store, straight = ORDERS.build(), new_log(), MemoryStore(), MemoryStore()
    append(
        log,
        put_item("orders", {"id": 1, "a": 1, "b": 2}, key="id"),
        paid(1),
        update_item("orders", {"id": 1}, {"Set": {"a": 3}}),
        paid(1, "nobody"),
    )
    BROKEN.add("pay")
    try:
        replicate(log, store, Following(once=True, rules=rules, poison="park"))
    finally:
        BROKEN.clear()
    assert [letter.offset for letter in store.letters()] == [2, 3]
    assert not any(b"4711" in letter.event for letter in store.letters())
    [back] = Redrive(store, rules, dry_run=False).run()
    assert (back.outcome, back.applied) == ("back", 2)
    assert items_of(store) == {"orders": [{"id": 1, "a": 2, "b": 3, "paid": "15"}]}
    replicate(log, straight, Following(once=True, rules=rules))
    assert summarize(store) == summarize(straight)


def test_an_event_whose_transform_fails_stands_alone_and_holds_nothing() -> None:
    rules, log, store, rebuilt = ORDERS.build(), new_log(), MemoryStore(), MemoryStore()
    append(log, paid(1), paid(1, "cash"), paid(1))
    replicate(log, store, Following(once=True, rules=rules, poison="park"))
    [letter] = store.letters()
    assert (letter.offset, letter.alone, letter.reason) == (2, True, "no cash")
    assert b"4711" not in letter.event
    assert b"till" not in letter.event
    [stays] = Redrive(store, rules, dry_run=False).run()
    assert stays.outcome == "stays"
    rebuild(log, rebuilt, Wanted(rules=rules, poison="park"))
    assert list(rebuilt.letters()) == [letter]
    assert summarize(rebuilt).tables == summarize(store).tables


def test_a_changed_source_of_a_function_is_noticed() -> None:
    def other(event: Event) -> Event | None:
        return event

    shop, log, store = Appliers(), new_log(), MemoryStore()
    shop.transforms("Paid")(other)
    shop.on("Paid", table="orders")(pay)
    shop.transform("orders", version=1, rename={"a": "b", "b": "a"})
    append(log, paid(1))
    replicate(log, store, Following(once=True, rules=ORDERS.build()))
    with pytest.raises(MismatchError, match="the transform of Paid: changed, and still version 1"):
        replicate(log, store, Following(once=True, rules=shop.build()))
