"""What every store that keeps a pace must do with it, in the manner of `store_contract`."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.store import Adjustable
from binlog.errors import ConflictError
from tests.contracts.store_contract import GENESIS, Claim, Handles, begun, checkpoint, content, put

CLAIMS: list[Claim] = []

SETTING, OTHER = b'{"rate":500.0}', b'{"max_behind_s":43200.0}'


def claim(function: Claim) -> Claim:
    CLAIMS.append(function)
    return function


def adjustable(store: Any) -> Adjustable:
    assert isinstance(store, Adjustable)
    return store


@claim
def test_a_pace_is_set_beside_the_writer_and_seen_by_it(handles: Handles) -> None:
    """The writer holds the lock for ever: an operator must not have to wait for it."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    operator = adjustable(handles())
    assert adjustable(store).pace() is None
    for setting in (SETTING, OTHER, OTHER, None, None, SETTING):
        operator.set_pace(setting)
        assert adjustable(store).pace() == operator.pace() == setting
        assert adjustable(handles()).pace() == setting
    # Nor does the writer notice: its turn goes on.
    assert store.commit(generation, [put("a", 2)], [checkpoint(0, 2)]) == []
    assert content(store).keys() == {put("a", 2).key}
    assert adjustable(store).pace() == SETTING


@claim
def test_the_last_one_to_set_it_counts(handles: Handles) -> None:
    begun(handles)
    one, two = adjustable(handles()), adjustable(handles())
    for setting in (SETTING, OTHER):
        one.set_pace(SETTING)
        two.set_pace(OTHER)
        (one if setting == SETTING else two).set_pace(setting)
        assert one.pace() == two.pace() == setting


@claim
def test_a_rebuild_takes_no_pace_away(handles: Handles) -> None:
    """It is the store's: what replaces the tables is to be as gentle as what made them."""
    store, generation = begun(handles)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    adjustable(store).set_pace(SETTING)
    build = store.build(tables=None, fingerprint="f2", excluded=())
    build.finish({}, tables=["orders"])
    for handle in (store, handles()):
        assert adjustable(handle).pace() == SETTING
        assert handle.genesis() == GENESIS


@claim
def test_without_a_store_there_is_nothing_to_set(handles: Handles) -> None:
    """And nothing is made: a file or a table of that name would look like a replica."""
    store = handles()
    if not hasattr(store, "exists"):
        return  # memory is always there
    assert adjustable(store).pace() is None
    with pytest.raises(ConflictError, match="no store yet"):
        adjustable(store).set_pace(SETTING)
    assert not handles().exists  # type: ignore[attr-defined]
