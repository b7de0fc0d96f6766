"""A table that was full before it had a log, on doubles; and a fold of it that shares nothing with ours."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

from appliers.store import Reader
from appliers.stores.dynamodb_tables_spec import KeySchema
from binlog.actions import build_many
from binlog.clock import ManualClock
from binlog.json_values import typed_item
from binlog.log import Log
from binlog.logs import DirectoryLog, create_directory_log
from binlog.objects.memory import MemoryObjects
from binlog.objects.objects import Objects
from binlog.params import Params
from binlog.producer import Producer
from binlog.values import decode_value
from snapshots.adopt import Adopted, Adopting
from snapshots.adopt_base import TOUCHED
from snapshots.adopt_items import ItemCheck
from snapshots.adopt_log import AdoptionLog
from snapshots.adopt_sources import Live

PARAMS = Params(log_id="ad" * 16, partitions=4)
KEYS = KeySchema(("id", "S"))
ADDRESS = "file:bases"

Item = dict[str, Any]


def item(name: str, n: int = 0) -> Item:
    return {"id": name, "n": n, "text": f"value {n}"}


def items(count: int) -> dict[str, Item]:
    return {f"k{n:03d}": item(f"k{n:03d}", n) for n in range(count)}


def new_log(path: Path, params: Params = PARAMS) -> DirectoryLog:
    create_directory_log(path, params)
    return DirectoryLog(path, clock=ManualClock())


def append(log: Log, *actions: Mapping[str, Any]) -> None:
    numbers = iter(range(10_000))
    made = build_many(list(actions), now_ms=1, new_id=lambda: f"id-{log.now_ms()}-{next(numbers)}")
    with Producer(log) as producer:
        producer.append_many(made)


def put(name: str, n: int, *, table: str = "users", **more: Any) -> Item:
    return {"Action": "PutItem", "Table": table, "Key": {"id": name}, "Data": {"n": n}, **more}


def delete(name: str, *, table: str = "users") -> Item:
    return {"Action": "DeleteItem", "Table": table, "Key": {"id": name}}


def add(name: str, n: int, *, table: str = "users", **more: Any) -> Item:
    data = {"Add": {"n": n}}
    return {"Action": "UpdateItem", "Table": table, "Key": {"id": name}, "Data": data, **more}


def folded(base: Mapping[str, Item], actions: Iterable[Mapping[str, Any]]) -> dict[str, Item]:
    """What the items are after the actions: of what each of them says, and nothing else."""
    found = {name: dict(each) for name, each in base.items()}
    for action in actions:
        name = action["Key"]["id"]
        if action["Action"] == "PutItem":
            found[name] = {"id": name, **action["Data"]}
        elif action["Action"] == "DeleteItem":
            found.pop(name, None)
        else:
            before = found.setdefault(name, {"id": name})
            before["n"] = before.get("n", 0) + action["Data"]["Add"]["n"]
    return found


def held(reader: Reader, table: str = "users") -> dict[str, Item]:
    """The live items of a store."""
    rows = {decode_value(key)["id"]: row for key, row in reader.scan(table)}
    return {name: decode_value(row.data) for name, row in rows.items() if row.data is not None}


class Held:
    """A table in a dict: a source, and the table itself."""

    is_live = True
    name = "dict:users"
    identity = "dict"
    keys = KEYS

    def __init__(self, content: dict[str, Item]) -> None:
        self.content = content
        self.touched: set[str] = set()
        self.reads = 0
        self.while_read: Any = lambda _: None  # called with the number of the read, after it

    def items(self, check: ItemCheck, *, touched: bool = False) -> Iterator[tuple[bytes, bytes]]:
        self.reads += 1
        for name, each in list(self.content.items()):
            if touched and name in self.touched:
                yield check.key(each), TOUCHED
            else:
                yield check(dict(each))
        self.while_read(self.reads)


def adopting_by(log: Log, objects: Objects, table: Live, *, name: str = "users") -> Adopting:
    clock = ManualClock()

    def pause(seconds: float) -> None:
        clock.advance(max(1, round(seconds * 1000)))

    in_log = AdoptionLog(log, name, monotonic=clock.monotonic, pause=pause)
    return Adopting(log, objects, name, table, address=ADDRESS, clock=clock, adoption_log=in_log)


def adopt(log: Log, objects: Objects, table: Held, *, name: str = "users") -> Adopted:
    return adopting_by(log, objects, table, name=name).run(table)


# -- an export ---------------------------------------------------------------------------------------

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/Users-2023"
FOLDER = "AWSDynamoDB/01700000000000-a1b2c3d4/"


def export_of(
    content: Iterable[Item],
    *,
    files: int = 3,
    arn: str = ARN,
    compress: Any = gzip.compress,
    prefix: str = FOLDER,
    **summary: Any,
) -> MemoryObjects:
    """A full export as DynamoDB writes one."""
    objects = MemoryObjects("memory:export")
    of_file: list[list[bytes]] = [[] for _ in range(files)]
    for n, each in enumerate(content):
        line = json.dumps({"Item": typed_item(each)}).encode()
        of_file[n % files].append(line + b"\n")
    lines = []
    for n, some in enumerate(of_file):
        data = compress(b"".join(some))
        key = f"{prefix}data/file{n}abc.json.gz"
        objects.put_new(key, data)
        lines.append(
            {
                "itemCount": len(some),
                "md5Checksum": b64encode(md5(data).digest()).decode(),
                "etag": f"{n}-1",
                "dataFileS3Key": f"prefix/{key}",
            }
        )
    manifest = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    document = {
        "version": "2020-06-30",
        "exportArn": f"{arn}/export/01700000000000-a1b2c3d4",
        "startTime": "2026-01-01T00:00:00.000Z",
        "endTime": "2026-01-01T00:03:00.000Z",
        "tableArn": arn,
        "tableId": "12345a12-abcd-123a-ab12-1234abc12345",
        "exportTime": "2026-01-01T00:00:00.000Z",
        "s3Bucket": "bucket",
        "s3Prefix": "prefix",
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": None,
        "manifestFilesS3Key": f"prefix/{prefix}manifest-files.json",
        "billedSizeBytes": 1000,
        "itemCount": sum(map(len, of_file)),
        "outputFormat": "DYNAMODB_JSON",
        **summary,
    }
    whole = json.dumps(document).encode()
    for name, data in (("manifest-files", manifest), ("manifest-summary", whole)):
        objects.put_new(f"{prefix}{name}.json", data)
        digest = b64encode(md5(data).digest())
        objects.put_new(f"{prefix}{name}.md5", digest)
    objects.put_new(f"{prefix}_started", b"")
    return objects
