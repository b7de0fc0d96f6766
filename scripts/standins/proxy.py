"""An HTTP proxy of our own between boto3 and a stand-in, on a loopback port; see `proxy_faults`.

It forwards bytes as they came where no fault has changed them. A client sees what it would see of
a network: a connection that is reset, a reply that never comes or ends in its middle. A stand-in
that is not there (killed, and not yet started again) is a connection that is reset.

    with Proxy(server.url, Intruder([Fault("PutRecords", 3, "lose reply")])) as proxy:
        boto3.client("kinesis", endpoint_url=proxy.url)
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from scripts.standins.proxy_faults import Broken, Reply, Request, encoded
from scripts.standins.proxy_intruder import Intruder

UPSTREAM_S = 30.0
SILENCE_MOST_S = 30.0  # a client that does not give up by then is given up
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
# Of a body that is no longer the service's own.
_CHECKED = frozenset({"x-amz-crc32"})
SILENT: set[tuple[Any, Any]] = set()
"""Connections that hear nothing, by their ends, the client's first: of all proxies of this process."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a RST instead of a FIN


class _Raw(dict[str, Any]):
    """A reply's body as parsed, and the bytes that it was parsed from."""

    def __init__(self, data: bytes) -> None:
        parsed = json.loads(data) if data else {}
        super().__init__(parsed if isinstance(parsed, dict) else {})
        self.data = data


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else headers and body, two writes, are 40 ms apart
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        if len(data) < length:  # it was killed in the midst of it: the service never hears of it
            self.close_connection = True
            return
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        intruder, request = self.server.intruder, json.loads(data or b"{}")

        def forward(changed: Request) -> Reply:
            return self._forward(data if changed is request else encoded(changed))

        try:
            reply = intruder.handle(operation, request, forward)
        except Broken as broken:
            self._break(broken)
            return
        self._answer(reply)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
        pass

    def _forward(self, data: bytes) -> Reply:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=UPSTREAM_S)
        headers = {n: v for n, v in self.headers.items() if n.lower() not in _HOP}
        try:
            upstream.request("POST", self.path, data, headers)
            answer = upstream.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.server.unanswered += 1
            raise Broken("reset") from error
        finally:
            upstream.close()
        kept = {n.lower(): v for n, v in answer.getheaders() if n.lower() not in _HOP}
        return Reply(answer.status, kept, _Raw(body))

    def _answer(self, reply: Reply, *, cut: bool = False) -> None:
        raw = isinstance(reply.body, _Raw)
        body = reply.body.data if isinstance(reply.body, _Raw) else encoded(reply.body)
        with suppress(OSError):  # it gave up, and nobody has to hear it
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                if raw or name not in _CHECKED:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.wfile.flush()

    def _break(self, broken: Broken) -> None:
        self.close_connection = True
        if broken.how == "cut" and broken.reply is not None:
            self._answer(broken.reply, cut=True)
            return  # a reset would take back what was sent, if it was not read yet
        if broken.how == "silence":
            connection = self.client_address, self.server.server_address
            SILENT.add(connection)
            with suppress(OSError):  # until it has closed its end
                self.connection.settimeout(SILENCE_MOST_S)
                self.connection.recv(1)
            SILENT.discard(connection)
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    intruder: Intruder
    upstream: int
    unanswered: int
    mistakes: list[BaseException]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that goes away is none; anything else is for who closes the proxy."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.mistakes.append(error)

    def shutdown_request(self, request: Any) -> None:
        """Close without a FIN first, so that what was asked for (a reset) is what happens."""
        self.close_request(request)


class Proxy:
    """A running proxy. Several may share an intruder, whose counts are then of all of them."""

    def __init__(self, upstream: str, intruder: Intruder | None = None) -> None:
        self.intruder = intruder or Intruder()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.intruder = self.intruder
        self._server.upstream = urlsplit(upstream).port or 80
        self._server.unanswered = 0
        self._server.mistakes = []
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def unanswered(self) -> int:
        """Calls for which the service was not there, or went away."""
        return self._server.unanswered

    def close(self) -> None:
        """End it.

        Raises:
            BaseExceptionGroup: what went wrong in the proxy itself, or in an action of the test.
        """
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._server.mistakes:
            mistakes, self._server.mistakes = self._server.mistakes, []
            raise BaseExceptionGroup("in the proxy", mistakes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
