"""The gate of the drills: writes on their way arrive when it opens, and what came of each is counted."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from binlog.drills.declared import load_file
from scripts.standins.proxy import Proxy
from scripts.standins.proxy_faults import Reply, Request

ROOT = Path(__file__).parents[2]
REFUSED = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}


@pytest.fixture(scope="module")
def here() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts/drills"))
    try:
        return load_file(ROOT / "scripts/drills/stack_here.py")
    finally:
        sys.path.remove(str(ROOT / "scripts/drills"))


def put(table: str) -> Request:
    return {"TableName": table, "Item": {}}


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_written_while_it_is_shut_waits_and_is_told_apart(here: ModuleType) -> None:
    """Items from checkpoints, done from refused; statements of a batch one by one."""
    gate = here.Gate("shop-live")
    gate.handle("PutItem", put("shop-live.orders"), lambda _: Reply(200, {}, {}))
    assert not gate.held + gate.late  # open: nobody counts
    gate.shut()
    batch = {"Statements": [{"Statement": f'INSERT INTO "shop-live.orders" {n}'} for n in "ab"]}
    codes = [{"Error": {"Code": "DuplicateItem"}}, {}]
    calls: list[tuple[str, Request, Reply]] = [
        ("PutItem", put("shop-live.orders"), Reply(400, {}, REFUSED)),
        ("UpdateItem", put("shop-live.binlog"), Reply(400, {}, REFUSED)),
        ("BatchExecuteStatement", batch, Reply(200, {}, {"Responses": codes})),
    ]
    arrived: list[str] = []

    def call(operation: str, request: Request, reply: Reply) -> None:
        def forward(_: Request) -> Reply:
            arrived.append(operation)
            return reply

        gate.handle(operation, request, forward)

    threads = [threading.Thread(target=call, args=each) for each in calls]
    for thread in threads:
        thread.start()
    until(lambda: gate.held.total() == 4)
    assert arrived == []
    gate.open()
    for thread in threads:
        thread.join(60)
    assert sorted(arrived) == ["BatchExecuteStatement", "PutItem", "UpdateItem"]
    assert dict(gate.held) == {"items": 3, "rows": 1}
    assert dict(gate.late) == {
        ("items", "refused"): 2,
        ("items", "done"): 1,
        ("rows", "refused"): 1,
    }


@pytest.mark.parametrize(
    ("operation", "table"),
    [("GetItem", "shop-live.orders"), ("PutItem", "binlog.shop.shop-live"), ("PutItem", "other")],
)
def test_reads_and_other_tables_pass_a_gate_that_is_shut(
    here: ModuleType, operation: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The KCL's own lease table begins otherwise: a worker that holds no lease writes nothing."""
    monkeypatch.setattr(here, "_HELD_S", 0.0)  # who is held all the same is not to wait for it
    gate = here.Gate("shop-live")
    gate.shut()
    assert gate.handle(operation, put(table), lambda _: Reply(200, {}, {})).status == 200
    assert not gate.held + gate.late


def test_a_client_that_is_killed_in_the_midst_of_a_request_is_no_mistake() -> None:
    """Half of a request is none: the service never hears of it, and the proxy ends as it should."""
    proxy = Proxy("http://127.0.0.1:1")
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    body = json.dumps(put("orders")).encode()
    with socket.create_connection((host, int(port))) as client:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body[:-5])
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    proxy.close()
    assert proxy.unanswered == 0
