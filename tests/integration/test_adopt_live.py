"""The command on a running stand-in: a table adopted in place, gone on with, checked and mended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts.standins.server import Server
from tests.adoption.adoption_world import ARN, Item, export_of, item, items
from tests.cli.running import append, binlog
from tests.readme.documents import ROOT, follow

DOCUMENT = ROOT / "docs/adopt.md"


@pytest.fixture
def client(ministack: Server) -> Any:
    return boto3.client("dynamodb", endpoint_url=ministack.url)


def full_table(client: Any, name: str, content: dict[str, Item]) -> None:
    client.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    resource = boto3.resource("dynamodb", endpoint_url=client.meta.endpoint_url).Table(name)
    with resource.batch_writer() as batch:
        for each in content.values():
            batch.put_item(Item=each)


def dumped(store: str) -> dict[str, Item]:
    ran = binlog("dump", store, "--table", "users")
    assert ran.status == 0, ran.err
    return {line["id"]: line for line in map(json.loads, ran.out.splitlines())}


def test_a_table_is_adopted_in_place_and_gone_on_with(
    client: Any,
    ministack: Server,
    stream_name: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is written to it by that; then events, and what others wrote, are told apart."""
    monkeypatch.chdir(tmp_path)
    prefix = stream_name()
    name = f"{prefix}-Users-2023"
    full_table(client, name, items(30))
    (tmp_path / "shop.toml").write_text(f'[tables.users]\nphysical = "{name}"\nowned = true\n')
    table = f"dynamodb://{name}?endpoint={ministack.url}"
    store = f"dynamodb://{prefix}?endpoint={ministack.url}&tables=shop.toml"
    assert binlog("init", "file:log", "--partitions", "4").status == 0
    adopt = ("adopt", table, "file:log", store, "--snapshots", "file:kept")
    plan = binlog(*adopt)
    assert plan.status == 0, plan.err
    assert "nothing was written" in plan.err
    ran = binlog(*adopt, "--yes", "--json")
    assert ran.status == 0, ran.err
    assert (ran.lines[0]["table"], ran.lines[0]["items"]) == ("users", 30)
    append("file:log", {"Action": "UpdateItem", "Key": {"id": "k001"}, "Data": {"Add": {"n": 5}}})
    append("file:log", {"Action": "DeleteItem", "Key": {"id": "k002"}})
    append("file:log", {"id": "k003", "n": 99})
    append("file:log", {"id": "new", "n": 1})
    ran = binlog("replicate", "file:log", store, "--once")
    assert ran.status == 0, ran.err
    wanted = {**items(30), "k003": {"id": "k003", "n": 99}, "new": {"id": "new", "n": 1}}
    wanted["k001"]["n"] = 6
    del wanted["k002"]
    assert dumped(store) == wanted
    assert binlog("verify", store, "file:log").status == 0
    assert binlog(*adopt, "--check").status == 0
    client.put_item(TableName=name, Item={"id": {"S": "k010"}, "n": {"N": "7"}})
    append("file:log", {"Action": "UpdateItem", "Key": {"id": "k010"}, "Data": {"Add": {"n": 5}}})
    ran = binlog("replicate", "file:log", store, "--once")
    assert ran.status == 3
    assert "was changed in the table since that was adopted" in ran.err
    ran = binlog(*adopt, "--check", "--restore", "strays.jsonl", "--json")
    assert (ran.status, ran.lines[0]["restored"]) == (0, 1), ran
    ran = binlog("append", "file:log", "strays.jsonl", "--format", "dynamodb")
    assert ran.status == 0, ran.err
    assert binlog("replicate", "file:log", store, "--once").status == 0
    assert dumped(store) == {**wanted, "k010": {"id": "k010", "n": 7}}
    assert binlog("verify", store, "file:log").status == 0
    again = binlog(*adopt, "--yes", "--json")
    assert (again.status, again.lines[0]["records"], again.lines[0]["found"]) == (0, 0, True)


@pytest.mark.timeout(600)  # a dozen programs, one after the other
def test_the_document_can_be_followed_and_prints_what_it_says(
    ministack: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """docs/adopt.md, from top to bottom."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    text = follow(DOCUMENT, tmp_path)
    if os.environ.get("BINLOG_WRITE_DOCS"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert text == DOCUMENT.read_text(encoding="utf-8")


def test_an_export_is_read_and_held_against_the_table(
    client: Any,
    ministack: Server,
    stream_name: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a folder, as it is copied from the bucket; one of another table, or of before, is refused."""
    monkeypatch.chdir(tmp_path)
    name = f"{stream_name()}-Users"
    full_table(client, name, items(12))
    described = client.describe_table(TableName=name)["Table"]
    table = f"dynamodb://{name}?endpoint={ministack.url}"
    assert binlog("init", "file:log", "--partitions", "4").status == 0
    for folder, arn in (("exported", described["TableArn"]), ("other", ARN)):
        ours = arn == described["TableArn"]
        exported = export_of(
            items(12).values(), arn=arn, tableId=described.get("TableId", "") if ours else "x"
        )
        for entry in exported.list():
            path = tmp_path / folder / entry.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(exported.get(entry.key) or b"")
    options = ("--as", "users", "--snapshots", "file:kept", "--yes")
    ran = binlog("adopt", table, "file:log", "--export", "file:other", *options)
    assert ran.status == 2
    assert "the export is of" in ran.err
    client.put_item(TableName=name, Item={"id": {"S": "late"}})
    ran = binlog("adopt", table, "file:log", "--export", "file:exported", *options)
    assert ran.status == 2
    assert "changed since it was exported" in ran.err
    assert '"late"' in ran.err
    client.delete_item(TableName=name, Key={"id": {"S": "late"}})
    ran = binlog("adopt", table, "file:log", "--export", "file:exported", *options)
    assert ran.status == 0, ran.err
    assert binlog("rebuild", "file:log", "sqlite:a.db").status == 0
    assert dumped("sqlite:a.db") == items(12)
    assert item("k001", 1) == items(12)["k001"]
