"""A DynamoDB stand-in keeps the store contract, builds included, and agrees with the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from appliers.store import Store
from scripts.standins.server import Server
from tests.contracts import build_contract, letters_contract, pace_contract, store_contract
from tests.contracts.dynamodb_places import on_service, remove_tables, shared_connect
from tests.contracts.store_contract import Claim, Handles
from tests.contracts.test_store_agreement import agree

CLAIMS = [
    *store_contract.CLAIMS,
    *build_contract.CLAIMS,
    *letters_contract.CLAIMS,
    *pace_contract.CLAIMS,
]


@pytest.fixture
def handles(ministack: Server, stream_name: Callable[[], str]) -> Iterator[Handles]:
    prefix, connect = stream_name(), shared_connect(ministack.url)
    opened: list[Store] = []

    def tracked() -> Store:
        opened.append(on_service(prefix, connect)())
        return opened[-1]

    yield tracked
    for store in opened:
        store.close()
    remove_tables(connect, prefix)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_dynamodb_contract(claim: Claim, handles: Handles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_contract, "SCANNED", 300)  # it takes 550 puts a second, quite alone
    claim(handles)


def test_dynamodb_agrees_with_the_store_in_memory(
    ministack: Server, stream_name: Callable[[], str]
) -> None:
    """Few examples: the many are run on the double."""
    connect = shared_connect(ministack.url)
    prefixes: list[str] = []

    def place() -> Handles:
        prefixes.append(stream_name())
        return on_service(prefixes[-1], connect)

    agree(place, max_examples=3, step_count=15, at_least=0)
    for prefix in prefixes:
        remove_tables(connect, prefix)
