"""What every store must do, as functions that are run on each of them.

A claim takes `Handles`: ``handles()`` is another handle on the same content, as another process
would have one. What is opened is closed by whoever runs the claim.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from appliers.item import Rejection, Row, Write
from appliers.store import Checkpoint, Generation, Reader, Store, vector_of
from binlog.errors import BusyError, ConflictError, LostError, MismatchError
from binlog.params import Params, encode_genesis
from binlog.values import encode_item

Handles: TypeAlias = Callable[[], Store]
Claim: TypeAlias = Callable[[Handles], None]
CLAIMS: list[Claim] = []

GENESIS = encode_genesis(Params(log_id="ab" * 16, partitions=4))
OTHER_LOG = encode_genesis(Params(log_id="cd" * 16, partitions=4))
OTHER_PARAMS = encode_genesis(Params(log_id="ab" * 16, partitions=8))


SCANNED = 2_500  # rows of a scan: more than any store reads at a time


def claim(function: Claim) -> Claim:
    CLAIMS.append(function)
    return function


# -- making things -------------------------------------------------------------------------------


def key(name: str) -> bytes:
    return encode_item({"id": name})


def row(name: str, version: int, *, partition: int = 0, gone: bool = False, **marks: Any) -> Row:
    data = None if gone else encode_item({"id": name, "at": version})
    return Row(version, partition, data, **marks)


def put(name: str, version: int, *, table: str = "orders", **more: Any) -> Write:
    return Write(table, key(name), row(name, version, **more), None)


def fold(name: str, version: int, base: int, *, table: str = "orders", **more: Any) -> Write:
    return Write(table, key(name), row(name, version, **more), base)


def checkpoint(
    partition: int, sequence: int, *, shard: str = "s0", offset: int | None = None, **more: Any
) -> Checkpoint:
    offset = sequence if offset is None else offset
    values: dict[str, Any] = {
        "applied": offset,
        "digest": bytes([sequence % 256]) * 32,
        "state": b"st%d" % sequence,
    }
    return Checkpoint(
        partition=partition, shard=shard, sequence=sequence, offset=offset, **(values | more)
    )


def rejection(offset: int, *, table: str = "orders", name: str = "a", found: int = 3) -> Rejection:
    return Rejection(0, offset, table, key(name), f"id{offset}", 2, found)


def begun(handles: Handles, *, tables: list[str] | None = None) -> tuple[Store, str]:
    """A store with one live generation."""
    store = handles()
    store.bind(GENESIS)
    made = store.create(tables=tables, fingerprint="f1", excluded=())
    return store, made.id


def content(store: Store, table: str = "orders") -> dict[bytes, Row]:
    found = list(store.scan(table))
    assert [k for k, _ in found] == sorted(k for k, _ in found)
    assert len(dict(found)) == len(found)
    return dict(found)


# -- conditions (I1, I2) -------------------------------------------------------------------------

VERSIONS = [None, 3, 4, 5, 6]  # of what stands there; the write has 5


@claim
def test_I1_a_put_writes_only_over_what_is_absent_or_older_of_its_partition_and_not_parked(
    handles: Handles,
) -> None:
    """`>=` would bring back a parked item's content, no condition a zombie's."""
    store, generation = begun(handles)
    cases = list(itertools.product(VERSIONS, [0, 1], [False, True], [False, True]))
    for number, (version, partition, parked, gone) in enumerate(cases):
        name = f"k{number}"
        if version is not None:
            standing = fold(name, version, 0, partition=partition, parked=parked, gone=gone)
            assert store.commit(generation, [standing], []) == []
        wanted = put(name, 5)
        allowed = version is None or (version < 5 and partition == 0 and not parked)
        before = store.read(generation, "orders", [key(name)])
        assert store.commit(generation, [wanted], []) == ([] if allowed else [wanted])
        after = store.read(generation, "orders", [key(name)])
        assert after == ({key(name): wanted.row} if allowed else before), cases[number]


@claim
def test_I2_a_fold_writes_only_over_the_version_that_it_was_folded_on(handles: Handles) -> None:
    """With `<` for `==`, a fold on a stale read drops the events in between."""
    store, generation = begun(handles)
    cases = list(itertools.product(VERSIONS, [0, 3, 4], [0, 1], [False, True], [False, True]))
    for number, (version, base, partition, parked, gone) in enumerate(cases):
        name = f"k{number}"
        if version is not None:
            standing = fold(name, version, 0, partition=partition, parked=parked, gone=gone)
            assert store.commit(generation, [standing], []) == []
        wanted = fold(name, 5, base)
        if version is None:
            allowed = base == 0
        else:
            allowed = version == base and partition == 0 and not parked
        before = store.read(generation, "orders", [key(name)])
        assert store.commit(generation, [wanted], []) == ([] if allowed else [wanted])
        after = store.read(generation, "orders", [key(name)])
        assert after == ({key(name): wanted.row} if allowed else before), cases[number]


@claim
def test_a_version_never_goes_back_by_a_fold(handles: Handles) -> None:
    """A fold whose result is not newer than its base is a mistake that must not be stored."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 5)], [])
    for version in (4, 5):
        wanted = fold("a", version, 5)
        assert store.commit(generation, [wanted], []) == [wanted]
    assert content(store)[key("a")].version == 5


@claim
def test_I4_a_tombstone_keeps_a_late_put_away(handles: Handles) -> None:
    """Without it the item that a zombie puts would come back from the dead."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 4)], [])
    store.commit(generation, [put("a", 7, gone=True), put("never", 8, gone=True)], [])
    late = [put("a", 5), fold("never", 6, 0)]
    assert store.commit(generation, late, []) == late
    assert content(store) == {
        key("a"): row("a", 7, gone=True),
        key("never"): row("never", 8, gone=True),
    }


@claim
def test_I3_an_item_twice_in_a_batch_is_refused(handles: Handles) -> None:
    """Only the last of a batch would be seen, and which one is last no store says."""
    store, generation = begun(handles)
    with pytest.raises(ValueError, match="twice"):
        store.commit(generation, [put("a", 1), put("a", 2)], [])
    assert content(store) == {}
    assert store.commit(generation, [put("a", 1), put("a", 2, table="other")], []) == []


@claim
def test_every_column_of_a_row_comes_back(handles: Handles) -> None:
    """A tail, a mark, a version beyond 2^48 and hostile text are content like any other."""
    store, generation = begun(handles)
    item = {
        "id": "z",
        "n": 10**37 + 1,
        "s": "\0'\"\\;-- é𝄞",
        "b": b"\0\xff",
        "l": [None, {"x": {1, 2}}],
    }
    rows = {
        key("z"): Row((1 << 48) + 5, 3, encode_item(item), parked=True, tail=(1 << 48) + 9),
        key("y"): Row(2, 1, None, parked=True, tail=7),
    }
    # In a table of its own, since not every store can have keys of two kinds in one.
    pair = encode_item({"b": b"\0\x01", "r": -5})
    pairs = {pair: Row(1, 0, pair)}
    writes = [Write("orders", k, r, 0) for k, r in rows.items()]
    writes += [Write("pairs", k, r, 0) for k, r in pairs.items()]
    assert store.commit(generation, writes, []) == []
    assert content(store, "pairs") == store.read(generation, "pairs", [pair]) == pairs
    assert content(store) == rows
    assert store.read(generation, "orders", [*rows, key("absent")]) == rows
    assert store.read(generation, "absent", [key("z")]) == {}
    replaced = Write("orders", key("q"), Row(1, 0, encode_item({"id": "q"})), None)
    store.commit(generation, [replaced], [])
    full = Row(2, 0, None, parked=True, tail=3)
    assert store.commit(generation, [Write("orders", key("q"), full, None)], []) == []
    assert content(store)[key("q")] == full


# -- commits and checkpoints (C2, C3) ------------------------------------------------------------


@claim
def test_a_failed_condition_moves_no_checkpoint(handles: Handles) -> None:
    """A failed condition counted as applied would lose the event."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 5)], [checkpoint(0, 5)])
    failing = [put("a", 4), fold("c", 6, 5)]
    got = store.commit(
        generation,
        [put("b", 6), *failing],
        [checkpoint(0, 6), checkpoint(1, 1)],
        rejections=[rejection(6)],
    )
    assert sorted(got, key=lambda w: w.key) == failing
    assert store.checkpoints(generation) == {0: checkpoint(0, 5)}
    # Whoever reads the newest gets it; a view may say that this is no moment.
    found = store.read(generation, "orders", [key("a"), key("b")])
    assert found[key("a")] == row("a", 5)
    # What was not named may be there or not; the batch without the named ones goes through.
    rest = [] if key("b") in found else [put("b", 6)]
    assert store.commit(generation, rest, [checkpoint(0, 6)]) == []
    assert list(store.rejections()) in ([], [rejection(6)])  # true whatever else comes of it
    assert content(store) == {key("a"): row("a", 5), key("b"): row("b", 6)}


@claim
def test_items_and_checkpoint_are_there_for_the_next_handle(handles: Handles) -> None:
    """What `commit` returned from is durable and whole: state and position belong together."""
    store, generation = begun(handles)
    first = {0: checkpoint(0, 3), 2: checkpoint(2, 10**55, offset=4, applied=5)}
    store.commit(generation, [put("a", 1)], list(first.values()), rejections=[rejection(2)])
    later = checkpoint(0, 4, state=b"")
    store.commit(generation, [put("a", 2)], [later])
    store.close()
    again = handles()
    assert again.genesis() == GENESIS
    assert again.generations() == [Generation(generation, ("orders",), True, "f1", ())]
    assert again.checkpoints(generation) == {0: later, 2: first[2]}
    assert vector_of(again.checkpoints(generation)) == {0: 4, 2: 5}
    assert content(again) == {key("a"): row("a", 2)}
    assert list(again.rejections()) == [rejection(2)]


STANDING = checkpoint(0, 10, offset=7)
NOT_BEYOND = [
    STANDING,
    checkpoint(0, 9, offset=7),
    checkpoint(0, 9, offset=8),
    checkpoint(0, 11, offset=6),
    checkpoint(0, 11, offset=6, applied=7),
    checkpoint(0, 10, offset=7, applied=6),
    checkpoint(0, 11, offset=8, applied=6),
    checkpoint(0, 99, shard="child", offset=6),
    checkpoint(0, 99, shard="child", offset=7, applied=6),
]
BEYOND = [
    checkpoint(0, 11, offset=7),
    checkpoint(0, 10**55, offset=8),
    checkpoint(0, 10, offset=7, applied=8),
    checkpoint(0, 1, shard="child", offset=7),
    checkpoint(0, -1, shard="child", offset=9),
]


@claim
def test_C2_a_checkpoint_never_moves_back(handles: Handles) -> None:
    """Whoever lost the race reads again: nothing of the commit is done, not even its items."""
    store, generation = begun(handles)
    store.commit(generation, [], [STANDING])
    for number, lost in enumerate(NOT_BEYOND):
        with pytest.raises(LostError):
            store.commit(
                generation,
                [put(f"lost{number}", 50)],
                [checkpoint(1, number), lost],
                rejections=[rejection(50)],
                tables=["new"],
            )
        assert store.checkpoints(generation) == {0: STANDING}, lost
    assert content(store) == {}
    assert list(store.rejections()) == []
    assert store.generations()[0].tables == ()


@claim
def test_C2_a_checkpoint_moves_on_by_record_by_cut_and_from_shard_to_child(
    handles: Handles,
) -> None:
    """Sequence numbers of two shards say nothing about each other; 10 comes after 9, not before."""
    store, generation = begun(handles, tables=["orders"])
    for number, further in enumerate(BEYOND):
        made = store.create(tables=[f"t{number}xx"], fingerprint="f", excluded=())
        store.commit(made.id, [], [STANDING])
        store.commit(made.id, [], [further])
        assert store.checkpoints(made.id) == {0: further}
    for sequence in range(8, 12):
        store.commit(generation, [], [checkpoint(1, sequence)])
    assert store.checkpoints(generation) == {1: checkpoint(1, 11)}


@claim
def test_C2_a_place_is_replaced_by_itself_only_where_its_end_was_seen_later(
    handles: Handles,
) -> None:
    """Of two consumers at one place the slower takes nothing away, and the row never goes back."""
    store, generation = begun(handles)
    store.commit(generation, [], [STANDING])
    later = STANDING
    for seen_ms in (100, 10**13):
        later = checkpoint(0, 10, offset=7, seen_ms=seen_ms)
        store.commit(generation, [], [later])
        for other in (None, 0, seen_ms - 1, seen_ms):
            with pytest.raises(LostError):
                store.commit(generation, [], [checkpoint(0, 10, offset=7, seen_ms=other)])
        with pytest.raises(LostError):
            store.commit(generation, [], [checkpoint(0, 9, offset=7, seen_ms=10**14)])
        with pytest.raises(LostError):
            store.commit(generation, [], [checkpoint(0, 10, offset=6, seen_ms=10**14)])
        assert store.checkpoints(generation) == {0: later}
    store.close()
    again = handles()
    assert again.checkpoints(generation) == {0: later}
    further = checkpoint(0, 11, offset=7)
    again.commit(generation, [], [further])
    assert again.checkpoints(generation) == {0: further}


@claim
def test_I5_a_rejection_is_recorded_once_per_offset_and_key(handles: Handles) -> None:
    """Seen again after a crash, it is the same rejection."""
    store, generation = begun(handles)
    first = [rejection(5), rejection(5, name="b"), rejection(4), rejection(5, table="accounts")]
    tables = ["orders", "accounts"]
    store.commit(generation, [], [], rejections=first, tables=tables)
    store.commit(generation, [], [], rejections=[rejection(5, found=9)])
    wanted = [first[3], first[2], first[0], first[1]]
    assert list(store.rejections()) == wanted
    assert list(store.rejections("orders")) == wanted[1:]
    assert list(store.rejections("absent")) == []


# -- generations (C0) ----------------------------------------------------------------------------


@claim
def test_the_open_generation_gains_tables_and_a_named_one_does_not(handles: Handles) -> None:
    """A table belongs to one generation: two would apply its events twice, from two vectors."""
    store, named = begun(handles, tables=["orders", "Orders"])
    everything = store.create(tables=None, fingerprint="f2", excluded=["type=x", "id=1"])
    store.commit(everything.id, [put("a", 1, table="users")], [], tables=["empty", "Users"])
    store.commit(named, [put("a", 1), put("a", 2, table="Orders")], [])
    assert store.generations() == [
        Generation(named, ("Orders", "orders"), False, "f1", ()),
        Generation(everything.id, ("Users", "empty", "users"), True, "f2", ("id=1", "type=x")),
    ]
    for generation, table in ((named, "users"), (everything.id, "orders"), (named, "fresh")):
        with pytest.raises(LostError):
            store.commit(generation, [put("b", 9, table=table)], [checkpoint(0, 9)])
        assert store.checkpoints(generation) == {}
    with pytest.raises(LostError):
        store.read(named, "users", [key("a")])
    assert content(store, "Orders") == {key("a"): row("a", 2)}
    assert content(store, "orders") == {key("a"): row("a", 1)}
    assert content(store, "Users") == content(store, "empty") == content(store, "absent") == {}


@claim
def test_refuses_to_create_what_is_there(handles: Handles) -> None:
    """A second start would give the table another vector than its rows have."""
    store, _ = begun(handles, tables=["orders"])
    store.create(tables=None, fingerprint="", excluded=())
    for tables in (["users", "orders"], None):
        with pytest.raises(ConflictError):
            store.create(tables=tables, fingerprint="", excluded=())
    with pytest.raises(ValueError, match="no tables"):
        store.create(tables=[], fingerprint="", excluded=())
    assert len(store.generations()) == 2


@claim
def test_an_unknown_generation_is_lost(handles: Handles) -> None:
    """Never an empty answer, which would mean: from the start."""
    store, _ = begun(handles)
    for use in (
        lambda: store.commit("0" * 32, [put("a", 1)], []),
        lambda: store.checkpoints("0" * 32),
        lambda: store.read("0" * 32, "orders", []),
    ):
        with pytest.raises(LostError):
            use()


# -- logs and writers ----------------------------------------------------------------------------


@claim
def test_refuses_another_log_and_other_parameters(handles: Handles) -> None:
    """Offsets of another log would be taken for ours."""
    store = handles()
    assert store.genesis() is None
    store.bind(GENESIS)
    assert store.genesis() == GENESIS
    store.create(tables=None, fingerprint="", excluded=())
    store.bind(GENESIS)
    store.close()
    other = handles()
    for genesis, says in ((OTHER_LOG, "cd" * 16), (OTHER_PARAMS, "other parameters")):
        with pytest.raises(MismatchError, match=says):
            other.bind(genesis)
    assert other.genesis() == GENESIS


@claim
def test_a_second_writer_waits_and_is_told(handles: Handles) -> None:
    """Two replicators of one store would only undo each other's work."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 1)], [])
    second = handles()
    with pytest.raises(BusyError):
        second.lock(wait_s=0.01)
    assert content(second) == {key("a"): row("a", 1)}
    store.lock(wait_s=0)  # it has it
    store.close()
    second.lock(wait_s=0)
    second.commit(generation, [put("a", 2)], [])
    with pytest.raises(BusyError):
        handles().lock(wait_s=0)


@claim
def test_a_handle_that_is_behind_loses(handles: Handles) -> None:
    """A zombie is harmless: its folds fail, its checkpoints are lost, its generation is gone."""
    zombie, generation = begun(handles)
    zombie.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    zombie.close()
    current = handles()
    current.commit(generation, [fold("a", 2, 1)], [checkpoint(0, 2)])
    current.close()
    stale = fold("a", 3, 1)
    assert zombie.commit(generation, [stale], []) == [stale]
    with pytest.raises(LostError):
        zombie.commit(generation, [put("b", 2)], [checkpoint(0, 2)])
    zombie.close()
    current = handles()
    current.build(tables=None, fingerprint="f1", excluded=()).finish({}, tables=["orders"])
    current.close()
    with pytest.raises(LostError):
        zombie.commit(generation, [put("b", 3)], [checkpoint(0, 3)])
    assert content(zombie) == {}


# -- reading -------------------------------------------------------------------------------------


@claim
def test_a_scan_is_in_key_order_after_a_key_and_of_one_moment(handles: Handles) -> None:
    """A scan that mixes two moments proves nothing about either."""
    store, generation = begun(handles)
    names = [f"k{number:04d}" for number in range(SCANNED)]
    store.commit(generation, [put(name, 1) for name in names], [])
    keys = sorted(map(key, names))
    assert [k for k, _ in store.scan("orders", after=keys[203])] == keys[204:]
    assert list(store.scan("orders", after=keys[-1])) == []
    assert len(list(store.scan("orders", after=b""))) == SCANNED
    scan = store.scan("orders")
    next(scan)
    store.commit(generation, [put(name, 2) for name in names], [])
    store.commit(generation, [put("k9", 2)], [])
    assert {row.version for _, row in scan} == {1}
    assert store.read(generation, "orders", keys) == {key(n): row(n, 2) for n in names}


@claim
def test_a_view_is_of_one_moment_in_all_tables_and_checkpoints(handles: Handles) -> None:
    """Digest and vector must belong together, also while a replicator goes on."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 1), put("a", 1, table="users")], [checkpoint(0, 1)])
    with handles().view() as view:
        store.commit(
            generation,
            [put("a", 2), put("a", 2, table="users"), put("a", 2, table="newer")],
            [checkpoint(0, 2)],
            rejections=[rejection(2)],
        )
        store.build(tables=["users"], fingerprint="f9", excluded=()).finish({}, tables=[])
        assert view.genesis() == GENESIS
        assert view.generations() == [Generation(generation, ("orders", "users"), True, "f1", ())]
        assert view.checkpoints(generation) == {0: checkpoint(0, 1)}
        for look in looks(view, generation):
            if store.keeps_moments:
                assert look() in ([], {key("a"): row("a", 1)}, [(key("a"), row("a", 1))])
            else:  # never something of another moment
                with pytest.raises(BusyError):
                    look()
    assert content(store)[key("a")].version == 2
    assert content(store, "users") == {}


def looks(view: Reader, generation: str) -> Iterator[Callable[[], object]]:
    """All that a view can be asked for beside what it stands at."""
    yield lambda: list(view.rejections())
    for table in ("orders", "users"):
        yield lambda table=table: list(view.scan(table))  # type: ignore[misc]
        yield lambda table=table: view.read(generation, table, [key("a")])  # type: ignore[misc]


@claim
def test_a_store_without_anything_is_empty_to_read(handles: Handles) -> None:
    """Reading makes nothing, and needs nothing to be there."""
    store = handles()
    assert store.genesis() is None
    assert store.generations() == []
    assert list(store.scan("orders")) == []
    assert list(store.rejections()) == []
    with store.view() as view:
        assert view.generations() == []
    with pytest.raises(LostError):
        store.checkpoints("0" * 32)


@claim
def test_event_types_met_stay_with_their_generation(handles: Handles) -> None:
    """Types add up, the fingerprint is replaced, a build has its own, and both outlive a handle."""
    store = handles()
    store.bind(GENESIS)
    generation = store.create(tables=None, fingerprint="f1", excluded=()).id
    store.describe(generation, fingerprint="f2", types=["Paid", "Asked"])
    store.describe(generation, fingerprint="f3", types=["Paid", "Sent"], excluded=["id=2", "id=1"])
    store.describe(generation, fingerprint="f3", types=[], excluded=["id=2"])
    assert [(g.fingerprint, g.types, g.excluded) for g in handles().generations()] == [
        ("f3", ("Asked", "Paid", "Sent"), ("id=1", "id=2"))
    ]
    store.build(tables=None, fingerprint="f4", excluded=()).finish(
        {}, tables=["users"], types=["Lost"]
    )
    assert [(g.fingerprint, g.types) for g in handles().generations()] == [("f4", ("Lost",))]
    with pytest.raises(LostError):
        store.describe(generation, fingerprint="f5", types=[])
