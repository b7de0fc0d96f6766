"""`scripts/stack lambda`: the function on the local stack, as a person starts and ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.standins.server import Server, identity
from scripts.standins.stack import Stack, main
from tests.cli.running import append, binlog
from tests.integration.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
SHOP = """
from appliers.applier import ApplierError, Appliers

shop = Appliers()


@shop.on("Paid", table="orders", version=1)
def paid(item, event):
    if item is None:
        raise ApplierError("no such order")
    return {**item, "paid": True}
"""


@pytest.fixture
def log(
    kinesis_local: Server,
    ministack: Server,
    stream_name: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    monkeypatch.setenv("STACK_FROM", str(tmp_path))
    (tmp_path / "shop.py").write_text(SHOP)
    name = f"kinesis://{stream_name()}"
    assert binlog("init", name, "--partitions", "4", "--shards", "2").status == 0
    return name


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.standins.stack", "lambda", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def test_it_delivers_what_is_there_by_the_users_appliers(log: str) -> None:
    """Found in the caller's folder; what cannot be applied is parked; again, and nothing is new."""
    store = log.replace("kinesis", "dynamodb")
    lines = [{"id": f"o{n}"} for n in range(20)]
    paid = [{"Action": "Event", "Type": "Paid", "Key": {"id": n}} for n in ("o1", "nobody")]
    assert append(log, *lines, *paid, table="orders").status == 0
    status, out, err = run(log, store, "--appliers", "shop:shop", "--once", "--window", "0")
    assert status == 0, err
    assert "Parked 1" in out
    items = binlog("dump", store, "--table", "orders").lines
    assert len(items) == 20
    assert [each["id"] for each in items if each.get("paid")] == ["o1"]
    status, out, err = run(log, store, "--appliers", "shop:shop", "--once", "--window", "0")
    assert status == 0, err
    assert out.splitlines()
    assert all(line.endswith(": nothing new") for line in out.splitlines())


def test_it_goes_on_until_it_is_ended_and_leaves_nothing_behind(log: str) -> None:
    """The function's process stands still between two invocations, and has to be ended all the same."""
    process = start(log, log.replace("kinesis", "dynamodb"), "--window", "0")
    assert append(log, {"id": "a"}).status == 0
    assert process.stdout is not None
    while "Events 1," not in (line := process.stdout.readline()):
        assert line, process.communicate()
    children = _children(process.pid)
    assert children
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    process.communicate()
    until(lambda: not any(map(identity, children)), "the function's end")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path("/proc", str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, task.read_text().split())
    return found


@pytest.mark.parametrize(
    ("log_url", "store", "says"),
    [
        ("kinesis://nowhere", "dynamodb://live", "no such stream"),
        ("file:log", "dynamodb://live", "a function has a stream's records"),
        ("kinesis://nowhere", "sqlite:live.db", "a function writes to DynamoDB"),
    ],
)
def test_says_in_one_line_what_cannot_be(log: str, log_url: str, store: str, says: str) -> None:
    assert log
    status, out, err = run(log_url, store)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_never_turns_to_aws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a stack, and without addresses in the environment, there is nothing to work on."""
    assert not any(name.startswith("AWS_ENDPOINT_URL") for name in os.environ)
    assert main(["lambda", "kinesis://orders", "dynamodb://live"], Stack(tmp_path)) == 1
    assert "nothing runs" in capsys.readouterr().err
