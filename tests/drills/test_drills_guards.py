# ruff: noqa: N803  parameters are called as AWS calls them
"""What may be production, in every guise: nothing of it is used, and nothing removed."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from binlog.drills.game_day import Entry, MadeLedger, check_endpoints, game_day
from binlog.drills.targets.aws_made import Made
from binlog.drills.targets.real import check_bucket, clean_up
from binlog.drills.targets.stack_aws import SERVICES, Stack
from binlog.errors import BusyError, RefusedError

ROOT = Path(__file__).parents[2]
RUN, ACCOUNT = "20261126t170212-1a2b3c4d", "123456789012"
LOG, STORE = "kinesis://binlog-drill-shop", "dynamodb://binlog-drill-shop"
AWS = "https://kinesis.eu-west-1.amazonaws.com"


def nobody(*_: object, **__: object) -> Any:
    raise AssertionError("nobody is to be called")


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "kinesis://BINLOG-DRILL-orders", "kinesis://binlog-drill-Orders",
        "kinesis://arn:aws:kinesis:eu-west-1:123456789012:stream/binlog-drill-orders",
        "kinesis:arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
        "kinesis://binlog-drill-orders/../orders", "kinesis://binlog-drill-x%00orders",
        "kinesis://orders?endpoint=http://127.0.0.1:1", "kinesis://binlog-drill-x?stream=orders",
        "kinesis://binlog-drill-x\n", "kinesis:// binlog-drill-x", "kinesis://binlog-drill‐x",
        "KINESIS://binlog-drill-x", "dynamodb://binlog-drill-x", "file:binlog-drill-x",
        "kinesis://binlog-drill-x?region=eu-west-1&region=us-east-1",
    ],
)  # fmt: skip
def test_no_stream_of_production_looks_like_a_drills(url: str) -> None:
    """Upper case, ARN, path, endpoint, another service, a hyphen that is none."""
    with pytest.raises(RefusedError):
        game_day([url, STORE])


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://binlog-drill-shop?tables=prod.toml", "dynamodb://binlog-drill.orders",
        "dynamodb://arn:aws:dynamodb:eu-west-1:123456789012:table/binlog-drill-orders",
        "dynamodb://Binlog-Drill", "dynamodb://prod/binlog-drill", "memory:", "sqlite:prod.db",
    ],
)  # fmt: skip
def test_no_table_of_production_looks_like_a_drills(url: str) -> None:
    """A file of tables says what is protected from removal, and what costs by the hour."""
    with pytest.raises(RefusedError):
        game_day([LOG, url])


# -- where calls go ------------------------------------------------------------------------------


def test_half_a_stack_in_the_environment_is_no_game_day() -> None:
    """One variable of `scripts/stack env` is left: the log is a stand-in, the tables are AWS's."""
    check_endpoints([(LOG, AWS), (STORE, "https://dynamodb.eu-west-1.amazonaws.com")])
    check_endpoints([(LOG, "http://127.0.0.1:1"), (STORE, "http://localhost:2")])
    with pytest.raises(RefusedError, match="kinesis://binlog-drill-shop would go to this machine"):
        check_endpoints([(LOG, "http://127.0.0.1:4567"), (STORE, AWS)])


class Bucket:
    """One bucket, and whose it is."""

    def __init__(self, code: str | None) -> None:
        self.code = code
        self.asked: dict[str, str] = {}

    def head_bucket(self, **how: str) -> None:
        self.asked = how
        if self.code is not None:
            error = RuntimeError(self.code)
            error.response = {"Error": {"Code": self.code}}  # type: ignore[attr-defined]
            raise error

    def close(self) -> None:
        pass


def test_objects_go_into_a_bucket_of_the_account_alone() -> None:
    """The bucket is the one thing that is there before: its name says nothing about whose it is."""
    url = "s3://kept/binlog-drill-shop"
    good = Bucket(None)
    check_bucket(url, ACCOUNT, client=lambda _: good)
    assert good.asked == {"Bucket": "kept", "ExpectedBucketOwner": ACCOUNT}
    for code, says in (("403", "is not account 123456789012's"), ("404", "no such bucket")):
        with pytest.raises(RefusedError, match=says):
            check_bucket(url, ACCOUNT, client=partial(no_client_but, Bucket(code)))


def no_client_but(bucket: Bucket, _: object) -> Bucket:
    return bucket


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A shell with nothing of AWS in it."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return monkeypatch


def test_a_stack_whose_variables_are_ignored_is_refused(
    tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    """The drill's process would open its log in the account that the shell has credentials of."""
    for service in SERVICES:
        elsewhere.setenv(f"AWS_ENDPOINT_URL_{service}", "http://127.0.0.1:9")
    elsewhere.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    with pytest.raises(RefusedError, match=r"would go to https://kinesis\..*amazonaws"):
        Stack(tmp_path)


@pytest.mark.parametrize(
    "url", [AWS, "http://127.0.0.1.example.org:4567", "http://10.0.0.1", "https://localhost.corp"]
)
def test_a_stack_is_on_this_machine(
    url: str, tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    """Whatever has another host may be anybody's."""
    for service in SERVICES:
        elsewhere.setenv(f"AWS_ENDPOINT_URL_{service}", "http://127.0.0.1:9")
    elsewhere.setenv("AWS_ENDPOINT_URL_KINESIS", url)
    with pytest.raises(RefusedError, match="is not on this machine"):
        Stack(tmp_path)


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"StreamNames": [], "HasMoreStreams": false}')

    def log_message(self, *_: object) -> None:
        pass


def test_a_stack_that_is_half_up_is_told_from_one_that_is_up(
    tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    """One of three has ended: it is said which, in one line, and nothing is made."""
    elsewhere.setenv("AWS_MAX_ATTEMPTS", "1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        for service in SERVICES:
            elsewhere.setenv(f"AWS_ENDPOINT_URL_{service}", "http://127.0.0.1:9")
        elsewhere.setenv("AWS_ENDPOINT_URL_KINESIS", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(RefusedError, match="half up: dynamodb does not answer"):
            Stack(tmp_path)
    finally:
        server.shutdown()
        server.server_close()


# -- what is removed -----------------------------------------------------------------------------


def forged(**how: Any) -> Entry:
    urls = {"log": LOG, "store": STORE}
    return Entry(**{"run": RUN, "account": ACCOUNT, "drill": "x", "urls": urls, **how})


@pytest.mark.parametrize(
    "entry",
    [
        forged(urls={"log": "kinesis://orders"}),
        forged(urls={"log": "kinesis://binlog-drillish"}),
        forged(urls={"log": STORE}),
        forged(urls={"table": STORE}),
        forged(urls={"store": "dynamodb://binlog-drill-shop?tables=x.toml"}),
        forged(urls={"objects": "s3://kept/prod/../binlog-drill"}),
        forged(urls={"objects": "file:/etc"}),
        forged(run="2026"),
        forged(run=f"{RUN}\n"),
        forged(account="*"),
        forged(account="999999999999"),
    ],
)
def test_a_forged_ledger_removes_nothing(entry: Entry, tmp_path: Path) -> None:
    """It is a file in a folder, and says what is to be removed: it is not believed."""
    ledger = MadeLedger(tmp_path / "made.jsonl")
    ledger.write(entry)
    before = ledger.path.read_bytes()
    with pytest.raises(RefusedError):
        clean_up(
            ledger,
            nobody,
            client=lambda _: Bucket(None),  # it knows no call that removes anything
            who=lambda _: (ACCOUNT, AWS),
        )
    assert ledger.path.read_bytes() == before


def test_what_a_running_drill_uses_is_not_cleaned_up(tmp_path: Path) -> None:
    """In a second terminal somebody wants to tidy up."""
    ledger = MadeLedger(tmp_path / "made.jsonl")
    with ledger.held(), ledger.held():  # two drills at once are none's business
        ledger.write(forged())
        with pytest.raises(BusyError, match="a drill is running by it"):
            clean_up(ledger, nobody, client=nobody, who=nobody)
    with ledger.held(alone=True), pytest.raises(BusyError, match="cleaned up"), ledger.held():
        pass


def test_a_ledger_is_not_held_by_the_dead(tmp_path: Path) -> None:
    """A drill that was killed is what cleaning up is there for."""
    path = tmp_path / "made.jsonl"
    hold = (
        "from pathlib import Path; from binlog.drills.game_day import MadeLedger; import time\n"
        f"with MadeLedger(Path({str(path)!r})).held(): print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BusyError), MadeLedger(path).held(alone=True):
            pass
        process.kill()
    with MadeLedger(path).held(alone=True):
        pass


def test_an_entry_that_was_cut_short_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    """The disk was full in its middle; nothing was made for that one, but for the next."""
    ledger = MadeLedger(tmp_path / "made.jsonl")
    ledger.path.write_bytes(b'{"run":"2026')
    ledger.write(forged())
    with pytest.raises(RefusedError, match="line 1"):
        ledger.open_runs()
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(lines[1])
    assert [entry.run for entry in ledger.open_runs()] == [RUN]


def test_only_the_runs_own_objects_are_looked_for() -> None:
    """A prefix without its end would be that of a neighbour's run, too."""
    asked: list[str] = []

    class Objects:
        def list_objects_v2(self, *, Bucket: str, Prefix: str) -> dict[str, object]:
            asked.append(f"{Bucket} {Prefix}")
            return {}

    made = Made({"objects": "s3://kept/binlog-drill"}, RUN, client=lambda _: Objects())
    assert made.object_keys() == []
    assert asked == [f"kept binlog-drill-{RUN}/"]
