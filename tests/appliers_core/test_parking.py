"""A fold that parks: what fits no item waits in order, everything else flows on, however it is cut."""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Mapping, Sequence
from decimal import InvalidOperation
from typing import Any

import msgspec
import pytest
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from appliers.applier import ApplierError, Appliers
from appliers.batch import fold_batch
from appliers.exclusion import Exclusions
from appliers.fold import Fold
from appliers.item import Row
from appliers.letters import DeadLetter, letter_order, run_of
from appliers.ownership import by_key
from appliers.poison import is_of_the_event
from appliers.routing import Routing
from binlog.envelope import DELETE_ITEM, PUT_ITEM, Envelope, Event
from binlog.errors import BusyError, DamageError, PoisonError, RefusedError, StorageError
from binlog.values import decode_value, encode_value
from tests.appliers_core.fold_support import (
    PARAMS,
    DictStore,
    Impossible,
    by_partition,
    cut,
    envelope,
    partition_for,
    put,
    update,
)
from tests.appliers_core.fold_support import run_of as run_with
from tests.appliers_core.test_fold_model import EVENTS, RULES, SIZES, ModelWithAdded

ONE = msgspec.structs.replace(PARAMS, partitions=1)
Place = tuple[str, str]


class Parked(ModelWithAdded):
    """The same, one event at a time: a place that an event did not fit takes no more of them."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[Place, list[int]] = {}

    def take(self, event: Envelope, offset: int) -> None:
        if event.type in ("Ignored", "binlog.noop"):
            return
        place = event.table, decode_value(event.key)["id"]
        if place in self.waiting:
            self.waiting[place].append(offset)
            return
        try:
            self.apply(event, offset)
        except Impossible:
            self.waiting[place] = [offset]

    def rows(self, partition: int) -> dict[tuple[str, bytes], Row]:
        found = {}
        for place in {*self.items, *self.waiting}:
            version, item = self.items.get(place, (0, None))
            waiting = self.waiting.get(place, [])
            data = None if item is None else encode_value(item)
            tail = waiting[-1] if waiting else 0
            row = Row(version, partition, data, parked=bool(waiting), tail=tail)
            found[place[0], encode_value({"id": place[1]})] = row
        return found

    def letters(self) -> list[tuple[str, bytes, int, bool]]:
        """Table, key, offset, and whether there is a reason."""
        return sorted(
            (table, encode_value({"id": key}), offset, offset == waiting[0])
            for (table, key), waiting in self.waiting.items()
            for offset in waiting
        )


class LetterStore(DictStore):
    """With the letters in a dict beside the rows; only what is durable, in the order that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.letters: dict[Any, DeadLetter] = {}

    def work(
        self,
        routing: Routing,
        runs: Sequence[Any],
        *,
        read_all: bool = False,
        parked: Mapping[str, set[bytes]] | None = None,
    ) -> dict[str, set[bytes]]:
        """As a consumer does: again, with all of it read, where a condition failed."""
        for again in (read_all, True, True):
            batch = fold_batch(
                routing, runs, self.read, read_all=again, parks=True, parked=parked or {}
            )
            self.letters.update((letter.place, letter) for letter in batch.letters)
            if not self.write(batch.writes):
                return batch.parked
        raise AssertionError("a condition fails for ever")

    def listed(self) -> list[tuple[str, bytes, int, bool]]:
        return [
            (letter.table, letter.key, letter.offset, bool(letter.reason))
            for letter in sorted(self.letters.values(), key=letter_order)
        ]


def model_of(events: Sequence[Envelope]) -> Parked:
    model = Parked()
    for offset, event in enumerate(events, 1):
        model.take(event, offset)
    return model


MANY = st.one_of(st.lists(EVENTS, max_size=10), st.lists(EVENTS, min_size=15, max_size=60))


@given(MANY, SIZES, SIZES, st.booleans())
def test_bulk_and_batch_park_alike(
    all_events: list[Envelope], frames: list[int], batches: list[int], remembers: bool
) -> None:
    """A rebuild that parks and a replica that parks have the same rows, marks, tails and letters."""
    routing = Routing(PARAMS, rules=RULES)
    for partition, events in by_partition(all_events).items():
        model = model_of(events)
        runs = list(cut(events, frames, partition))
        bulk = Fold(routing, parks=True)
        for run in runs:
            bulk.add(run)
        rows = {(t, key): row for t in bulk.tables for key, row in bulk.rows(t)}
        assert rows == model.rows(partition)
        assert [x.offset for x in bulk.rejections] == model.rejected
        found = [(x.table, x.key, x.offset, bool(x.reason)) for x in bulk.parking.letters]
        assert sorted(found) == model.letters()
        assert bulk.counts.parked == sum(map(len, model.waiting.values()))

        store, rest, turn = LetterStore(), runs, 0
        known: dict[str, set[bytes]] = {}
        while rest:
            size = batches[turn % len(batches)]
            parked = store.work(routing, rest[:size], parked=known)
            if remembers:
                for table, keys in parked.items():
                    known.setdefault(table, set()).update(keys)
            rest, turn = rest[size:], turn + 1
        assert store.rows == rows
        assert store.listed() == model.letters()
        if model.waiting:
            note("parked")
        if any(len(waiting) > 2 for waiting in model.waiting.values()):
            note("several wait")


@given(MANY, SIZES, st.data())
def test_what_crashed_in_the_middle_is_parked_again_to_the_same(
    all_events: list[Envelope], frames: list[int], data: st.DataObject
) -> None:
    """Letters durable and some marks not, or delivered again from any earlier run: nothing differs."""
    routing = Routing(PARAMS, rules=RULES)
    for partition, events in by_partition(all_events).items():
        model = model_of(events)
        runs = list(cut(events, frames, partition))
        store = LetterStore()
        half = data.draw(st.integers(0, len(runs)))
        store.work(routing, runs[:half])
        batch = fold_batch(routing, runs[half:], store.read, parks=True)
        for letter in batch.letters:
            store.letters[letter.place] = letter
        for write in batch.writes:
            if data.draw(st.booleans()):
                store.write([write])
        store.work(routing, runs[data.draw(st.integers(0, half)) :])
        assert store.rows == model.rows(partition)
        assert store.listed() == model.letters()


# -- one by one ------------------------------------------------------------------------------------


def parked(*frames: Sequence[Envelope], routing: Routing | None = None) -> Fold:
    fold = Fold(routing or Routing(ONE), parks=True)
    first = 1
    for events in frames:
        fold.add(run_with(list(events), partition=0, first=first))
        first += len(events)
    return fold


def no_data(event: Envelope) -> Envelope:
    return msgspec.structs.replace(event, data=None)


def rows_in(fold: Fold, table: str = "things") -> dict[str, tuple[int, bool, int]]:
    return {
        decode_value(k)["id"]: (row.version, row.parked, row.tail) for k, row in fold.rows(table)
    }


def test_the_rest_of_a_frame_flows_on() -> None:
    bad = update("a", Add={"n": 1})
    fold = parked([put("a", n="x"), bad, put("b"), put("a"), update("b", Add={"n": 1})], [put("a")])
    assert rows_in(fold) == {"a": (1, True, 6), "b": (5, False, 0)}
    assert [(x.offset, bool(x.reason)) for x in fold.parking.letters] == [
        (2, True),
        (4, False),
        (6, False),
    ]
    assert fold.counts.parked == 3
    assert fold.counts.events == fold.counts.routed == 6


@pytest.mark.parametrize(
    "bad", [no_data(put("a")), envelope(DELETE_ITEM, {"id": "a"}, {"x": 1}, table="things")]
)
def test_the_first_event_of_a_key_may_be_the_one(bad: Envelope) -> None:
    """A put that is none says nothing of the store's content, which stays: it is read first."""
    assert rows_in(parked([bad, put("a")])) == {"a": (0, True, 2)}
    store = LetterStore()
    store.work(Routing(ONE), [run_with([put("a", n=1)], partition=0)])
    store.work(Routing(ONE), [run_with([bad, put("a"), put("b")], partition=0, first=2)])
    assert store.rows["things", encode_value({"id": "a"})] == Row(
        1, 0, encode_value({"id": "a", "n": 1}), parked=True, tail=3
    )


def test_an_expectation_that_is_not_met_is_no_poison() -> None:
    fold = parked([put("a"), put("a", expect=7), put("a", n=2)])
    assert rows_in(fold) == {"a": (3, False, 0)}
    assert [x.offset for x in fold.rejections] == [2]
    assert not fold.parking.letters


def test_an_expectation_of_a_parked_item_waits_with_it() -> None:
    """Nobody can say what version the item will have."""
    fold = parked([put("a", n="x"), update("a", Add={"n": 1}), put("a", expect=1)])
    assert not fold.rejections
    assert [x.offset for x in fold.parking.letters] == [2, 3]


def test_an_excluded_event_does_not_wait() -> None:
    routing = Routing(ONE, exclusions=Exclusions(["offsets=0:3-3"]))
    fold = parked([put("a", n="x"), update("a", Add={"n": 1}), put("a"), put("a")], routing=routing)
    assert [x.offset for x in fold.parking.letters] == [2, 4]


def split_rules(**more: Any) -> Any:
    appliers = Appliers()

    @appliers.on("Split", table="things", keys=lambda e: [{"id": i} for i in e.data], **more)
    def split(item: Any, event: Event, key: dict[str, Any]) -> dict[str, Any]:
        if key["id"] == "bad":
            raise ApplierError("not this one")
        return {**key, "n": event.offset}

    return appliers.build()


def test_of_an_event_of_several_items_one_is_parked() -> None:
    split = [
        envelope("Split", {"id": "x"}, names, table="things")
        for names in (["a", "bad", "b"], ["a", "bad"], ["bad"])
    ]
    fold = parked(split[:1], split[1:], routing=Routing(ONE, rules=split_rules()))
    assert rows_in(fold) == {"a": (2, False, 0), "b": (1, False, 0), "bad": (0, True, 3)}
    assert [(x.offset, x.reason) for x in fold.parking.letters] == [
        (1, "not this one"),
        (2, ""),
        (3, ""),
    ]
    assert fold.counts.parked == 3


def theirs_and_ours() -> tuple[str, str]:
    names = "abcdefgh"
    theirs = next(k for k in names if partition_for(put(k)) != 0)
    return theirs, next(k for k in names if partition_for(put(k)) == 0)


@pytest.mark.parametrize("kind", ["put", "update"])
@pytest.mark.parametrize("slow", [False, True])
def test_an_event_of_another_partitions_item_stands_alone(kind: str, slow: bool) -> None:
    """It may park nothing: its own partition's events, which own the item, go on."""
    theirs, ours = theirs_and_ours()
    make = put if kind == "put" else update
    events = [make(theirs), put(ours, expect=0 if slow else None), make(theirs)]
    routing = Routing(PARAMS)
    fold = Fold(routing, parks=True)
    fold.add(run_with(events, partition=0))
    assert rows_in(fold) == {ours: (2, False, 0)}
    assert [(x.offset, x.alone) for x in fold.parking.letters] == [(1, True), (3, True)]
    assert "belongs to events of" in fold.parking.letters[0].reason
    store = LetterStore()
    store.work(routing, [run_with(events, partition=0)])
    assert list(store.rows) == [("things", encode_value({"id": ours}))]
    assert [offset for _, _, offset, _ in store.listed()] == [1, 3]


def test_an_event_without_a_table_stands_alone_where_all_tables_are_followed() -> None:
    """One that wants certain tables has nothing to do with it."""
    events = [put("a", table=""), put("b")]
    fold = parked(events)
    [letter] = fold.parking.letters
    assert (letter.table, letter.key, letter.alone) == ("", encode_value({"id": "a"}), True)
    assert rows_in(fold) == {"b": (2, False, 0)}
    assert fold.tables == {"things"}
    fold = parked(events, routing=Routing(ONE, tables=["things"]))
    assert not fold.parking.letters
    assert rows_in(fold) == {"b": (2, False, 0)}


def test_an_event_whose_keys_cannot_be_told_stands_alone() -> None:
    """And those behind it, of whichever items they may be, go on."""
    appliers = Appliers()

    @appliers.on("Moved", table="things", key=lambda e: {"id": e.data["to"]}, owner=by_key)
    def moved(item: Any, event: Event, key: dict[str, Any]) -> dict[str, Any]:
        return {**key, "n": 1}

    rules = appliers.build()
    events = [
        envelope("Moved", {"id": "a"}, {}),
        envelope("Moved", {"id": "a"}, {"to": "a"}),
    ]
    fold = parked(events, routing=Routing(ONE, rules=rules))
    [letter] = fold.parking.letters
    assert (letter.table, letter.key, letter.alone) == ("things", encode_value({"id": "a"}), True)
    assert rows_in(fold) == {"a": (2, False, 0)}
    store = LetterStore()
    store.work(Routing(ONE, rules=rules), [run_with(events, partition=0)])
    assert len(store.letters) == len(store.rows) == 1


def test_what_waits_can_be_folded_again_without_the_log() -> None:
    """A letter carries all that an applier may look at."""
    seen: list[Event] = []
    appliers = Appliers()

    @appliers.on("Seen", table="things")
    def look(item: Any, event: Event) -> dict[str, Any]:
        seen.append(event)
        raise ApplierError("no")

    routing = Routing(ONE, rules=appliers.build())
    event = Envelope(
        "i", "Seen", 1, "things", encode_value({"id": "a"}), encode_value([1]),
        encode_value({"m": 2}), 0, 77,
    )  # fmt: skip
    run = run_with([put("b"), event], partition=0)
    fold = Fold(routing, parks=True)
    fold.add(run)
    [letter] = fold.parking.letters
    again = Fold(routing, after=None, parks=True)
    again.preload(0, "things", {letter.key: None})
    again.add(run_of(letter))
    assert seen[0] == seen[1]
    assert again.parking.letters == [letter]


def test_a_letter_that_is_damaged_says_where() -> None:
    letter = DeadLetter("things", 3, b"k", 5, False, "i", PUT_ITEM, "", b"\xc1")
    with pytest.raises(DamageError, match="partition 3, offset 5"):
        run_of(letter)


# -- whose doing ------------------------------------------------------------------------------------

OF_THE_EVENT = [
    ApplierError("said"),
    type("Mine", (ApplierError,), {})("declared"),
    RefusedError("refused"),
    KeyError("absent"),
    IndexError(),
    ZeroDivisionError(),
    InvalidOperation(),
    TypeError(),
    ValueError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    AttributeError("'NoneType'"),
    AssertionError(),
    StopIteration(),
]
OF_OTHERS = [
    OSError("disk"),
    TimeoutError(),
    ConnectionResetError(),
    socket.gaierror("name"),
    ssl.SSLCertVerificationError("both a ValueError and an OSError"),
    RecursionError(),
    ImportError(),
    NameError(),
    NotImplementedError(),
    RuntimeError(),
    zlib.error("a class of a library"),
    Exception("anything"),
    BusyError("later"),
    StorageError("full"),
]


def raising(error: BaseException, where: str) -> Routing:
    appliers = Appliers()

    def fail(*_: Any) -> Any:
        raise error

    if where == "upcaster":
        appliers.upcaster("Odd", 1)(fail)
    options: dict[str, Any] = {"key": fail} if where == "key" else {}
    owner = fail if where == "owner" else None

    @appliers.on("Odd", table="things", owner=owner, **options)
    def apply(item: Any, event: Event) -> dict[str, Any]:
        made: dict[str, Any] = fail() if where == "applier" else {**event.key}
        return made

    return Routing(ONE, rules=appliers.build())


@pytest.mark.parametrize("where", ["applier", "key", "owner", "upcaster"])
@pytest.mark.parametrize("error", OF_THE_EVENT, ids=lambda e: type(e).__name__)
def test_what_follows_from_the_event_parks(error: BaseException, where: str) -> None:
    assert is_of_the_event(error)
    events = [envelope("Odd", {"id": "a"}, {}, table="things"), put("b")]
    fold = Fold(raising(error, where), parks=True)
    fold.add(run_with(events[:1], partition=0))
    [letter] = fold.parking.letters
    assert letter.alone == (where in ("key", "owner"))


@pytest.mark.parametrize("where", ["applier", "key", "owner", "upcaster"])
@pytest.mark.parametrize("error", OF_OTHERS, ids=lambda e: type(e).__name__)
def test_what_may_pass_never_parks(error: BaseException, where: str) -> None:
    """A time-out, or a function that is not there, is no property of an event: the next try may do."""
    assert not is_of_the_event(error)
    run = run_with([envelope("Odd", {"id": "a"}, {}, table="things")], partition=0)
    routing = raising(error, where)
    said = "mend the upcaster" if where == "upcaster" else "raise ApplierError"
    with pytest.raises(PoisonError, match=said):
        Fold(routing, parks=True).add(run)
    with pytest.raises(PoisonError):
        fold_batch(routing, [run], DictStore().read, parks=True)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("where", ["applier", "key", "owner"])
def test_what_ends_a_process_ends_it(error: BaseException, where: str) -> None:
    run = run_with([envelope("Odd", {"id": "a"}, {}, table="things")], partition=0)
    with pytest.raises(type(error)):
        Fold(raising(error, where), parks=True).add(run)
