"""Two regions: what is lost with the first, and what stands in the second.

`{copy}` and `{other}` are in the second region; everything else is in the first.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from binlog.address import parse_address
from binlog.drills.targets.embedded import Embedded
from binlog.drills.targets.live_dynamodb import read_live
from binlog.drills.targets.stack_aws import Stack
from binlog.errors import BinlogError
from binlog.objects.objects import Objects

REGION = "eu-west-1"
OTHER = "other"
SEGMENTS = "chain/"


class Replication:
    """What a bucket's replication does: objects come to the other region, one by one, a bit later.

    In the order of writing, which a service does not promise. What an archiver notes of its segments (how
    far they go) is true as soon as it is written, and so the copy's only once it has those segments: of one
    that came before them, and they never, `binlog check` would say that they are lost.
    """

    def __init__(self, source: Objects, copy: Objects) -> None:
        self._source, self._copy = source, copy
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replication", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What has not come by now does not come any more. Repeats do nothing.

        Raises:
            TimeoutError: it does not come to its end.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join(60)
        if self._thread.is_alive():
            raise TimeoutError("an object is being copied, and that does not end")
        for each in (self._source, self._copy):
            each.close()

    def _run(self) -> None:
        done: dict[str, bytes] = {}
        while not self._stop.wait(0.1):
            with contextlib.suppress(BinlogError):  # the next turn begins anew
                notes = {
                    entry.key: self._source.get(entry.key)
                    for entry in self._source.list()
                    if not entry.key.startswith(SEGMENTS)
                }
                for entry in self._source.list(SEGMENTS):
                    if self._stop.is_set():
                        return
                    if entry.key not in done:  # written once
                        self._put(entry.key, self._source.get(entry.key), done)
                for key, data in notes.items():
                    self._put(key, data, done)

    def _put(self, key: str, data: bytes | None, done: dict[str, bytes]) -> None:
        digest = sha256(data or b"").digest()
        if data is not None and done.get(key) != digest:
            self._copy.put(key, data)
            done[key] = digest


class TwoFolders(Embedded):
    """Each region is some of the folder."""

    def lose_region(self) -> None:
        """The first, with all that is in it."""
        for name in ("log", "archive"):
            shutil.rmtree(self.path(name))
        for path in self.folder.glob(f"{self.path('live').name}*"):
            path.unlink()


class TwoRegions(Stack):
    """Of the services on this machine, which keep regions apart as AWS does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._far_dynamodb, self._far_s3 = (
            self._session.client(
                name.lower(),
                region_name=REGION,
                endpoint_url=self._endpoints[f"AWS_ENDPOINT_URL_{name}"],
            )
            for name in ("DYNAMODB", "S3")
        )
        self._is_lost = False
        self._far_bucket = f"{self._name}-far"
        self._far_s3.create_bucket(
            Bucket=self._far_bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self._addresses["copy"] = f"s3://{self._far_bucket}/copy?region={REGION}"
        self._addresses[OTHER] = f"dynamodb://{self._name}-{OTHER}?region={REGION}"

    def items(self, name: str, table: str) -> dict[str, dict[str, Any]]:
        if name != OTHER:
            return super().items(name, table)
        return read_live(self._far_dynamodb, parse_address(self._addresses[name]).path, table)

    def lose_region(self) -> None:
        """The first, with all that is in it."""
        self._remove_stream()
        self._remove_tables()
        self._remove_bucket()
        self._is_lost = True

    def _parts(self, name: str) -> Iterator[str]:
        return iter(()) if self._is_lost else super()._parts(name)

    def close(self) -> list[str]:
        left = []
        try:
            self._remove_far()
        except Exception as error:  # noqa: BLE001 - it is listed, and the others are removed
            left.append(f"{REGION}: {error}")
        return [*left, *super().close()]

    def _remove_far(self) -> None:
        pages = self._far_dynamodb.get_paginator("list_tables").paginate()
        for table in [each for page in pages for each in page["TableNames"]]:
            if table.startswith(f"{self._name}-"):
                self._far_dynamodb.delete_table(TableName=table)
        found = self._far_s3.get_paginator("list_objects_v2").paginate(Bucket=self._far_bucket)
        for page in found:
            for each in page.get("Contents", ()):
                self._far_s3.delete_object(Bucket=self._far_bucket, Key=each["Key"])
        self._far_s3.delete_bucket(Bucket=self._far_bucket)
