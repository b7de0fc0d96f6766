"""What is true of all verbs: statuses, streams, help, and the time until an answer."""

from __future__ import annotations

import math
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.acceptance_support import (
    BINLOG,
    PATIENCE_S,
    Ran,
    Started,
    World,
    binlog,
    inside,
    inside_refused,
    many,
    ok,
    refused,
    wait_until,
)

INTERRUPTED = 130
VERBS = [
    "init",
    "append",
    "cat",
    "rebuild",
    "replicate",
    "dump",
    "digest",
    "verify",
    "status",
    "check",
    "halted",
    "resolve",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("command"))
    world.put({"id": "a"}, {"id": "b"})
    world.rebuild(world.store("one"))
    return world


def test_every_verb_is_listed_and_has_help_with_examples() -> None:
    listed = ok("--help").out
    for verb in VERBS:
        assert re.search(rf"^\s+{verb}\b", listed, re.MULTILINE), verb
    for verb, text in zip(VERBS, [inside(verb, "--help").out for verb in VERBS], strict=True):
        assert "Examples" in text
        assert re.search(rf"binlog {verb} \S+", text)
    options = {
        "init": ["--partitions", "--rate", "--producers"],
        "append": ["--table", "--key", "--format"],
        "cat": [
            "--table",
            "--key",
            "--partition",
            "--type",
            "--after",
            "--through",
            "--follow",
            "--format",
        ],
        "rebuild": ["--table", "--until", "--exclude", "--workers", "--appliers"],
        "replicate": ["--once", "--rate", "--appliers"],
        "dump": ["--table", "--format"],
        "resolve": ["--dry-run"],
    }
    for verb, wanted in options.items():
        text = inside(verb, "--help").out
        assert [option for option in wanted if option not in text] == [], verb
    assert "lossy" in ok("dump", "--help").out
    assert "64" in inside("init", "--help").out


def test_wrong_usage_is_status_2_and_one_line(world: World) -> None:
    refused(2, "no-such-verb")
    refused(2, "cat", world.log, "surplus")
    for args in (
        ["no-such-verb"],
        ["--no-such-option"],
        *([verb] for verb in VERBS),
        ["cat", world.log, "surplus"],
        ["cat", world.log, "--format", "xml"],
        ["dump", world.store("one")],
        ["dump", world.store("one"), "--table", "absent"],
        ["rebuild", world.log, "memory:", "--workers", "0"],
        ["rebuild", world.log, "memory:", "--workers", "two"],
        ["replicate", world.log, "memory:", "--once", "--rate", "-1"],
        ["replicate", world.log, "memory:", "--once", "--rate", "nan"],
        ["cat", "nonsense"],
        ["cat", "ftp://host/log"],
        ["digest", world.log],
        ["rebuild", world.store("one"), world.log],
    ):
        inside_refused(2, *args)


def test_debug_shows_a_trace_and_its_absence_none(world: World) -> None:
    command = [BINLOG, "cat", f"file:{world.directory}/absent", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("binlog: ")


def test_json_is_one_document_or_lines_and_nothing_else(world: World) -> None:
    one = [
        ["rebuild", world.log, "memory:"],
        ["replicate", world.log, "memory:", "--once"],
        ["digest", world.store("one")],
        ["verify", world.store("one"), world.log],
        ["status", world.log],
        ["check", world.log],
        ["halted", world.log],
        ["init", world.log, "--partitions", "4"],
    ]
    for ran in many(lambda args: ok(*args, "--json"), one):
        assert len(ran.lines) == 1
    assert len(ok("cat", world.log, "--json").lines) == 2
    assert len(ok("dump", world.store("one"), "--table", "users", "--json").lines) == 2


def test_output_is_utf8_whatever_the_locale(world: World) -> None:
    world.put({"id": "é😀", "v": "文"})
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    assert "é😀" in ok("cat", world.log, "--json", env=environment).out
    ok("cat", world.log, env=environment)
    ran = binlog("dump", world.store("one"), "--table", "ü", env=environment)
    assert ran.status == 2


def test_the_answer_to_help_comes_at_once() -> None:
    """Beside what the interpreter itself takes: no library of a service, no table drawing."""

    def seconds(command: list[str]) -> float:
        """Of a processor: what others take of the machine is not counted."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # In turns, since the machine may be slower at one moment than at another; and the least of
    # each, which no disturbance makes less.
    bare, ours = math.inf, math.inf
    for _ in range(20):
        bare = min(bare, seconds([sys.executable, "-c", "import click"]))
        ours = min(ours, seconds([BINLOG, "--help"]))
        if ours < 3 * bare + 0.05:
            break
    else:
        raise AssertionError(f"{ours:.3f} s, and {bare:.3f} s without any of our code")
    code = "import sys, binlog.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    for name in (b"boto3", b"botocore", b"rich", b"sqlite3", b"structlog", b"asyncio"):
        assert name not in loaded.split(), name


def interrupted(run: Started) -> Ran:
    """After Ctrl-C; its input stays open until it has ended, since that would be an end as well."""
    run.send_signal(signal.SIGINT)
    run.wait(PATIENCE_S)
    ran = run.end()
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") <= 1
    return ran


def test_ctrl_c_ends_what_would_go_on_without_a_trace(tmp_path: Path) -> None:
    """And what was acknowledged until then is there."""
    world = World(tmp_path)
    with Started("append", world.log, "--table", "users", "--key", "id") as run:
        run.send(b'{"id": "last"}\n')
        run.receive()
        assert interrupted(run).status == INTERRUPTED
    with Started("cat", world.log, "--json", "--follow") as run:
        assert run.receive()["key"] == {"id": "last"}
        assert interrupted(run).status == INTERRUPTED


def test_ctrl_c_ends_a_rebuild_in_its_middle_without_a_trace(tmp_path: Path) -> None:
    """And the next one removes what it has left."""
    world = World(tmp_path)
    world.put(*({"id": f"k{n}", "text": "x" * 50} for n in range(20_000)))
    statuses = [0]
    # Until it was not quicker than we are; the interpreter ends by the signal at its own end.
    while statuses[-1] in (0, -signal.SIGINT) and len(statuses) < 20:
        with Started("rebuild", world.log, world.store("one"), "--workers", "2") as run:
            wait_until(lambda: any(tmp_path.glob("one.db.build-*")) or run.poll() is not None)
            statuses.append(interrupted(run).status)
    assert statuses[-1] == INTERRUPTED
    report = world.rebuild(world.store("one"))
    assert report["items"] == 20_000
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"log", "one.db", "one.db.lock"}
