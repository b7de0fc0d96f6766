"""What every store's builds must do (B1), in the manner of `store_contract`."""

from __future__ import annotations

import pickle

import pytest

from appliers.store import Generation, Store
from binlog.errors import LostError
from tests.contracts.store_contract import (
    GENESIS,
    Claim,
    Handles,
    begun,
    checkpoint,
    content,
    key,
    put,
    rejection,
    row,
)

CLAIMS: list[Claim] = []


def claim(function: Claim) -> Claim:
    CLAIMS.append(function)
    return function


def state(store: Store) -> object:
    """All that a reader sees."""
    with store.view() as view:
        generations = view.generations()
        return (
            generations,
            [view.checkpoints(g.id) for g in generations],
            [(t, list(view.scan(t))) for g in generations for t in g.tables],
            list(view.rejections()),
        )


@claim
def test_B1_nothing_of_a_build_is_seen_before_it_is_finished(handles: Handles) -> None:
    """A reader between two loads would take half a table for the whole."""
    store = handles()
    store.bind(GENESIS)
    reader = handles()
    before = state(reader)
    build = store.build(tables=None, fingerprint="f1", excluded=["id=2", "id=1"])
    build.load("orders", [(key("b"), row("b", 2)), (key("a"), row("a", 1, gone=True))])
    build.load("orders", [(key("aa"), row("aa", 3, partition=2, parked=True, tail=9))])
    build.reject([rejection(4)])
    assert state(reader) == before
    build.finish({1: checkpoint(1, 10**55, offset=3)}, tables=["empty"])
    wanted = Generation(build.generation, ("empty", "orders"), True, "f1", ("id=1", "id=2"))
    for handle in (store, reader, handles()):
        assert handle.genesis() == GENESIS
        assert handle.generations() == [wanted]
        assert handle.checkpoints(build.generation) == {1: checkpoint(1, 10**55, offset=3)}
        assert content(handle) == {
            key("b"): row("b", 2),
            key("a"): row("a", 1, gone=True),
            key("aa"): row("aa", 3, partition=2, parked=True, tail=9),
        }
        assert content(handle, "empty") == {}
        assert list(handle.rejections()) == [rejection(4)]


@claim
def test_a_build_of_everything_replaces_everything_in_one_step(handles: Handles) -> None:
    """Old rows under a new vector would be a table that no log made."""
    store, _ = begun(handles, tables=["orders", "users"])
    everything = store.create(tables=None, fingerprint="f", excluded=())
    old = [put("a", 9), put("b", 9), put("a", 9, table="users")]
    store.commit(store.generations()[0].id, old, [checkpoint(0, 9)], rejections=[rejection(1)])
    store.commit(everything.id, [put("a", 9, table="more")], [checkpoint(1, 9)])
    before = state(store)
    build = store.build(tables=None, fingerprint="f2", excluded=())
    build.load("orders", [(key("a"), row("a", 4))])
    build.load("fresh", [(key("a"), row("a", 5))])
    build.reject([rejection(2)])
    assert state(store) == before
    build.finish({0: checkpoint(0, 5)}, tables=[])
    made = Generation(build.generation, ("fresh", "orders"), True, "f2", ())
    assert state(handles()) == state(store)
    assert state(store) == (
        [made],
        [{0: checkpoint(0, 5)}],
        [("fresh", [(key("a"), row("a", 5))]), ("orders", [(key("a"), row("a", 4))])],
        [rejection(2)],
    )
    assert content(store, "users") == content(store, "more") == {}
    store.commit(build.generation, [put("b", 6)], [checkpoint(0, 6)])
    assert set(content(store)) == {key("a"), key("b")}


@claim
def test_a_build_of_named_tables_leaves_the_others_as_they_are(handles: Handles) -> None:
    """Each table goes on from its own vector (C0); one that gave all its tables away is gone."""
    store, named = begun(handles, tables=["orders", "users"])
    everything = store.create(tables=None, fingerprint="f", excluded=())
    store.commit(
        named,
        [put("a", 1), put("a", 1, table="users")],
        [checkpoint(0, 1)],
        rejections=[rejection(1), rejection(1, table="users")],
    )
    store.commit(everything.id, [put("a", 1, table="more")], [checkpoint(0, 1)])
    build = store.build(tables=["users", "more"], fingerprint="f", excluded=())
    build.load("users", [(key("u"), row("u", 7))])
    build.finish({0: checkpoint(0, 7)}, tables=[])
    assert store.generations() == [
        Generation(named, ("orders",), False, "f1", ()),
        Generation(everything.id, (), True, "f", ()),
        Generation(build.generation, ("more", "users"), False, "f", ()),
    ]
    assert content(store) == {key("a"): row("a", 1)}
    assert content(store, "users") == {key("u"): row("u", 7)}
    assert content(store, "more") == {}
    assert list(store.rejections()) == [rejection(1)]
    for generation, table in ((named, "users"), (everything.id, "more")):
        with pytest.raises(LostError):
            store.commit(generation, [put("b", 9, table=table)], [checkpoint(0, 9)])
    assert store.commit(named, [put("b", 2)], [checkpoint(0, 2)]) == []
    assert store.commit(build.generation, [put("m", 8, table="more")], [checkpoint(0, 8)]) == []
    store.build(tables=["orders"], fingerprint="f", excluded=()).finish({}, tables=[])
    with pytest.raises(LostError):
        store.checkpoints(named)
    assert list(store.rejections()) == []


@claim
def test_a_build_for_named_tables_takes_no_others(handles: Handles) -> None:
    """It would replace what nobody asked to replace."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 1)], [])
    build = store.build(tables=["users"], fingerprint="f", excluded=())
    with pytest.raises(ValueError, match="orders"):
        build.load("orders", [(key("a"), row("a", 2))])
    with pytest.raises(ValueError, match="orders"):
        build.finish({}, tables=["orders"])
    build.abandon()
    assert content(store) == {key("a"): row("a", 1)}


@claim
def test_a_build_private_to_each_attempt(handles: Handles) -> None:
    """Two attempts that share a generation would mix their rows."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    before = state(store)
    abandoned = store.build(tables=None, fingerprint="f", excluded=())
    abandoned.load("orders", [(key("x"), row("x", 1))])
    abandoned.reject([rejection(1)])
    abandoned.abandon()
    abandoned.abandon()
    assert state(store) == before
    with pytest.raises(ValueError, match="another"):
        abandoned.finish({}, tables=[])
    killed = store.build(tables=None, fingerprint="f", excluded=())
    killed.load("orders", [(key("y"), row("y", 1))])
    killed.reject([rejection(2)])
    killed.part().load("orders", [(key("z"), row("z", 1))])
    store.close()
    store = handles()
    assert state(store) == before
    build = store.build(tables=None, fingerprint="f", excluded=())
    assert len({generation, abandoned.generation, killed.generation, build.generation}) == 4
    build.load("orders", [(key("b"), row("b", 1))])
    build.finish({}, tables=[])
    assert content(store) == {key("b"): row("b", 1)}
    assert list(store.rejections()) == []
    with pytest.raises(ValueError, match="another"):
        build.finish({}, tables=[])


@claim
def test_parts_filled_elsewhere_are_the_same_as_rows_loaded_here(handles: Handles) -> None:
    """Workers change how fast a rebuild is, never what it makes."""
    store, generation = begun(handles)
    store.commit(generation, [put("old", 1)], [])
    build = store.build(tables=None, fingerprint="f", excluded=())
    rows = {key(f"k{n}"): row(f"k{n}", n + 1, partition=n % 3, gone=n % 7 == 0) for n in range(900)}
    pairs = list(rows.items())
    build.load("orders", pairs[600:])
    parts = [build.part() for _ in range(11)]
    filled = []
    for number, part in enumerate(parts):
        there = pickle.loads(pickle.dumps(part))
        there.load("orders", pairs[number:300:11])
        there.load("orders", pairs[300 + number : 600 : 11])
        if number % 2:
            there.load(f"only{number}", [(key("a"), row("a", 1))])
            there.load(
                "Only1" if number == 1 else "ONLY", [(key(str(number)), row(str(number), 2))]
            )
        there.close()
        filled.append(pickle.loads(pickle.dumps(there)))
    build.adopt(filled[:1])
    build.adopt(filled[1:])
    build.finish({}, tables=[])
    assert content(store) == rows
    assert content(store, "only3") == content(store, "only1") == {key("a"): row("a", 1)}
    assert set(content(store, "Only1")) == {key("1")}
    assert set(content(store, "ONLY")) == {key(str(n)) for n in (3, 5, 7, 9)}


@claim
def test_a_key_loaded_twice_is_refused(handles: Handles) -> None:
    """Two workers that both fold a partition must not be found out by the digest only."""
    store, _ = begun(handles)
    build = store.build(tables=None, fingerprint="f", excluded=())
    build.load("orders", [(key("a"), row("a", 1))])
    with pytest.raises(ValueError, match="twice"):
        build.load("orders", [(key("a"), row("a", 1))])
    parts = [build.part() for _ in range(2)]
    for part in parts:
        part.load("users", [(key("a"), row("a", 1))])
        part.close()
    with pytest.raises(ValueError, match="twice"):
        build.adopt(parts)
    build.abandon()
