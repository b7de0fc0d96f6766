"""What `scripts/acceptance-aws` must never do in somebody's account, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from scripts.acceptance import main as acceptance
from scripts.acceptance import report as reports
from scripts.acceptance.guard import (
    RefusedByGuardError,
    check_account,
    check_endpoints,
    check_spending,
)
from scripts.acceptance.measures import FULL, growth
from scripts.acceptance.putting import Acknowledged, Measure
from scripts.acceptance.reading import Seen, arrivals, dates, read_by_fan_out
from scripts.acceptance.resources import TAG, Account, Resource, Run
from scripts.acceptance.suites import Case, Outcome, attempt, try_all

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
RUN = Run.begin(Random(1), NOW)
MINE = "123456789012"


def nobody(_: str) -> str:
    raise RefusedByGuardError("nobody to ask")


def says(*answers: str) -> Callable[[str], str]:
    remaining = iter(answers)
    return lambda _: next(remaining)


class Sts:
    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": MINE}


# -- the guard -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "ask", "refusal"),
    [
        (MINE, nobody, None),
        ("1234-5678-9012", nobody, None),
        (None, says(MINE), None),
        ("210987654321", nobody, "are of account 123456789012, not of 210987654321"),
        (None, says("210987654321"), "not of 210987654321"),
        (None, says(""), "no account's id"),
        ("12345", nobody, "no account's id"),
        (None, nobody, "nobody to ask"),
    ],
)
def test_runs_in_the_account_that_is_meant_and_no_other(
    wanted: str | None, ask: Callable[[str], str], refusal: str | None
) -> None:
    if refusal is None:
        assert check_account(Sts(), wanted, ask) == MINE
    else:
        with pytest.raises(RefusedByGuardError, match=refusal):
            check_account(Sts(), wanted, ask)


def test_spends_nothing_without_a_yes() -> None:
    """A return is no yes, and nor is nobody at the terminal."""
    check_spending(1.0, yes=True, ask=nobody)
    check_spending(1.0, yes=False, ask=says("spend\n"))
    for ask in (says(""), says("y"), says("yes"), nobody):
        with pytest.raises(RefusedByGuardError):
            check_spending(1.0, yes=False, ask=ask)


def client_at(url: str) -> Any:
    return SimpleNamespace(meta=SimpleNamespace(endpoint_url=url))


AWS, HERE = client_at("https://kinesis.eu-west-1.amazonaws.com"), client_at("http://127.0.0.1:4567")


@pytest.mark.parametrize(
    ("clients", "local", "refused"),
    [
        ([AWS], False, False),
        ([HERE], True, False),
        ([AWS, HERE], False, True),
        ([HERE, AWS], True, True),
    ],
)
def test_takes_no_stand_in_for_aws_and_no_aws_for_a_stand_in(
    clients: list[Any], local: bool, refused: bool
) -> None:
    """One of several is enough: whoever has set it, in the environment or in a profile."""
    if not refused:
        check_endpoints(clients, local=local)
        return
    with pytest.raises(RefusedByGuardError, match=r"127\.0\.0\.1|amazonaws"):
        check_endpoints(clients, local=local)


# -- what it makes, and removes ------------------------------------------------------------------


def missing() -> ClientError:
    return ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "any")


class Service:
    """Streams or tables: names with tags. ``late`` ones show their tags after so many looks."""

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {}
        self.late: dict[str, int] = {}
        self.deleted: list[str] = []
        self.broken: set[str] = set()

    def get_paginator(self, operation: str) -> Any:
        kind = {"list_streams": "StreamNames", "list_tables": "TableNames"}[operation]
        names = sorted(self.tags)
        pages = [{kind: names[:1]}, {kind: names[1:]}]
        return SimpleNamespace(paginate=lambda: iter(pages))

    def _tags_of(self, name: str) -> dict[str, Any]:
        if name not in self.tags:
            raise missing()
        if self.late.get(name, 0) > 0:
            self.late[name] -= 1
            return {"Tags": []}
        return {"Tags": [{"Key": key, "Value": value} for key, value in self.tags[name].items()]}

    def list_tags_for_stream(self, StreamName: str, Limit: int) -> dict[str, Any]:  # noqa: ARG002, N803
        return self._tags_of(StreamName)

    def describe_table(self, TableName: str) -> dict[str, Any]:  # noqa: N803
        if TableName not in self.tags:
            raise missing()
        return {"Table": {"TableArn": TableName}}

    def list_tags_of_resource(self, ResourceArn: str) -> dict[str, Any]:  # noqa: N803
        return self._tags_of(ResourceArn)

    def delete_stream(self, StreamName: str, EnforceConsumerDeletion: bool) -> None:  # noqa: ARG002, N803
        self.delete_table(StreamName)

    def delete_table(self, TableName: str) -> None:  # noqa: N803
        if TableName in self.broken:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "any")
        self.deleted.append(TableName)
        del self.tags[TableName]


class World:
    """An account with streams and tables of ours and of others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams, self.tables = Service(), Service()
        self.now = 0.0
        monkeypatch.setattr("scripts.acceptance.resources.time.monotonic", lambda: self.now)
        self.account = Account(self.streams, self.tables, pause=self.pause)

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def make(self, run: Run, name: str = "log-1") -> str:
        whole = f"{run.prefix}-{name}"
        for service in (self.streams, self.tables):
            service.tags[whole] = dict(run.tags)
        return whole


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


STRANGERS = {
    "orders": {TAG: RUN.id},  # the tag and another name
    f"{RUN.prefix}-log-2": {},  # the name and no tag
    f"{RUN.prefix}-log-3": {TAG: "20260101t000000-00000000"},  # of another run
    "binlog-acceptance-mine": {TAG: RUN.id},
    f"x{RUN.prefix}-log-4": {TAG: RUN.id},
}


def test_removes_only_what_has_its_name_and_its_tag(world: World) -> None:
    """All of it, and nothing else, whatever it looks like; what it could not remove is named."""
    mine = world.make(RUN)
    for service in (world.streams, world.tables):
        service.tags |= STRANGERS
    left = world.account.clean(lambda each: each.run == RUN)
    assert world.streams.deleted == world.tables.deleted == [mine]
    assert sorted(world.streams.tags) == sorted(STRANGERS)
    assert len(left) == 4
    assert all("has not its tag" in line for line in left)


def test_waits_for_tags_that_are_shown_late(world: World) -> None:
    """Otherwise a table that was made just before a failure would be left there."""
    mine = world.make(RUN)
    world.tables.late[mine] = 3
    assert world.account.clean(lambda each: each.run == RUN) == []
    assert world.tables.deleted == [mine]


def test_what_cannot_be_removed_keeps_nothing_else(world: World) -> None:
    first, second = world.make(RUN, "log-1"), world.make(RUN, "log-2")
    world.streams.broken.add(first)
    [left] = world.account.clean(lambda each: each.run == RUN)
    assert first in left
    assert "AccessDenied" in left
    assert second in world.streams.deleted
    assert world.tables.deleted == [first, second]


def test_a_later_start_removes_what_is_old_and_leaves_a_run_that_may_be_at_work(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    young = world.make(Run.begin(Random(2), now))
    old = world.make(Run.begin(Random(3), now.replace(year=now.year - 1, day=1)))
    acceptance._sweep(world.account)
    assert world.streams.deleted == world.tables.deleted == [old]
    assert f"stream {young} of another run" in capsys.readouterr().err
    assert acceptance._clean_up(world.account) == 0
    assert world.streams.tags == {}


def test_names_and_tags_of_a_run_are_taken_apart_again() -> None:
    assert RUN.id == f"20261126t120000-{Random(1).getrandbits(32):08x}"
    assert RUN.age_h(NOW.replace(hour=18)) == 6
    name = f"{RUN.prefix}-store-1.orders.1a2b3c4d"
    service = Service()
    service.tags[name] = dict(RUN.tags)
    assert Account(Service(), service).find() == [Resource("table", name, RUN)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, None])
def test_cleans_up_however_it_ends(world: World, error: type[BaseException] | None) -> None:
    """A claim that fails is an outcome; an interrupt ends the run; both remove what was made."""

    def work() -> None:
        world.make(RUN)
        if error is not None:
            raise error

    report = report_of()
    ground: Any = SimpleNamespace(account=world.account, run=RUN)
    acceptance._try(report, [Case("log", "claim", None, work)], ground, None)
    assert report.left_over == []
    assert world.streams.tags == world.tables.tags == {}
    assert report.is_good == (error is None)
    if error is KeyboardInterrupt:
        assert report.not_finished == "interrupted"
    else:
        [outcome] = report.outcomes
        assert outcome.result == ("failed" if error else "held")


# -- outcomes and measurements -------------------------------------------------------------------


def report_of(outcomes: Sequence[Outcome] = (), measures: Sequence[Measure] = ()) -> reports.Report:
    report = reports.begin(RUN.id, "eu-west-1", local=False)
    report.outcomes, report.measures = list(outcomes), list(measures)
    return report


def test_an_outcome_is_told_by_its_reason() -> None:
    def refuses() -> None:
        assert [] == [1], "not\nthis | one"

    def declines() -> None:
        pytest.skip("nobody can set the clock")

    cases = [
        Case("log", "holds", None, lambda: None),
        Case("log", "fails", None, refuses),
        Case("log", "declines", None, declines),
        Case("log", "cannot", "a reason", refuses),
    ]
    outcomes = try_all(cases, 2, lambda _: None)
    assert [each.result for each in outcomes] == ["held", "failed", "not claimed", "not claimed"]
    text = reports.markdown(report_of(outcomes))
    assert "| log | 1 | 1 | 2 |" in text
    assert "`fails`: AssertionError: not this \\| one" in text
    assert not report_of(outcomes).is_good
    assert report_of([outcomes[0], *outcomes[2:]]).is_good
    assert attempt(cases[2]).said == "nobody can set the clock"


def putting(*acknowledged: Acknowledged) -> Any:
    return SimpleNamespace(acknowledged=list(acknowledged), refused=0, lost=0)


def acked(sequence: int, *, key: int = 0, shard: str = "s0", date_ms: int = 5_000) -> Acknowledged:
    return Acknowledged(key, sequence, shard, sequence, date_ms)


def test_growth_is_judged_by_hash_key_over_shards() -> None:
    """Large numbers of another key say nothing; a smaller one in a child says all."""
    grew = growth(putting(acked(10), acked(99, key=1), acked(20, shard="s1")), 1)
    assert (grew.holds, grew.figures["least growth"]) == (True, "10")
    fell = growth(putting(acked(10), acked(11), acked(5, shard="s1")), 1)
    assert not fell.holds
    assert fell.figures["not grown, where"] == {"between shards": 1}
    nothing_moved = growth(putting(acked(10), acked(20)), 0)
    assert not nothing_moved.holds


def seen(*numbers: int, arrival_ms: int = 5_001, shard: str = "s0") -> Seen:
    return {(shard, number): (arrival_ms, b"0 %d" % number) for number in numbers}


def test_every_reader_must_see_the_same() -> None:
    puts = putting(acked(1), acked(2))
    assert arrivals({"a": seen(1, 2), "b": seen(1, 2, 3)}, puts).holds
    assert not arrivals({"a": seen(1, 2), "b": seen(1) | seen(2, arrival_ms=5_002)}, puts).holds
    assert not arrivals({"a": seen(1, 2), "b": seen(1)}, puts).holds
    assert not arrivals({"a": seen(1), "b": seen(1)}, puts).holds
    assert not arrivals({"a": {("s0", 1): (1, b"0 2")}}, putting(acked(1))).holds
    assert not arrivals({"a": seen(1)}, putting()).holds
    backward = arrivals({"a": seen(1) | seen(2, arrival_ms=4_000)}, puts)
    assert backward.figures["backward steps within a shard"] == 1


@pytest.mark.parametrize(("arrival_ms", "holds"), [(4_000, True), (5_999, True), (6_000, False)])
def test_arrival_must_not_be_after_the_second_of_date(arrival_ms: int, holds: bool) -> None:
    """P4 takes the end of that second for the arrival of an acknowledged record."""
    assert dates(seen(1, arrival_ms=arrival_ms), putting(acked(1))).holds is holds
    assert dates({}, putting(acked(1))).holds is False


class FanOut:
    """A stream of two shards, the first closed, read by a consumer."""

    def __init__(self) -> None:
        self.asked = 0

    def describe_stream_summary(self, **_: Any) -> Any:
        return {"StreamDescriptionSummary": {"StreamARN": "arn"}}

    def register_stream_consumer(self, **_: Any) -> Any:
        return {"Consumer": {"ConsumerARN": "consumer"}}

    def describe_stream_consumer(self, **_: Any) -> Any:
        self.asked += 1
        status = "CREATING" if self.asked < 3 else "ACTIVE"
        return {"ConsumerDescription": {"ConsumerStatus": status}}

    def list_shards(self, **_: Any) -> Any:
        return {"Shards": [{"ShardId": "s0"}, {"ShardId": "s1"}]}

    def subscribe_to_shard(self, *, ShardId: str, **_: Any) -> Any:  # noqa: N803
        def record(number: int) -> dict[str, Any]:
            at = datetime.fromtimestamp(5.001, UTC)
            return {
                "SequenceNumber": str(number),
                "ApproximateArrivalTimestamp": at,
                "Data": b"0 %d" % number,
            }

        def event(*numbers: int, **more: Any) -> dict[str, Any]:
            return {"SubscribeToShardEvent": {"Records": [*map(record, numbers)], **more}}

        def events() -> Iterator[dict[str, Any]]:
            if ShardId == "s0":
                yield event(1, ContinuationSequenceNumber="2", MillisBehindLatest=10)
                yield event(ContinuationSequenceNumber="2", MillisBehindLatest=5)
                yield event(2, MillisBehindLatest=0)
            else:
                yield event(3, ContinuationSequenceNumber="3", MillisBehindLatest=0)
                yield event(ContinuationSequenceNumber="3", MillisBehindLatest=0)
                raise AssertionError("read on at the end")

        return {"EventStream": events()}


def test_reads_by_fan_out_to_the_end_of_every_shard() -> None:
    """No stand-in has it, so this is all that the code was run on."""
    pauses: list[float] = []
    found = read_by_fan_out(FanOut(), "stream", pauses.append)
    assert found == seen(1, 2) | seen(3, shard="s1")
    assert len(pauses) == 2


def test_the_price_has_its_parts_and_grows_with_the_work() -> None:
    """A shard that lives for a minute is paid for an hour."""
    case = Case("log", "claim", None, lambda: None)
    few, many = acceptance.estimate([case], None), acceptance.estimate([case] * 30, FULL)
    assert few[0].amount == 1
    assert many[0].amount == 30 + 2 * (2 + 2 * 6)
    assert [part.what for part in few] == [part.what for part in many]
    assert all(one.dollars <= two.dollars for one, two in zip(few, many, strict=True))
    text = reports.markdown(report_of())
    assert MINE not in text
