"""What a killed `init` leaves, the next one removes; what a living one builds, nobody touches."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from binlog.clock import ManualClock
from binlog.logs import create_directory_log
from binlog.logs.directory_aside import Aside, clean_up
from binlog.logs.filesystem import REAL
from tests.cli.running import ROOT
from tests.log.filesystem_double import Killed, Machine
from tests.log.log_frames import PARAMS

FILES = ("GENESIS", "note")


def hidden(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.name.startswith("."))


@pytest.mark.parametrize("kind", ["mkdir", "create", "pwrite", "fsync", "rename"])
def test_the_next_init_removes_what_a_killed_one_left(kind: str) -> None:
    """At whichever step it was killed; and where that was after the renaming, the log is there."""
    machine = Machine()
    process = machine.process()
    create_directory_log("data/other", PARAMS, fs=process, clock=ManualClock())
    process.armed = (kind, "kill")
    with pytest.raises(Killed):
        create_directory_log("data/log", PARAMS, fs=process, clock=ManualClock())
    process.die()
    left = set(machine.process().listdir("data"))
    assert left - {"other"}
    made = create_directory_log("data/log", PARAMS, fs=machine.process(), clock=ManualClock())
    assert made == ("exists" if kind == "rename" else "created")
    assert set(machine.process().listdir("data")) == {"other", "log"}


def test_what_a_living_process_builds_stays(tmp_path: Path) -> None:
    """Until it has died, however it died."""
    program = (
        "import sys, time\n"
        "from binlog.logs.directory_aside import Aside\n"
        "from binlog.logs.filesystem import REAL\n"
        "made = Aside(REAL, sys.argv[1])\n"
        "open(made.path + '/GENESIS', 'w').close()\n"
        "print(made.path, flush=True)\n"
        "time.sleep(3_600)\n"
    )
    target = str(tmp_path / "log")
    builder = subprocess.Popen(
        [sys.executable, "-c", program, target],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with builder:
        try:
            assert builder.stdout is not None
            path = Path(builder.stdout.readline().decode().strip())
            assert clean_up(REAL, target, FILES) == 0
            assert (path / "GENESIS").exists()
        finally:
            builder.send_signal(signal.SIGKILL)
    assert clean_up(REAL, target, FILES) == 1
    assert hidden(tmp_path) == []


def test_a_folder_that_is_removed_before_its_lock_is_made_again(tmp_path: Path) -> None:
    """Between making and locking it, somebody may clean up."""

    class Busy(type(REAL)):  # type: ignore[misc]  # the real calls, and somebody between two
        cleaned = 0

        def mkdir(self, path: str, mode: int = 0o777, /) -> None:
            Path(path).mkdir(mode)
            if self.cleaned < 2:
                self.cleaned += clean_up(REAL, str(tmp_path / "log"), FILES)

    busy = Busy()
    made = Aside(busy, str(tmp_path / "log"))
    assert busy.cleaned == 2
    assert hidden(tmp_path) == [Path(made.path).name]
    assert clean_up(REAL, str(tmp_path / "log"), FILES) == 0
    made.close()


def test_only_what_init_leaves_is_removed(tmp_path: Path) -> None:
    """A name may be anybody's, and so may what is in a folder."""
    kept = [".log.init-mine", ".log.init-0123456789abcdef", ".other.init-3", ".log.init-4"]
    for name in kept[:3]:
        (tmp_path / name).mkdir()
    (tmp_path / kept[1] / "notes.txt").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / kept[3]).symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".log.init-7").mkdir()  # an older version's
    (tmp_path / ".log.init-7/GENESIS").touch()
    assert clean_up(REAL, str(tmp_path / "log"), FILES) == 1
    assert hidden(tmp_path) == sorted(kept)
    assert (tmp_path / kept[1] / "notes.txt").read_text() == "mine"


def test_a_folder_that_nobody_may_look_into_hinders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str) -> list[str]:
        raise PermissionError(13, "denied", path)

    monkeypatch.setattr(type(REAL), "listdir", staticmethod(denied))
    assert clean_up(REAL, str(tmp_path / "log"), FILES) == 0


@pytest.mark.parametrize("code", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_folders_have_no_locks_a_log_is_made_and_nothing_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """NFS locks only what is open for writing, and so no folder; others lock nothing."""
    (tmp_path / ".log.init-0123456789abcdef").mkdir()
    flock = REAL.flock

    def of_files_only(descriptor: int, operation: int, /) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        flock(descriptor, operation)

    monkeypatch.setattr(type(REAL), "flock", staticmethod(of_files_only))
    assert create_directory_log(tmp_path / "log", PARAMS) == "created"
    assert hidden(tmp_path) == [".log.init-0123456789abcdef"]
