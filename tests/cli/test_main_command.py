"""The frame of the command: its help, its errors and its exit status."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import click
import pytest

from binlog.cli import main as main_module
from binlog.cli.errors import one_line
from binlog.cli.main import VERBS
from binlog.cli.verb import Verb
from binlog.errors import BusyError, DamageError, RefusedError
from tests.cli.running import COMMAND, LIMIT_S, ROOT, Ran, Started, assert_one_line, binlog

SECTION_11 = [
    "init",
    "append",
    "cat",
    "relay",
    "archive",
    "adopt",
    "rebuild",
    "replicate",
    "pace",
    "kcl",
    "snapshot",
    "snapshots",
    "restore",
    "dump",
    "digest",
    "verify",
    "diff",
    "blame",
    "parked",
    "redrive",
    "status",
    "check",
    "audit",
    "halted",
    "resolve",
    "doctor",
    "drill",
    "policy",
    "schema",
]


def test_knows_every_verb() -> None:
    assert list(VERBS) == SECTION_11
    shown = binlog("--help").out
    assert [line.split()[0] for line in shown.splitlines() if re.match(r"  [a-z]+  ", line)] == (
        SECTION_11
    )


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_ends_its_help_with_examples_of_itself(verb: str) -> None:
    """One pastes an example before one reads the options."""
    command = importlib.import_module(f"binlog.cli.{verb}").command
    assert isinstance(command, Verb)
    shown = binlog(verb, "--help")
    assert shown.status == 0
    tail = shown.out[shown.out.index("Examples:") :]
    examples = [line for line in tail.splitlines()[1:] if line.strip()]
    assert any(f"binlog {verb}" in line for line in examples)
    known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    for example in examples:
        for part in re.split(r"[|;]", example):
            words = shlex.split(part.split(">")[0]) if "binlog " in part else []
            if words[:2] == ["binlog", verb]:
                assert {w.split("=")[0] for w in words if w.startswith("-") and w != "-"} <= known


def test_help_imports_nothing_that_takes_time() -> None:
    """The start of every script that calls the command."""
    program = (
        "import sys\n"
        "from binlog.cli.main import cli\n"
        "try:\n"
        "    cli.main(['--help'], prog_name='binlog')\n"
        "except SystemExit:\n"
        "    print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert not loaded & {"boto3", "botocore", "rich", "msgspec", "structlog", "sqlite3"}
    ours = {name for name in ran.stderr.split() if name.startswith("binlog.")}
    assert ours == {"binlog.cli", "binlog.cli.errors", "binlog.cli.main", "binlog.errors"}


def test_help_answers_in_under_300_ms() -> None:
    """Of a CPU's time: what others have the machine do is not its. The best of five, at the most."""
    spent: list[float] = []
    while len(spent) < 5 and not (spent and min(spent) < 0.3):
        before = cpu_seconds_of_children()
        subprocess.run([*COMMAND, "--help"], check=True, capture_output=True, cwd=ROOT)
        spent.append(cpu_seconds_of_children() - before)
    assert min(spent) < 0.3, spent


def cpu_seconds_of_children() -> float:
    """Of those that have ended; a wait for a disk or a CPU is none."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_says_its_version() -> None:
    assert re.fullmatch(r"binlog \d+\.\d+\.\d+\S*\n", binlog("--version").out)


def test_without_arguments_it_shows_its_help() -> None:
    ran = binlog()
    assert ran.status == 0
    assert ran.out == binlog("--help").out


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["nope"], "binlog: no such command 'nope': binlog: see binlog --help\n"),
        (["--nope"], "binlog: no such option '--nope': binlog: see binlog --help\n"),
        (["cat"], "binlog: missing argument 'LOG': binlog cat: see binlog cat --help\n"),
        (["init", "log"], "binlog: 'log' is no address: binlog init: write file:log\n"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(args: list[str], line: str) -> None:
    ran = binlog(*args)
    assert ran == Ran(2, "", line)


# -- errors ----------------------------------------------------------------------------------------


@pytest.fixture
def verb_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], Ran]:
    """Run a verb that does what it is given."""

    def run(action: Callable[[], object], *args: str) -> Ran:
        @click.command(cls=Verb, examples="binlog cat")
        def command() -> None:
            action()

        module = type("Fake", (), {"command": command})
        monkeypatch.setattr(main_module, "import_module", lambda _name: module)
        return binlog(*args, "cat")

    return run


def raising(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RefusedError("no", "line 3", "mend it"), 2, "no: line 3: mend it"),
        (
            DamageError("bad bytes", "segment 0, byte 7"),
            3,
            "bad bytes: segment 0, byte 7: mend that and run it again",
        ),
        (BusyError("locked", do="wait"), 3, "locked: binlog cat: wait"),
        (click.UsageError("Wrong thing."), 2, "wrong thing: binlog cat: see binlog cat --help"),
        (click.ClickException("No."), 2, "no: binlog cat: see binlog cat --help"),
        (
            OSError(errno.EIO, os.strerror(errno.EIO), "f"),
            3,
            "input/output error: f: mend that and run it again",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            3,
            (
                "no space left on device: standard input or output, or temporary files in"
                f" {gettempdir()} (TMPDIR): mend that and run it again"
            ),
        ),
        (
            KeyError("x"),
            3,
            (
                "unexpected KeyError: 'x': binlog cat: "
                "this is a bug, run it again with --debug and report it"
            ),
        ),
        (
            MemoryError(),
            3,
            (
                "unexpected MemoryError: binlog cat: "
                "this is a bug, run it again with --debug and report it"
            ),
        ),
    ],
)
def test_an_error_is_one_line_and_a_status(
    verb_that: Callable[..., Ran], error: Exception, status: int, line: str
) -> None:
    assert verb_that(raising(error)) == Ran(status, "", f"binlog: {line}\n")


def test_an_error_with_line_ends_and_escapes_stays_one_line(verb_that: Callable[..., Ran]) -> None:
    """A key from the log must not be able to clear the terminal, or to fake a second message."""
    ran = verb_that(raising(RefusedError("a\nbinlog: fine\x1b[2J\x9b\u202e", "caf\u00e9")))
    assert ran.err == (
        "binlog: a\\nbinlog: fine\\x1b[2J\\x9b\\u202e: café: see binlog cat --help\n"
    )


def test_debug_before_the_verb_shows_the_trace_and_the_line(
    verb_that: Callable[..., Ran],
) -> None:
    lines = verb_that(lambda: 1 // 0, "--debug").err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("binlog: unexpected ZeroDivisionError")


def test_debug_after_the_verb_shows_the_trace_and_the_line() -> None:
    lines = binlog("cat", "file:nowhere", "--debug").err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("binlog: no log there")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_is_status_130(verb_that: Callable[..., Ran], error: BaseException) -> None:
    assert verb_that(raising(error)) == Ran(130, "", "binlog: interrupted\n")


def test_a_reader_that_leaves_is_no_error(verb_that: Callable[..., Ran]) -> None:
    assert verb_that(raising(BrokenPipeError())) == Ran(141, "", "")


@pytest.mark.parametrize("status", [0, 1])
def test_a_verb_says_no_by_leaving_its_context(verb_that: Callable[..., Ran], status: int) -> None:
    assert verb_that(lambda: click.get_current_context().exit(status)) == Ran(status, "", "")


def test_what_could_steer_a_terminal_is_made_visible() -> None:
    assert one_line("plain é 文") == "plain é 文"
    assert one_line("\t\r\n\0\x7f\u2028") == r"\t\r\n\x00\x7f\u2028"


def test_a_closed_standard_output_is_an_error_and_no_trace(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with full.open("wb") as out:
        with Started("init", "file:log", cwd=tmp_path, stdout=out) as process:
            err = process.communicate(timeout=LIMIT_S)[1].decode()
    assert process.returncode == 3
    assert_one_line(err)
    assert "no space left on device" in err


def test_json_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    environment = os.environ | {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(ROOT),
    }

    def run(*args: str, given: bytes = b"") -> bytes:
        return subprocess.run(
            [*COMMAND, *args],
            input=given,
            capture_output=True,
            check=True,
            cwd=tmp_path,
            env=environment,
        ).stdout

    run("init", "file:log", "--partitions=1")
    run("append", "file:log", "--table=users", "--key=id", given='{"id": "é文😀"}'.encode())
    assert json.loads(run("cat", "file:log", "--json"))["key"] == {"id": "é文😀"}
    assert "é文😀".encode() in run("cat", "file:log")
