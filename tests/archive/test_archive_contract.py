"""An archive obeys the log contract where it reads, a log with its archive in all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binlog.logs import check_directory_log
from tests.archive.archive_places import (
    BesidePlace,
    alone,
    alone_with_long_numbers,
    beside,
)
from tests.contracts.log_contract import CLAIMS, Claim, Place
from tests.contracts.test_logs import (
    DirectoryPlace,
    directory_of_small_segments,
    kinesis_double,
    memory,
)

KINDS = [
    alone,
    alone_with_long_numbers,
    beside(memory),
    beside(directory_of_small_segments),
    beside(kinesis_double),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    make: Callable[[Path], Place] = request.param
    made = make(tmp_path)
    yield made
    for log in made.opened:
        log.close()
    if isinstance(made, BesidePlace) and isinstance(made.within, DirectoryPlace):
        assert list(check_directory_log(made.within.path)) == []


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_contract(claim: Claim, place: Place) -> None:
    place.hold_to(claim)
