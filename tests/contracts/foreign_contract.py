"""What every store must do with foreign records (S7), in the manner of `store_contract`."""

from __future__ import annotations

import pickle

import pytest

from appliers.store import Part
from binlog.errors import LostError
from binlog.foreign import Foreign
from tests.contracts.store_contract import (
    GENESIS,
    Claim,
    Handles,
    begun,
    checkpoint,
    content,
    key,
    put,
    row,
)

CLAIMS: list[Claim] = []

FAR = 49 * 10**54  # sequence numbers as Kinesis gives them
RECORDS = [
    Foreign("shardId-000000000000", 9, "k", 0, b""),
    Foreign("shardId-000000000000", 10, "user-17", 1_700_000_000_001, b"\0\xff not text"),
    Foreign("shardId-000000000000", FAR + 9, "é" * 200, 1, b"x" * 300_000),
    Foreign("shardId-000000000000", FAR + 10, "k", 2, b"{}"),
    Foreign("shardId-000000000001", 9, "k", 3, b"of another shard"),
]


def claim(function: Claim) -> Claim:
    CLAIMS.append(function)
    return function


@claim
def test_S7_foreign_records_are_kept_whole_and_once_by_shard_and_sequence(handles: Handles) -> None:
    """10 comes after 9, and one that is met again is the one that is there."""
    store, generation = begun(handles)
    assert list(store.foreign()) == []
    store.commit(generation, [], [checkpoint(0, 1)], foreign=RECORDS[::-1])
    again = Foreign("shardId-000000000000", 10, "another", 5, b"changed")
    store.commit(generation, [], [checkpoint(0, 2)], foreign=[*RECORDS[:1], again])
    for handle in (store, handles()):
        assert list(handle.foreign()) == RECORDS
        with handle.view() as view:
            assert list(view.foreign()) == RECORDS


@claim
def test_S7_no_checkpoint_moves_past_a_record_that_is_not_kept(handles: Handles) -> None:
    """Where the commit is refused it may be kept or not; where it is taken, it is kept."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 5)], [checkpoint(0, 5)])
    stale = [put("a", 4)]
    assert store.commit(generation, stale, [checkpoint(0, 6)], foreign=RECORDS[:1]) == stale
    assert store.checkpoints(generation) == {0: checkpoint(0, 5)}
    with pytest.raises(LostError):
        store.commit(generation, [], [checkpoint(0, 4)], foreign=RECORDS[:1])
    assert set(store.foreign()) <= set(RECORDS[:1])
    store.commit(generation, [], [checkpoint(0, 6)], foreign=RECORDS[:1])
    again = handles()
    assert list(again.foreign()) == RECORDS[:1]
    assert again.checkpoints(generation) == {0: checkpoint(0, 6)}


@claim
def test_S7_one_that_is_relayed_is_kept_no_longer_whichever_comes_first(handles: Handles) -> None:
    """The event may lie in a partition that is ahead of the record's home."""
    store, generation = begun(handles)
    store.commit(generation, [], [], foreign=RECORDS[:2])
    places = [RECORDS[1].place, RECORDS[3].place]
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)], relayed=places)
    assert list(store.foreign()) == RECORDS[:1]
    store.commit(generation, [], [checkpoint(1, 1)], foreign=RECORDS, relayed=places[:1])
    store.commit(generation, [], [checkpoint(1, 2)], foreign=RECORDS[:2])
    for handle in (store, handles()):
        assert list(handle.foreign()) == [RECORDS[0], RECORDS[2], RECORDS[4]]
    assert content(store) == {key("a"): row("a", 1)}


@claim
def test_S7_what_a_build_meets_joins_what_was_kept_before(handles: Handles) -> None:
    """A rebuild finds again what the stream still has, and takes nothing away that it has not."""
    store, generation = begun(handles)
    store.commit(generation, [put("old", 1)], [checkpoint(0, 9)], foreign=RECORDS[:2])
    store.commit(generation, [], [], relayed=[RECORDS[2].place])
    build = store.build(tables=None, fingerprint="f", excluded=())
    filled: list[Part] = []
    for name, share in (("a", RECORDS[1:3]), ("b", RECORDS[3:])):
        part = pickle.loads(pickle.dumps(build.part()))
        part.load("orders", [(key(name), row(name, 1))])
        part.keep(share[:1], [])
        part.keep(share[1:], [RECORDS[0].place])
        part.close()
        filled.append(pickle.loads(pickle.dumps(part)))
    build.adopt(filled)
    build.finish({0: checkpoint(0, 1)}, tables=[])
    for handle in (store, handles()):
        assert handle.genesis() == GENESIS
        assert list(handle.foreign()) == [RECORDS[1], RECORDS[3], RECORDS[4]]


@claim
def test_S7_what_a_view_shows_stays_as_it_was(handles: Handles) -> None:
    """A dump of them is of one moment."""
    store, generation = begun(handles)
    store.commit(generation, [], [checkpoint(0, 1)], foreign=RECORDS[:1])
    with store.view() as view:
        assert list(view.foreign()) == RECORDS[:1]
    store.commit(generation, [], [checkpoint(0, 2)], foreign=RECORDS[1:2])
    with store.view() as view:
        assert list(view.foreign()) == RECORDS[:2]
