"""Table B: two supervised workers of one KCL application, slower than what is published."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from appliers.address import open_store
from consumers.kcl_leader import release_leader
from scripts.standins.proxy_faults import Fault
from tests.converge.converge_rules import APPLIERS
from tests.converge.converge_stage import STREAM, WRITES, NotConvergedError, Stage
from tests.integration.kcl_leases import leases, seed_leases

APPLICATION = "copy-kcl"
STORE = "dynamodb://copy"
LATE = 1_000_000  # calls: a write that lands when it is let land
ROOT = Path(__file__).parents[2]


class Worker:
    """One machine: a supervisor, its daemon, a process a shard; and a proxy of its own."""

    def __init__(self, stage: Stage, name: str, rate: float) -> None:
        self.name = name
        self._stage = stage
        self.folder = stage.folder / name
        self.proxy = stage.proxy(stage.tables_url, name)
        self._rate = rate
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: list[int] = []
        self._late: dict[str, int] = {}

    def start(self) -> None:
        stage = self._stage
        log = f"kinesis://{STREAM}?endpoint={stage.kinesis_url}"
        store = f"{STORE}?endpoint={self.proxy.url}"
        command = [sys.executable, "-m", "binlog.cli", "kcl", "run", log, store]
        command += ["--leases", f"dynamodb://{APPLICATION}?endpoint={stage.tables_url}"]
        command += ["--worker", self.name, "--profile", "test", "--folder", str(self.folder)]
        command += ["--appliers", APPLIERS, "--same-meaning"]
        # The two would hand each other's shards to and fro all the time: it is told when to happen.
        command += ["--set", "varianceBalancingFrequency=1000"]
        command += ["--rate", f"{self._rate:g}", "--rate-of", "events"]
        self.folder.mkdir(parents=True)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(stage.code), str(ROOT))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (stage.folder / f"{self.name}.log").open("ab") as log_file:
            self._process = subprocess.Popen(
                command, stdout=log_file, stderr=log_file, env=environment, cwd=stage.folder
            )

    @property
    def health(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.folder / "worker.json").read_text())
            return found
        return {"starts": 0, "daemon": None}

    def has_started_since(self, starts: int) -> bool:
        """Whether another daemon was started."""
        return bool(self.health["starts"] > starts)

    def children(self) -> dict[str, int]:
        """The process of each shard that is at work."""
        found = {}
        for path in (self.folder / "shards").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                each = json.loads(path.read_text())
                if each["state"] == "working" and Path("/proc", str(each["pid"])).exists():
                    found[each["shard"]] = each["pid"]
        return found

    @property
    def writes(self) -> int:
        """Calls that write, since the start."""
        return sum(self.proxy.intruder.calls[name] for name in WRITES)

    def check(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            said = (self._stage.folder / f"{self.name}.log").read_text()[-2_000:]
            raise NotConvergedError(f"the supervisor of {self.name} has ended: {said}")

    # -- what is done to it ------------------------------------------------------------------------

    def kill_child(self) -> bool:
        """One that is at work, if there is any."""
        for process in sorted(self.children().values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                return True
        return False

    def hold_a_write(self) -> bool:
        """Whether one is on its way; as long as none is, the next one is to be late."""
        intruder = self.proxy.intruder
        if not intruder.held_back:
            for name in WRITES:
                at = intruder.calls[name] + 1
                if at > self._late.get(name, 0):  # the one before came too late itself
                    self._late[name] = at
                    intruder.add([Fault(name, at, "late", number=LATE)])
        return intruder.held_back > 0

    def kill_daemon(self) -> bool:
        daemon = self.health["daemon"]
        if daemon is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon, signal.SIGKILL)
            return True
        return False

    def pause(self) -> None:
        """The machine stands still: supervisor, daemon, and all of its children."""
        assert self._process is not None
        self._stopped = [self._process.pid, *_group(self.health["daemon"])]
        for process in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)

    def go_on(self) -> None:
        stopped, self._stopped = self._stopped, []
        for process in reversed(stopped):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def stop(self) -> int:
        """As its owner would; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(self._stage.options.step_s)

    def kill(self) -> None:
        self.go_on()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        daemon = self.health["daemon"]
        if daemon is not None and _group(daemon):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon, signal.SIGKILL)


def _group(leader: int | None) -> list[int]:
    """The processes of a group that is there."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if leader is not None and int(fields[2]) == leader:
                    found.append(int(path.name))
    return found


class KclConsumer:
    """The application."""

    def __init__(self, stage: Stage, rate: float, note: Callable[[str], object]) -> None:
        self._stage = stage
        self._note = note
        self.url = f"{STORE}?endpoint={stage.tables_url}"
        self.workers = [Worker(stage, name, rate) for name in ("w1", "w2")]

    @contextmanager
    def running(self) -> Iterator[KclConsumer]:
        stage = self._stage
        with ExitStack() as stack:
            seed_leases(stage.dynamodb, stage.client, APPLICATION, STREAM)
            for worker in self.workers:
                stack.callback(worker.kill)
                worker.start()
            yield self

    def applied(self) -> int:
        """Events, in all partitions."""
        with contextlib.closing(open_store(self.url)) as store:
            return sum(
                row.applied
                for generation in store.generations()
                for row in store.checkpoints(generation.id).values()
            )

    def owners(self) -> dict[str, str]:
        """Of the shards that are not done."""
        rows = leases(self._stage.dynamodb, APPLICATION)
        return {
            shard: row.get("leaseOwner", {"S": ""})["S"]
            for shard, row in rows.items()
            if row["checkpoint"]["S"] != "SHARD_END"
        }

    def owning(self) -> Worker:
        """The worker with most of the shards."""
        owners = list(self.owners().values())
        return max(self.workers, key=lambda worker: (owners.count(worker.name), worker.name))

    def wait(self, what: str, until: Callable[[], object], *, seconds: float | None = None) -> None:
        """As `Stage.wait`, while both supervisors live."""

        def checked() -> bool:
            for worker in self.workers:
                worker.check()
            return bool(until())

        self._stage.wait(what, checked, seconds=seconds)

    def wait_for_more(self, what: str, count: int = 5) -> None:
        """Until it has applied some events more than now."""
        before = self.applied()
        self.wait(f"events by the KCL {what}", lambda: self.applied() >= before + count)

    # -- trouble -----------------------------------------------------------------------------------

    def kill_child(self) -> None:
        """A shard's process; with it its daemon ends, and the next one goes on."""
        killed: list[tuple[Worker, int]] = []

        def kill() -> bool:
            worker = self.owning()
            starts = worker.health["starts"]
            if worker.kill_child():
                killed.append((worker, starts))
            return bool(killed)

        self.wait("a shard's process", kill)
        [(worker, starts)] = killed
        self.wait("the daemon after its child's death", partial(worker.has_started_since, starts))
        self._stage.met["child killed"] += 1

    def kill_daemons(self) -> None:
        """All of them at once."""
        before = [(worker, worker.health["starts"]) for worker in self.workers]
        killed = [(worker, starts) for worker, starts in before if worker.kill_daemon()]
        for worker, starts in killed:
            self.wait(f"the daemon of {worker.name}", partial(worker.has_started_since, starts))
            self._stage.met["daemon killed"] += 1

    def make_zombie(self) -> None:
        """A machine stands still in the middle of a write, and goes on when its work is others'.

        The write that was under way lands when the other machine has gone on from there.
        """
        stage = self._stage
        self.wait("a shard's process", lambda: self.owning().children())
        zombie = self.owning()
        [other] = [worker for worker in self.workers if worker is not zombie]
        intruder = zombie.proxy.intruder
        self.wait("a write on its way", zombie.hold_a_write)
        zombie.pause()
        self._note(f"{zombie.name} stands still, a write of it is on its way")
        try:
            shards = set(zombie.children())
            # Whoever runs the machines sees that one is gone, and lets another one lead.
            release_leader(stage.dynamodb, f"{APPLICATION}-CoordinatorState", zombie.name)
            self.wait(
                "another worker to take over",
                lambda: (
                    other.name in {self.owners().get(shard) for shard in shards}
                    and other.children()
                ),
            )
            self._note(f"{other.name} has its shards")
            self.wait_for_more("after it was taken over")
            stage.met["late write landed"] += intruder.land_all()
            writes = zombie.writes
        finally:
            zombie.go_on()
            self._note(f"{zombie.name} goes on")
        self.wait("the zombie to come to its senses", lambda: zombie.writes > writes)
        stage.met["worker paused, and went on"] += 1
        stage.met["writes of workers that went on"] += zombie.writes - writes

    def check_leases(self) -> None:
        """Nobody has begun at LATEST, and something was told to KCL."""
        told = [
            row["checkpoint"]["S"] for row in leases(self._stage.dynamodb, APPLICATION).values()
        ]
        if "LATEST" in told or not any(each.isdecimal() or each == "SHARD_END" for each in told):
            raise NotConvergedError(f"KCL's checkpoints are {told}")
