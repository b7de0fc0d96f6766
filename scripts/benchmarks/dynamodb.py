"""Items a second and processor time of writing to DynamoDB, against plain conditional `put_item`.

    python -m scripts.benchmarks.dynamodb [--items 2000] [--delay-ms 5] [--rounds 3] [--endpoint URL]

What is measured is the client's side. Without ``--endpoint`` the service is a thread of this process's
child that reads a request, waits, and says that it was done, as DynamoDB does within single-digit
milliseconds; with one, it is whatever answers there (a stand-in is slower than the service, and shares
the machine's processors: no figure of it is the service's). One figure a line:

* plain: `Table.put_item` of boto3's resource, conditional, one after the other, as one finds it written;
* client: `client.put_item` of typed values, the same;
* births: `DynamoDBStore.commit` of batches of 500 blind puts, checkpoint rows included: of new items, into
  a table that this handle began, and so by `BatchExecuteStatement`;
* updates: the same of items that are there, and so by `PutItem`, many at a time;
* statements: `BatchExecuteStatement` of 25 INSERTs, one after the other: what can be said of new items
  only (an INSERT refuses an item that is there, an UPDATE one that is not, and neither removes
  attributes that it does not know: shown first, where ``--endpoint`` is given);
* build: `Build.load` by `BatchWriteItem`, unconditional.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

from appliers.item import Row, Write
from appliers.store import Checkpoint
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_tables_spec import Specification
from binlog.aws.account import Account
from binlog.params import Params, encode_genesis
from binlog.values import encode_item
from scripts.benchmarks.dynamodb_service import serve

BATCH = 500
BATCH_STATEMENTS = 25
GENESIS = encode_genesis(Params(log_id="ab" * 16, partitions=4))
TEXT = "x" * 120


class Figure:
    """Of one way to write: items a second, and microseconds of processor an item."""

    def __init__(self, work: Callable[[int, int], object], items: int) -> None:
        self.work = work
        self.items = items
        self.rates: list[float] = []
        self.cpu_us: list[float] = []

    def run(self, number: int) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.work(number, self.items)
        self.rates.append(self.items / (time.perf_counter() - wall))
        self.cpu_us.append((time.process_time() - cpu) / self.items * 1e6)

    def shown(self, name: str, base: Figure) -> dict[str, object]:
        return {
            "figure": name,
            "items_per_s": round(statistics.median(self.rates)),
            "cpu_us_per_item": round(statistics.median(self.cpu_us)),
            "times_plain": round(median_ratio(self.rates, base.rates), 2),
            "cpu_of_plain": round(median_ratio(self.cpu_us, base.cpu_us), 2),
        }


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def item(number: int, version: int) -> dict[str, Any]:
    return {"id": f"item-{number:08d}", "at": version, "name": TEXT, "tags": ["new", "small"]}


def main() -> None:
    """Print one line of JSON a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--delay-ms", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--endpoint")
    given = parser.parse_args()
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    os.environ.update(environment)
    if given.endpoint:
        measure(given.endpoint, given.items, given.rounds, is_real=True)
        return
    context = get_context("spawn")  # its processor time is not ours
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, given.delay_ms / 1000), daemon=True)
    process.start()
    try:
        measure(ours.recv(), given.items, given.rounds, is_real=False)
    finally:
        process.terminate()
        process.join()


def measure(endpoint: str, items: int, rounds: int, *, is_real: bool) -> None:
    import boto3  # here and nowhere else in this file's imports: what is measured against

    prefix = f"bench{os.getpid()}"
    store = DynamoDBStore(Specification.load(None, prefix), account=Account(endpoint=endpoint))
    store.bind(GENESIS)
    generation = store.create(tables=None, fingerprint="", excluded=()).id
    first = encode_item({"id": "first"})
    store.commit(generation, [Write("items", first, Row(1, 0, first), None)], [])
    name = f"{prefix}.items"
    table = boto3.resource("dynamodb", endpoint_url=endpoint).Table(name)
    client = boto3.client("dynamodb", endpoint_url=endpoint)

    def plain(number: int, count: int) -> None:
        for n in range(count):
            table.put_item(
                Item={**item(n, number), "_binlog": {"v": number, "p": 0}},
                ConditionExpression="attribute_not_exists(id) OR #b.#v < :v",
                ExpressionAttributeNames={"#b": "_binlog", "#v": "v"},
                ExpressionAttributeValues={":v": number},
            )

    def typed(number: int, count: int) -> None:
        for n in range(count):
            client.put_item(
                TableName=name,
                Item={
                    "id": {"S": f"item-{n:08d}"},
                    "at": {"N": str(number)},
                    "name": {"S": TEXT},
                    "tags": {"L": [{"S": "new"}, {"S": "small"}]},
                    "_binlog": {"M": {"v": {"N": str(number)}, "p": {"N": "0"}}},
                },
                ConditionExpression="attribute_not_exists(id) OR #b.#v < :v",
                ExpressionAttributeNames={"#b": "_binlog", "#v": "v"},
                ExpressionAttributeValues={":v": {"N": str(number)}},
            )

    place = 0

    def commit(number: int, count: int, prefix: str) -> None:
        nonlocal place
        for start in range(0, count, BATCH):
            writes = []
            for n in range(start, min(start + BATCH, count)):
                key = {"id": f"{prefix}-{n:08d}"}
                row = Row(number, 0, encode_item(item(n, number) | key))
                writes.append(Write("items", encode_item(key), row, None))
            place += 1
            at = Checkpoint(0, "s", place, place, place, b"d" * 32, b"state")
            failed = store.commit(generation, writes, [at])
            assert not failed or not is_real, len(failed)

    def births(number: int, count: int) -> None:
        commit(number, count, f"new{number}")

    def updates(number: int, count: int) -> None:
        commit(number, count, "item")

    def statements(number: int, count: int) -> None:
        for start in range(0, count, BATCH_STATEMENTS):
            client.batch_execute_statement(
                Statements=[
                    {
                        "Statement": f"INSERT INTO \"{name}\" VALUE {{'id': ?, 'at': ?, 'name': ?,"
                        " 'tags': ?, '_binlog': ?}",
                        "Parameters": [
                            {"S": f"n{number}-{n:08d}"},
                            {"N": str(number)},
                            {"S": TEXT},
                            {"L": [{"S": "new"}, {"S": "small"}]},
                            {"M": {"v": {"N": str(number)}, "p": {"N": "0"}}},
                        ],
                    }
                    for n in range(start, min(start + BATCH_STATEMENTS, count))
                ]
            )

    def build(number: int, count: int) -> None:
        made = store.build(tables=["items"], fingerprint="", excluded=())
        made.load(
            "items",
            (
                (encode_item({"id": f"item-{n:08d}"}), Row(number, 0, encode_item(item(n, number))))
                for n in range(count)
            ),
        )
        made.abandon()

    if is_real:
        show_statements(client, name)
    ways = {
        "plain": plain,
        "client": typed,
        "births": births,
        "updates": updates,
        "statements": statements,
        "build": build,
    }
    figures = {name: Figure(way, items) for name, way in ways.items()}
    number = 10
    commit(number, items, "item")  # so that they are there
    for _ in range(rounds):  # interleaved: what else the machine does is shared by all
        for figure in figures.values():
            number += 1
            figure.run(number)
    for name, figure in figures.items():
        print(json.dumps(figure.shown(name, figures["plain"])), flush=True)
    print(json.dumps({"units": store.units.write, "calls": store.units.calls}), flush=True)
    store.close()


def show_statements(client: Any, name: str) -> None:
    """What each kind of statement says to an item that is there, and to one that is not."""
    there, absent = "there", "absent"
    client.put_item(TableName=name, Item={"id": {"S": there}, "v": {"N": "1"}, "old": {"S": "x"}})
    for kind, text in {
        "INSERT": f"INSERT INTO \"{name}\" VALUE {{'id': '%s', 'v': 2}}",
        "UPDATE": f"UPDATE \"{name}\" SET v = 2 WHERE id = '%s' AND v < 2",
    }.items():
        for key in (there, absent):
            reply = client.batch_execute_statement(Statements=[{"Statement": text % key}])
            code = reply["Responses"][0].get("Error", {}).get("Code", "done")
            left = client.get_item(TableName=name, Key={"id": {"S": key}}).get("Item")
            print(json.dumps({"statement": kind, "item": key, "says": code, "then": left}))
            client.delete_item(TableName=name, Key={"id": {"S": absent}})


if __name__ == "__main__":
    main()
