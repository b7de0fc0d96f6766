"""Every store obeys the contract; the file of an SQLite store is sound on the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliers.store import Store
from appliers.stores import MemoryStore, SQLiteStore
from tests.contracts import (
    build_contract,
    foreign_contract,
    letters_contract,
    pace_contract,
    store_contract,
)
from tests.contracts.dynamodb_places import on_double
from tests.contracts.store_contract import Claim, Handles
from tests.stores.soundness import assert_sound

CLAIMS = [
    *store_contract.CLAIMS,
    *build_contract.CLAIMS,
    *foreign_contract.CLAIMS,
    *letters_contract.CLAIMS,
    *pace_contract.CLAIMS,
]


def memory(directory: Path) -> Handles:
    return MemoryStore().open


def sqlite(directory: Path) -> Handles:
    return lambda: SQLiteStore(directory / "store.db")


def dynamodb_double(directory: Path) -> Handles:
    return on_double()


@pytest.fixture(params=[memory, sqlite, dynamodb_double], ids=lambda kind: kind.__name__)
def handles(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Handles]:
    make: Callable[[Path], Handles] = request.param
    opened: list[Store] = []
    open_ = make(tmp_path)

    def tracked() -> Store:
        opened.append(open_())
        return opened[-1]

    yield tracked
    for store in opened:
        store.close()
    if (tmp_path / "store.db").exists():
        assert_sound(tmp_path / "store.db")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_contract(claim: Claim, handles: Handles) -> None:
    claim(handles)


def test_every_claim_is_run() -> None:
    """A claim that somebody forgot to register would be true for ever."""
    modules = store_contract, build_contract, foreign_contract, letters_contract, pace_contract
    for module in modules:
        named = {name for name in vars(module) if name.startswith("test_")}
        assert named == {claim.__name__ for claim in module.CLAIMS}
