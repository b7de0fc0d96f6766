"""Streams as places of the log contract, and what is not claimed of them, with the reason."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from binlog.aws.account import ATTEMPTS, Account, connector
from binlog.aws.clients import Connect
from binlog.clock import ManualClock, SystemClock
from binlog.log import Log
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import begin_kinesis_log
from binlog.logs.kinesis_service import Service
from binlog.params import encode_genesis
from tests.contracts.log_contract import Place
from tests.log.kinesis_double import KinesisDouble
from tests.log.log_frames import PARAMS

PATIENCE_S = 60.0
_NO_AGE = "the service takes frames of any age; the producer judges its replies (P4)"
CANNOT: Mapping[str, str] = {
    "a_session_is_taken_up_to_its_age_and_not_after": _NO_AGE,
    "an_old_frame_does_not_keep_others_out": _NO_AGE,
    "an_old_frame_that_landed_when_it_was_tried_is_acknowledged": _NO_AGE,
    "an_old_frame_that_did_not_land_has_failed": _NO_AGE,
    "arrival_never_goes_back": "the service's clock is the service's; the sequencer takes the"
    " running maximum (S1)",
    "a_stamp_tells_what_stands_at_a_place": "a stream gives no sequence number twice, so its"
    " stamps are empty",
}


def make_log(service: Service) -> None:
    """A log with the id of the contract's frames, whatever the stream's own would be."""
    service.call("create_stream", StreamName=service.stream, ShardCount=1)
    service.wait(lambda _: True)
    begin_kinesis_log(service, encode_genesis(PARAMS), PARAMS)


class KinesisPlace(Place):
    """A stream of one shard."""

    cannot = CANNOT
    keeps_age = False

    def __init__(
        self, stream: str, clock: ManualClock | None = None, *, connect: Connect | None = None
    ) -> None:
        super().__init__(clock)
        self.stream = stream
        self.connect = connect

    def again(self, log: Log) -> Log:
        return log


class DoublePlace(KinesisPlace):
    """In the double; its clock is ours, and moves on by being waited for."""

    coarse_ms = 2_000

    def __init__(self) -> None:
        self.double = KinesisDouble(clock := ManualClock(1_700_000_000_250))
        super().__init__("double", clock, connect=self.double.connect)
        self._moving = threading.Lock()
        make_log(self.service())

    def service(self) -> Service:
        return kinesis_service(
            self.stream, connect=self.connect, clock=self.clock, pause=self.pause
        )

    def pause(self, seconds: float) -> None:
        with self._moving:
            self.clock.advance(max(1, round(seconds * 1_000)))

    def open_one(self) -> Log:
        return KinesisLog(self.stream, connect=self.connect, clock=self.clock, pause=self.pause)


class ServiceClock(ManualClock):
    """The time that a service has, which nobody can set."""

    def __init__(self) -> None:
        super().__init__()
        self._system = SystemClock()

    def now_ms(self) -> int:
        return self._system.now_ms()

    def monotonic(self) -> float:
        return self._system.monotonic()

    def advance(self, ms: int) -> None:  # noqa: ARG002
        pytest.skip("nobody can set the service's clock")


@cache
def shared_connect(url: str) -> Connect:
    """Clients of a server for all tests of a run: making one takes a quarter of a second.

    The product's, with more patience: what a call comes to is the claim, and not how soon.
    """
    made: dict[bool, Any] = {}

    def connect(puts: bool) -> Any:
        if puts not in made:
            attempts = 1 if puts else ATTEMPTS
            made[puts] = connector(
                Account(endpoint=url),
                "kinesis",
                url,
                total_max_attempts=attempts,
                read_timeout_s=PATIENCE_S,
            )()
        return made[puts]

    return connect


class StandInPlace(KinesisPlace):
    """In a running service."""

    coarse_ms = 60_000  # of a machine with much else to do

    def __init__(self, stream: str, url: str) -> None:
        super().__init__(stream, ServiceClock(), connect=shared_connect(url))
        self.service = kinesis_service(stream, connect=self.connect)
        make_log(self.service)

    def open_one(self) -> Log:
        return KinesisLog(self.stream, connect=self.connect, reads_per_s=200)

    def remove(self) -> None:
        self.service.call("delete_stream", StreamName=self.stream)
