"""The services on this machine: Kinesis, DynamoDB and S3, as stand-ins on loopback ports.

    scripts/stack up       install what is missing, start what is not running
    scripts/stack status   what runs where, and whether it answers; 1 if something does not
    scripts/stack env      what boto3, the AWS command line and binlog need:  eval "$(scripts/stack env)"
    scripts/stack lambda   the Lambda consumer on it, behind an event source mapping; see its --help
    scripts/stack down     stop it, by process id; --data removes what is on disk, too

Streams and tables are in memory: `down` ends them. `up --volume` serves Kinesis by kinesalite,
whose streams are on disk and are there again after the next `up --volume`; it takes more data,
and cannot do encryption or on-demand streams. Tables are then made again by `binlog rebuild`. Each
`up` chooses new ports, so say the `eval` again. Logs and data are in .standins/stack.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.standins.install import CANNOT_RUN, HOME, CannotRunError
from scripts.standins.server import NotStartedError, Server, identity, stop_process
from scripts.standins.services import (
    ALL,
    KINESALITE,
    KINESIS_LOCAL,
    MINISTACK,
    REGION,
    Service,
    is_alive,
)


class Running(NamedTuple):
    """A process of the stack, as it is written down."""

    service: str
    pid: int
    port: int
    identity: str

    @property
    def is_there(self) -> bool:
        return bool(self.identity) and identity(self.pid) == self.identity

    @property
    def answers(self) -> bool:
        return self.is_there and is_alive(_service(self.service), self.port)


class Stack:
    """What was started and not yet stopped, kept in a file; one command at a time."""

    def __init__(self, home: Path = HOME / "stack") -> None:
        self.home = home
        self._file = home / "running.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def running(self) -> list[Running]:
        if not self._file.exists():
            return []
        return [Running(*row) for row in json.loads(self._file.read_text())]

    def _write(self, rows: list[Running]) -> None:
        aside = self._file.with_suffix(".new")
        aside.write_text(json.dumps(rows))
        aside.replace(self._file)

    def up(self, services: Sequence[Service]) -> list[Running]:
        """Start those that do not answer; what serves the same as one of them is stopped first.

        Raises:
            CannotRunError: this machine lacks something.
            NotStartedError: one did not come up; those before it run.
        """
        for service in services:
            rows = self.running()
            same = [row for row in rows if _service(row.service).serves == service.serves]
            if any(row.service == service.name and row.answers for row in same):
                continue
            for row in same:
                stop_process(row.pid, row.identity)
            rows = [row for row in rows if row not in same]
            self._write(rows)
            server = Server(service, self.home, tethered=False)
            pid = server.process.pid
            self._write([*rows, Running(service.name, pid, server.port, identity(pid))])
        return self.running()

    def down(self) -> list[Running]:
        """Stop all of it; what was stopped."""
        stopped = [row for row in self.running() if stop_process(row.pid, row.identity)]
        self._file.unlink(missing_ok=True)
        return stopped


def _service(name: str) -> Service:
    return next(service for service in ALL if service.name == name)


def environment(rows: Sequence[Running]) -> dict[str, str]:
    """The variables by which the AWS libraries find what runs."""
    variables = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for row in rows:
        for name in _service(row.service).serves:
            variables[f"AWS_ENDPOINT_URL_{name}"] = f"http://127.0.0.1:{row.port}"
    return variables


def show(rows: Sequence[Running]) -> bool:
    """A line each; whether all of them answer."""
    for row in rows:
        state = "answers" if row.answers else "does not answer" if row.is_there else "has ended"
        serves = ", ".join(name.lower() for name in _service(row.service).serves)
        print(f"{row.service:14} {serves:13} http://127.0.0.1:{row.port}  pid {row.pid}  {state}")
    return all(row.answers for row in rows)


def main(arguments: Sequence[str], stack: Stack | None = None) -> int:
    """Do what the arguments say; the exit status."""
    verb, options = (arguments[0] if arguments else ""), set(arguments[1:])
    known = {"up": {"--volume"}, "status": set[str](), "env": set[str](), "down": {"--data"}}
    if verb in {"-h", "--help"}:
        print(__doc__)
        return 0
    if verb == "lambda":
        return _lambda(arguments[1:], stack or Stack())
    if verb not in known or options - known[verb]:
        print(
            "stack: up [--volume] | status | env | lambda LOG STORE | down [--data]  (see --help)",
            file=sys.stderr,
        )
        return 2
    stack = stack or Stack()
    with stack.locked():
        if verb == "up":
            kinesis = KINESALITE if "--volume" in options else KINESIS_LOCAL
            try:
                rows = stack.up([kinesis, MINISTACK])
            except CannotRunError as error:
                print(f"cannot run: {error}")
                return CANNOT_RUN
            except NotStartedError as error:
                print(f"stack: {error}", file=sys.stderr)
                return 3
            return 0 if show(rows) else 3
        if verb == "down":
            for row in stack.down():
                print(f"stopped {row.service}, pid {row.pid}")
            if "--data" in options:
                for path in stack.home.iterdir():
                    if path.name != "lock":
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            return 0
        rows = stack.running()
        if not rows:
            print("stack: nothing runs (scripts/stack up)", file=sys.stderr)
            return 1
        if verb == "status":
            return 0 if show(rows) else 1
        for name, value in environment(rows).items():
            print(f"export {name}={value}")
        return 0


def _lambda(arguments: Sequence[str], stack: Stack) -> int:
    """On what the environment names, as after `env`; else on what runs here, and never on AWS."""
    from scripts.standins import lambda_stack  # the consumer, which no other verb needs

    variables = environment(stack.running()) | os.environ
    missing = [n for n in ("KINESIS", "DYNAMODB") if f"AWS_ENDPOINT_URL_{n}" not in variables]
    if missing and not {"-h", "--help"} & set(arguments):
        print("stack: nothing runs (scripts/stack up)", file=sys.stderr)
        return 1
    return lambda_stack.main(arguments, variables, stack.home)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
