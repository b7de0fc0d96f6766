"""The installed command, run as scripts of strangers run it: a process, its pipes, its exit status.

Every run is held to what section "Interfaces" promises of all verbs; the tests add what is promised
of one. Nothing here looks inside: only arguments, bytes and files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from click.testing import CliRunner

from binlog.cli.main import cli

# The command that an installation puts beside its interpreter.
BINLOG = str(Path(sys.executable).with_name("binlog"))
ERROR = re.compile(r"binlog: (?P<what>\S.*?): (?P<where>\S.*): (?P<do>\S.*)\n")
STATUSES = {0, 1, 2, 3}
# For what must come: long, since a machine that is busy with others may take its time over it.
PATIENCE_S = 60.0
_T = TypeVar("_T")
_R = TypeVar("_R")

Line = bytes | str | Mapping[str, Any]


class Ran(NamedTuple):
    """How a run ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines, every digit kept."""
        assert self.out == "" or self.out.endswith("\n"), self.out[-200:]
        return [parse(line) for line in self.out.splitlines()]

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as one JSON document on one line."""
        [document] = self.lines
        return document


def parse(text: str | bytes) -> Any:
    """JSON with every digit: numbers with a point are decimals."""
    return json.loads(text, parse_float=Decimal)


def binlog(
    *args: str, given: bytes | str = b"", timeout: float = PATIENCE_S, **options: Any
) -> Ran:
    """Run the command to its end; an error must have the agreed form, and success must be silent."""
    done = subprocess.run(
        [BINLOG, *args],
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        timeout=timeout,
        check=False,
        **options,
    )
    ran = Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert_form(ran, args)
    return ran


def assert_form(ran: Ran, args: Sequence[str]) -> None:
    """What holds of every run: the status, the error's one line, JSON and nothing else."""
    assert ran.status in STATUSES, (args, ran)
    assert "Traceback" not in ran.err, (args, ran)
    if ran.status in (2, 3):
        assert ERROR.fullmatch(ran.err), (args, ran)
    elif ran.status == 0:
        assert ran.err == "", (args, ran)
    if "--json" in args:
        for line in ran.lines:
            assert type(line) is dict, (args, line)


def ok(*args: str, **options: Any) -> Ran:
    """A run that must succeed."""
    ran = binlog(*args, **options)
    assert ran.status == 0, (args, ran)
    return ran


def refused(status: int | tuple[int, ...], *args: str, **options: Any) -> str:
    """A run that must fail with ``status``; its line. Several, where the contract leaves it open."""
    ran = binlog(*args, **options)
    assert ran.status in (status if isinstance(status, tuple) else (status,)), (args, ran)
    return ran.err


def inside(*args: str, given: bytes | str = b"") -> Ran:
    """The same command in this process, in a tenth of the time: for the long tables of bad input
    after some of them have been seen to end a process as they should. Not for threads.
    """
    result = CliRunner().invoke(cli, list(args), input=given, prog_name="binlog")
    assert isinstance(result.exception, SystemExit | None), (args, result.exception)
    ran = Ran(result.exit_code, result.stdout, result.stderr)
    assert_form(ran, args)
    return ran


def inside_refused(status: int | tuple[int, ...], *args: str, given: bytes | str = b"") -> str:
    """As `refused`, in this process."""
    ran = inside(*args, given=given)
    assert ran.status in (status if isinstance(status, tuple) else (status,)), (args, ran)
    return ran.err


def many(function: Callable[[_T], _R], of: Iterable[_T], *, at_once: int = 2) -> list[_R]:
    """Independent runs, as many at once as there are processors in CI."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(function, of))


def jsonl(*lines: Line) -> bytes:
    """Input for ``append``: text and bytes as they are, objects as JSON."""

    def encode(line: Line) -> bytes:
        if isinstance(line, bytes):
            return line
        return (line if isinstance(line, str) else json.dumps(line)).encode()

    return b"".join(encode(line) + b"\n" for line in lines)


class World:
    """A directory with a log in it, and the verbs about it."""

    def __init__(self, directory: Path, *, partitions: int = 4) -> None:
        self.directory = directory
        self.log = f"file:{directory}/log"
        self.path = directory / "log"
        ok("init", self.log, "--partitions", str(partitions))

    def store(self, name: str) -> str:
        """The address of the SQLite store of that name."""
        return f"sqlite:{self.directory}/{name}.db"

    def append(self, *lines: Line, table: str | None = "users", key: str | None = "id") -> Ran:
        """Append lines; whatever becomes of them."""
        options = [*(["--table", table] if table else []), *(["--key", key] if key else [])]
        return binlog("append", self.log, *options, given=jsonl(*lines))

    def put(self, *lines: Line, **options: Any) -> list[dict[str, Any]]:
        """Append lines that must be acknowledged; the acknowledgements."""
        ran = self.append(*lines, **options)
        assert ran.status == 0, ran
        return ran.lines

    def events(self, *options: str) -> list[dict[str, Any]]:
        return ok("cat", self.log, "--json", *options).lines

    def rebuild(self, store: str, *options: str) -> dict[str, Any]:
        return ok("rebuild", self.log, store, "--json", *options).document

    def replicate(self, store: str, *options: str) -> dict[str, Any]:
        return ok("replicate", self.log, store, "--once", "--json", *options).document

    def segments(self) -> list[Path]:
        return sorted(self.path.glob("*.seg"))


def dump(store: str, table: str = "users", *options: str) -> list[dict[str, Any]]:
    """The items of a table."""
    return ok("dump", store, "--table", table, *options).lines


def digest(store: str) -> dict[str, Any]:
    """The document of ``binlog digest``."""
    return ok("digest", store, "--json").document


def digests(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What two replicas share, of the ``tables`` of any document."""
    return {name: table["digest"] for name, table in tables.items()}


def by_key(items: Iterable[Mapping[str, Any]], key: str = "id") -> dict[Any, Mapping[str, Any]]:
    """Items by their key attribute."""
    return {item[key]: item for item in items}


def vector_of(events: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How far these events reach, partition by partition, from what ``cat`` printed."""
    vector: dict[str, int] = {}
    for event in events:
        partition = str(event["partition"])
        vector[partition] = max(vector.get(partition, 0), event["offset"])
    return vector


class Started(subprocess.Popen[bytes]):
    """The command while it runs; killed with the `with` block if it has not ended."""

    def __init__(self, *args: str, **options: Any) -> None:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        super().__init__([BINLOG, *args], bufsize=0, **(pipes | options))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.poll() is None:
            self.kill()
        super().__exit__(kind, error, trace)

    def send(self, data: bytes) -> None:
        """Write to its standard input, which stays open."""
        assert self.stdin is not None
        self.stdin.write(data)

    def receive(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """The next line that it prints, waited for."""
        import select

        assert self.stdout is not None
        line = b""
        until = time.monotonic() + timeout
        while not line.endswith(b"\n"):
            left = max(0.0, until - time.monotonic())
            ready, _, _ = select.select([self.stdout], [], [], left)
            assert ready, f"nothing printed in {timeout} s after {line!r}"
            piece = os.read(self.stdout.fileno(), 1)
            assert piece, f"it ended after {line!r}"
            line += piece
        document: dict[str, Any] = parse(line)
        return document

    def end(self, timeout: float = PATIENCE_S) -> Ran:
        """What it printed since, once it and all that it has started have ended by themselves."""
        out, err = self.communicate(timeout=timeout)
        return Ran(self.returncode, out.decode(), err.decode())


def wait_until(condition: Callable[[], bool], *, timeout: float = PATIENCE_S) -> None:
    """Until something that another process does has happened."""
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
