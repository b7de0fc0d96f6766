"""The world's model and the fold agree about transforms, each with code of its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.applier import ApplierError, Appliers, Rules
from appliers.fold import Fold
from appliers.redaction import pseudonym
from appliers.routing import Routing
from binlog.envelope import Envelope, Event
from binlog.testing.world.tables import Tables
from tests.appliers_core.fold_support import PARAMS, by_partition, cut, envelope
from tests.appliers_core.test_fold_model import SIZES
from tests.appliers_core.test_transform_model import EVENTS, VARIABLE


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sixteen bytes or more")


def all_rules(*, merge: bool, hide_key: bool) -> Rules:
    shop = Appliers()
    redact: dict[str, Any] = {"r": frozenset({"-"}), "p": pseudonym(VARIABLE)}
    if hide_key:
        redact["id"] = pseudonym(VARIABLE)
    shop.transform(
        "shop",
        version=1,
        to="plain" if merge else "people",
        rename={"a": "b", "b": "a", "m": "n"},
        drop=("c",),
        redact=redact,
    )
    if merge:
        shop.table("plain", owner=lambda key: ("shop" if key["id"] < "b" else "plain", key))

    @shop.transforms("Paid")
    def lay(event: Event) -> Event | None:
        match event.data["n"]:
            case 0:
                return None
            case 1:
                raise ApplierError("one")
            case 2:
                return msgspec.structs.replace(event, table="people")
        return msgspec.structs.replace(event, data={"n": event.data["n"] * 2})

    @shop.on("Paid")
    def pay(item: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
        if event.data["n"] == 10:
            raise ApplierError("ten")
        return {**(item or event.key), "paid": event.data["n"]}

    return shop.build()


PAID = st.builds(
    lambda key, n, table: envelope("Paid", {"id": key}, {"n": n}, table=table),
    st.sampled_from("abc"),
    st.integers(0, 6),
    st.sampled_from(["shop", "people", "plain"]),
)


@given(st.lists(st.one_of(EVENTS, PAID), max_size=14), SIZES, st.booleans(), st.booleans())
def test_the_model_agrees_with_the_fold(
    events: list[Envelope], sizes: list[int], merge: bool, hide_key: bool
) -> None:
    rules = all_rules(merge=merge, hide_key=hide_key)
    model = Tables(rules, PARAMS.partitions, parks=True)
    fold = Fold(Routing(PARAMS, rules=rules), parks=True)
    for partition, mine in by_partition(events).items():
        for offset, event in enumerate(mine, 1):
            model.apply(partition, offset, event)
        for run in cut(mine, sizes, partition):
            fold.add(run)
    live = {
        (table, key): (cell.version, cell.data)
        for table, cells in model.cells.items()
        for key, cell in cells.items()
    }
    assert live == {
        (table, key): (row.version, row.data)
        for table in fold.tables
        for key, row in fold.rows(table)
        if row.version
    }
    letters = fold.parking.letters
    waiting = {(*place, *each) for place, where in model.waiting.items() for each in where}
    assert waiting == {(x.table, x.key, x.partition, x.offset) for x in letters if not x.alone}
    assert set(model.alone) == {(x.table, x.partition, x.offset) for x in letters if x.alone}
    assert sorted((r.partition, r.offset) for r in model.refused) == sorted(
        (r.partition, r.offset) for r in fold.rejections
    )
