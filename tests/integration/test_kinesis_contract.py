"""Both Kinesis stand-ins keep the log contract, as far as a stream can."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from scripts.standins.server import Server
from tests.contracts.kinesis_places import StandInPlace
from tests.contracts.log_contract import CLAIMS, Claim, Place


@pytest.fixture(params=["kinesis_local", "kinesalite"])
def place(request: pytest.FixtureRequest, stream_name: Callable[[], str]) -> Iterator[Place]:
    server: Server = request.getfixturevalue(request.param)
    made = StandInPlace(stream_name(), server.url)
    yield made
    for log in made.opened:
        log.close()
    made.remove()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_kinesis_contract(claim: Claim, place: Place) -> None:
    place.hold_to(claim)
