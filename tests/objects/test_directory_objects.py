"""Objects in a directory: what was answered for survives power failures at every step."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binlog.clock import ManualClock
from binlog.errors import RefusedError, StorageError
from binlog.logs.filesystem import RealFileSystem
from binlog.objects import DirectoryObjects
from binlog.objects.directory import ASIDE, ASIDE_KEPT_MS
from tests.log.filesystem_double import FAULTS, LOSSES, Killed, Loss, Machine, PowerLost

ROOT = Path(__file__).parents[2]
DIRECTORY = "data/archive"
KEY, NEXT = "chain/p0003/1-0.seg", "chain/p0003/2-0.seg"
FIRST, SECOND = b"f" * 150, b"s" * 100  # pages of the double are of 64


class Ledger:
    """What the writers of one machine were told, step by step, and what must then be so."""

    def __init__(self, plan: dict[int, str]) -> None:
        self.machine = Machine()
        self.machine.plan = plan
        self.stands: dict[str, bytes] = {}  # acknowledged to stand
        self.taken: set[str] = set()  # acknowledged that something stands
        self.note: set[bytes | None] = {None}  # any of these
        self.ended = 0

    def run(self) -> None:
        first, second = self._open(), self._open()
        for number, act in enumerate(self._acts()):
            try:
                act((first, second)[number % 2])
            except Killed:
                first, second = self._open(), self._open()
                self.ended += 1
            except StorageError:
                self.ended += 1

    def _open(self) -> DirectoryObjects:
        return DirectoryObjects(DIRECTORY, fs=self.machine.process(), clock=ManualClock())

    def _acts(self) -> list[Callable[[DirectoryObjects], None]]:
        return [
            self._put_new(KEY, FIRST),
            self._put_new(KEY, SECOND),
            self._put_new(KEY, FIRST),
            self._put(FIRST),
            self._put(SECOND),
            self._put_new(NEXT, SECOND),
            self._put_new(NEXT, SECOND),
        ]

    def _put_new(self, key: str, data: bytes) -> Callable[[DirectoryObjects], None]:
        def act(objects: DirectoryObjects) -> None:
            if objects.put_new(key, data):
                assert self.stands.setdefault(key, data) == data
            else:
                self.taken.add(key)

        return act

    def _put(self, data: bytes) -> Callable[[DirectoryObjects], None]:
        def act(objects: DirectoryObjects) -> None:
            before = set(self.note)
            self.note.add(data)
            objects.put("seen/p0003", data)
            self.note -= before - {data}

        return act

    def verify(self) -> None:
        objects = self._open()
        for key in (KEY, NEXT):
            found = objects.get(key)
            assert found in {None, FIRST, SECOND}, f"{key} is torn: {found!r}"
            if key in self.stands:
                assert found == self.stands[key]
            if key in self.taken:
                assert found is not None, f"{key} was taken, and is gone"
        assert objects.get("seen/p0003") in self.note
        keys = [entry.key for entry in objects.list()]
        assert set(keys) <= {KEY, NEXT, "seen/p0003"}
        # And it goes on from there.
        assert objects.put_new(NEXT, b"third") is (objects.get(NEXT) == b"third")


def test_what_was_answered_survives_any_power_failure() -> None:
    """At every step, with everything that a disk may have of what was not synced."""
    calm = Ledger({})
    calm.run()
    assert calm.stands == {KEY: FIRST, NEXT: SECOND}
    assert calm.taken == {KEY}
    runs: Counter[str] = Counter()
    for step in range(len(calm.machine.steps) + 1):
        for loss in LOSSES:
            ledger = Ledger({step: "power"})
            try:
                ledger.run()
            except PowerLost:
                runs["lost"] += 1
            ledger.machine.plan = {}
            ledger.machine.lose_power(loss)
            ledger.verify()
            runs["all"] += 1
    assert runs["lost"] > 0.9 * runs["all"]


def test_what_was_answered_survives_any_fault_and_the_power_failure_after_it() -> None:
    """Killed, full, broken, a sync that failed: the others go on, then the power fails."""
    calm = Ledger({})
    calm.run()
    met: Counter[str] = Counter()
    for step, kind in enumerate(calm.machine.steps):
        for fault in FAULTS[kind]:
            if fault == "power":
                continue
            for loss in (Loss("none", "none"), Loss("all", "all"), Loss("zeros", "all")):
                ledger = Ledger({step: fault})
                ledger.run()
                met[fault] += ledger.ended > 0
                ledger.machine.plan = {}
                ledger.machine.lose_power(loss)
                ledger.verify()
    assert {"kill", "full", "broken", "dropped", "evicted", "half written"} <= {
        fault for fault, count in met.items() if count
    }


# -- what the operating system refuses ---------------------------------------------------------------


class Failing(RealFileSystem):
    """The machine's own, except that one call fails."""

    def __init__(self, call: str, number: int) -> None:
        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        setattr(self, call, fail)


@pytest.mark.parametrize(
    ("call", "number", "kind", "says"),
    [
        ("pwrite", errno.ENOSPC, StorageError, "make room"),
        ("fsync", errno.EDQUOT, StorageError, "make room"),
        ("mkdir", errno.EACCES, StorageError, "make the directory writable"),
        ("open", errno.EROFS, StorageError, "make the directory writable"),
        ("link", errno.EPERM, RefusedError, "no hard links"),
        ("link", errno.EIO, StorageError, "look at the disk"),
        ("fsync", errno.EIO, StorageError, "look at the disk"),
    ],
)
def test_a_refusal_is_one_line_with_its_remedy(
    tmp_path: Path, call: str, number: int, kind: type[Exception], says: str
) -> None:
    objects = DirectoryObjects(f"{tmp_path}/archive", fs=Failing(call, number))
    with pytest.raises(kind, match=says) as raised:
        objects.put_new("a", b"x" * 1_000)
    assert "\n" not in str(raised.value)
    assert f"file:{tmp_path}/archive" in str(raised.value)
    if number in {errno.EACCES, errno.EROFS}:
        error = raised.value
        assert isinstance(error, StorageError)
        assert (error.exit_status, error.retriable) == (3, False), "as of a log and of a store"
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [], "what was being written is gone, and nothing stands"


def test_a_full_disk_leaves_what_stands(tmp_path: Path) -> None:
    """A real limit of the system, in a process of its own."""
    objects = DirectoryObjects(str(tmp_path))
    assert objects.put_new("a/1", b"stands") is True
    source = (
        "import sys\nfrom binlog.objects import DirectoryObjects\nfrom binlog.errors import *\n"
        "try: DirectoryObjects(sys.argv[1]).put_new('a/2', bytes(100_000))\n"
        "except StorageError as error: print(error)\n"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))

    done = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path)],
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "File too large (EFBIG)" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
    assert [entry.key for entry in objects.list()] == ["a/1"]
    assert len(list((tmp_path / "a").iterdir())) == 1


def test_a_file_where_a_folder_is_to_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"")
    objects = DirectoryObjects(f"{tmp_path}/archive")
    with pytest.raises(RefusedError, match="name a directory of its own"):
        objects.put_new("a/b", b"")
    assert objects.get("a/b") is None
    assert list(objects.list()) == []


def test_what_a_dead_writer_left_goes_after_a_day(tmp_path: Path) -> None:
    """And not before: another one may be writing it."""
    clock = ManualClock()
    young, old = tmp_path / "a" / f"{ASIDE}1", tmp_path / "a" / f"{ASIDE}2"
    young.parent.mkdir()
    for path, age_ms in ((young, ASIDE_KEPT_MS - 1_000), (old, ASIDE_KEPT_MS + 1_000)):
        path.write_bytes(b"half")
        at_ns = (clock.now_ms() - age_ms) * 1_000_000
        os.utime(path, ns=(at_ns, at_ns))
    objects = DirectoryObjects(str(tmp_path), clock=clock)
    assert list(objects.list()) == [], "what is being written is no object"
    objects.put_new("a/b", b"x")
    assert young.exists()
    assert not old.exists()


def test_a_deletion_is_durable_in_its_order() -> None:
    """A manifest goes before its parts: no power failure may bring it back without them."""
    for loss in LOSSES:
        for step in range(40):
            machine = Machine()
            objects = DirectoryObjects(DIRECTORY, fs=machine.process(), clock=ManualClock())
            objects.put_new("manifest/1", b"m")
            objects.put_new("parts/1/a", b"a")
            objects.put_new("parts/1/b", b"b")
            machine.plan = {len(machine.steps) + step: "power"}
            try:
                objects.delete(["manifest/1", "parts/1/a", "parts/1/b"])
                is_done = True
            except PowerLost:
                is_done = False
            machine.plan = {}
            machine.lose_power(loss)
            left = {
                entry.key
                for entry in DirectoryObjects(
                    DIRECTORY, fs=machine.process(), clock=ManualClock()
                ).list()
            }
            assert len(left) == 3 or "manifest/1" not in left
            if is_done:
                assert left == set()
                break


# -- processes ---------------------------------------------------------------------------------------

RACER = """
import sys
from binlog.objects import DirectoryObjects
objects = DirectoryObjects(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
data = sys.argv[2].encode() * 20_000
for number in range(int(sys.argv[3])):
    print(number if objects.put_new(f"race/{number}", data) else -1, flush=True)
"""


@pytest.fixture
def racers(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path / "objects"), name, "25"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b", "c")
    ]
    yield running
    for each in running:
        each.kill()
        each.communicate()


def test_of_racing_processes_one_wins_each_key(
    tmp_path: Path, racers: list[subprocess.Popen[str]]
) -> None:
    for each in racers:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in racers:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    said = [[int(line) for line in each.communicate()[0].split()] for each in racers]
    objects = DirectoryObjects(str(tmp_path / "objects"))
    for number in range(25):
        winners = [who for who, numbers in zip("abc", said, strict=True) if number in numbers]
        assert len(winners) == 1, number
        assert objects.get(f"race/{number}") == winners[0].encode() * 20_000
    assert not list(tmp_path.rglob(f"{ASIDE}*"))
