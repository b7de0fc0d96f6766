"""Running the command, in this process and in its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from click.testing import CliRunner

from binlog.cli.main import cli

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "binlog.cli"]
LIMIT_S = 100.0
"""Of what has to come: no measure of speed, since others may have the machine to themselves."""


class Ran(NamedTuple):
    """How a run ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines, numbers with a point as text, to see every digit."""
        return [json.loads(line, parse_float=str) for line in self.out.splitlines()]


def binlog(*args: str, given: bytes | str = b"") -> Ran:
    """Run the command in this process; an error must be one line of the agreed form."""
    result = CliRunner().invoke(cli, list(args), input=given, prog_name="binlog")
    assert isinstance(result.exception, SystemExit | None), result.exception
    ran = Ran(result.exit_code, result.stdout, result.stderr)
    if ran.status in (2, 3) and "--debug" not in args:
        assert_one_line(ran.err)
    return ran


def assert_one_line(err: str) -> None:
    assert err.startswith("binlog: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n"), err
    assert "Traceback" not in err


def append(log: str, *lines: bytes | dict[str, Any], **options: str) -> Ran:
    """Append lines to ``log``; options as in the command, with table and key filled in."""
    options = {"table": "users", "key": "id"} | options
    given = b"".join(
        (json.dumps(line).encode() if isinstance(line, dict) else line) + b"\n" for line in lines
    )
    args = [f"--{name}={value}" for name, value in options.items()]
    return binlog("append", log, *args, given=given)


class Started(subprocess.Popen[bytes]):
    """The command as a process of its own, with pipes; ended with the `with` block."""

    def __init__(self, *args: str, cwd: Path, **options: Any) -> None:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        super().__init__([*COMMAND, *args], cwd=cwd, env=environment, **(pipes | options))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()  # a failed test must not wait for it
        super().__exit__(kind, error, trace)

    def send(self, data: bytes) -> None:
        """Write to its standard input, which stays open."""
        assert self.stdin is not None
        self.stdin.write(data)
        self.stdin.flush()

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Until it has, however long that takes; the suite's time limit is the failure."""
        while not happened():
            assert self.poll() is None, self.communicate()
            time.sleep(0.01)

    def receive(self) -> dict[str, Any]:
        """The next line of its standard output; blocks until it is there."""
        assert self.stdout is not None
        document: dict[str, Any] = json.loads(self.stdout.readline())
        return document
