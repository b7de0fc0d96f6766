"""A transformed fold and a model that transforms events in its own words: equal, however it is cut.

And what is taken out stays out: in no row, no letter and no reason is there anything left of it.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from appliers.applier import Appliers
from appliers.batch import fold_batch
from appliers.fold import Fold
from appliers.item import Row
from appliers.letters import DeadLetter, letter_order, run_of
from appliers.redaction import pseudonym
from appliers.refold import fold_letter
from appliers.routing import Routing
from appliers.transforming import Transformed, failures_of
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.values import decode_value, encode_value
from tests.appliers_core.fold_support import (
    PARAMS,
    DictStore,
    Impossible,
    by_partition,
    cut,
    delete,
    envelope,
    put,
    update,
)
from tests.appliers_core.test_fold_model import EXPECTS, SETS, SIZES, VALUES
from tests.appliers_core.test_parking import Parked

SECRET = "a secret of sixteen bytes"
VARIABLE = "TRANSFORM_MODEL_SECRET"
CONFIDENTIAL = "4711-0815"

# c is dropped, r becomes a constant, p a pseudonym, a and b change places, m is renamed to n.
NAMES = st.sampled_from(["a", "b", "c", "m", "n", "p", "r", "free"])
HIDDEN = st.sampled_from([CONFIDENTIAL, frozenset({CONFIDENTIAL, "x"}), [CONFIDENTIAL]])
KEYS = st.sampled_from(["a", "b", "c"])
TABLES = st.sampled_from(["shop", "shop", "plain"])


def value_of(name: str) -> st.SearchStrategy[Any]:
    return st.one_of(HIDDEN, VALUES) if name in "cpr" else VALUES


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    return {name: draw(value_of(name)) for name in names}


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    change: dict[str, Any] = {}
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        section = draw(st.sampled_from(["Set", "Remove", "Add", "Delete"]))
        if section == "Remove":
            change.setdefault(section, []).append(name)
        elif section == "Set":
            change.setdefault(section, {})[name] = draw(value_of(name))
        else:
            numbers = st.sampled_from([1, -2, Decimal("0.5"), 10**38 - 1])
            operand = st.one_of(numbers, SETS) if section == "Add" else SETS
            change.setdefault(section, {})[name] = draw(operand)
    return change


EVENTS = st.one_of(
    st.builds(lambda k, t, i, x: put(k, table=t, expect=x, **i), KEYS, TABLES, contents(), EXPECTS),
    st.builds(lambda k, t, x: delete(k, table=t, expect=x), KEYS, TABLES, EXPECTS),
    st.builds(
        lambda k, t, c, x: update(k, table=t, expect=x, **c), KEYS, TABLES, changes(), EXPECTS
    ),
)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


def rules(*, hide_key: bool) -> Any:
    shop = Appliers()
    redact: dict[str, Any] = {"r": "-", "p": pseudonym(VARIABLE)}
    if hide_key:
        redact["id"] = pseudonym(VARIABLE)
    shop.transform(
        "shop",
        version=1,
        to="people",
        rename={"a": "b", "b": "a", "m": "n"},
        drop=("c",),
        redact=redact,
    )
    return shop.build()


class Transforming(Parked):
    """The same declaration, written out by hand."""

    def __init__(self, *, hide_key: bool) -> None:
        super().__init__()
        self.hide_key = hide_key

    def token(self, value: Any) -> Any:
        if isinstance(value, frozenset):
            return frozenset(map(self.token, value))
        return hmac.new(SECRET.encode(), encode_value(value), "sha256").hexdigest()[:40]

    def take(self, event: Envelope, offset: int) -> None:
        if event.table == "shop":
            key = decode_value(event.key)
            if self.hide_key:
                key = {"id": self.token(key["id"])}
            event = msgspec.structs.replace(event, table="people", key=encode_value(key))
        super().take(event, offset)

    def apply(self, event: Envelope, offset: int) -> None:
        """Called only for what is not waiting behind something."""
        place = event.table, decode_value(event.key)["id"]
        version, item = self.items.get(place, (0, None))
        if event.expect is not None and event.expect != (0 if item is None else version):
            self.rejected.append(offset)
            return
        if event.table == "people" and event.data is not None:
            data = decode_value(event.data)
            data = self.item(data) if event.type == PUT_ITEM else self.change(data)
            event = msgspec.structs.replace(event, data=encode_value(data, outer=1))
        super().apply(event, offset)

    def item(self, item: dict[str, Any]) -> dict[str, Any]:
        after = {}
        for name, value in item.items():
            if name == "n":
                raise Impossible
            if name == "id" and self.hide_key:
                after["id"] = self.token(value)
            elif name == "p":
                after["p"] = self.token(value)
            elif name == "r":
                after["r"] = "-"
            elif name != "c":
                after[{"a": "b", "b": "a", "m": "n"}.get(name, name)] = value
        return after

    def change(self, change: dict[str, Any]) -> dict[str, Any]:
        after: dict[str, Any] = {"Set": {}, "Remove": [], "Add": {}, "Delete": {}}
        for section, content in change.items():
            for name in content:
                if name == "n":
                    raise Impossible
                if name == "c":
                    continue
                new = {"a": "b", "b": "a", "m": "n"}.get(name, name)
                if section == "Remove":
                    after["Remove"].append(new)
                elif name == "r":
                    if section != "Delete":
                        after["Set"]["r"] = "-"
                elif name == "p":
                    if section == "Add" and not isinstance(content[name], frozenset):
                        raise Impossible
                    after[section]["p"] = self.token(content[name])
                else:
                    after[section][new] = content[name]
        return after


def readings(
    routing: Routing, events: Sequence[Envelope], sizes: list[int], partition: int
) -> tuple[dict[tuple[str, bytes], Row], list[DeadLetter]]:
    """The rows and letters of a store that batches are folded onto, each twice, as after a crash."""
    store = DictStore()
    letters: dict[Any, DeadLetter] = {}
    for run in cut(events, sizes, partition):
        for _ in range(2):
            batch = fold_batch(routing, [run], store.read, parks=True)
            letters.update({letter.place: letter for letter in batch.letters})
            if store.write(batch.writes):
                batch = fold_batch(routing, [run], store.read, read_all=True, parks=True)
                letters.update({letter.place: letter for letter in batch.letters})
                assert not store.write(batch.writes)
    return store.rows, sorted(letters.values(), key=letter_order)


@given(st.lists(EVENTS, max_size=14), SIZES, st.booleans())
def test_every_way_to_fold_agrees_with_the_model(
    events: list[Envelope], sizes: list[int], hide_key: bool
) -> None:
    routing = Routing(PARAMS, rules=rules(hide_key=hide_key))
    for partition, mine in by_partition(events).items():
        model = Transforming(hide_key=hide_key)
        for offset, event in enumerate(mine, 1):
            model.take(event, offset)
        whole = Fold(routing, parks=True)
        for run in cut(mine, sizes, partition):
            whole.add(run)
        rows = {(table, key): row for table in whole.tables for key, row in whole.rows(table)}
        stored, letters = readings(routing, mine, sizes, partition)
        assert rows == stored == model.rows(partition)
        assert sorted(whole.parking.letters, key=letter_order) == letters
        assert [
            (letter.table, letter.key, letter.offset, bool(letter.reason)) for letter in letters
        ] == model.letters()
        assert sorted({r.offset for r in whole.rejections}) == sorted(model.rejected)
        note("parked" if letters else "nothing parked")
        kept = [*(row.data or b"" for row in rows.values()), *(each.event for each in letters)]
        people = [data for data in kept if data]
        if all(event.table == "shop" for event in mine):
            assert not any(CONFIDENTIAL.encode() in data for data in people)


@given(st.lists(EVENTS, min_size=1, max_size=14), SIZES)
def test_a_letter_is_folded_as_it_is_and_never_transformed_again(
    events: list[Envelope], sizes: list[int]
) -> None:
    routing = Routing(PARAMS, rules=rules(hide_key=True))
    for partition, mine in by_partition(events).items():
        fold = Fold(routing, parks=True)
        for run in cut(mine, sizes, partition):
            fold.add(run)
        for letter in fold.parking.letters:
            run = run_of(letter)
            assert routing.transformed(run) is run
            again = Fold(routing, after=None, parks=True)
            again.preload(partition, letter.table, {letter.key: None})
            assert fold_letter(again, letter)
            if letter.table == "people":
                assert type(run) is Transformed
                if failures_of(run):
                    assert run.columns.datas == [None]
                    assert len(again.parking.letters) == 1


def test_the_letter_of_a_failed_transform_holds_nothing_of_the_event() -> None:
    fold = Fold(Routing(PARAMS, rules=rules(hide_key=True)), parks=True)
    event = put(CONFIDENTIAL, table="shop", n=CONFIDENTIAL, free=CONFIDENTIAL)
    meta = encode_value({"by": CONFIDENTIAL})
    event = msgspec.structs.replace(event, meta=meta)
    [(partition, mine)] = by_partition([event]).items()
    for run in cut(mine, [1], partition):
        fold.add(run)
    [letter] = fold.parking.letters
    assert "arrives as 'n'" in letter.reason
    assert CONFIDENTIAL not in repr(letter)
    [(_, row)] = fold.rows("people")
    assert row.parked
    assert row.data is None


@pytest.mark.parametrize("event_type", [PUT_ITEM, UPDATE_ITEM, DELETE_ITEM])
def test_an_action_without_its_data_is_refused_and_not_met_with_an_exception(
    event_type: str,
) -> None:
    """A log may have been written by other hands."""
    routing = Routing(PARAMS, rules=rules(hide_key=False))
    for data in (None, 1, [1], {"Set": 1}, {"Remove": [{"a": 1}]}):
        event = envelope(event_type, {"id": "x"}, data, table="shop")
        if data is None:
            event = msgspec.structs.replace(event, data=None)
        fold = Fold(routing, parks=True)
        [(partition, mine)] = by_partition([event]).items()
        for run in cut(mine, [1], partition):
            fold.add(run)
        is_fine = (
            event_type == DELETE_ITEM
            if data is None
            else (event_type == PUT_ITEM and type(data) is dict)
        )
        assert len(fold.parking.letters) == (0 if is_fine else 1), (event_type, data)
