"""The reference's tables: their meaning by example, and their agreement with the fold."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.applier import NO_RULES, ApplierError, Appliers, Rules
from appliers.fold import Fold
from appliers.item import Rejection
from appliers.ownership import by_key
from appliers.routing import Routing
from binlog.columns import columns_of
from binlog.envelope import DELETE_ITEM, ITEM_TYPES, PUT_ITEM, UPDATE_ITEM, Envelope, Event
from binlog.errors import PoisonError, UpgradeError
from binlog.frame import Session
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.run import Run
from binlog.testing.world.item_events import NESTED, NUMBERS, item_event
from binlog.testing.world.tables import Place, Poison, Refused, Tables
from binlog.values import ITEM_BYTES_FREE, decode_value, encode_value
from tests.proofs.budget import assert_met

PARAMS = Params(log_id="7a" * 16, partitions=2)
SESSION = Session(b"s" * 16, 3)


def envelope(kind: str, key: Any, data: Any = None, **more: Any) -> Envelope:
    fields: dict[str, Any] = {"id": "i", "schema": 1, "table": "orders", **more}
    packed = None if data is None else encode_value(data, outer=2)
    return Envelope(type=kind, key=encode_value(key), data=packed, **fields)


def update(change: Any) -> Envelope:
    return envelope(UPDATE_ITEM, {"id": "a"}, change)


def folded(*events: Envelope, rules: Rules = NO_RULES) -> Tables:
    tables = Tables(rules)
    for offset, event in enumerate(events, 1):
        tables.apply(0, offset, event)
    return tables


def item(tables: Tables, key: Any, table: str = "orders") -> Any:
    cell = tables.cell(table, encode_value(key))
    assert cell is not None
    assert cell.data == (None if cell.item is None else encode_value(cell.item))
    return cell.item


# -- by example ------------------------------------------------------------------------------

FULL = {"id": "a", "n": 5, "s": frozenset({"x", "y"}), "b": frozenset({b"1"}), "z": None}


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({}, FULL),
        ({"Set": {"n": "text", "new": [1]}}, {**FULL, "n": "text", "new": [1]}),
        ({"Remove": ["n", "absent"]}, {k: v for k, v in FULL.items() if k != "n"}),
        ({"Add": {"n": Decimal("0.5"), "m": -1}}, {**FULL, "n": Decimal("5.5"), "m": -1}),
        ({"Add": {"n": -5}}, {**FULL, "n": 0}),
        ({"Add": {"s": frozenset({"z"}), "t": frozenset({1})}},
         {**FULL, "s": frozenset({"x", "y", "z"}), "t": frozenset({1})}),
        ({"Delete": {"s": frozenset({"x"}), "gone": frozenset({1})}},
         {**FULL, "s": frozenset({"y"})}),
        ({"Delete": {"s": frozenset({"x", "y", "z"})}},
         {k: v for k, v in FULL.items() if k != "s"}),
    ],
)  # fmt: skip
def test_an_update_means_what_dynamodb_means(change: Any, after: Any) -> None:
    tables = folded(envelope(PUT_ITEM, {"id": "a"}, FULL), update(change))
    assert item(tables, {"id": "a"}) == after
    assert tables.rows("orders")[encode_value({"id": "a"})] == (2, 0, encode_value(after))


@pytest.mark.parametrize(
    "change",
    [
        {"Set": {"id": "b"}},
        {"Remove": ["id"]},
        {"Set": {"n": 1}, "Remove": ["n"]},
        {"Set": {"_binlog": 1}},
        {"Update": {"n": 1}},
        {"Set": ["n"]},
        {"Remove": [1]},
        {"Remove": ["n", "n"]},
        {"Add": {"n": "1"}},
        {"Add": {"n": True}},
        {"Add": {"s": 1}},
        {"Add": {"z": 1}},
        {"Add": {"n": frozenset({1})}},
        {"Add": {"s": frozenset({b"x"})}},
        {"Add": {"n": Decimal("1E-38")}},
        {"Add": {"n": 10**38}},
        {"Delete": {"s": frozenset({1})}},
        {"Delete": {"n": frozenset({1})}},
        {"Delete": {"n": 1}},
        {"Set": {"big": "x" * ITEM_BYTES_FREE}},
        [],
    ],
)
def test_an_update_that_does_not_fit_is_poison_and_changes_nothing(change: Any) -> None:
    tables = folded(envelope(PUT_ITEM, {"id": "a"}, FULL))
    before = tables.rows("orders")
    with pytest.raises(Poison) as caught:
        tables.apply(0, 2, update(change))
    assert not caught.value.declared
    assert tables.rows("orders") == before
    assert tables.vector == {0: 1}


def test_expected_versions_are_compared_and_noted_once() -> None:
    key = {"id": "a"}
    tables = folded(
        envelope(PUT_ITEM, key, {"id": "a"}, expect=1),
        envelope(PUT_ITEM, key, {"id": "a"}, expect=0),
        envelope(DELETE_ITEM, key, expect=2),
        envelope(PUT_ITEM, key, {"id": "a"}, expect=3),
    )
    packed = encode_value(key)
    assert tables.refused == [
        Refused(0, 1, "orders", packed, "i", 1, 0),
        Refused(0, 4, "orders", packed, "i", 3, 0),
    ]
    assert tables.rows("orders") == {packed: (3, 0, None)}


def test_an_event_twice_is_a_mistake_of_the_judge() -> None:
    tables = folded(update({}), update({}))
    with pytest.raises(ValueError, match="2 after 2"):
        tables.apply(0, 2, update({}))


# -- the user's rules ------------------------------------------------------------------------


def shop() -> Rules:
    """Rules that use all there is: upcasters, key, keys, owners, the third argument, errors."""
    rules = Appliers()

    @rules.on("Counted", owner=by_key, table="counts")
    def count(item: dict[str, Any] | None, event: Event, key: dict[str, Any]) -> dict[str, Any]:
        event.data["seen"] = True  # its own copy
        number = (item or {}).get("n", 0) + event.data["by"]
        key["n"] = number
        key["last"] = event.offset, event.number, event.session, event.arrival_ms
        return {**key, "last": [*key["last"], event.schema, event.data["unit"]]}

    @rules.upcaster("Counted", from_version=1)
    def unit(data: Any) -> Any:
        return {**data, "unit": "one"}

    @rules.upcaster("Counted", from_version=2)
    def half(data: Any) -> Any:
        data["by"] = data["by"] * 2
        return data

    def ends(event: Event) -> list[dict[str, Any]]:
        data, event.data["from"] = dict(event.data), "changed by the key function"
        return [{"id": data["from"]}, {"id": data["to"]}][: data.get("ends", 2)]

    @rules.on("Moved", table="places", keys=ends, owner=lambda _key: ("", {"id": "all"}))
    def move(item: dict[str, Any] | None, event: Event, key: dict[str, Any]) -> Any:
        if event.data.get("end") == key["id"]:
            return None
        if event.data.get("forbidden"):
            raise ApplierError("moved against the rules")
        if event.data.get("bad"):
            return [{}, {"id": "other"}, [], {**key, "_binlog": 1}, {"n": 0.5}][event.data["bad"]]
        known = [] if item is None else item["of"]
        known.append(event.data["from"])
        return {**key, "of": known}

    @rules.on("Noted", key=lambda event: {"id": event.data["about"]})
    def note(item: dict[str, Any] | None, event: Event) -> dict[str, Any]:
        return {"id": event.data["about"], "notes": event.meta and event.meta["n"]}

    return rules.build()


def moved(key: Any, data: Any, kind: str = "Moved", **more: Any) -> Envelope:
    return envelope(kind, key, data, **{"table": "", **more})


def test_a_rule_gets_upcast_copies_and_the_record_as_it_was() -> None:
    tables = Tables(shop())
    event = moved({"id": "c"}, {"by": 3}, "Counted")
    places = tables.apply(0, 1, event, arrival_ms=77, session=SESSION, number=9)
    assert places == (("counts", encode_value({"id": "c"})),)
    wanted = {"id": "c", "n": 6, "last": [1, 9, str(SESSION), 77, 3, "one"]}
    assert item(tables, {"id": "c"}, "counts") == wanted
    tables.apply(0, 2, moved({"id": "c"}, {"by": 3, "unit": "two"}, "Counted", schema=3))
    assert item(tables, {"id": "c"}, "counts")["n"] == 9


def test_an_event_of_several_items_is_applied_to_all_or_none() -> None:
    whole = {"id": "all"}
    tables = Tables(shop())
    assert len(tables.apply(0, 1, moved(whole, {"from": "a", "to": "b"}))) == 2
    assert item(tables, {"id": "b"}, "places") == {"id": "b", "of": ["a"]}
    before = tables.rows("places")
    late = {"from": "c", "to": "b", "forbidden": 1}
    with pytest.raises(Poison, match=r"^moved against the rules$") as caught:
        tables.apply(0, 2, moved(whole, late, expect=0))
    assert caught.value.declared
    assert tables.rows("places") == before
    assert not tables.refused
    tables.apply(0, 2, moved(whole, {"from": "a", "to": "b", "end": "a"}))
    assert item(tables, {"id": "a"}, "places") is None
    assert item(tables, {"id": "b"}, "places") == {"id": "b", "of": ["a", "a"]}


@pytest.mark.parametrize(
    "event",
    [
        moved({"id": "all"}, {"from": "a", "to": "a"}),
        moved({"id": "all"}, {"from": "a"}),
        moved({"id": "all"}, {"from": "a", "to": None}),
        *(moved({"id": "all"}, {"from": "a", "to": "b", "bad": n}) for n in (1, 2, 3, 4)),
        moved({"id": "c"}, {"by": "text"}, "Counted"),
        moved({"id": "c"}, None, "Counted"),
        moved({"id": "c"}, {"by": 1}, "Counted", schema=4),
        moved({"id": "c"}, {"about": "x"}, "Noted"),
    ],
)
def test_whatever_goes_wrong_in_the_users_code_is_poison(event: Envelope) -> None:
    tables = Tables(shop())
    with pytest.raises(Poison) as caught:
        tables.apply(0, 1, event)
    assert not caught.value.declared
    assert not tables.cells


def test_an_item_is_touched_by_its_owners_partition_only() -> None:
    own = partition_of(ordering_key("", encode_value({"id": "all"})), 2)
    event = moved({"id": "all"}, {"from": "a", "to": "b"})
    Tables(shop(), partitions=2).apply(own, 1, event)
    with pytest.raises(Poison, match="another partition"):
        Tables(shop(), partitions=2).apply(1 - own, 1, event)


# -- as the fold does it ---------------------------------------------------------------------

RULES = shop()
names = st.sampled_from(["a", "b", "all"])
domain = st.one_of(
    st.builds(
        lambda key, by, schema, expect: moved(
            {"id": key}, {"by": by, "unit": "u"}, "Counted", schema=schema, expect=expect
        ),
        names,
        st.sampled_from([*NUMBERS, "text"]),
        st.integers(1, 4),
        st.sampled_from([None, None, 0, 1, 2, 3]),
    ),
    st.builds(
        lambda data, extra, expect: moved({"id": "all"}, {**data, **extra}, expect=expect),
        st.fixed_dictionaries({"from": names, "to": names}, optional={"ends": st.integers(0, 1)}),
        st.sampled_from([{}, {}, {}, {"end": "a"}, {"forbidden": 1}, {"bad": 1}, {"bad": 4}]),
        st.sampled_from([None, None, None, 0, 2]),
    ),
    st.builds(
        lambda about, table, meta: envelope(
            "Noted", {"id": about}, {"about": about}, table=table, meta=meta
        ),
        names,
        st.sampled_from(["orders", "notes", ""]),
        st.sampled_from([None, encode_value({"n": 1})]),
    ),
    st.builds(moved, st.just({"id": "a"}), st.none(), st.sampled_from(["Unknown", "binlog.noop"])),
)
attribute = st.sampled_from(["id", "n", "s", "m", "_binlog"])
operand = st.sampled_from([*NUMBERS, *NESTED, frozenset({"x"}), frozenset({1}), 10**37])
hostile = st.builds(
    lambda key, change: envelope(UPDATE_ITEM, {"id": key}, change),
    st.sampled_from(["a", "b", "c"]),
    st.fixed_dictionaries(
        {},
        optional={
            "Set": st.dictionaries(attribute, operand, max_size=2),
            "Add": st.dictionaries(attribute, operand, max_size=2),
            "Remove": st.lists(attribute, max_size=2),
            "Delete": st.dictionaries(attribute, operand, max_size=2),
        },
    ),
)
built_in = st.builds(item_event, *[st.integers(0, 255)] * 3)
events = st.lists(st.one_of(built_in, built_in, hostile, domain), min_size=15, max_size=60)
Numbered = tuple[int, int, Envelope]  # partition and offset


def run_of(numbered: list[Numbered]) -> Run:
    [partition] = {partition for partition, _, _ in numbered}
    columns = columns_of([event for _, _, event in numbered])
    first = numbered[0][1]
    return Run(partition, first, columns, range(first, first + len(numbered)), SESSION, 55, first)


def folded_in_batches(numbered: list[Numbered], size: int) -> Fold:
    fold = Fold(Routing(PARAMS, rules=RULES))
    for partition in range(PARAMS.partitions):
        mine = [entry for entry in numbered if entry[0] == partition]
        for i in range(0, len(mine), size):
            fold.add(run_of(mine[i : i + size]))
    return fold


def noted(refused: list[Refused] | list[Rejection]) -> set[tuple[object, ...]]:
    return {(r.partition, r.offset, r.table, r.key, r.id, r.expected, r.found) for r in refused}


def compare(events: list[Envelope], size: int, met: Counter[str]) -> None:
    """Events go to the partition of their key, and some to the other one."""
    tables = Tables(RULES, partitions=PARAMS.partitions)
    good: list[Numbered] = []
    for number, event in enumerate(events):
        own = partition_of(ordering_key(event.table, event.key), PARAMS.partitions)
        partition = own if number % 13 else 1 - own
        offset = tables.vector.get(partition, 0) + 1
        entry = partition, offset, event
        places: tuple[Place, ...] = ()
        poison = None
        try:
            places = tables.apply(partition, offset, event, 55, SESSION, offset)
        except Poison as error:
            poison = error
        if poison is None:
            good.append(entry)
            met["several items"] += len(places) > 1
            met[event.type] += bool(places)
            continue
        met["declared" if poison.declared else "poison"] += 1
        with pytest.raises((PoisonError, UpgradeError), match=f"offset {offset}") as caught:
            folded_in_batches([*good, entry], size)
        if poison.declared:
            assert caught.value.details["reason"] == poison.reason
    fold = folded_in_batches(good, size)
    assert tables.names() == fold.tables
    for table in tables.names():
        found = {key: (row.version, row.partition, row.data) for key, row in fold.rows(table)}
        assert found == tables.rows(table)
        met["deleted"] += sum(data is None for _, _, data in found.values())
    assert noted(tables.refused) == noted(fold.rejections)
    assert len(tables.refused) == len(fold.rejections)
    met["refused"] += len(tables.refused)


def test_the_fold_gives_the_same_tables() -> None:
    """Two ways that share nothing but values: batches, plans and short ways change nothing."""
    met: Counter[str] = Counter()

    @given(events, st.sampled_from([1, 2, 5, 50]))
    def holds(events: list[Envelope], size: int) -> None:
        compare(events, size, met)

    holds()
    assert_met(met, ["declared", "poison", "several items", "deleted", "refused",
                     "Counted", "Moved", "Noted", *ITEM_TYPES])  # fmt: skip


def test_it_is_cheap_enough_to_judge_every_event() -> None:
    """A budget, generous: what costs ten times as much is no longer run on every event.

    Of CPU time, in the best of some rounds: others on the machine only ever add to it.
    """
    made = [item_event(n * 7 % 251, n * 11 % 253, n * 13 % 255) for n in range(4_000)]
    best = 1e9
    for _ in range(30):
        started = process_time()
        tables = folded(*made)
        for name in tables.names():
            tables.rows(name)
        best = min(best, process_time() - started)
        if best / len(made) < 60e-6:
            break
    print(f"tables: {best / len(made) * 1e6:.1f} us an event")
    assert best / len(made) < 60e-6


def test_cells_of_a_put_are_read_only_views_of_its_bytes() -> None:
    tables = folded(envelope(PUT_ITEM, {"id": "a"}, FULL))
    [(table, key, cell)] = list(tables)
    assert (table, decode_value(key), cell.deleted) == ("orders", {"id": "a"}, False)
    assert "Cell(1, 0" in repr(cell)
