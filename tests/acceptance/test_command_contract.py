"""What is true of all verbs: statuses, streams, help, and the time until an answer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.acceptance_support import (
    BINLOG,
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
        took = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            took.append(time.perf_counter() - began)
        return min(took)

    bare = seconds([sys.executable, "-c", "import click"])
    assert seconds([BINLOG, "--help"]) < 3 * bare + 0.05
    code = "import sys, binlog.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    for name in (b"boto3", b"botocore", b"rich", b"sqlite3", b"structlog", b"asyncio"):
        assert name not in loaded.split(), name


@pytest.mark.parametrize("verb", ["append", "cat", "rebuild"])
def test_ctrl_c_ends_at_once_without_a_trace(tmp_path: Path, verb: str) -> None:
    """And what was acknowledged until then is there."""
    world = World(tmp_path)
    if verb == "rebuild":
        world.put(*({"id": f"k{n}", "text": "x" * 50} for n in range(20_000)))
    world.put({"id": "a"})
    args = {
        "append": ["append", world.log, "--table", "users", "--key", "id"],
        "cat": ["cat", world.log, "--json", "--follow"],
        "rebuild": ["rebuild", world.log, world.store("one"), "--workers", "2"],
    }[verb]
    with Started(*args) as run:
        if verb == "append":
            run.send(b'{"id": "last"}\n')
        if verb == "rebuild":
            wait_until((tmp_path / "one.db").exists)
        else:
            run.receive()
        began = time.monotonic()
        run.send_signal(signal.SIGINT)
        ran = run.end(timeout=20)
        assert time.monotonic() - began < 8
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") <= 1
    if verb == "append":
        assert "last" in {e["key"]["id"] for e in world.events()}
    if verb == "rebuild" and ran.status:
        report = world.rebuild(world.store("one"))
        assert report["items"] == 20_001
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"log", "one.db", "one.db.lock"}
