"""What every store must do with parked items and dead letters, in the manner of `store_contract`."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import msgspec

from appliers.item import Row, Write, condition_holds
from appliers.letters import DeadLetter, letter_order
from binlog.values import encode_item
from tests.contracts.store_contract import (
    GENESIS,
    Claim,
    Handles,
    begun,
    checkpoint,
    content,
    fold,
    key,
    put,
    row,
)

CLAIMS: list[Claim] = []


def claim(function: Claim) -> Claim:
    CLAIMS.append(function)
    return function


def letter(name: str, version: int, *, table: str = "orders", **more: Any) -> DeadLetter:
    values: dict[str, Any] = {
        "partition": 0,
        "alone": False,
        "id": f"id{version}",
        "type": "PutItem",
        "reason": "",
        "event": b"event \0" + bytes([version % 256]),
    }
    return DeadLetter(table=table, key=key(name), version=version, **(values | more))


def parked(name: str, version: int, tail: int, base: int | None, read: int | None = None) -> Write:
    """A write that parks, or moves the tail."""
    data = encode_item({"id": name, "at": version}) if version else None
    return Write("orders", key(name), Row(version, 0, data, parked=True, tail=tail), base, read)


@claim
def test_a_mark_and_its_end_hang_on_version_and_tail_as_they_were_read(handles: Handles) -> None:
    """An unpark that ignores the tail loses the event that came meanwhile; every case is tried."""
    store, generation = begun(handles)
    standing = [None, parked("", 0, 6, 0), *(fold("", v, 0) for v in (3, 4))]
    standing += [parked("", v, tail, 0) for v in (3, 4) for tail in (6, 7)]
    writes = [
        Write("", b"", Row(version, partition, None, parked=bool(tail), tail=tail), base, read)
        for version, tail, base, read, partition in itertools.product(
            (0, 3, 4, 5), (0, 6, 7), (None, 0, 3, 4), (None, 6, 7), (0, 1)
        )
        if base is not None or read is None  # what is put blindly was not read
        if version or tail
    ]
    found, wanted = {}, []
    for number, (old, write) in enumerate(itertools.product(standing, writes)):
        name = f"k{number}"
        before = None
        if old is not None:
            before = old.row
            if before.data is not None:
                before = msgspec.structs.replace(before, data=encode_item({"id": name}))
            found[key(name)] = before
        wanted.append(msgspec.structs.replace(write, table="orders", key=key(name)))
    born = [Write("orders", each, standing_row, 0) for each, standing_row in found.items()]
    assert store.commit(generation, born, []) == []
    refused = [each for each in wanted if not condition_holds(each, found.get(each.key))]
    taken = [each for each in wanted if condition_holds(each, found.get(each.key))]
    assert len(taken) > 50
    assert store.commit(generation, taken, []) == []
    assert content(store) == found | {each.key: each.row for each in taken}
    after = content(store)
    for each in refused:
        if condition_holds(each, after.get(each.key)):
            raise AssertionError("another write of the key was taken")
    # One by one: of a batch with a condition that fails the others may be done, or not.
    for each in refused[:: max(1, len(refused) // 40)]:
        assert store.commit(generation, [each], []) == [each]
    assert content(store) == after


@claim
def test_letters_are_kept_whole_in_the_order_of_their_events(handles: Handles) -> None:
    """By table, partition, key, then version; what stands alone is no item's, and comes last."""
    store, generation = begun(handles)
    long = "x" * 600
    letters = [
        letter("", 8, table="", alone=True, reason="it names no table"),
        letter("a", 9, reason="Add 'n': \0 é𝄞"),
        letter("a", 10),
        letter("a", (1 << 48) + 2),
        letter("a", 10, alone=True),
        letter("b", 7, event=b"\xff" * 700_000),
        letter("b", 8, event=b"\xfe" * 400_000),
        letter(long + "a", 3),
        letter(long + "b", 2),
        letter(long + "b", 4),
        letter("a", 1, partition=3),
        letter("a", 4, table="orders.old"),
    ]
    assert letters == sorted(letters, key=letter_order)
    assert list(store.letters()) == []
    given = [*letters[::-1], letter("gone", 6)]
    store.commit(generation, [], [checkpoint(0, 1)], letters=given, settled=[letter("no", 1).place])
    changed = msgspec.structs.replace(letters[2], reason="after all")
    settled = [given[-1].place, letter("never", 5).place]
    store.commit(generation, [put("z", 1)], [], letters=[changed], settled=settled)
    letters[2] = changed
    for handle in (store, handles()):
        assert list(handle.letters()) == letters
        assert list(handle.letters("orders.old")) == letters[-1:]
        assert list(handle.letters("")) == letters[:1]
        assert list(handle.letters("absent")) == []
        assert list(handle.letters("orders", item=(0, key("a")))) == letters[1:5]
        assert list(handle.letters("orders", item=(3, key("a")))) == [letters[10]]
        assert list(handle.letters("orders", item=(0, key(long + "b")))) == letters[8:10]
        with handle.view() as view:
            assert list(view.letters()) == letters
            assert list(view.letters("orders")) == letters[1:-1]
    assert set(store.generations()[0].tables) == {"orders", "orders.old"}
    store.commit(generation, [], [], settled=[letters[5].place])
    assert list(store.letters("orders"))[4:6] == [letters[6], letters[7]]


@claim
def test_no_item_is_marked_before_its_letter_is_there(handles: Handles) -> None:
    """Where the commit is refused it may be there or not; nothing is settled then."""
    store, generation = begun(handles)
    store.commit(generation, [parked("a", 5, 7, None)], [], letters=[letter("a", 7)])
    late = [parked("a", 5, 8, 5, 6)]
    mine, theirs = letter("a", 8), letter("a", 7)
    assert store.commit(generation, late, [], letters=[mine], settled=[theirs.place]) == late
    assert theirs in list(store.letters())
    assert set(store.letters()) <= {mine, theirs}
    unpark = [fold("a", 8, 5)]
    unpark[0] = msgspec.structs.replace(unpark[0], tail=7)
    settled = [theirs.place, mine.place]
    assert store.commit(generation, unpark, [checkpoint(0, 8)], settled=settled) == []
    assert list(store.letters()) == []
    assert content(store) == {key("a"): row("a", 8)}


@claim
def test_the_letters_of_a_table_go_with_it(handles: Handles) -> None:
    """A rebuild has its own; those of the tables beside it stay, and an abandoned one leaves none."""
    store, generation = begun(handles)
    old = [
        letter("", 1, table="", alone=True),
        letter("a", 2),
        letter("u", 3, table="users"),
    ]
    store.commit(generation, [], [checkpoint(0, 4)], letters=old)
    given_up = store.build(tables=["users"], fingerprint="f2", excluded=())
    given_up.divert([letter("u", 9, table="users")])
    given_up.abandon()
    assert list(store.letters()) == old
    build = store.build(tables=["users"], fingerprint="f2", excluded=())
    part = pickle.loads(pickle.dumps(build.part()))
    part.load("users", [(key("u"), Row(0, 0, None, parked=True, tail=5))])
    part.close()
    build.adopt([pickle.loads(pickle.dumps(part))])
    new = [letter("u", 5, table="users", reason="still")]
    build.divert(new)
    assert list(store.letters()) == old
    build.finish({0: checkpoint(0, 5)}, tables=())
    for handle in (store, handles()):
        assert list(handle.letters()) == [*old[:2], *new]
        assert content(handle, "users") == {key("u"): Row(0, 0, None, parked=True, tail=5)}
    everything = store.build(tables=None, fingerprint="f3", excluded=())
    everything.finish({}, tables=["orders"])
    assert list(store.letters()) == []
    assert handles().genesis() == GENESIS


@claim
def test_what_a_view_shows_of_letters_stays_as_it_was(handles: Handles) -> None:
    store, generation = begun(handles)
    store.commit(generation, [], [], letters=[letter("a", 2)])
    with store.view() as view:
        if not getattr(store, "keeps_moments", True):
            return
        store.commit(generation, [], [], letters=[letter("b", 3)], settled=[letter("a", 2).place])
        assert list(view.letters()) == [letter("a", 2)]
    assert list(store.letters()) == [letter("b", 3)]
