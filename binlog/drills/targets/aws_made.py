"""What a run has made in an account: found by its name, and removed.

Only what is called ``NAME-RUN``, or begins so, is looked at; see `binlog.drills.game_day`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from binlog.address import Address
from binlog.aws.account import connector
from binlog.aws.errors import error_code
from binlog.drills.game_day import checked_address, name_of
from binlog.errors import RefusedError

GONE_S = 300.0
_MISSING = frozenset({"ResourceNotFoundException", "NoSuchBucket"})
_BUSY = frozenset({"ResourceInUseException", "LimitExceededException", "ThrottlingException"})
_RUN = re.compile(r"\d{8}t\d{6}-[0-9a-f]{8}")
_KEYS_AT_ONCE = 1000  # of DeleteObjects

Client = Callable[[Address], Any]


def client_of(address: Address) -> Any:
    """A client of the address's service."""
    return connector(address.account, address.scheme, str(address))()


class Made:
    """What one run makes at the addresses of a game day."""

    def __init__(
        self,
        urls: Mapping[str, str],
        run: str,
        *,
        client: Client = client_of,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes nothing.

        Raises:
            RefusedError: no RUN, or a name without the mark: then nothing may be removed.
        """
        if not _RUN.fullmatch(run):
            raise RefusedError(f"{run!r} is no run", do="it is in the ledger")
        self._addresses = {kind: checked_address(kind, url) for kind, url in urls.items()}
        self._run = run
        self._clients = {kind: client(address) for kind, address in self._addresses.items()}
        self._pause, self._clock = pause, clock

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients.values():
            client.close()

    def client(self, kind: str) -> Any:
        """That of ``log``, ``store`` or ``objects``."""
        return self._clients[kind]

    def name(self, kind: str) -> str:
        """What its names begin with."""
        return f"{name_of(self._addresses[kind])}-{self._run}"

    # -- what there is ---------------------------------------------------------------------------

    def find(self) -> Iterator[tuple[str, str]]:
        """(kind, name) of everything that the run has made and that is still shown."""
        if "log" in self._clients and self._stream_is_there():
            yield "log", self.name("log")
        if "store" in self._clients:
            for name in self.tables():
                yield "store", name
        if "objects" in self._clients:
            for key in self.object_keys():
                yield "objects", key

    def tables(self) -> list[str]:
        """Of the run, all stores'."""
        begin = f"{self.name('store')}-"
        client, found = self._clients["store"], []
        more: dict[str, str] = {}
        while True:
            page = client.list_tables(**more)
            found += [name for name in page["TableNames"] if name.startswith(begin)]
            if "LastEvaluatedTableName" not in page:
                return found
            more = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}

    def object_keys(self) -> list[str]:
        """Of the run's objects."""
        bucket, prefix = self._bucket(), f"{self.name('objects')}/"
        client, found = self._clients["objects"], []
        more: dict[str, str] = {}
        while True:
            page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **more)
            found += [entry["Key"] for entry in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _bucket(self) -> str:
        return self._addresses["objects"].path.partition("/")[0]

    def _stream_is_there(self) -> bool:
        try:
            self._clients["log"].describe_stream_summary(StreamName=self.name("log"))
        except Exception as error:
            if error_code(error) in _MISSING:
                return False
            raise
        return True

    # -- and how it goes -------------------------------------------------------------------------

    def remove(self) -> list[str]:
        """Remove all of it and wait until nothing is shown; what is left, a line each with why.

        Each goes whatever becomes of the others.
        """
        until = self._clock() + GONE_S
        while True:
            why: dict[str, str] = {}
            for kind in self._clients:
                try:
                    why |= self._remove(kind)
                except Exception as error:  # noqa: BLE001 - the others have to go, too
                    why[f"{self._scheme(kind)}://{self.name(kind)}"] = _line(error)
            if not why or self._clock() > until:
                return [f"{name}: {reason}" for name, reason in why.items()]
            self._pause(1.0)

    def _remove(self, kind: str) -> dict[str, str]:
        """Begin to remove what there is of a kind; it, and why it is still there."""
        if kind == "log":
            if not self._stream_is_there():
                return {}
            self._try(
                lambda: self._clients["log"].delete_stream(
                    StreamName=self.name("log"), EnforceConsumerDeletion=True
                )
            )
            return {f"kinesis://{self.name('log')}": "it is not gone yet"}
        if kind == "store":
            names = self.tables()
            for name in names:
                self._try(partial(self._clients["store"].delete_table, TableName=name))
            return {f"table {name}": "it is not gone yet" for name in names}
        return self._remove_objects()

    def _remove_objects(self) -> dict[str, str]:
        keys, bucket = self.object_keys(), self._bucket()
        left: dict[str, str] = {}
        for begin in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[begin : begin + _KEYS_AT_ONCE]
            reply = self._clients["objects"].delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
            )
            left |= {
                f"s3://{bucket}/{each['Key']}": f"{each['Code']}: {each.get('Message', '')}"
                for each in reply.get("Errors", ())
            }
        return left

    def _try(self, call: Callable[[], object]) -> None:
        """Make a call; that it is gone, or busy, shows when it is looked for again."""
        try:
            call()
        except Exception as error:
            if error_code(error) not in _MISSING | _BUSY:
                raise

    def _scheme(self, kind: str) -> str:
        return self._addresses[kind].scheme


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
