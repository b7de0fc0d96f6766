"""A log is whole or absent, and something else is never taken for one."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import msgspec
import pytest

from binlog.clock import ManualClock
from binlog.errors import (
    BinlogError,
    ConflictError,
    DamageError,
    NoLogError,
    RefusedError,
    StorageError,
    UpgradeError,
)
from binlog.logs import DirectoryLog, check_directory_log, create_directory_log
from binlog.params import Params
from tests.contracts.log_contract import appended, read_all
from tests.log.filesystem_double import Machine
from tests.log.log_frames import PARAMS, put


def test_making_a_log_again_finds_it(tmp_path: Path) -> None:
    """Scripts may run `init` each time; the log keeps its own id."""
    path = tmp_path / "log"
    assert create_directory_log(path, PARAMS) == "created"
    with DirectoryLog(path) as log:
        log.append([put(1)])
        records = read_all(log)
    again = Params(log_id="00" * 16, partitions=PARAMS.partitions)
    assert create_directory_log(path, again) == "exists"
    with DirectoryLog(path) as log:
        assert log.params == PARAMS
        assert read_all(log) == records


def test_other_parameters_are_refused_by_name(tmp_path: Path) -> None:
    """A reader that followed other rules would number otherwise."""
    create_directory_log(tmp_path / "log", PARAMS)
    other = msgspec.structs.replace(PARAMS, partitions=8, id_window=2)
    with pytest.raises(ConflictError) as caught:
        create_directory_log(tmp_path / "log", other)
    assert "partitions: found 4, expected 8" in str(caught.value)
    assert "id_window: found 1024, expected 2" in str(caught.value)
    assert caught.value.exit_status == 2


def test_an_empty_directory_is_taken_and_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert create_directory_log(tmp_path / "empty", PARAMS) == "created"
    assert create_directory_log(f"{tmp_path}/a/b/log/", PARAMS) == "created"
    for path in (tmp_path / "empty", tmp_path / "a/b/log"):
        with DirectoryLog(path) as log:
            appended(log.append([put(1)]))
        assert [entry.name for entry in path.parent.iterdir() if entry.name[0] == "."] == []


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_is_no_log_is_neither_replaced_nor_opened(tmp_path: Path, what: str) -> None:
    path = tmp_path / "thing"
    if what == "file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "mine").touch()
    with pytest.raises(ConflictError, match="another place"):
        create_directory_log(path, PARAMS)
    with pytest.raises(NoLogError, match="log"):
        DirectoryLog(path)
    assert path.read_text() == "mine" if what == "file" else (path / "mine").exists()


def test_opening_never_makes_a_log(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"no log there: .*: binlog init file:"):
        DirectoryLog(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_the_genesis_file_is_readable_by_hand(tmp_path: Path) -> None:
    create_directory_log(tmp_path / "log", PARAMS)
    assert msgspec.json.decode((tmp_path / "log/GENESIS").read_bytes()) == msgspec.to_builtins(
        PARAMS
    )


def harmed(path: Path, how: str) -> None:
    genesis = path / "GENESIS"
    if how == "missing":
        genesis.unlink()
    elif how == "no JSON":
        genesis.write_bytes(b"{")
    elif how == "newer":
        genesis.write_bytes(genesis.read_bytes().replace(b'"format":1', b'"format":2'))
    elif how == "edited":
        genesis.write_bytes(genesis.read_bytes().replace(b'"partitions":4', b'"partitions":8'))
    else:
        create_directory_log(path.parent / "other", Params(log_id="00" * 16))
        shutil.copy(path.parent / "other/GENESIS", genesis)


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("missing", DamageError),
        ("no JSON", DamageError),
        ("newer", UpgradeError),
        ("edited", DamageError),
        ("another log's", DamageError),
    ],
)
def test_a_genesis_file_that_is_not_the_logs_is_refused(
    tmp_path: Path, how: str, error: type[BinlogError]
) -> None:
    """Frames written by it would be undecodable for everybody else."""
    path = tmp_path / "log"
    create_directory_log(path, PARAMS)
    harmed(path, how)
    with pytest.raises(error) as caught:
        DirectoryLog(path)
    assert caught.value.exit_status == 3
    assert str(path) in str(caught.value)
    [finding] = check_directory_log(path)
    assert finding.rule == "genesis"
    assert finding.broken


def test_of_many_that_make_it_at_once_one_does(tmp_path: Path) -> None:
    path = tmp_path / "log"
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        outcomes.append(create_directory_log(path, PARAMS))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created"] + ["exists"] * 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["log"]


def test_a_full_disk_leaves_nothing_behind() -> None:
    machine = Machine()
    create_directory_log("data/other", PARAMS, fs=machine.process(), clock=ManualClock())
    for kind in ("mkdir", "create", "pwrite", "fsync", "rename"):
        process = machine.process()
        process.armed = (kind, "dropped" if kind == "fsync" else "full")
        with pytest.raises(StorageError):
            create_directory_log("data/log", PARAMS, fs=process, clock=ManualClock())
        assert process.listdir("data") == ["other"]
