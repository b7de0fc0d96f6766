"""A table's transform, event by event: what becomes of key, item and sections, and what is refused."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from appliers.applier import Appliers, Rules
from appliers.fold import Fold
from appliers.redaction import pseudonym
from appliers.routing import Routing
from appliers.transform import TableTransform, Transforms
from binlog.changes import delete_item, put_item, update_item
from binlog.envelope import Envelope, Event
from binlog.errors import PoisonError, RefusedError, UpgradeError
from binlog.values import decode_value, encode_value
from tests.appliers_core.fold_support import PARAMS, envelope, partition_for, run_of

SECRET = "0123456789abcdef-a secret"
VARIABLE = "TRANSFORM_TEST_SECRET"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


def token(value: Any) -> str:
    return hmac.new(SECRET.encode(), encode_value(value), "sha256").hexdigest()[:40]


def built(**how: Any) -> Rules:
    shop = Appliers()
    shop.transform("shop", version=1, **how)
    return shop.build()


def the(rules: Rules, table: str = "shop") -> TableTransform:
    assert isinstance(rules.transforms, Transforms)
    return rules.transforms.tables[table]


def changed(change: Mapping[str, Any], **how: Any) -> Any:
    return decode_value(the(built(**how)).change(encode_value(change)))


def folded(rules: Rules, *events: Envelope, parks: bool = False, **how: Any) -> Fold:
    fold = Fold(Routing(PARAMS, rules=rules, **how), parks=parks)
    reached: dict[int, int] = {}
    for event in events:
        partition = partition_for(event)
        reached[partition] = reached.get(partition, 0) + 1
        fold.add(run_of([event], partition=partition, first=reached[partition]))
    return fold


def items(fold: Fold, table: str) -> list[Any]:
    return [None if row.data is None else decode_value(row.data) for _, row in fold.rows(table)]


# -- items and sections --------------------------------------------------------------------------


def test_a_put_is_renamed_dropped_and_redacted_at_once() -> None:
    rules = built(
        to="people",
        rename={"mail": "email", "a": "b", "b": "a"},
        drop=("card",),
        redact={"name": "***", "mail": pseudonym(VARIABLE)},
    )
    item = {"id": 1, "mail": "x@y", "a": 1, "b": 2, "card": "4", "name": "Jo", "free": [1]}
    fold = folded(rules, put_item("shop", item, key="id"))
    assert items(fold, "people") == [
        {"id": 1, "email": token("x@y"), "a": 2, "b": 1, "name": "***", "free": [1]}
    ]
    assert fold.tables == {"people"}


def test_an_update_goes_by_the_names_that_are_stored() -> None:
    change = {"Set": {"mail": "x", "card": 1}, "Remove": ["old", "card2"], "Add": {"n": 1}}
    after = changed(change, rename={"mail": "email", "old": "new"}, drop=("card", "card2", "n"))
    assert after == {"Set": {"email": "x"}, "Remove": ["new"]}


def test_an_update_of_what_is_dropped_still_moves_the_item() -> None:
    rules = built(drop=("card",))
    put, update = (
        put_item("shop", {"id": 1, "card": 4}, key="id"),
        update_item("shop", {"id": 1}, {"Set": {"card": 5}}),
    )
    [(_, row)] = folded(rules, put, update).rows("shop")
    assert (row.version, decode_value(row.data or b"")) == (2, {"id": 1})


def test_add_to_a_constant_leaves_the_constant() -> None:
    """Otherwise the sum of what came after would show through it."""
    redact = {"n": 0, "s": frozenset({"-"})}
    assert changed({"Add": {"n": 5, "s": frozenset({"a"})}}, redact=redact) == {
        "Set": {"n": 0, "s": frozenset({"-"})}
    }
    assert changed({"Delete": {"s": frozenset({"a"})}}, redact=redact) == {}


def test_a_set_of_pseudonyms_is_added_to_and_taken_from() -> None:
    redact = {"s": pseudonym(VARIABLE)}
    members = frozenset({1, Decimal("2.5")})
    hidden = frozenset({token(1), token(Decimal("2.5"))})
    assert changed({"Add": {"s": members}}, redact=redact) == {"Add": {"s": hidden}}
    assert changed({"Delete": {"s": members}}, redact=redact) == {"Delete": {"s": hidden}}
    item = {"id": 1, "s": members}
    assert decode_value(the(built(redact=redact)).item(encode_value(item)))["s"] == hidden


def test_a_number_cannot_be_added_to_a_pseudonym() -> None:
    with pytest.raises(RefusedError, match=r"Add 'n': a pseudonym cannot be added to"):
        changed({"Add": {"n": 1}}, redact={"n": pseudonym(VARIABLE)})


def test_equal_values_have_equal_pseudonyms_in_every_table() -> None:
    shop = Appliers()
    shop.transform("shop", version=1, redact={"id": pseudonym(VARIABLE)})
    shop.transform("orders", version=1, redact={"customer": pseudonym(VARIABLE)})
    rules = shop.build()
    fold = folded(
        rules,
        put_item("shop", {"id": 17}, key="id"),
        put_item("orders", {"id": 1, "customer": 17}, key="id"),
    )
    assert items(fold, "shop") == [{"id": token(17)}]
    assert items(fold, "orders") == [{"id": 1, "customer": token(17)}]


@pytest.mark.parametrize(
    "change",
    [{"Set": {"email": 1}}, {"Remove": ["email"]}, {"Add": {"email": 1}}],
)
def test_a_name_that_another_one_gets_is_refused_in_every_section(change: dict[str, Any]) -> None:
    """No event alone tells whether the item has both; silently one would overwrite the other."""
    with pytest.raises(RefusedError, match=r"arrives as 'email'.*renames 'mail' to that"):
        changed(change, rename={"mail": "email"})
    with pytest.raises(RefusedError, match="arrives as 'email'"):
        the(built(rename={"mail": "email"})).item(encode_value({"id": 1, "email": 1}))
    assert changed({"Set": {"email": 1}}, rename={"mail": "email"}, drop=("email",)) == {}


@pytest.mark.parametrize(
    "change",
    [{"Put": {"n": 1}}, {"Set": ["n"]}, {"Remove": [1]}, {"Set": {"n": 1}, "Add": {"n": 1}}],
)
def test_what_is_no_change_is_refused_as_the_fold_would(change: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        changed(change, redact={"n": 0})


def test_an_item_that_grows_beyond_the_limit_parks() -> None:
    rules = built(redact={"t": "x" * 5_000})
    item = {"id": 1, "t": "y", "rest": "z" * 405_000}
    fold = folded(rules, put_item("shop", item, key="id"), parks=True)
    [letter] = fold.parking.letters
    assert "the limit is" in letter.reason


# -- keys and owners -----------------------------------------------------------------------------


def test_a_renamed_key_is_owned_by_the_events_that_it_came_from() -> None:
    rules = built(to="people", rename={"id": "pid"})
    routing = Routing(PARAMS, rules=rules)
    for number in range(20):
        event = put_item("shop", {"id": number}, key="id")
        key = encode_value({"pid": number})
        assert routing.ownership.owner_of("people", key) == ("shop", event.key)
        assert routing.ownership.partition_of("people", key) == partition_for(event)
    fold = folded(
        rules,
        *(put_item("shop", {"id": number}, key="id") for number in range(20)),
        update_item("shop", {"id": 3}, {"Set": {"n": 1}}),
        delete_item("shop", {"id": 4}),
    )
    after = items(fold, "people")
    assert {"pid": 3, "n": 1} in after
    assert {"pid": 4} not in after


@pytest.mark.parametrize("how", [{"drop": ("id",)}, {"redact": {"id": "x"}}])
def test_a_key_attribute_stays_apart_from_others(how: dict[str, Any]) -> None:
    """Dropped or constant it would make one item of many."""
    with pytest.raises(PoisonError, match="key attribute 'id'") as error:
        folded(built(**how), delete_item("shop", {"id": 1}))
    assert error.value.details["alone"]
    assert error.value.details["parks"]


def test_no_applier_writes_an_item_whose_key_is_a_pseudonym() -> None:
    """Whose it is cannot be told from the key, so two partitions might meet there."""
    shop = Appliers()
    shop.transform("shop", version=1, redact={"id": pseudonym(VARIABLE)})

    @shop.on("Paid", table="shop")
    def pay(item: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
        return {**event.key, "paid": True}

    with pytest.raises(PoisonError, match="pseudonym, so that no applier can write it"):
        folded(shop.build(), envelope("Paid", {"id": 1}, None, table="shop"))


def test_an_event_of_another_partition_is_refused_before_its_key_is_hidden() -> None:
    rules = built(redact={"id": pseudonym(VARIABLE)})
    event = put_item("shop", {"id": 1}, key="id")
    wrong = (partition_for(event) + 1) % PARAMS.partitions
    fold = Fold(Routing(PARAMS, rules=rules), parks=True)
    fold.add(run_of([event], partition=wrong))
    [letter] = fold.parking.letters
    assert letter.alone
    assert decode_value(letter.key) == {"id": token(1)}
    assert not items(fold, "shop")


def test_who_names_a_target_directly_is_no_source_of_it() -> None:
    rules = built(to="people")
    with pytest.raises(PoisonError, match=r"made of events of 'shop'.*declare its owner"):
        folded(rules, put_item("people", {"id": 1}, key="id"))


def both(owner: Any) -> Rules:
    shop = Appliers()
    shop.transform("cats", version=1, to="pets")
    shop.transform("dogs", version=1, to="pets")
    shop.table("pets", owner=owner)
    return shop.build()


def test_tables_that_become_one_need_an_owner() -> None:
    shop = Appliers()
    shop.transform("cats", version=1, to="pets")
    shop.transform("dogs", version=1, to="pets")
    with pytest.raises(RefusedError, match=r"'cats' and 'dogs' become 'pets'.*declare it"):
        shop.build()


def test_where_keys_meet_the_owner_decides_and_the_others_are_refused() -> None:
    """Also where both are of one partition: who is there first must not decide."""
    rules = both(lambda key: ("cats" if key["id"] % 2 else "dogs", key))
    fold = folded(
        rules,
        *(put_item("cats", {"id": n, "says": "miaow"}, key="id") for n in range(16)),
        *(put_item("dogs", {"id": n, "says": "woof"}, key="id") for n in range(16)),
        parks=True,
    )
    assert sorted((item["id"], item["says"]) for item in items(fold, "pets")) == [
        (n, "miaow" if n % 2 else "woof") for n in range(16)
    ]
    assert len(fold.parking.letters) == 16
    assert all(
        letter.alone and "belongs to events" in letter.reason for letter in fold.parking.letters
    )


# -- which events --------------------------------------------------------------------------------


def test_other_tables_and_domain_events_are_left_as_they_are() -> None:
    rules = built(to="people", drop=("card",))
    event = put_item("other", {"id": 1, "card": 1}, key="id")
    run = run_of([event])
    assert Routing(PARAMS, rules=rules).transformed(run) is run
    assert items(folded(rules, event), "other") == [{"id": 1, "card": 1}]


def test_wanted_tables_are_named_as_the_store_has_them() -> None:
    rules = built(to="people", drop=("card",))
    event = put_item("shop", {"id": 1}, key="id")
    assert folded(rules, event, tables=("people",)).tables == {"people"}
    assert not folded(rules, event, tables=("shop",)).tables


def test_exclusions_name_events_as_the_log_has_them() -> None:
    from appliers.exclusion import Exclusions

    rules = built(to="people", rename={"id": "pid"})
    event = put_item("shop", {"id": 1}, key="id")
    for rule, left in (('key=shop:{"id":1}', 0), ('key=people:{"pid":1}', 1)):
        fold = folded(rules, event, exclusions=Exclusions([rule]))
        assert len(items(fold, "people")) == left


def test_an_action_of_a_newer_schema_is_not_guessed_at() -> None:
    import msgspec

    event = msgspec.structs.replace(put_item("shop", {"id": 1}, key="id"), schema=2)
    with pytest.raises(UpgradeError):
        folded(built(to="people", drop=("x",)), event, tables=("people",))


# -- declarations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"to": "no"}, "table name"),
        ({"rename": {"a": "x", "b": "x"}}, "two attributes to one"),
        ({"rename": {"a": "a"}}, "to itself"),
        ({"rename": {"a": "_binlog"}}, "attribute '_binlog'"),
        ({"rename": {"a": ""}}, "attribute ''"),
        ({"rename": {"a": "x" * 256}}, "above 255"),
        ({"drop": "card"}, r"give several names: \('card',\)"),
        ({"drop": ("a",), "rename": {"a": "b"}}, "drops 'a', and"),
        ({"drop": ("a",), "redact": {"a": 1}}, "drops 'a', and"),
        ({"redact": {"a": 0.5}}, "float"),
        ({"redact": {"a": set()}}, "empty set"),
        ({"redact": {"a": pseudonym("NOT_SET_ANYWHERE")}}, "NOT_SET_ANYWHERE, is not set"),
    ],
)
def test_refuses_a_declaration_that_contradicts_itself(how: dict[str, Any], what: str) -> None:
    with pytest.raises(RefusedError, match=what):
        built(**how)


def test_refuses_a_second_transform_and_a_short_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Appliers()
    shop.transform("shop", version=1, redact={"a": pseudonym(VARIABLE)})
    with pytest.raises(RefusedError, match="two transforms of table 'shop'"):
        shop.transform("shop", version=2)
    monkeypatch.setenv(VARIABLE, "x" * 15)
    with pytest.raises(RefusedError, match="has 15 bytes"):
        shop.build()


def test_a_secret_is_shown_to_nobody() -> None:
    assert SECRET not in repr(built(redact={"a": pseudonym(VARIABLE)}))
