"""Bulk fold, batch fold and a naive fold, one event at a time: the same items however it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from appliers.applier import ApplierError, Appliers
from appliers.batch import fold_batch
from appliers.exclusion import Exclusions
from appliers.fold import Fold
from appliers.routing import Routing
from binlog.envelope import Envelope, Event
from binlog.errors import PoisonError
from binlog.values import decode_value, encode_value
from tests.appliers_core.fold_support import (
    PARAMS,
    DictStore,
    Impossible,
    Model,
    by_partition,
    cut,
    delete,
    envelope,
    put,
    update,
)

KEYS = st.sampled_from(["a", "b", "c"])
TABLES = st.sampled_from(["things", "other"])
NAMES = st.sampled_from(["n", "s", "t"])
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([10**37, 10**38 - 1, Decimal("0.1"), Decimal("1E-40"), -Decimal("2.5E+60")]),
)
SETS = st.one_of(
    st.frozensets(st.sampled_from("xyz"), min_size=1),
    st.frozensets(st.integers(1, 3), min_size=1),
    st.frozensets(st.sampled_from([b"1", b"2"]), min_size=1),
)
VALUES = st.one_of(NUMBERS, SETS, st.sampled_from(["1", "", None, True, ["l"], {"m": 1}]))
EXPECTS = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 6))


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    change: dict[str, Any] = {}
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        section = draw(st.sampled_from(["Set", "Remove", "Add", "Delete"]))
        if section == "Remove":
            change.setdefault(section, []).append(name)
        else:
            operand = {"Set": VALUES, "Add": st.one_of(NUMBERS, SETS), "Delete": SETS}[section]
            change.setdefault(section, {})[name] = draw(operand)
    return change


EVENTS = st.one_of(
    st.builds(
        lambda key, table, rest, expect: put(key, table=table, expect=expect, **rest),
        KEYS,
        TABLES,
        st.dictionaries(NAMES, VALUES, max_size=2),
        EXPECTS,
    ),
    st.builds(lambda k, t, x: delete(k, table=t, expect=x), KEYS, TABLES, EXPECTS),
    st.builds(
        lambda k, t, c, x: update(k, table=t, expect=x, **c), KEYS, TABLES, changes(), EXPECTS
    ),
    st.builds(
        lambda k, t, n, x: envelope("Added", {"id": k}, {"n": n}, table=t, expect=x),
        KEYS,
        TABLES,
        st.integers(-2, 2),
        EXPECTS,
    ),
    st.builds(lambda k: envelope("Ignored", {"id": k}, None, table="things"), KEYS),
    st.builds(lambda: envelope("binlog.noop", {}, None)),
)
SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=4)

APPLIERS = Appliers()


@APPLIERS.on("Added")
def add(item: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
    total = (item or {}).get("total", 0) + event.data["n"]
    if total == 3:
        raise ApplierError("three")
    return None if total == 0 else {**(item or event.key), "total": total}


class ModelWithAdded(Model):
    def domain(self, item: dict[str, Any] | None, key: dict[str, Any], data: Any) -> Any:
        total = (item or {}).get("total", 0) + data["n"]
        if total == 3:
            raise Impossible
        return None if total == 0 else {**(item or key), "total": total}


RULES = APPLIERS.build()


def expected(events: Sequence[Envelope], excluded: set[int]) -> tuple[Model, int | None]:
    """The model after ``events``, or up to the offset of the first that cannot be applied."""
    model = ModelWithAdded()
    for offset, event in enumerate(events, 1):
        if event.type in ("Ignored", "binlog.noop") or offset in excluded:
            continue
        try:
            model.apply(event, offset)
        except Impossible:
            return model, offset
    return model, None


def encoded(model: Model) -> dict[tuple[str, bytes], tuple[int, bytes | None]]:
    return {
        (table, encode_value({"id": key})): (version, None if item is None else encode_value(item))
        for (table, key), (version, item) in model.items.items()
    }


@settings(max_examples=4 * settings().max_examples)  # an impossible event is in a few of a hundred
@given(
    st.one_of(st.lists(EVENTS, max_size=10), st.lists(EVENTS, min_size=15, max_size=60)),
    SIZES,
    SIZES,
    st.sets(st.integers(1, 12), max_size=2),
)
def test_bulk_and_batch_are_the_naive_fold(
    all_events: list[Envelope], frames: list[int], batches: list[int], excluded: set[int]
) -> None:
    """Items, versions, tombstones, rejections and the first impossible event, for every cut."""
    for partition, events in by_partition(all_events).items():
        rules = [f"offsets={partition}:{offset}" for offset in excluded]
        routing = Routing(PARAMS, rules=RULES, exclusions=Exclusions(rules) if rules else None)
        model, impossible = expected(events, _not_control(events, excluded))
        runs = list(cut(events, frames, partition))

        bulk = Fold(routing)
        found: int | None = None
        try:
            for run in runs:
                bulk.add(run)
        except PoisonError as error:
            found = error.details["offset"]  # type: ignore[assignment]
        assert found == impossible
        if found is None:
            assert bulk_rows(bulk) == encoded(model)
            assert [r.offset for r in bulk.rejections] == model.rejected

        store, rejected, found = DictStore(), [], None
        rest, turn = runs, 0
        while rest and found is None:
            size = batches[turn % len(batches)]
            try:
                rejected += store.apply(routing, rest[:size]).rejections
            except PoisonError as error:
                found = error.details["offset"]  # type: ignore[assignment]
            rest, turn = rest[size:], turn + 1
        assert found == impossible
        if found is None:
            rows = {place: (row.version, row.data) for place, row in store.rows.items()}
            assert rows == encoded(model)
            assert rejected == bulk.rejections
            assert {row.partition for row in store.rows.values()} <= {partition}
        for name, seen in (
            ("impossible event", impossible),
            ("rejection", model.rejected),
            ("exclusion", _not_control(events, excluded)),
        ):
            if seen:
                note(name)


def _not_control(events: Sequence[Envelope], offsets: set[int]) -> set[int]:
    return {o for o in offsets if o <= len(events) and not events[o - 1].is_control}


def bulk_rows(fold: Fold) -> dict[tuple[str, bytes], tuple[int, bytes | None]]:
    return {
        (table, key): (row.version, row.data)
        for table in fold.tables
        for key, row in fold.rows(table)
    }


@given(st.lists(EVENTS, max_size=30), SIZES, st.data())
def test_delivering_again_changes_nothing(
    all_events: list[Envelope], frames: list[int], data: st.DataObject
) -> None:
    """From any earlier run on, applied events are passed over, blind writes fail, no item moves."""
    routing = Routing(PARAMS, rules=RULES)
    for partition, events in by_partition(all_events).items():
        _, impossible = expected(events, set())
        possible = events if impossible is None else events[: impossible - 1]
        model, _ = expected(possible, set())
        runs = list(cut(possible, frames, partition))
        store = DictStore()
        store.apply(routing, runs)
        before = dict(store.rows)
        assert {p: (r.version, r.data) for p, r in before.items()} == encoded(model)
        again = runs[data.draw(st.integers(0, len(runs))) :]
        batch = fold_batch(routing, again, store.read)
        assert all(write.base is None for write in batch.writes), "nothing is folded twice"
        assert store.write(batch.writes) == batch.writes
        assert store.rows == before
        assert fold_batch(routing, again, store.read, read_all=True).writes == []


@given(st.lists(EVENTS, max_size=30), SIZES, st.data())
def test_a_try_after_failed_conditions_ends_in_the_same_items(
    all_events: list[Envelope], frames: list[int], data: st.DataObject
) -> None:
    """Some writes of a batch applied and some not: reading every base repairs it."""
    routing = Routing(PARAMS, rules=RULES)
    for partition, events in by_partition(all_events).items():
        model, impossible = expected(events, set())
        if impossible is not None:
            continue
        runs = list(cut(events, frames, partition))
        store = DictStore()
        half = data.draw(st.integers(0, len(runs)))
        store.apply(routing, runs[:half])
        batch = fold_batch(routing, runs[half:], store.read)
        for write in batch.writes:
            if data.draw(st.booleans()):
                store.write([write])
        store.apply(routing, runs[half:], read_all=True)
        assert {p: (r.version, r.data) for p, r in store.rows.items()} == encoded(model)


@given(st.lists(EVENTS, max_size=30), SIZES)
def test_counts_add_up(events: list[Envelope], frames: list[int]) -> None:
    """Every event is counted once, whichever path its frame took."""
    fold = Fold(Routing(PARAMS))
    for partition, of_partition in by_partition(events).items():
        try:
            for run in cut(of_partition, frames, partition):
                fold.add(run)
        except PoisonError:
            return
    counts = fold.counts
    assert counts.control == sum(e.is_control for e in events)
    assert counts.events == len(events) - counts.control
    assert counts.unrouted == sum(e.type in ("Added", "Ignored") for e in events)
    assert counts.routed == counts.events - counts.unrouted
    assert counts.rejected == len(fold.rejections)
    assert fold.types == {e.type for e in events if e.type in ("Added", "Ignored")}


@pytest.mark.parametrize("value", [Decimal("1.50"), Decimal("1E+2"), 10**37, frozenset("ab")])
def test_items_after_an_update_are_canonical(value: Any) -> None:
    """What is encoded late has the bytes of what is encoded at publish."""
    fold = Fold(Routing(PARAMS))
    for partition, events in by_partition([update("a", Set={"v": value})]).items():
        for run in cut(events, [9], partition):
            fold.add(run)
    [(_, row)] = fold.rows("things")
    assert row.data == encode_value({"id": "a", "v": value})
    assert decode_value(row.data) == {"id": "a", "v": value}
