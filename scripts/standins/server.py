"""One stand-in as a process: started on a free port, checked to be alive, stopped by its id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from scripts.standins.services import Service, is_alive

READY_S = 180.0  # a machine with much else to do
TRIES = 5  # a free port may be taken before the server gets it
STOP_S = 5.0  # kinesis-local waits for connections to be closed by their other end
KILLED_S = 60.0  # until a process that was killed has given back what it held


class NotStartedError(Exception):
    """It ended, or did not answer in time; with the last lines of its log."""


class Server:
    """A running stand-in. ``tethered``: a node server ends with this process, however that ends.

    Its data and its log (``NAME.log``, appended to) are in ``folder``. With ``port`` it is started
    there: the same data can be served again after a `kill`.
    """

    def __init__(
        self, service: Service, folder: Path, *, tethered: bool = True, port: int | None = None
    ) -> None:
        self.service = service
        self.log = folder / f"{service.name}.log"
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(TRIES):
            ports = _free_ports(service.ports)
            if port is not None:
                ports[0] = port
            self.port = ports[0]
            self.process = self._start(ports, folder, tethered=tethered)
            if self._is_ready():
                return
            self.kill()
            if attempt + 1 == TRIES or not self._was_taken():
                raise NotStartedError(
                    f"{service.name} did not start ({self.log}):\n{self._said()[-2_000:]}"
                )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it as its user would; repeats do nothing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._reap()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process.poll() is None:
            self.process.kill()
        self._reap()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _reap(self) -> None:
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _start(self, ports: list[int], folder: Path, *, tethered: bool) -> subprocess.Popen[bytes]:
        start = self.service.start(ports, folder.absolute())
        environment = {**os.environ, **start.environment}
        environment.pop("BINLOG_TETHERED", None)
        if tethered:
            environment["BINLOG_TETHERED"] = "1"
        self._log_begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            return subprocess.Popen(
                start.command,
                cwd=start.folder,
                env=environment,
                stdin=subprocess.PIPE if tethered else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for whoever started us
            )

    def _is_ready(self) -> bool:
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            # One that lacks its second port may go on without it, and say nothing more.
            if self.process.poll() is not None or self._was_taken():
                return False
            # By its log, too: somebody else's server may be the one that answers.
            if self._says_it_listens() and is_alive(self.service, self.port):
                return True
            time.sleep(0.05)
        return False

    def _says_it_listens(self) -> bool:
        return f"{self.service.listening}127.0.0.1:{self.port}" in self._said()

    def _was_taken(self) -> bool:
        return "EADDRINUSE" in self._said() or "already in use" in self._said()

    def _said(self) -> str:
        """The log of this process."""
        return self.log.read_bytes()[self._log_begins :].decode(errors="replace").strip()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


# -- processes that another program started ------------------------------------------------------


def identity(pid: int) -> str:
    """What tells the process from a later one of the same id; empty if it has ended."""
    folder = Path("/proc", str(pid))
    if Path("/proc/self/stat").exists():  # Linux, also without `ps`
        try:
            # The program's name, in parentheses, may hold anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            return ""
        state, started = fields[0], fields[19]
        return "" if state in "ZX" else f"{started} {command.decode(errors='replace').strip()}"
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=,args=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    )
    state, _, rest = done.stdout.strip().partition(" ")
    return "" if not state or state.startswith("Z") else rest.strip()


def stop_process(pid: int, known: str) -> bool:
    """End the process that was ``known`` under that id; ``False`` if it was not there any more.

    It has ended on return.
    """
    if not known or identity(pid) != known:
        return False
    for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILLED_S)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            if identity(pid) != known:
                return True
            time.sleep(0.05)
    return True
