"""Every log obeys the contract; a directory log is sound on the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binlog.log import Log
from binlog.logs import DirectoryLog, MemoryLog, check_directory_log, create_directory_log
from tests.contracts import log_contract
from tests.contracts.kinesis_places import DoublePlace
from tests.contracts.log_contract import CLAIMS, Claim, Place
from tests.log.log_frames import PARAMS


class MemoryPlace(Place):
    def __init__(self, *, first_sequence: int = 0, sequence_step: int = 1) -> None:
        super().__init__()
        self.log = MemoryLog(
            PARAMS, clock=self.clock, first_sequence=first_sequence, sequence_step=sequence_step
        )

    def open_one(self) -> Log:
        return self.log


class DirectoryPlace(Place):
    def __init__(self, directory: Path, *, segment_bytes: int = 64 << 20) -> None:
        super().__init__()
        self.path = directory / "log"
        self.segment_bytes = segment_bytes
        create_directory_log(self.path, PARAMS, clock=self.clock)

    def pause(self, seconds: float) -> None:
        """Time passes by being waited for."""
        self.clock.advance(max(1, round(seconds * 1_000)))

    def open_one(self) -> Log:
        return DirectoryLog(
            self.path,
            clock=self.clock,
            segment_bytes=self.segment_bytes,
            lock_wait_s=1e6,
            pause=self.pause,
        )


def memory(directory: Path) -> Place:
    return MemoryPlace()


def memory_with_long_numbers(directory: Path) -> Place:
    return MemoryPlace(first_sequence=49 * 10**54, sequence_step=16)


def directory(directory: Path) -> Place:
    return DirectoryPlace(directory)


def directory_of_small_segments(directory: Path) -> Place:
    return DirectoryPlace(directory, segment_bytes=2_500)


def kinesis_double(directory: Path) -> Place:
    return DoublePlace()


KINDS = [kinesis_double, memory, memory_with_long_numbers, directory, directory_of_small_segments]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    make: Callable[[Path], Place] = request.param
    made = make(tmp_path)
    yield made
    for log in made.opened:
        log.close()
    if isinstance(made, DirectoryPlace):
        assert list(check_directory_log(made.path)) == []


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_contract(claim: Claim, place: Place) -> None:
    place.hold_to(claim)


def test_every_claim_is_run() -> None:
    """A claim that somebody forgot to register would be true for ever."""
    written = {
        name
        for name, value in vars(log_contract).items()
        if getattr(value, "__annotations__", {}).get("place") == "Place"
    }
    assert written == {claim.__name__ for claim in CLAIMS}
