"""A game day on stand-ins: the drill passes, and nothing is left, of a killed one neither."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from binlog.aws.account import Account, connector
from binlog.drills import Drill, drill, twin
from binlog.drills.game_day import GameDay, MadeLedger, game_day, price, total
from binlog.drills.report_text import lines
from binlog.drills.report_words import is_good
from binlog.drills.result import DrillResult
from binlog.drills.runner import run_drill
from binlog.drills.targets.real import agree, clean_up, real_maker, who_and_where
from scripts.standins.server import Server
from tests.integration.waiting import until

ROOT = Path(__file__).parents[2]
ACCOUNT = "000000000000"
BUCKET = "game-days"


@pytest.fixture
def day(
    kinesis_local: Server, ministack: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GameDay]:
    """Addresses on stand-ins; afterwards nothing marked is there, and what was there is."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", ministack.url)
    tables, objects = (
        connector(Account(endpoint=ministack.url), service, service)()
        for service in ("dynamodb", "s3")
    )
    streams = connector(Account(endpoint=kinesis_local.url), "kinesis", "kinesis")()
    objects.create_bucket(Bucket=BUCKET)
    objects.put_object(Bucket=BUCKET, Key="binlog-drill-shop/of-somebody-else", Body=b"1")
    with contextlib.suppress(Exception):  # it may be there from the test before
        tables.create_table(
            TableName="binlog-drill-shop-live.orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    yield game_day(
        [
            f"kinesis://binlog-drill-shop?endpoint={kinesis_local.url}",
            f"dynamodb://binlog-drill-shop?endpoint={ministack.url}",
            f"s3://{BUCKET}/binlog-drill-shop?endpoint={ministack.url}",
        ]
    )
    left = [
        *(
            name
            for page in streams.get_paginator("list_streams").paginate()
            for name in page["StreamNames"]
            if name.startswith("binlog-drill")
        ),
        *(
            name
            for page in tables.get_paginator("list_tables").paginate()
            for name in page["TableNames"]
            if name.startswith("binlog-drill")
        ),
        *(each["Key"] for each in objects.list_objects_v2(Bucket=BUCKET).get("Contents", ())),
    ]
    assert left == ["binlog-drill-shop-live.orders", "binlog-drill-shop/of-somebody-else"]


FOLLOW = "binlog replicate {log} {aside} --once"


@drill(
    "small",
    title="A table is dropped on services",
    looks="Readers get errors.",
    take_back="Nothing.",
    on=("real",),
    rto_s=600.0,  # the time is not what this is about
    goes_on=False,
)
@twin("nothing is done", {FOLLOW: None})
def small(d: Drill) -> None:
    """With a load that stand-ins bear, and no rebuild, which waits for late writes of others."""
    d.init(partitions=1)
    d.load(rate=20.0, producers=1)
    d.flow(10)
    d.run("binlog replicate {log} {live} --once")
    d.run("binlog snapshot {live} {snapshots}")
    with d.disaster("the table is deleted", changes="live"):
        d.target.drop_table("live", "orders")
    with d.phase("restore"):
        d.stop_load()
        d.run(FOLLOW)
    d.holds("aside")


def test_a_drill_passes_on_services_and_nothing_is_left(day: GameDay, tmp_path: Path) -> None:
    declared = small
    said: list[str] = []
    account = agree(day, [declared], account=ACCOUNT, agreed=True, dry_run=False, say=said.append)
    assert said[1] == "none of these is AWS by its name: a rehearsal on stand-ins costs nothing"
    ledger = MadeLedger(tmp_path / "made.jsonl")
    make = real_maker(day, account, ledger)
    result = run_drill(declared, make=make, on="real", tell=print)
    assert is_good(result), "\n".join(map(str, lines(result)))
    assert result.left == ()
    assert ACCOUNT in result.versions.values()
    assert len(ledger.path.read_bytes().splitlines()) == 2
    assert ledger.open_runs() == []
    _check_spending(result)


def inheriting(variable: str) -> list[Path]:
    """Processes with the variable in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(path)
    return found


def _check_spending(result: DrillResult) -> None:
    """Counted at all three services, by producers too, and below what was said before."""
    recovery, run = result.measured.recovery, result.measured.run
    assert recovery.requests["kinesis GetRecords"] > 0
    assert (recovery.write_units or 0) >= result.measured.items > 0
    assert run.requests["s3 PutObject"] > 0
    [init] = [command for command in result.commands if command.typed.startswith("binlog init")]
    assert (run.put_units or 0) > (init.spent.put_units or 0) == 1
    assert 0 < (recovery.dollars or 0) < (run.dollars or 0) < total(price(1, objects=True))
    assert (recovery.read_bytes or 0) > (recovery.written_bytes or 0) > 0
    assert run.unanswered == 0
    assert any("A stand-in was asked" in line for line in result.measured.counted)


def test_what_a_killed_drill_has_left_is_removed_by_the_ledger(
    day: GameDay, tmp_path: Path
) -> None:
    """SIGKILL in its midst: nothing can be cleaned up then, so it has to be known from before."""
    ledger = tmp_path / "made.jsonl"
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from binlog.drills.game_day import MadeLedger, game_day
from binlog.drills.runner import run_drill
from binlog.drills.targets.real import real_maker
from tests.integration.test_drills_real_live import small
make = real_maker(game_day(sys.argv[2:]), {ACCOUNT!r}, MadeLedger(Path(sys.argv[1])))
run_drill(small, make=make, on="real", tell=lambda line: print(line, flush=True))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(ledger), *day.urls.values()],
        env={**os.environ, "OF_TEST": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "binlog init" in line:  # the first that is made
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    # What it has started ends soon after it, and the last is who ends that.
    until(lambda: not inheriting(f"OF_TEST={tmp_path}"), "nobody is left of the drill")
    [entry] = MadeLedger(ledger).open_runs()
    assert entry.account == ACCOUNT
    said: list[str] = []
    assert clean_up(MadeLedger(ledger), said.append, who=who_and_where) == []
    assert said[0].startswith("log ")
    assert all(entry.run in line for line in said)
    assert MadeLedger(ledger).open_runs() == []
