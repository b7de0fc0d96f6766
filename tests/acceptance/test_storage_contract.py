"""Disks that are full, directories that cannot be written, logs that are none, and `init`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.acceptance_support import (
    PATIENCE_S,
    Started,
    World,
    binlog,
    digest,
    dump,
    inside,
    inside_refused,
    jsonl,
    ok,
    refused,
)


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of that size at ``path``; skips the test where nobody may mount one."""
    path.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, check=False) if mount else None
    if done is None or done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def without_power_over_permissions() -> None:
    """In a child: be as bound by permissions as anybody, also as root (Linux)."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: not kept by exec
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


BOUND: dict[str, Any] = {"preexec_fn": without_power_over_permissions}


# -- a full disk ---------------------------------------------------------------------------------


def assert_acknowledged_stays(world: World, acks: list[dict[str, Any]], before: int) -> None:
    events = world.events()
    assert {ack["id"] for ack in acks if "outcome" not in ack} <= {e["id"] for e in events}
    assert len(events) >= before
    assert ok("check", world.log, "--json").document["ok"] is True


def test_a_full_disk_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Exit 3; what was acknowledged is there, and with room again all goes on."""
    disk = tmp_path / "disk"
    with small_disk(disk, "3m"):
        world = World(disk)
        first = world.put({"id": "first"})
        world.rebuild(world.store("one"))
        lines = [{"id": f"k{n}", "text": os.urandom(1_500).hex()} for n in range(3_000)]
        given = jsonl(*lines)
        ran = binlog("append", world.log, "--table", "users", "--key", "id", given=given)
        assert ran.status == 3
        assert "space" in ran.err
        acks = [line for line in ran.lines if "outcome" not in line]
        rest = [line for line in ran.lines if "outcome" in line]
        assert acks
        assert rest
        assert all(list(line) == ["line", "id", "outcome", "error"] for line in rest)
        assert {line["outcome"] for line in rest} <= {"unknown", "failed"}
        assert_acknowledged_stays(world, first + acks, before=1)
        # A store has no room either: it says so, and keeps what it had.
        error = refused(3, "rebuild", world.log, world.store("one"))
        assert "space" in error or "full" in error
        refused(3, "rebuild", world.log, world.store("two"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert dump(world.store("one")) == [{"id": "first"}]
        after = world.put({"id": "after"})
        assert_acknowledged_stays(world, first + acks + after, before=1 + len(acks))
        report = world.rebuild(world.store("one"))
        assert report["items"] >= len(acks) + 2


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = world.put({"id": "first"})
    limit = world.segments()[0].stat().st_size + 200_000

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    given = jsonl(*({"id": f"k{n}", "text": os.urandom(500).hex()} for n in range(2_000)))
    options = ["--table", "users", "--key", "id"]
    ran = binlog("append", world.log, *options, given=given, preexec_fn=bounded)
    assert ran.status == 3
    acks = [line for line in ran.lines if "outcome" not in line]
    assert_acknowledged_stays(world, first + acks, before=1)
    after = world.put({"id": "after"})
    assert_acknowledged_stays(world, first + acks + after, before=1 + len(acks))


def test_an_answer_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    """`binlog cat LOG > full disk`: never exit 0 with half an answer."""
    world = World(tmp_path)
    world.put({"id": "a"})
    world.rebuild(world.store("one"))
    for args in (
        ["cat", world.log, "--json"],
        ["digest", world.store("one"), "--json"],
        ["dump", world.store("one"), "--table", "users"],
    ):
        with Path("/dev/full").open("wb") as full, Started(*args, stdout=full) as run:
            _, err = run.communicate(timeout=PATIENCE_S)
        assert run.returncode == 3, args
        assert err.startswith(b"binlog: ")
        assert err.count(b"\n") == 1


# -- permissions ---------------------------------------------------------------------------------


def test_a_log_that_may_only_be_read_is_read_and_not_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put({"id": "a"})
    world.rebuild(world.store("one"))
    whole = ok("cat", world.log, "--json").out
    paths = [*world.path.iterdir(), world.path, *tmp_path.glob("one.db*"), tmp_path]
    modes = {path: path.stat().st_mode for path in paths}
    try:
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert ok("cat", world.log, "--json", **BOUND).out == whole
        assert ok("check", world.log, "--json", **BOUND).document["ok"] is True
        assert ok("rebuild", world.log, "memory:", "--json", **BOUND).document["items"] == 1
        ok("digest", world.store("one"), "--json", **BOUND)
        error = refused(
            3, "append", world.log, "--table=users", "--key=id", given='{"id": "b"}', **BOUND
        )
        assert str(world.path) in error
        refused(3, "init", f"file:{tmp_path}/another", **BOUND)
        refused(3, "rebuild", world.log, world.store("two"), **BOUND)
        refused(3, "rebuild", world.log, world.store("one"), **BOUND)
        refused(3, "replicate", world.log, world.store("one"), "--once", **BOUND)
    finally:
        for path in reversed(paths):
            path.chmod(modes[path])
    assert ok("cat", world.log, "--json").out == whole
    assert digest(world.store("one"))["tables"]["users"]["items"] == 1


def test_a_log_that_may_not_be_read_is_a_failure_and_not_an_empty_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put({"id": "a"})
    [segment] = world.segments()
    segment.chmod(0)
    try:
        refused(3, "cat", world.log, **BOUND)
        refused(3, "rebuild", world.log, "memory:", **BOUND)
    finally:
        segment.chmod(0o644)


# -- what is no log, what is no store ------------------------------------------------------------


def test_what_is_no_log_is_refused_by_every_verb(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    (tmp_path / "file").write_text("text")
    verbs = (["cat"], ["rebuild"], ["replicate", "--once"], ["status"], ["halted"], ["append"])
    stores = {"rebuild": ["memory:"], "replicate": ["memory:"]}

    def run(case: tuple[str, list[str]]) -> None:
        name, (verb, *options) = case
        args = [verb, f"file:{tmp_path}/{name}", *stores.get(verb, []), *options]
        status = 2 if name == "absent" else (2, 3)
        assert name in inside_refused(status, *args), args

    names = ("absent", "empty", "photos", "file")
    cases = [(name, verb) for name in ("absent", "photos") for verb in verbs]
    for case in cases + [(name, ["cat"]) for name in names]:
        run(case)
    for name in names[1:]:
        assert inside("check", f"file:{tmp_path}/{name}").status in (1, 2, 3)
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
    assert left == ["empty", "file", "photos", "photos/cat.jpg"]


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put({"id": "a"})
    (tmp_path / "text.db").write_text("not a database, but mine\n" * 200)
    mine = (tmp_path / "text.db").read_bytes()
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE users (id TEXT, name TEXT)")
        connection.execute("INSERT INTO users VALUES ('1', 'Ada')")
        connection.commit()
    for name in ("text", "other"):
        store = world.store(name)
        for args in (
            ["rebuild", world.log, store],
            ["replicate", world.log, store, "--once"],
            ["digest", store],
            ["verify", store, world.log],
            ["dump", store, "--table", "users"],
        ):
            inside_refused((2, 3), *args)
    assert (tmp_path / "text.db").read_bytes() == mine
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        assert connection.execute("SELECT * FROM users").fetchall() == [("1", "Ada")]
    for args in (
        ["digest", world.store("absent")],
        ["dump", world.store("absent"), "--table", "users"],
        ["verify", world.store("absent"), world.log],
        ["status", world.log, world.store("absent")],
        ["check", world.log, world.store("absent")],
    ):
        inside_refused(2, *args)
    assert not (tmp_path / "absent.db").exists()


# -- init ----------------------------------------------------------------------------------------


def test_init_is_repeatable_and_pins_its_parameters(tmp_path: Path) -> None:
    log = f"file:{tmp_path}/deep/er/log"
    made = ok("init", log, "--partitions", "8")
    assert "created" in made.out
    assert "8" in made.out
    files = {p: p.read_bytes() for p in (tmp_path / "deep/er/log").iterdir()}
    again = ok("init", log, "--partitions", "8")
    assert "exists" in again.out
    assert ok("init", log, "--partitions", "8", "--json").document["state"] == "exists"
    for options in (["--partitions", "9"], [], ["--partitions", "8", "--session-age", "1m"]):
        error = refused(2, "init", log, *options)
        assert "found" in error
        assert "expected" in error
    assert {p: p.read_bytes() for p in (tmp_path / "deep/er/log").iterdir()} == files
    # With events in it, too; and the default is 64.
    ok("append", log, "--table=users", "--key=id", given='{"id": "a"}')
    assert "exists" in ok("init", log, "--partitions", "8").out
    assert len(ok("cat", log, "--json").lines) == 1
    ok("init", f"file:{tmp_path}/wide")
    status = ok("status", f"file:{tmp_path}/wide", "--json").document
    assert [p["partition"] for p in status["partitions"]] == list(range(64))


def test_init_is_built_aside_and_put_in_place_in_one_step(tmp_path: Path) -> None:
    """Many at once make one log, and nothing else is left; a killed one leaves none or a whole."""
    log = f"file:{tmp_path}/log"
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(Started("init", log, "--partitions", "2", "--json"))
            for _ in range(4)
        ]
        ended = [run.end() for run in runs]
    assert [ran.status for ran in ended] == [0] * 4
    states = sorted(ran.document["state"] for ran in ended)
    assert states == ["created", "exists", "exists", "exists"]
    assert [p.name for p in tmp_path.iterdir()] == ["log"]
    for number in range(6):
        target = tmp_path / f"killed-{number}"
        with Started("init", f"file:{target}") as run:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(0.03 * number + 0.02)
            run.kill()
        if target.exists():
            ok("cat", f"file:{target}")
        ok("init", f"file:{target}")
        assert ok("check", f"file:{target}", "--json").document["ok"] is True


def test_init_takes_an_empty_directory_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ok("init", f"file:{tmp_path}/empty")
    ok("append", f"file:{tmp_path}/empty", "--table=users", "--key=id", given='{"id": "a"}')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    refused(2, "init", f"file:{tmp_path}/full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine"]
    for bad in (["--partitions", "0"], ["--partitions", "many"], ["--partitions", "-3"]):
        refused(2, "init", f"file:{tmp_path}/bad", *bad)
    for address in ("kinesis://stream", "sqlite:x.db", "memory:", "log", "", "file:"):
        inside_refused((2, 3), "init", address)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "full"]
    sizing = ok("init", f"file:{tmp_path}/sized", "--rate", "1000", "--producers", "4")
    assert sizing.out
