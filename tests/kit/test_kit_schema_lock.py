"""The lock file of schemas: extended and never forgetful, and what a check finds against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest

from appliers.applier import ApplierError, Appliers
from appliers.lock.check import check as check_lock
from appliers.lock.document import Lock, decode_lock, encode_lock
from appliers.lock.finding import Finding, Words
from appliers.lock.locking import Locked, Vouched, extend
from binlog.errors import RefusedError
from binlog.json_values import encode_json

WORDS = Words("shop:shop", "schema.lock.json")


class Placed(msgspec.Struct):
    total: Annotated[int, msgspec.Meta(ge=0)]
    note: str = ""


class Paid(msgspec.Struct):
    by: str


class InCents(msgspec.Struct, tag="Placed"):
    cents: int


def place(item: Any, event: Any) -> Any:
    return {**event.key, "total": event.data["total"], "state": "placed"}


def pay(item: Any, event: Any) -> Any:
    if item is None:
        raise ApplierError("nobody placed it")
    return {**item, "state": "paid", "by": event.data["by"]}


def shop(
    *,
    place: Callable[..., Any] = place,
    version: int = 1,
    pay: Callable[..., Any] | None = pay,
    placed: Any = Placed,
    paid: Any = Paid,
) -> Appliers:
    made = Appliers()
    if placed is not None:
        made.event_type("Placed", data=placed)
        made.on("Placed", table="orders", version=version)(place)
    if paid is not None:
        made.event_type("Paid", data=paid)
        if pay is not None:
            made.on("Paid", table="orders")(pay)
    return made


def in_cents(
    upcast: Callable[[Any], Any] = lambda data: {"cents": data["total"] * 100},
    *,
    version: int = 1,
    placed: Any = InCents,
    old: Any = Placed,
) -> Appliers:
    """The shop after a change done right: the old type kept, and an upcaster."""
    made = Appliers()
    made.event_type("Placed", schema=2, data=placed)
    made.upcaster("Placed", 1, version=version, data=old)(upcast)
    made.on("Placed", table="orders", version=2)(
        lambda _, event: {**event.key, "cents": event.data["cents"]}
    )
    made.event_type("Paid", data=Paid)
    made.on("Paid", table="orders")(pay)
    return made


def locked(
    appliers: Appliers, lock: Lock | None = None, *, keys: Any = None, **vouched: Any
) -> Lock:
    found = extend(lock, appliers.build(), WORDS, vouched=Vouched(**vouched), keys=keys)
    assert found.lock is not None, [str(finding) for finding in found.findings]
    # What is written is what is read.
    assert decode_lock(encode_lock(found.lock), "x") == found.lock
    return found.lock


def refused(appliers: Appliers, lock: Lock, **vouched: Any) -> list[Finding]:
    found: Locked = extend(lock, appliers.build(), WORDS, vouched=Vouched(**vouched))
    assert found.lock is None
    return found.findings


def check(lock: Lock, appliers: Appliers) -> list[Finding]:
    return check_lock(lock, appliers.build(), WORDS)


def kinds(found: list[Finding]) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.breaking) for finding in found]


# -- extending -------------------------------------------------------------------------------------


def test_what_was_just_locked_is_as_locked() -> None:
    lock = locked(shop())
    assert check(lock, shop()) == []
    assert encode_lock(locked(shop(), lock)) == encode_lock(lock)


def test_the_text_is_the_same_whatever_the_order_of_declaration() -> None:
    """Two people who lock the same code get the same file."""

    def other_way() -> Appliers:
        made = Appliers()
        made.on("Paid", table="orders")(pay)
        made.event_type("Paid", data=Paid)
        made.on("Placed", table="orders")(place)
        made.event_type("Placed", data=Placed)
        return made

    assert encode_lock(locked(other_way())) == encode_lock(locked(shop()))


def test_a_type_without_declared_data_stands_with_its_versions_and_functions() -> None:
    made = Appliers()
    made.on("Shipped", table="orders")(place)
    made.upcaster("Shipped", 1)(dict)
    entry = locked(made).types["Shipped"]
    assert [(v.schema, v.shape, v.golden) for v in entry.versions] == [(1, None, []), (2, None, [])]
    assert entry.appliers["orders"].source
    assert len(entry.upcasters) == 1


def test_golden_events_are_folded_onto_items_that_earlier_events_make() -> None:
    """Most appliers refuse an item that is not there: folding onto nothing alone guards nothing."""
    [paid, *_] = locked(shop()).types["Paid"].versions[0].golden
    outcomes = {
        folded.before and json.dumps(folded.before["state"]): folded.after
        for folded in paid.folds["orders"].items
    }
    assert outcomes[None].refused == "nobody placed it"
    after = outcomes['{"S": "placed"}'].value
    assert after is not None
    assert after["state"] == {"S": "paid"}


def test_the_items_reach_as_far_as_events_build_on_each_other() -> None:
    """Shipped wants a paid order, which wants a placed one."""

    def ship(item: Any, event: Any) -> Any:
        if item is None or item["state"] != "paid":
            raise ApplierError("not paid")
        return {**item, "state": "shipped"}

    appliers = shop()
    appliers.event_type("Shipped", data=Paid)
    appliers.on("Shipped", table="orders")(ship)
    [shipped, *_] = locked(appliers).types["Shipped"].versions[0].golden
    after = {
        encode_json(folded.after.value)
        for folded in shipped.folds["orders"].items
        if folded.after.refused is None
    }
    assert after
    assert all(b'"state":{"S":"shipped"}' in item for item in after)


def test_a_new_type_changes_nothing_of_what_is_locked() -> None:
    """A lock that churns is not read; and what an event folded to must stay what it was."""
    before = locked(shop(paid=None))
    after = locked(shop(), before)
    assert after.types["Placed"] == before.types["Placed"]
    assert kinds(check(before, shop())) == [("type not locked", False)]


def test_a_field_added_with_a_default_keeps_old_golden_events_and_adds_new_ones() -> None:
    class WithGift(Placed):
        gift: bool = False

    before = locked(shop())
    assert kinds(check(before, shop(placed=WithGift))) == [("field added", False)]
    after = locked(shop(placed=WithGift), before)
    old, new = (lock.types["Placed"].versions[0].golden for lock in (before, after))
    assert new[: len(old)] == old
    assert {"BOOL": True} in [golden.data.get("gift") for golden in new]
    # Now it is locked, its removal is found.
    assert kinds(refused(shop(), after)) == [("field removed", True)]


def test_a_change_done_right_is_compatible_and_old_events_stay() -> None:
    before = locked(shop())
    assert [kind for kind in kinds(check(before, in_cents())) if kind[1]] == []
    after = locked(in_cents(), before)
    first, second = after.types["Placed"].versions
    assert [g.data for g in first.golden] == [
        g.data for g in before.types["Placed"].versions[0].golden
    ]
    assert first.golden[0].upcast["2"].value == {"cents": {"N": "700"}}
    assert second.shape != first.shape
    assert check(after, in_cents()) == []


def test_a_locked_version_is_never_dropped() -> None:
    """Its events are in logs for ever."""
    lock = locked(in_cents())
    [gone] = [f for f in refused(shop(), lock) if f.kind == "upcaster removed"]
    assert '@shop.upcaster("Placed", from_version=1, data=PlacedV1)' in gone.do
    assert kinds(refused(shop(paid=None), locked(shop()))) == [("type dropped", True)]


def test_nothing_is_locked_that_is_not_pure() -> None:
    made = iter(range(10**6))
    appliers = shop(place=lambda _, event: {**event.key, "serial": next(made)})
    with pytest.raises(RefusedError, match="another item each time it is asked"):
        locked(appliers)


def test_an_upcaster_that_does_not_take_all_of_its_type_is_not_locked() -> None:
    """A note may be left out, so the event without one stops every reader."""
    appliers = in_cents(lambda data: {"cents": data["total"], "x": data["note"]})
    [found] = [f for f in refused(appliers, locked(shop())) if f.breaking]
    assert found.kind == "upcaster not total"
    assert "'only what is required' (KeyError: 'note')" in found.what
    fresh = extend(None, appliers.build(), WORDS, vouched=Vouched())
    assert [f.kind for f in fresh.findings] == ["upcaster not total"]
    assert fresh.lock is None


def test_an_upcaster_must_make_data_of_the_next_type() -> None:
    appliers = in_cents(lambda data: {"cents": str(data["total"])})
    [found] = [f for f in refused(appliers, locked(shop())) if f.breaking]
    assert found.kind == "upcaster's result"
    assert "cents should be int, and is '7'" in found.what


def test_a_raised_version_does_not_excuse_an_upcaster_from_fitting() -> None:
    """The version declares another result, not a wrong one."""
    wrong = in_cents(lambda data: {"cents": str(data["total"])}, version=2)
    assert ("upcaster's result", True) in kinds(check(locked(in_cents()), wrong))


def test_an_applier_that_wants_another_key_is_remarked_on() -> None:
    def by_order(item: Any, event: Any) -> Any:
        return {**event.key, "order": event.key["order"]}

    found = extend(None, shop(place=by_order).build(), WORDS, vouched=Vouched())
    [remark] = [r for r in found.remarks if r.startswith("Placed")]
    assert "(KeyError: 'order')" in remark
    assert "--key Placed=ATTR" in remark
    appliers = shop(place=by_order)
    lock = locked(appliers, keys={"": ["order"]})
    assert lock.types["Placed"].key == ["order"]
    assert extend(lock, appliers.build(), WORDS, vouched=Vouched()).remarks == []


def test_a_key_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(RefusedError, match="the type 'Nope'"):
        locked(shop(), keys={"Nope": ["a"]})


# -- checking --------------------------------------------------------------------------------------


def test_an_incompatible_change_names_type_version_field_both_types_and_the_code_to_write() -> None:
    class AsText(msgspec.Struct):
        total: str
        note: str = ""

    [found] = check(locked(shop()), shop(placed=AsText))
    assert str(found) == (
        "Placed, schema 1, field total: type changed: int from 0 before, text now: keep the old "
        "type as PlacedV1, raise the schema to 2 and write "
        '@shop.upcaster("Placed", from_version=1, data=PlacedV1); or, if none of it was ever '
        "published: binlog schema lock shop:shop --unpublished Placed"
    )
    document = found.document()
    assert (document["type"], document["schema"], document["field"]) == ("Placed", 1, "total")
    assert (document["before"], document["after"]) == ("int from 0", "text")


def test_the_type_of_an_old_version_is_to_be_put_back() -> None:
    class Narrow(msgspec.Struct):
        total: Annotated[int, msgspec.Meta(ge=0)]

    lock = locked(in_cents())
    [found] = check(lock, in_cents(old=Narrow))
    assert (found.schema, found.field, found.kind) == (1, "note", "field removed")
    assert "put its type back" in found.do


def test_data_that_are_not_declared_any_more_are_found() -> None:
    made = Appliers()
    made.on("Placed", table="orders")(place)
    made.on("Paid", table="orders")(pay)
    assert kinds(check(locked(shop()), made)) == [("data not declared", True)] * 2
    assert kinds(check(locked(made), shop())) == [("data not locked", False)] * 2


def place_anew(item: Any, event: Any) -> Any:
    return {**event.key, "total": event.data["total"], "state": "new"}


def place_alike(item: Any, event: Any) -> Any:
    made = dict(event.key)
    made.update(total=event.data["total"], state="placed")
    return made


def test_an_applier_that_computes_something_else_under_its_version_is_found() -> None:
    lock = locked(shop())
    [found] = check(lock, shop(place=place_anew))
    assert found.kind == "computes something else"
    assert 'state: "placed" before, "new" now' in found.what
    assert '@shop.on("Placed", table="orders", version=2)' in found.do
    # No vouching makes another item the same item.
    assert refused(shop(place=place_anew), lock, same_meaning=True) == [found]


def test_a_raised_version_declares_it() -> None:
    lock = locked(shop())
    appliers = shop(place=place_anew, version=2)
    assert kinds(check(lock, appliers)) == [("function not locked", False)]
    after = locked(appliers, lock)
    assert check(after, appliers) == []
    # And now the old computation is the one that is found.
    assert kinds(check(after, shop(version=2))) == [("computes something else", True)]


def test_a_version_never_goes_back() -> None:
    lock = locked(shop(version=3))
    [found] = check(lock, shop(version=2))
    assert (found.kind, found.breaking) == ("version went back", True)
    assert "version=3" in found.do


def test_changed_source_with_the_same_results_is_a_finding_that_a_person_settles() -> None:
    lock = locked(shop())
    appliers = shop(place=place_alike)
    [found] = check(lock, appliers)
    assert (found.kind, found.breaking) == ("source changed", True)
    assert "--same-meaning" in found.do
    assert refused(appliers, lock) == [found]
    assert check(locked(appliers, lock, same_meaning=True), appliers) == []


def test_what_a_helper_computes_is_seen_by_the_golden_events() -> None:
    """The source of the applier is the same; only the fold tells."""
    rate = [1]

    def convert(item: Any, event: Any) -> Any:
        return {**event.key, "total": event.data["total"] * rate[0]}

    lock = locked(shop(place=convert))
    rate[0] = 2
    assert kinds(check(lock, shop(place=convert))) == [("computes something else", True)]


def test_an_upcaster_that_computes_something_else_is_found_once_and_not_its_appliers() -> None:
    lock = locked(in_cents())
    [found] = check(lock, in_cents(lambda data: {"cents": data["total"] * 10}))
    assert found.kind == "computes something else"
    assert "the upcaster from schema 1" in found.what
    assert "cents: 700 before, 70 now" in found.what
    assert "from_version=1, version=2)" in found.do
    declared = in_cents(lambda data: {"cents": data["total"] * 10}, version=2)
    assert kinds(check(lock, declared)) == [("function not locked", False)]
    assert check(locked(declared, lock), declared) == []


def test_an_applier_that_is_gone_is_found_and_can_be_retired() -> None:
    lock = locked(shop())
    [found] = check(lock, shop(pay=None))
    assert (found.kind, found.breaking) == ("applier removed", True)
    assert "--retire Paid:orders" in found.do
    after = locked(shop(pay=None), lock, retired=["Paid:orders"])
    assert check(after, shop(pay=None)) == []


def routed(keys: Callable[[Any], Any], version: int = 1) -> Appliers:
    made = Appliers()
    made.event_type("Placed", data=Placed)
    made.on("Placed", table="orders", keys=keys, version=version)(lambda _item, _event, key: key)
    return made


def by_total(event: Any) -> Any:
    return [event.key, {"id": f"t{event.data['total']}"}]


def by_total_otherwise(event: Any) -> Any:
    return [event.key, {"id": f"u{event.data['total']}"}]


def by_total_alike(event: Any) -> Any:
    total = event.data["total"]
    return [event.key, {"id": f"t{total}"}]


def test_an_applier_that_routes_elsewhere_is_found() -> None:
    lock = locked(routed(by_total))
    [found] = check(lock, routed(by_total_otherwise))
    assert found.kind == "computes something else"
    assert 'routed to {"id":"a"}, {"id":"t7"} before, to {"id":"a"}, {"id":"u7"} now' in found.what
    assert kinds(check(lock, routed(by_total_alike))) == [("source changed", True)]
    declared = routed(by_total_otherwise, 2)
    assert check(locked(declared, lock), declared) == []


def test_items_of_another_key_are_no_ground_for_an_event_that_is_routed_anew() -> None:
    """Golden events keep their items, but not where a declared change sends them elsewhere."""

    def at(name: str, version: int) -> Appliers:
        made = Appliers()
        for data, apply in ((Placed, place), (Paid, pay)):
            made.on(data, table="orders", version=version, key=lambda _: {"id": name})(
                lambda item, event, key, apply=apply: {
                    **(apply(item, event) or {}),
                    **key,
                }
            )
        return made

    again = locked(at("y", 2), locked(at("x", 1)))
    assert check(again, at("y", 2)) == []


def test_why_an_event_is_refused_is_not_compared() -> None:
    """Words of an error differ between releases of Python, and are not what a replica holds."""

    def refuse(why: str) -> Callable[..., Any]:
        def apply(item: Any, event: Any) -> Any:
            raise ApplierError(why)

        return apply

    assert check(locked(shop(place=refuse("no"))), shop(place=refuse("nein"))) == []


def test_an_owner_that_answers_otherwise_is_found() -> None:
    def owned(table: str, version: int = 1) -> Appliers:
        made = shop()
        made.table("orders", owner=lambda key: (table, key), version=version)
        return made

    lock = locked(owned("carts"))
    [found] = check(lock, owned("boxes"))
    assert found.kind == "computes something else"
    assert 'the item {"id":"a"}: [0]: "carts" before, "boxes" now' in found.what
    assert kinds(check(lock, owned("boxes", 2))) == [("function not locked", False)]
    assert kinds(check(lock, shop())) == [("owner removed", True)]
    assert check(locked(shop(), lock, retired=[":orders"]), shop()) == []


@pytest.mark.parametrize(
    ("base64", "says"),
    [
        ("gaJiec8AAAAAAAAAAA==", "other canonical bytes now"),  # {"by": 0}, written at length
        ("gaJieQA=", "other canonical bytes now"),  # {"by": 0}
        ("wQ==", "other canonical bytes now"),
        ("!", "do not decode any more"),
    ],
)
def test_other_canonical_bytes_are_found(base64: str, says: str) -> None:
    """A library that encodes otherwise would make every digest another."""
    lock = locked(shop())
    entry = lock.types["Paid"]
    golden = msgspec.structs.replace(entry.versions[0].golden[0], base64=base64)
    version = msgspec.structs.replace(entry.versions[0], golden=[golden])
    bad = msgspec.structs.replace(entry, versions=[version])
    [found] = check(Lock(types={**lock.types, "Paid": bad}), shop())
    assert (found.kind, found.breaking) == ("canonical bytes", True)
    assert says in found.what


# -- what nobody published -------------------------------------------------------------------------


def test_an_unpublished_type_or_version_is_locked_anew() -> None:
    class Wild(msgspec.Struct):
        anything: int

    lock = locked(shop())
    again = locked(
        shop(placed=Wild, place=lambda _, event: event.key), lock, unpublished=["Placed"]
    )
    shape = again.types["Placed"].versions[0].shape
    assert shape is not None
    assert [*shape.data.fields] == ["anything"]  # type: ignore[union-attr]
    second = locked(in_cents(), lock)
    back = locked(
        in_cents(placed=Wild, upcast=lambda _: {"anything": 1}), second, unpublished=["Placed@2"]
    )
    assert back.types["Placed"].versions[0].shape == lock.types["Placed"].versions[0].shape


@pytest.mark.parametrize("name", ["Nope", "Placed@2", "Placed@0", "Placed@x"])
def test_what_is_not_locked_cannot_be_unpublished(name: str) -> None:
    with pytest.raises(RefusedError, match="the lock has no such"):
        locked(shop(), locked(shop()), unpublished=[name])


@pytest.mark.parametrize("name", ["Placed", "Placed:carts", ":orders", "Nope:orders"])
def test_what_is_not_locked_cannot_be_retired(name: str) -> None:
    with pytest.raises(RefusedError, match="no such applier or owner"):
        locked(shop(), locked(shop()), retired=[name])
