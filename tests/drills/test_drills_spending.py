"""What a drill has spent is what its processes did, however they ended; what is not counted is said."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from binlog.drills import Action, Drill, drill, spending, twin
from binlog.drills.child import Child
from binlog.drills.prices import dollars_of
from binlog.drills.processes import Processes
from binlog.drills.result import Command
from binlog.drills.runner import run_drill
from binlog.drills.spending import Spending
from binlog.spent import Book
from binlog.spent import book as book_here
from scripts.drills.kinesis_here import KinesisHere

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
NOISE = 64 * 1024  # a system's loader and locale, and what it takes to be told
FILES = {"log": "file:log"}
WORKS = """
import sys, time
from binlog.spent import begin
begin()
import decimal, difflib, http.client, xml.dom.minidom  # of Python itself: no data

todo = open("todo")
while (line := todo.readline()) != "end\\n":
    what, _, count = line.partition(" ")
    if not line:
        time.sleep(0.002)
        continue
    if what == "read":
        with open("data", "rb") as file:
            file.read(int(count))
    elif what == "write":
        with open("made", "wb") as file:
            file.write(bytes(int(count)))
    elif what == "print":
        print("x" * int(count))
    print("done", flush=True)
"""


MUTE = "import os; open(os.environ['DRILL_SPENT_FILE'] + '.own', 'w')  # as on a full disk"


class Worker:
    """A process that does what it is told, line by line."""

    def __init__(
        self,
        folder: Path,
        all_of_it: Spending,
        *,
        command: str = "binlog works",
        script: str = WORKS,
    ) -> None:
        (folder / "data").write_bytes(bytes(8 * MIB))
        (folder / "works.py").write_text(script)
        self._todo = folder / "todo"
        self._todo.touch()
        self._said = folder / "said"
        self._count = 0
        with self._said.open("wb") as said:
            self.child = Child(
                [sys.executable, "works.py"],
                folder=folder,
                environment={"PYTHONPATH": str(ROOT)},
                stdout=said,
                stderr=said,
                meter=all_of_it.meter(command.split(), self._said),
            )

    def do(self, what: str) -> None:
        self._count += 1
        self._tell(what)
        while self._said.read_text().count("done") < self._count:
            assert self.child.poll() is None, self._said.read_text()

    def end(self) -> None:
        self._tell("end")
        assert self.child.wait(60) == 0

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(60)

    def _tell(self, line: str) -> None:
        with self._todo.open("a") as todo:
            todo.write(f"{line}\n")


def about(figure: int | None) -> object:
    return pytest.approx(figure, abs=NOISE)


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "kill"])
def test_bytes_are_those_of_data_however_a_process_ends(tmp_path: Path, how: str) -> None:
    """Python's modules (megabytes), what it prints and what it tells of itself are none of them."""
    all_of_it = Spending(tmp_path)
    all_of_it.addresses = FILES
    worker = Worker(tmp_path, all_of_it)
    worker.do(f"read {3 * MIB}")
    worker.do(f"write {2 * MIB}")
    worker.do(f"print {MIB}")
    getattr(worker, how)()
    spent = all_of_it.measured()["run"]
    assert spent.read_bytes == about(3 * MIB)
    assert spent.written_bytes == 2 * MIB


def test_one_that_is_looked_at_and_not_waited_for_is_counted(tmp_path: Path) -> None:
    """Whoever asks whether it has ended has waited for it: afterwards the system forgets it."""
    all_of_it = Spending(tmp_path)
    all_of_it.addresses = FILES
    worker = Worker(tmp_path, all_of_it)
    worker.do(f"read {3 * MIB}")
    worker.child.kill()
    while worker.child.poll() is None:
        pass
    worker.kill()
    assert all_of_it.measured()["run"].read_bytes == about(3 * MIB)


def test_the_recovery_is_what_it_started_up_to_the_end_of_its_last_phase(tmp_path: Path) -> None:
    """A consumer that it leaves running goes on for ever: that is no recovery any more."""
    in_phase = False
    all_of_it = Spending(tmp_path, recovering=lambda: in_phase)
    all_of_it.addresses = FILES
    for name in ("before", "within", "short"):
        (tmp_path / name).mkdir()
    before = Worker(tmp_path / "before", all_of_it)
    in_phase = True
    within = Worker(tmp_path / "within", all_of_it)
    short = Worker(tmp_path / "short", all_of_it)
    before.do(f"read {MIB}")
    within.do(f"read {2 * MIB}")
    all_of_it.phase_ended()
    within.do(f"read {2 * MIB}")
    short.do(f"read {MIB}")
    short.end()  # in a later phase
    all_of_it.phase_ended()
    in_phase = False
    within.do(f"read {8 * MIB}")
    within.end()
    before.end()
    found = all_of_it.measured()
    assert found["recovery"].read_bytes == about(5 * MIB)
    assert found["run"].read_bytes == pytest.approx(14 * MIB, abs=3 * NOISE)


@pytest.mark.parametrize("why", ["no figures", "could not say so", "never waited for"])
def test_bytes_that_nobody_knows_are_no_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """One process of which nothing is known, and there is no sum."""
    all_of_it = Spending(tmp_path, recovering=lambda: True)
    all_of_it.addresses = FILES
    if why == "no figures":
        monkeypatch.setattr(spending, "io_of", lambda _: None)
    worker = Worker(tmp_path, all_of_it, script=MUTE if why == "could not say so" else WORKS)
    if why == "never waited for":
        found = all_of_it.measured()
        worker.kill()
    else:
        worker.end()
        found = all_of_it.measured()
    assert found["run"].read_bytes is found["run"].written_bytes is None
    assert found["recovery"].read_bytes is None
    assert any(line.startswith("Not counted: ") for line in found["counted"])


def test_a_process_that_was_killed_before_it_began_has_spent_nothing(tmp_path: Path) -> None:
    """Of ours it is known where they begin: consumers are killed while Python still loads them."""
    all_of_it = Spending(tmp_path)
    all_of_it.addresses = FILES
    worker = Worker(tmp_path, all_of_it, script="")
    worker.end()
    spent = all_of_it.measured()["run"]
    assert (spent.read_bytes, spent.written_bytes) == (0, 0)


def test_of_another_command_all_is_counted_that_it_reads(tmp_path: Path) -> None:
    """A copy by hand is part of a recovery, and has no modules to take off."""
    (tmp_path / "segment").write_bytes(bytes(3 * MIB))
    all_of_it = Spending(tmp_path, recovering=lambda: True)
    all_of_it.addresses = FILES
    processes = Processes(tmp_path, dict(os.environ), mark="x", spending=all_of_it)
    assert processes.run(["dd", "if=segment", "of=copy", "bs=65536", "status=none"]).status == 0
    spent = all_of_it.measured()["recovery"]
    assert spent.read_bytes == about(3 * MIB)
    assert spent.written_bytes == 3 * MIB


# -- requests ------------------------------------------------------------------------------------


def test_requests_of_processes_and_of_the_drill_itself_are_added_up(tmp_path: Path) -> None:
    """Each with what it consumed; one that was not answered is told, and is no error."""
    all_of_it = Spending(tmp_path, recovering=lambda: True)
    all_of_it.addresses = {"log": "kinesis://s"}
    meter = all_of_it.meter(["binlog", "rebuild"])
    meter.began(os.getpid())
    book = Book(meter.variables["DRILL_SPENT_FILE"])
    book.write(sent=1, call="dynamodb PutItem", bytes=100)
    book.write(got=1, status=200, bytes=10, write_units=2.0)
    book.write(sent=2, call="dynamodb PutItem", bytes=100)
    meter.ended()
    book.close()
    with all_of_it.counting():
        told = book_here()
        assert told is not None
        told.write(sent=1, call="kinesis PutRecords", bytes=1_000)
        told.write(got=1, status=200, bytes=50, put_units=3)
    found = all_of_it.measured()
    recovery, run = found["recovery"], found["run"]
    assert recovery.requests == {"dynamodb PutItem": 2}
    assert (recovery.write_units, recovery.put_units, recovery.unanswered) == (2.0, None, 1)
    assert (recovery.read_bytes, recovery.written_bytes) == (10, 200)
    assert run.requests == {"dynamodb PutItem": 2, "kinesis PutRecords": 1}
    assert (run.write_units, run.put_units) == (2.0, 3)
    assert (run.read_bytes, run.written_bytes) == (60, 1_200)
    assert run.dollars == pytest.approx(2 * 0.625e-6 + 3 * 0.014e-6)
    assert any(
        "sent and not answered, as to who was killed: 1." in line for line in found["counted"]
    )


def test_prices_are_those_of_units_and_of_requests_of_s3() -> None:
    """By hand: what reads costs less than a tenth of what writes, and what deletes nothing."""
    requests = {"s3 PutObject": 1_000, "s3 GetObject": 1_000, "s3 DeleteObject": 9, "kinesis X": 9}
    found = dollars_of(
        requests, read_units=1e6, write_units=1e6, put_units=1_000_000, shard_hours=2
    )
    assert found == pytest.approx(0.005 + 0.0004 + 0.125 + 0.625 + 0.014 + 0.030)


def test_what_commands_ask_of_a_service_is_what_it_was_asked(tmp_path: Path) -> None:
    """Counted at both ends: by the commands' own hooks, and by the service's."""
    target = KinesisHere(tmp_path)
    all_of_it = Spending(tmp_path)
    all_of_it.addresses = target.addresses
    processes = Processes(tmp_path, target.environment, mark="x", spending=all_of_it)
    try:
        log = target.addresses["log"]
        for words in (
            ["init", log, "--partitions", "2", "--shards", "2"],
            ["status", log],
            ["cat", log],
        ):
            assert processes.run(["binlog", *words]).status == 0
        asked = Counter(target.service.calls)
        records = sum(shard.ever for shard in target.stream.shards.values())
        spent = all_of_it.measured()["run"]
    finally:
        processes.end_all()
        target.close()
    assert asked.total() > 10
    assert {
        call.removeprefix("kinesis ").lower(): number for call, number in spent.requests.items()
    } == {name.replace("_", "").lower(): number for name, number in asked.items()}
    assert spent.unanswered == 0
    assert spent.put_units == records == 2
    assert spent.dollars == pytest.approx(2 * 0.015 + 2 * 0.014e-6)


# -- in a drill ----------------------------------------------------------------------------------

PUTS = [
    Action(type="PutItem", key=f"k{n}", data={"n": n, "text": Random(n).randbytes(300).hex()})
    for n in range(500)
]


def test_a_drill_measures_its_recovery_its_commands_and_the_whole_run() -> None:
    """Held against the files that are there: a rebuild reads the log once at least, and writes a table."""
    sizes = {}

    @drill("a-test", title="A test", looks="-", take_back="-", goes_on=False)
    @twin("nothing is rebuilt", {"binlog rebuild {log} {live}": None})
    def measured(d: Drill) -> None:
        """A story."""
        d.init(partitions=1)
        d.append(PUTS)
        with d.disaster("the store is not there", changes="live"):
            d.target.path("live").write_bytes(b"")
        with d.phase("restore"):
            d.run("binlog rebuild {log} {live}")
        sizes["live"] = d.target.path("live").stat().st_size
        sizes["log"] = sum(f.stat().st_size for f in d.target.path("log").iterdir())
        d.holds("live")
        d.run("binlog verify {live} {log}")

    result = run_drill(measured)
    assert result.passed, result.failure
    init, rebuild, verify = result.commands
    found = result.measured
    assert found.recovery == rebuild.spent
    assert sizes["log"] > 30_000
    assert _read(rebuild) == pytest.approx(_read(verify), rel=0.9)
    assert sizes["log"] <= _read(rebuild) < 4 * (sizes["log"] + sizes["live"]) + NOISE
    assert sizes["live"] <= (rebuild.spent.written_bytes or 0) < 4 * sizes["live"]
    assert _read(init) < NOISE
    assert found.run.read_bytes == sum(map(_read, result.commands))
    assert (found.recovery.requests, found.recovery.write_units) == ({}, None)
    assert found.recovery.dollars is None
    assert any("files of this machine" in line for line in found.counted)


def _read(command: Command) -> int:
    assert command.spent.read_bytes is not None
    return command.spent.read_bytes
