"""Kinesis in the drill's own process, for drills of what only a stream can do.

The service is the double that the project's tests hold against the real one's documentation
(`tests.log.kinesis_double`): its retention, resharding, throttling and lost replies, by a clock that a
drill may set ahead. Commands reach it over HTTP on a loopback port, producers of the load directly.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

sys.path.append(str(Path(__file__).resolve().parents[2]))  # for the double

from binlog.clock import Clock
from binlog.drills.clock import ClockAhead
from binlog.drills.harm import Parts
from binlog.drills.targets.embedded import Embedded
from binlog.log import Log
from binlog.logs.kinesis import KinesisLog
from tests.log.kinesis_double import Fault, KinesisDouble, StreamDouble, refusal

STREAM = "orders"
Lost = Literal["lose reply", "lose request", "late"]
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a RST
_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


class ServiceClock(ClockAhead):
    """The service's own; a drill may let hours pass."""

    def __init__(self) -> None:
        super().__init__(0)

    def advance_hours(self, hours: float) -> None:
        self._by_ms += round(hours * 3_600_000)


class KinesisHere(Embedded):
    """`Embedded`, but for the log, which is a stream."""

    init_more = "--shards 2"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = ServiceClock()
        self.service = KinesisDouble(self.clock)
        self._throttled = 0, 0  # puts and reads that were to be
        self._puts_before: int | None = None  # those were whole
        self._addresses["log"] = f"kinesis://{STREAM}"
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self.service
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    @property
    def stream(self) -> StreamDouble:
        return self.service.streams[STREAM]

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            **super().environment,
            "AWS_ENDPOINT_URL_KINESIS": f"http://127.0.0.1:{self._server.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def open_log(self, name: str = "log", *, clock_s: float = 0.0) -> Log:
        if name != "log":
            return super().open_log(name, clock_s=clock_s)
        clock: Clock = ClockAhead(clock_s)
        return KinesisLog(STREAM, connect=self.service.connect, clock=clock, reads_per_s=100.0)

    def parts(self, name: str) -> Parts | None:
        return None if name == "log" else super().parts(name)

    def fingerprint(self, name: str) -> str:
        if name != "log":
            return super().fingerprint(name)
        self.stream.trim(self.clock.now_ms())
        return json.dumps(
            [(s.id, [r.sequence for r in s.records]) for s in self.stream.shards.values()]
        )

    def reshard(self) -> str:
        """Split each open shard, then merge the first two of what came of it; how many there were."""
        now_ms = self.clock.now_ms()
        for shard in [s for s in self.stream.shards.values() if s.closed_ms is None]:
            self.stream.split(shard.id, (shard.low + shard.high) // 2 + 1, now_ms)
        first, second, *_ = [s for s in self.stream.shards.values() if s.closed_ms is None]
        self.stream.merge(first.id, second.id, now_ms)
        return f"{len(self.stream.shards)} shards have been, {self.open_shards()} are open"

    def open_shards(self) -> int:
        return sum(shard.closed_ms is None for shard in self.stream.shards.values())

    def lose(self, *kinds: Lost) -> None:
        """Let these happen to the next puts, one each: ``lose reply``, ``lose request``, ``late``."""
        self.service.faults.extend(Fault(kind) for kind in kinds)

    def throttle_some(self, puts: int, reads: int) -> None:
        """Of the next puts one record each is throttled, and the next reads are."""
        self.service.faults.extend(Fault("throttle", frozenset({n % 3})) for n in range(puts))
        self.service.throttled_reads = reads
        self._throttled = puts, reads

    def throttle_all(self, *, puts: bool) -> None:
        """All puts from now on are, or none any more, nor what was to come."""
        if puts:
            self._puts_before = self.service.calls["put_records"]
            self.service.refuse["put_records"] = refusal("ProvisionedThroughputExceededException")
        else:
            del self.service.refuse["put_records"]
            self.service.faults.clear()

    def pending(self) -> int:
        """What was to happen to puts, and has not yet."""
        return len(self.service.faults)

    def throttled(self) -> str:
        """How many calls were, in words; empty if none was."""
        puts = self._throttled[0] - self.pending()
        reads = self._throttled[1] - self.service.throttled_reads
        all_of = self.service.calls["put_records"] - (self._puts_before or 0)
        if not (puts and all_of and reads) or self._puts_before is None:
            return ""
        return (
            f"one record of {puts} puts was throttled, {all_of} whole puts and {reads} reads were"
        )

    def away(self, *, is_away: bool) -> None:
        """Nobody is let through; or everybody again, and what was on its way arrives."""
        for operation in ("put_records", "get_records", "get_shard_iterator", "list_shards"):
            if is_away:
                error = EndpointConnectionError(endpoint_url="http://kinesis")
                self.service.refuse[operation] = error
            else:
                self.service.refuse.pop(operation, None)
        if not is_away:
            for land in self.service.under_way:
                land()
            self.service.under_way.clear()

    def versions(self) -> dict[str, str]:
        return {**super().versions(), "kinesis": "the tests' double, in this process"}

    def close(self) -> list[str]:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        return super().close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    service: KinesisDouble

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none."""

    def shutdown_request(self, request: Any) -> None:
        """Without a FIN first, so that a reset is one."""
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        call = getattr(self.server.service, _WORDS.sub("_", target).lower(), None)
        try:
            if call is None:
                raise refusal("UnknownOperationException", target)
            asked = json.loads(data or b"{}")
            for record in asked.get("Records", ()):
                record["Data"] = base64.b64decode(record["Data"])
            reply = call(**asked)
        except ClientError as error:
            told = error.response["Error"]
            body = {"__type": told["Code"], "message": told["Message"]}
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            self._answer(status, body, {})
        except BotoCoreError:  # what a client meets where nobody answers
            self.close_connection = True
            with suppress(OSError):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        else:
            meta = reply.pop("ResponseMetadata")
            self._answer(200, reply, meta["HTTPHeaders"])

    def _answer(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        data = json.dumps(body, default=_plain).encode()
        with suppress(OSError):
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
        pass


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{value!r} is not of the protocol")
