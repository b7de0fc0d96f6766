"""The one call of Lambda's own API that a function makes, on loopback: its event source mappings."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LambdaAPI:
    """Answers ListEventSourceMappings with ``mappings``, or with a denial if that is ``None``."""

    def __init__(self, mappings: list[dict[str, Any]] | None) -> None:
        self.mappings = mappings
        self.asked: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append(self.path)
                status = 200
                document: dict[str, Any] = {"EventSourceMappings": api.mappings}
                if api.mappings is None:
                    status, document = (
                        403,
                        {"Message": "User: arn:aws:iam::0:role/a is not authorized"},
                    )
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status != 200:
                    self.send_header("x-amzn-ErrorType", "AccessDeniedException")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @contextlib.contextmanager
    def running(self) -> Iterator[LambdaAPI]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
