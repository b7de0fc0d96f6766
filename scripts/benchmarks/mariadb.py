"""Private MariaDB servers for the long benchmark: started in a scratch directory, ended by pid.

Nothing of an installed server's configuration or data is read (`--no-defaults`, a data directory
of its own). A server listens on a socket in the scratch directory and, only where replication
needs it, on a free port of 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "mariadb-binlog")
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/usr/libexec"  # mariadbd is not on everybody's PATH


def missing() -> str | None:
    """What is not installed, or None when MariaDB can be measured."""
    gone = [name for name in PROGRAMS if program(name) is None]
    return f"not installed: {', '.join(gone)}" if gone else None


def program(name: str) -> str | None:
    """The path of a MariaDB program, or None."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)


def command(name: str, *options: str) -> list[str]:
    """The command line of an installed MariaDB program that reads no configuration file."""
    return [program(name) or name, "--no-defaults", *options]


class Server:
    """A running server: where it is, and the one thing asked of it, SQL."""

    def __init__(self, folder: Path, port: int | None) -> None:
        self.folder = folder
        self.port = port
        self.data = folder / "data"
        self.socket = folder / "s"  # short: a socket's path is limited to 107 bytes

    def client(self, *options: str) -> list[str]:
        """The command line of the `mariadb` client connected to this server."""
        return command("mariadb", f"--socket={self.socket}", "--user=root", *options)

    def query(self, sql: str, database: str = "") -> list[list[str]]:
        """The rows that `sql` answers, as text; NULL comes as the word NULL."""
        done = subprocess.run(
            [*self.client("--batch", "--raw", "--skip-column-names"), database],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"mariadb: {done.stderr.strip()} in: {sql[:200]}")
        return [line.split("\t") for line in done.stdout.splitlines()]


@contextlib.contextmanager
def server(folder: Path, *options: str, network: bool = False) -> Iterator[Server]:
    """A server that lives as long as the `with` block; its files stay in `folder`."""
    folder.mkdir(parents=True)
    port = _free_port() if network else None
    here = Server(folder, port)
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        command(
            "mariadb-install-db",
            f"--datadir={here.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *user,
        ),
        check=True,
        capture_output=True,
    )
    listen = ["--bind-address=127.0.0.1", f"--port={port}"] if port else ["--skip-networking"]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        command(
            "mariadbd",
            f"--datadir={here.data}",
            f"--socket={here.socket}",
            f"--pid-file={folder / 'pid'}",
            "--innodb-buffer-pool-size=512M",
            "--innodb-log-file-size=512M",
            "--performance-schema=OFF",
            "--character-set-server=utf8mb4",
            *listen,
            *user,
            *options,
        ),
        stdout=log,
        stderr=log,
    )
    try:
        _wait(process, here)
        yield here
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait(process: subprocess.Popen[bytes], here: Server) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(RuntimeError):
            here.query("SELECT 1")
            return
        time.sleep(0.1)
    tail = (here.folder / "log").read_text(errors="replace").splitlines()[-5:]
    raise RuntimeError(f"mariadbd did not start in {START_SECONDS_MAX:.0f} s: {' | '.join(tail)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
