"""Lambda's Runtime API on loopback, and an environment in which the real `awslambdaric` runs.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, and of SnapStart the two calls that
awslambdaric makes beside it (``restore/next``, ``restore/error``). What the service does to an
environment is done to its process: frozen between two invocations (SIGSTOP), killed when the time is
over (SIGKILL) and made anew for the next invocation, restored after a snapshot.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
HANDLER = "consumers.aws_lambda.handler"
FUNCTION_ARN = "arn:aws:lambda:us-east-1:000000000000:function:applier"
_API = "/2018-06-01/runtime"
_START_S = 180.0  # a machine with much else to do
_LOOK_S = 0.1  # for a process that ended in the midst of an invocation

Kind = Literal["response", "error", "timed out", "exited", "init failed"]


@dataclass
class Answer:
    """What became of one invocation."""

    kind: Kind
    body: Any = None
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return self.kind != "response"

    @property
    def message(self) -> str:
        """Of an error."""
        return str(self.body["errorMessage"])


@dataclass
class _Invocation:
    id: str
    payload: bytes
    timeout_s: float
    answers: queue.Queue[Answer] = field(default_factory=queue.Queue)
    begun_at: float = 0.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An environment that is killed is nothing to report; all else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class RuntimeAPI:
    """The service's end: gives invocations out one at a time, takes what becomes of them."""

    def __init__(self) -> None:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet a reply: two would wait for each other, 40 ms

            def do_GET(self) -> None:
                api._get(self)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                api._post(self, self.rfile.read(length))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._given: queue.Queue[_Invocation | None] = queue.Queue()
        self._under_way: dict[str, _Invocation] = {}
        self.init_errors: queue.Queue[Any] = queue.Queue()
        self.at_rest = threading.Event()  # the environment waits for the next invocation
        self.snapshot_taken = threading.Event()
        self.restore = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._given.put(None)
        self.restore.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def give(self, invocation: _Invocation) -> None:
        self._under_way[invocation.id] = invocation
        self._given.put(invocation)

    def forget(self, invocation: _Invocation) -> None:
        """Whatever it says now is refused, as after a time-out."""
        self._under_way.pop(invocation.id, None)

    # -- calls -----------------------------------------------------------------------------------

    def _get(self, call: BaseHTTPRequestHandler) -> None:
        if call.path == f"{_API}/restore/next":
            self.snapshot_taken.set()
            self.restore.wait()
            _reply(call, 200)
        elif call.path == f"{_API}/invocation/next":
            self.at_rest.set()
            invocation = self._given.get()
            if invocation is None:
                call.close_connection = True
                return
            self.at_rest.clear()
            invocation.begun_at = time.monotonic()
            deadline_ms = int((time.time() + invocation.timeout_s) * 1000)
            _reply(
                call,
                200,
                invocation.payload,
                {
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Aws-Request-Id": invocation.id,
                    "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": FUNCTION_ARN,
                    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
                },
            )
        else:
            _reply(call, 404)

    def _post(self, call: BaseHTTPRequestHandler, body: bytes) -> None:
        if call.path in {f"{_API}/init/error", f"{_API}/restore/error"}:
            self.init_errors.put(json.loads(body))
            _reply(call, 202)
            return
        _, found, rest = call.path.partition(f"{_API}/invocation/")
        name, _, what = rest.partition("/")
        invocation = self._under_way.pop(name, None) if found else None
        if invocation is None or what not in {"response", "error"}:
            _reply(call, 403 if found else 404)
            return
        seconds = time.monotonic() - invocation.begun_at
        kind: Kind = "response" if what == "response" else "error"
        _reply(call, 202)
        invocation.answers.put(Answer(kind, json.loads(body), seconds))


def _reply(
    call: BaseHTTPRequestHandler,
    status: int,
    body: bytes = b"{}",
    headers: Mapping[str, str] | None = None,
) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was killed meanwhile
        call.send_response(status)
        for name, value in (headers or {}).items():
            call.send_header(name, value)
        call.send_header("Content-Length", str(len(body)))
        call.end_headers()
        call.wfile.write(body)


class Function:
    """A function of one environment: made for the first invocation, and anew after a time-out."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        timeout_s: float = 30.0,
        handler: str = HANDLER,
        frozen: bool = True,
        snap_start: bool = False,
    ) -> None:
        """``frozen``: its process stands still between two invocations, as the service's does."""
        self.timeout_s = timeout_s
        self.cold_starts = 0
        self.init_seconds = 0.0  # of the last environment
        self._folder = folder
        self._environment = dict(environment)
        self._handler = handler
        self._frozen = frozen
        self._snap_start = snap_start
        self._api: RuntimeAPI | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = 0
        self.log = folder / "function.log"

    def invoke(self, event: object, *, timeout_s: float | None = None) -> Answer:
        """One invocation, cold if there is no environment; ended by force when its time is over."""
        self._numbers += 1
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        invocation = _Invocation(f"{self._numbers:032x}", json.dumps(event).encode(), timeout_s)
        failed = self._wake()
        if failed is not None:
            return failed
        assert self._api is not None
        self._api.give(invocation)
        began = time.monotonic()
        while True:
            # Asked first whether it has ended: what it answered before that counts all the same.
            gone = self._process is None or self._process.poll() is not None
            left = timeout_s - (time.monotonic() - began)
            try:
                answer = invocation.answers.get(timeout=max(0.0, min(left, _LOOK_S)))
            except queue.Empty:
                if not gone and left > 0:
                    continue
                self._api.forget(invocation)
                self.kill()
                return Answer("exited" if gone else "timed out", seconds=time.monotonic() - began)
            self._freeze()
            return answer

    def lines(self) -> list[str]:
        """What it has written to its log so far."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    def kill(self) -> None:
        """As the service does with an environment that it has no more use for."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        api, self._api = self._api, None
        if api is not None:
            api.close()

    @property
    def is_warm(self) -> bool:
        """Whether there is an environment already."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _wake(self) -> Answer | None:
        """An environment at rest that runs; or why there is none."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)
            return None
        self.kill()
        self.cold_starts += 1
        self._api = RuntimeAPI()
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "awslambdaric", self._handler],
                cwd=self._folder,
                env=self._whole_environment(self._api.address),
                stdout=log,
                stderr=log,
            )
        if self._snap_start:
            self._wait_for(self._api.snapshot_taken)
            self._api.restore.set()
        self._wait_for(self._api.at_rest)
        self.init_seconds = time.monotonic() - began
        if self._api.at_rest.is_set():
            return None
        body = None if self._api.init_errors.empty() else self._api.init_errors.get()
        self.kill()
        return Answer("init failed", body, self.init_seconds)

    def _wait_for(self, event: threading.Event) -> None:
        """Until it happens, or the process has ended."""
        assert self._process is not None
        end = time.monotonic() + _START_S
        while not event.wait(0.01) and self._process.poll() is None:
            if time.monotonic() > end:
                raise TimeoutError(f"the function did not start in {_START_S} s")

    def _freeze(self) -> None:
        assert self._api is not None
        assert self._process is not None
        self._wait_for(self._api.at_rest)
        if self._frozen and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _whole_environment(self, address: str) -> dict[str, str]:
        """What the service sets, and nothing of this machine's but what finds the code."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join((str(self._folder), str(ROOT))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self._folder),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "applier",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start" if self._snap_start else "on-demand",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info[1]}",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            **self._environment,
        }


@contextlib.contextmanager
def running(function: Function) -> Iterator[Function]:
    """Its process is ended on the way out."""
    try:
        yield function
    finally:
        function.kill()
