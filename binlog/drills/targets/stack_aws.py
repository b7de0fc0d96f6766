"""Kinesis, DynamoDB and S3 as stand-ins on loopback ports, those of ``scripts/stack up``.

Everything has the drill's own name, ``drill-`` and 8 random digits, and is removed with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from binlog.address import open_log
from binlog.aws.account import Account
from binlog.aws.counting import count_calls
from binlog.aws.identity import endpoint_of
from binlog.drills.clock import ClockAhead
from binlog.drills.game_day import LOOPBACK
from binlog.drills.processes import nobodys_environment
from binlog.drills.target import STORES
from binlog.drills.targets.copying import copying_objects
from binlog.drills.targets.on_services import OnServices
from binlog.drills.targets.stack_consumers import by_consumers
from binlog.errors import RefusedError
from binlog.log import Log

SERVICES = ("KINESIS", "DYNAMODB", "S3")
_UP = 'scripts/stack up && eval "$(scripts/stack env)"'


class Stack(OnServices):
    """See `binlog.drills.target.Target`."""

    name = "stack"
    rate = 150.0
    every_s = 1.0
    init_more = "--shards 2"
    tells_applied = False
    wait_s = 240.0  # two CPUs for services, JVM, consumers and drill, and maybe for others
    twin_wait_s = 25.0

    def __init__(self, folder: Path) -> None:
        """The environment has to name endpoints, and on this machine alone.

        Raises:
            RefusedError: it does not, or one of them is elsewhere: that could be an account.
        """
        import boto3

        self._endpoints = {}
        for service in SERVICES:
            variable = f"AWS_ENDPOINT_URL_{service}"
            url = os.environ.get(variable, "")
            if not url:
                raise RefusedError("the stack is not up", f"${variable} is not set", _UP)
            if urlsplit(url).hostname not in LOOPBACK:
                raise RefusedError(f"{url} is not on this machine", variable, _UP)
            self._endpoints[variable] = url
            self._check_where_calls_go(service, url)
        self.folder = folder
        self._name = f"drill-{secrets.token_hex(4)}"
        self._session = boto3.Session("test", "test", region_name="us-east-1")
        self._kinesis, self._dynamodb, self._s3 = (
            self._session.client(
                service.lower(), endpoint_url=self._endpoints[f"AWS_ENDPOINT_URL_{service}"]
            )
            for service in SERVICES
        )
        for service, client in zip(
            SERVICES, (self._kinesis, self._dynamodb, self._s3), strict=True
        ):
            count_calls(client, service.lower(), aws=False)  # the disaster and the judge ask, too
        for service, ask in zip(
            SERVICES,
            (self._kinesis.list_streams, self._dynamodb.list_tables, self._s3.list_buckets),
            strict=True,
        ):
            try:
                ask()
            except Exception as error:
                what = f"the stack is half up: {service.lower()} does not answer"
                where = self._endpoints[f"AWS_ENDPOINT_URL_{service}"]
                raise RefusedError(what, where, f"scripts/stack down; {_UP}") from error
        self._s3.create_bucket(Bucket=self._name)
        self._bucket_is_there = True
        places = ("archive", "copy", "snapshots")
        self._addresses = {
            "log": f"kinesis://{self._name}",
            **{place: f"s3://{self._name}/{place}" for place in places},
            **{store: f"dynamodb://{self._name}-{store}" for store in STORES},
        }

    def _check_where_calls_go(self, service: str, url: str) -> None:
        """This process opens addresses as any client does: the environment, or a profile, may win."""
        goes = endpoint_of(Account(), service.lower(), _UP)
        if urlsplit(goes).netloc != urlsplit(url).netloc:
            what = f"calls to {service.lower()} would go to {goes}, and not to the stack"
            do = "unset AWS_IGNORE_CONFIGURED_ENDPOINT_URLS, and see AWS_PROFILE"
            raise RefusedError(what, url, do)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            **nobodys_environment(),
            **self._endpoints,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            # What consumers keep beside the services goes with the folder.
            "STACK_FROM": str(self.folder),
            "STACK_LOGS": str(self.folder / ".said"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def typed(self, command: str) -> str:
        return by_consumers(copying_objects(command))

    def open_log(self, name: str = "log", *, clock_s: float = 0.0) -> Log:
        return open_log(self._addresses[name], clock=ClockAhead(clock_s))

    def _client(self) -> Any:
        return self._dynamodb

    def path(self, name: str) -> Path:
        raise RefusedError("no file of this machine", self._addresses[name], "run it on embedded")

    def _parts(self, name: str) -> Iterator[str]:
        if name == "log":
            with contextlib.suppress(self._kinesis.exceptions.ResourceNotFoundException):
                for shard in self._kinesis.list_shards(StreamName=self._name)["Shards"]:
                    yield json.dumps(shard, sort_keys=True)
        elif name in STORES:
            for table in self._tables(name):
                yield table
                for item in self._scan(table):
                    yield json.dumps(item, sort_keys=True, default=repr)
        else:
            for each in self._objects(name):
                yield f"{each['Key']} {each['Size']} {each['ETag']}"

    def drop_table(self, name: str, table: str) -> None:
        dropped = self._tables(name, table)
        if not dropped:
            raise RefusedError(f"there is no table {table}", self._addresses[name])
        for physical in dropped:
            self._dynamodb.delete_table(TableName=physical)
            self._dynamodb.get_waiter("table_not_exists").wait(TableName=physical)

    def corrupt(self, name: str, table: str, count: int) -> list[str]:
        [physical] = self._tables(name, table)
        changed: list[str] = []
        for item in self._scan(physical):
            if "total" in item and len(changed) < count:
                item["total"] = {"N": str(int(item["total"]["N"]) + 1)}
                self._dynamodb.put_item(TableName=physical, Item=item)
                changed.append(str(item["id"]["S"]))
        return changed

    def versions(self) -> dict[str, str]:
        return {service.lower(): "a stand-in on this machine" for service in SERVICES}

    def close(self) -> list[str]:
        left = []
        for what, remove in (
            (self._addresses["log"], self._remove_stream),
            (f"dynamodb://{self._name}", self._remove_tables),
            (f"s3://{self._name}", self._remove_bucket),
        ):
            try:
                remove()
            except Exception as error:  # noqa: BLE001 - it is listed, and the others are removed
                left.append(f"{what}: {error}")
        shutil.rmtree(self.folder, ignore_errors=True)
        return left

    # -- services --------------------------------------------------------------------------------

    def _tables(self, name: str, table: str = "") -> list[str]:
        prefix = f"{self._name}-{name}"
        pages = self._dynamodb.get_paginator("list_tables").paginate()
        found = [t for page in pages for t in page["TableNames"] if t.startswith(prefix)]
        return [t for t in found if table in t.removeprefix(prefix)]

    def _scan(self, table: str) -> Iterator[dict[str, Any]]:
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        for page in pages:
            yield from sorted(page["Items"], key=repr)

    def _objects(self, name: str) -> Iterator[dict[str, Any]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._name, Prefix=f"{name}/"
        )
        for page in pages:
            yield from page.get("Contents", ())

    def _remove_stream(self) -> None:
        with contextlib.suppress(self._kinesis.exceptions.ResourceNotFoundException):
            self._kinesis.delete_stream(StreamName=self._name, EnforceConsumerDeletion=True)

    def _remove_tables(self) -> None:
        # Those of stores, and of the KCL's application, which is named for stream and store.
        begins = (f"{self._name}-", f"binlog.{self._name}.")
        pages = self._dynamodb.get_paginator("list_tables").paginate()
        for table in [each for page in pages for each in page["TableNames"]]:
            if table.startswith(begins):
                self._dynamodb.delete_table(TableName=table)

    def _remove_bucket(self) -> None:
        if not self._bucket_is_there:
            return
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._name)
        for page in pages:
            for each in page.get("Contents", ()):
                self._s3.delete_object(Bucket=self._name, Key=each["Key"])
        self._s3.delete_bucket(Bucket=self._name)
        self._bucket_is_there = False
