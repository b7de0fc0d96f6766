"""The contract suites of logs and stores, claim by claim, in an account."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec
import pytest

from appliers.store import Store
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_build import LANDING_S
from appliers.stores.dynamodb_tables_spec import Declared, Specification
from binlog.aws.account import Account as Credentials
from binlog.aws.clients import Connect
from binlog.log import Log
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import begin_kinesis_log
from binlog.params import encode_genesis
from scripts.acceptance.resources import Account, Resource, Run
from tests.contracts import build_contract, foreign_contract, log_contract, store_contract
from tests.contracts.dynamodb_places import specification as contract_tables
from tests.contracts.kinesis_places import KinesisPlace, ServiceClock
from tests.log.log_frames import PARAMS

READS_PER_S = 4.0  # of the five calls a second that a shard answers


class Outcome(msgspec.Struct):
    """What became of a claim."""

    suite: str
    claim: str
    result: Literal["held", "failed", "not claimed"]
    seconds: float
    said: str


class Case(NamedTuple):
    """A claim, ready to be tried."""

    suite: str
    claim: str
    why_not: str | None
    work: Callable[[], None]


class Ground(NamedTuple):
    """Where claims are tried."""

    run: Run
    account: Account
    credentials: Credentials
    connect: Connect  # Kinesis
    reads_per_s: float = READS_PER_S
    coarse_ms: int = 5_000
    landing_s: float = LANDING_S  # of a store's builds


def try_all(cases: Sequence[Case], jobs: int, tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Try the claims, ``jobs`` at a time, each in resources of its own."""

    def try_one(case: Case) -> Outcome:
        outcome = attempt(case)
        tell(outcome)
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        try:
            return list(pool.map(try_one, cases))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def attempt(case: Case) -> Outcome:
    """Try one claim."""
    begun = time.monotonic()
    result: Literal["held", "failed", "not claimed"] = "held"
    said = ""
    if case.why_not is not None:
        result, said = "not claimed", case.why_not
    else:
        try:
            case.work()
        except pytest.skip.Exception as skipped:
            result, said = "not claimed", str(skipped)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - it is the report
            result = "failed"
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {error} ({place.name}, {place.line})"
    return Outcome(case.suite, case.claim, result, round(time.monotonic() - begun, 2), said)


# -- logs ----------------------------------------------------------------------------------------


class AccountPlace(KinesisPlace):
    """A stream of one shard in the account."""

    def __init__(self, ground: Ground, name: str) -> None:
        self._ground = ground
        self.coarse_ms = ground.coarse_ms
        stream = ground.account.make_stream(ground.run, name, 1)
        super().__init__(stream, ServiceClock(), connect=ground.connect)
        service = kinesis_service(stream, connect=ground.connect)
        service.wait(lambda _: True)  # and hear the service's time, at which the records are born
        begin_kinesis_log(service, encode_genesis(PARAMS), PARAMS)

    def open_one(self) -> Log:
        return KinesisLog(self.stream, connect=self.connect, reads_per_s=self._ground.reads_per_s)


def log_cases(ground: Ground) -> list[Case]:
    """The claims of logs, on Kinesis."""

    def work(claim: Any, name: str) -> None:
        place = AccountPlace(ground, name)
        try:
            place.hold_to(claim)
        finally:
            for log in place.opened:
                log.close()
            ground.account.remove(Resource("stream", place.stream, ground.run))

    return [
        Case(
            "log",
            claim.__name__,
            KinesisPlace.cannot.get(claim.__name__),
            partial(work, claim, f"log-{number}"),
        )
        for number, claim in enumerate(log_contract.CLAIMS)
    ]


# -- stores --------------------------------------------------------------------------------------


def specification(ground: Ground, name: str) -> Specification:
    """A store's tables, every one with the tag of the run."""
    wanted = contract_tables(f"{ground.run.prefix}-{name}")
    tagged = Declared(tags=ground.run.tags)
    return msgspec.structs.replace(
        wanted,
        declared={
            table: msgspec.structs.replace(each, tags=ground.run.tags)
            for table, each in wanted.declared.items()
        },
        own=tagged,
        defaults=tagged,
    )


@contextlib.contextmanager
def opened_handles(ground: Ground, name: str) -> Iterator[Callable[[], Store]]:
    """What opens handles of a store of its own; closed and removed afterwards."""
    wanted = specification(ground, name)
    opened: list[Store] = []

    def handles() -> Store:
        opened.append(DynamoDBStore(wanted, account=ground.credentials, landing_s=ground.landing_s))
        return opened[-1]

    try:
        yield handles
    finally:
        for store in opened:
            store.close()
        prefix = f"{wanted.prefix}."
        for resource in ground.account.find("table"):
            if resource.name.startswith(prefix):
                ground.account.remove(resource)


def store_cases(ground: Ground) -> list[Case]:
    """The claims of stores, of builds and of what they keep of foreign records, on DynamoDB."""

    def work(claim: Any, name: str) -> None:
        with opened_handles(ground, name) as handles:
            claim(handles)

    claims = [*store_contract.CLAIMS, *build_contract.CLAIMS, *foreign_contract.CLAIMS]
    return [
        Case(
            "store",
            claim.__name__,
            None,
            partial(work, claim, f"store-{number}"),
        )
        for number, claim in enumerate(claims)
    ]
