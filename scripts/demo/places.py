"""Where the tour's log and replicas are: files, or the services of `scripts/stack`.

The tour itself is the same in both. What differs is how one looks into a store by hand, and how
somebody would change a value behind binlog's back: with SQL, or with one call of the AWS SDK.
"""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import boto3

from appliers.address import open_store
from appliers.store import vector_of
from appliers.stores.dynamodb_reading import LiveTables

Show = Callable[[str], None]
PRODUCT = "p100"  # whose stock somebody changes


class Whole(NamedTuple):
    """What a replica is made of, and consists of."""

    events: int
    items: int


class Places(Protocol):
    """Addresses, and what one does to a replica without binlog.

    * ``orders`` is how many orders the shop has in its year, ``events_min`` how many events at least
      come of them, ``rate`` the items a second by which the replication that is killed is slowed.
    * ``applied`` is how many events the checkpoints of replica two have behind them.
    * ``share`` is how much of replica two is there, of the whole that it is in the end.
    * ``begin_again`` lets replica two be another one, which is made at half the rate.
    * ``tamper`` changes the stock of `PRODUCT` by one in a replica that equals replica one, and
      gives its address.
    """

    log: str
    one: str
    two: str
    three: str
    init: tuple[str, ...]
    orders: int
    events_min: int
    rate: int

    def applied(self) -> int: ...

    def share(self, whole: Whole) -> float: ...

    def begin_again(self) -> None: ...

    def tamper(self, show: Show) -> str: ...


class Files:
    """A log in a directory, replicas in SQLite."""

    init: tuple[str, ...] = ("--partitions", "16")
    orders = 5_000
    events_min = 20_000
    rate = 4_000

    def __init__(self, data: Path) -> None:
        self.log = f"file:{data}/log"
        self.one, self.two, self.three = (
            f"sqlite:{data}/{name}.db" for name in ("one", "two", "three")
        )
        self._data = data

    def begin_again(self) -> None:
        self.rate //= 2
        self.two = f"sqlite:{self._data}/two-{self.rate}.db"

    def applied(self) -> int:
        path = Path(self.two.removeprefix("sqlite:"))
        if not path.exists():
            return 0
        with closing(sqlite3.connect(path)) as connection:
            [(total,)] = connection.execute("SELECT total(applied) FROM _binlog_checkpoints")
        return int(total)

    def share(self, whole: Whole) -> float:
        return self.applied() / whole.events

    def tamper(self, show: Show) -> str:
        copy = self._data / "tampered.db"
        with (
            closing(sqlite3.connect(self._data / "one.db")) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            its = "FROM products WHERE json_extract(key, '$.id.S') = ?"
            [(key, stock)] = target.execute(
                f"SELECT key_bytes, json_extract(item, '$.stock.N') {its}", (PRODUCT,)
            )
            change = "UPDATE products SET item = json_set(item, '$.stock.N', ?) WHERE key_bytes = ?"
            show(f'sqlite3 {copy} "UPDATE products SET .. stock {int(stock) + 1} .."')
            with target:
                target.execute(change, (str(int(stock) + 1), key))
        return f"sqlite:{copy}"


class Services:
    """A log in a stream, replicas in tables: of stand-ins, so the year is a short one."""

    init: tuple[str, ...] = ("--partitions", "16", "--shards", "2")
    orders = 500
    events_min = 2_000
    rate = 300

    def __init__(self) -> None:
        """What the AWS libraries need is in the environment."""
        name = f"shop-{secrets.token_hex(3)}"
        self.log = f"kinesis://{name}"
        self.one, self.two, self.three = (
            f"dynamodb://{name}-{number}" for number in ("one", "two", "three")
        )
        self._client = boto3.client("dynamodb")  # takes longer to make than to look into a replica

    def begin_again(self) -> None:
        self.rate //= 2
        self.two = f"{self.two}-{self.rate}"

    def applied(self) -> int:
        with closing(open_store(self.two)) as store:
            return sum(
                sum(vector_of(store.checkpoints(generation.id)).values())
                for generation in store.generations()
            )

    def share(self, whole: Whole) -> float:
        """By items: a checkpoint is a write that is paid for, and comes far behind them."""
        with closing(open_store(self.two)) as store:
            tables = [table for generation in store.generations() for table in generation.tables]
        live = LiveTables(self._client, self.two.removeprefix("dynamodb://"))
        counted = [
            page["Count"]
            for table in tables
            for page in self._client.get_paginator("scan").paginate(
                TableName=live.name(table), Select="COUNT"
            )
        ]
        return float(sum(counted) / whole.items)

    def tamper(self, show: Show) -> str:
        three = self.three.removeprefix("dynamodb://")
        table = LiveTables(self._client, three).name("products")
        call: dict[str, Any] = {
            "Key": {"id": {"S": PRODUCT}},
            "UpdateExpression": "ADD stock :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
        show(f"aws dynamodb update-item --table-name {table} .. 'ADD stock :one' ..")
        self._client.update_item(TableName=table, **call)
        return self.three


def stack_environment(python: str) -> dict[str, str]:
    """Start the stack, if it does not run; the variables by which it is found.

    Raises:
        RuntimeError: it does not come up.
    """
    module = [python, "-m", "scripts.standins.stack"]
    started = subprocess.run([*module, "up"], text=True, stdout=subprocess.PIPE, check=False)
    if started.returncode:
        raise RuntimeError(started.stdout.strip() or "the stack did not come up")
    said = subprocess.run([*module, "env"], text=True, stdout=subprocess.PIPE, check=True).stdout
    pairs = (line.removeprefix("export ").partition("=") for line in said.splitlines())
    return {name: value for name, _, value in pairs}
