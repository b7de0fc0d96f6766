"""What happens in a run, and what has to be so at its end.

Three consumers follow one log under load: a Lambda function writes table A, a KCL application writes
table B at a lower pace, `binlog replicate` writes a file. Round by round everything is done to them
that their services do, or that machines do. Then the load ends, the weather clears, all come to the
log's end, what is parked is put back, and the reference judges.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from appliers.address import open_store
from binlog.producer import Outcome
from tests.converge.converge_judge import differences
from tests.converge.converge_kcl import KclConsumer
from tests.converge.converge_lambda import LambdaConsumer
from tests.converge.converge_local import LocalConsumer
from tests.converge.converge_rules import APPLIERS, TABLES, mended_rules, write_code
from tests.converge.converge_stage import NotConvergedError, Options, Stage
from tests.faults.fault_judge import Truth, check_ledger, truth_of
from tests.integration.kinesis_streams import merge, split

ROOT = Path(__file__).parents[2]
FREE = 100_000  # events a second: as fast as can be
# What a run that shows anything has met, whatever else it has (24).
KINDS = (
    *("timed out", "invocation overlapped", "environment killed"),
    *("child killed", "daemon killed", "worker paused, and went on", "late write landed"),
    *("shard split", "shards merged", "local replica killed", "pace set"),
    *("parked: lambda", "parked: kcl", "parked: local"),
    *("redriven: lambda", "redriven: kcl", "redriven: local"),
    *("lose reply: PutRecords", "lose reply: GetRecords", "partial: PutRecords"),
    *("lose reply: PutItem", "lose reply: BatchGetItem"),
    *("copies in the log", "acknowledged"),
)
_TOLD_AT_THE_END = ("copies in the log", "acknowledged", "redriven: local")


class Story:
    """One run. ``tell`` is given a line about what is being done."""

    def __init__(self, folder: Path, options: Options, tell: Callable[[str], object]) -> None:
        self.options = options
        self.stage = Stage(folder, options)
        self._tell = tell
        self._random = Random(f"{options.seed} story")
        self._began = time.monotonic()

    @property
    def met(self) -> Counter[str]:
        return self.stage.met

    def play(self) -> None:
        """All of it.

        Raises:
            NotConvergedError: the first thing that is not as it has to be.
            AssertionError: the same, of the log.
        """
        with self.stage.running() as stage:
            self.lambda_ = LambdaConsumer(stage)
            self.kcl = KclConsumer(stage, self.options.rate * 0.7, self.note)
            self.local = LocalConsumer(stage)
            self.urls = {
                "lambda": self.lambda_.url,
                "kcl": self.kcl.url,
                "local": self.local.url,
            }
            with self.kcl.running(), self.lambda_.running(), self.local.running():
                stage.start_load()
                self.note("waiting for the first event by the KCL")
                self.kcl.wait("the first event by the KCL", lambda: self.kcl.applied() > 0)
                began = time.monotonic()
                for number in range(self.options.rounds):
                    self.round(number)
                    self.met["rounds"] += 1
                    if time.monotonic() - began >= self.options.seconds:
                        break
                self.come_to_rest()
                self.judge()

    def note(self, what: str) -> None:
        self._tell(f"{time.monotonic() - self._began:6.1f} s  {what}")

    # -- trouble -----------------------------------------------------------------------------------

    def round(self, number: int) -> None:
        """Everything once, in an order that the seed decides; the appliers are mended in the first."""
        acts = [self.make_zombie, self.kill_child, self.kill_daemons if number else self.mend]
        if number:
            self._random.shuffle(acts)
            self.note(f"round {number + 1}")
        for act in acts:
            self.local.kill_and_start()
            act()
            self.local.check()
            self.stage.check()
        if number:
            self.kcl.wait_for_more("after a round")

    def kill_child(self) -> None:
        self.note("a shard splits; a child of a daemon is killed")
        split(self.stage.service, self._random.randrange(8))
        self.met["shard split"] += 1
        self.kcl.kill_child()

    def make_zombie(self) -> None:
        self.note("a worker stands still in the middle of a write")
        self.kcl.make_zombie()

    def kill_daemons(self) -> None:
        self.note("all daemons are killed; shards merge")
        self.met["shards merged"] += merge(self.stage.service, self._random.randrange(8))
        self.kcl.kill_daemons()

    # -- what was parked ---------------------------------------------------------------------------

    def mend(self) -> None:
        """The appliers are mended and deployed, and what waits is put back beside the consumers."""
        self.note("the appliers are mended")
        for name in self.urls:
            self.stage.wait(f"a parked key: {name}", partial(self.parked, name))
            self.met[f"parked: {name}"] += self.parked(name)
        write_code(self.stage.code, broken=False)
        self.lambda_.redeploy()
        self.local.kill_and_start()
        if self.options.rounds == 1:
            self.free()  # the next daemons begin with it
        self.kill_daemons()
        for name in ("lambda", "kcl"):
            self.redrive(name)

    def free(self) -> None:
        """The KCL may go as fast as it can; who is at work finds that within half a minute."""
        ran = self.command("pace", self.kcl.url, "--rate", str(FREE), "--rate-of", "events")
        if ran.returncode:
            raise NotConvergedError(f"binlog pace: {ran.stderr}")
        self.met["pace set"] += 1

    def parked(self, name: str) -> int:
        """Events that wait."""
        if name == "local" and not self.local.applied():
            return 0
        with contextlib.closing(open_store(self.urls[name])) as store:
            return sum(1 for _ in store.letters())

    def redrive(self, name: str) -> bool:
        """By the command; whether nothing is left."""
        url = self.urls[name]
        arguments = ["--appliers", APPLIERS, "--same-meaning", "--json"]
        ran = self.command("redrive", url, *arguments, "--yes")
        done = json.loads(ran.stdout or "{}").get("redriven", [])
        self.met[f"redriven: {name}"] += sum(each["applied"] for each in done)
        if ran.returncode not in {0, 1}:
            raise NotConvergedError(f"binlog redrive {url}: {ran.stderr}")
        return ran.returncode == 0

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join((str(self.stage.code), str(ROOT)))
        return subprocess.run(
            [sys.executable, "-m", "binlog.cli", *arguments],
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=self.options.step_s,
        )

    # -- the end -----------------------------------------------------------------------------------

    def wait_for_all_kinds(self) -> None:
        """The load goes on until each kind of trouble has occurred: how soon is the machine's to say."""

        def missing() -> list[str]:
            met = self.met + self.stage.replies()
            return [kind for kind in KINDS if not met[kind] and kind not in _TOLD_AT_THE_END]

        if missing():
            self.note(f"waiting for {', '.join(missing())}")
        try:
            self.kcl.wait("every kind of trouble", lambda: not missing())
        except NotConvergedError as error:
            raise NotConvergedError(f"{error}: {', '.join(missing())}") from error

    def come_to_rest(self) -> None:
        stage = self.stage
        if not self.met["pace set"]:
            self.free()
        self.wait_for_all_kinds()
        self.note("the load ends")
        stage.stop_load()
        stage.calm()
        self.truth = self.ask_the_reference()
        wanted = sum(map(len, self.truth.sequenced.values()))
        self.note(f"{wanted} events are to be in all three")
        # The KCL is behind on purpose, the further the longer the run was.
        seconds = self.options.step_s + 20.0 * self.met["rounds"]
        for name, wait in (("lambda", stage.wait), ("local", stage.wait), ("kcl", self.kcl.wait)):
            wait(f"{name} at the log's end", partial(self.is_at, name, wanted), seconds=seconds)
        stage.wait("the mapping's end", self.lambda_.idle.is_set)
        for worker in self.kcl.workers:
            if status := worker.stop():
                raise NotConvergedError(f"binlog kcl run ended with {status} on SIGTERM")
        self.local.kill()
        for name in self.urls:
            if not self.redrive(name):
                raise NotConvergedError(f"{name}: something stays parked, although it is mended")

    def is_at(self, name: str, wanted: int) -> bool:
        return self.applied(name) >= wanted

    def applied(self, name: str) -> int:
        """Events, in all partitions."""
        with contextlib.closing(open_store(self.urls[name])) as store:
            return sum(
                row.applied
                for generation in store.generations()
                for row in store.checkpoints(generation.id).values()
            )

    def ask_the_reference(self) -> Truth:
        rules = mended_rules()
        stage = self.stage
        return truth_of(stage.client, stage.service.stream, stage.params, rules=rules)

    def judge(self) -> None:
        self.note("the reference judges")
        stage = self.stage
        stage.ledger.check(stage.log)
        self.met.update(check_ledger(self.truth, stage.ledger))
        self.met["copies in the log"] += self.truth.met["copies"]
        self.met.update(stage.replies())
        self.kcl.check_leases()
        for name, url in self.urls.items():
            with contextlib.closing(open_store(url)) as store:
                for difference in differences(self.truth, store):
                    raise NotConvergedError(f"{name}: {difference}")
        tables = self.truth.tables.names()
        if tables != set(TABLES):
            raise NotConvergedError(f"tables {sorted(tables)}, and there are {TABLES}")
        if stage.ledger.count(Outcome.ACKNOWLEDGED) < 0.9 * len(stage.ledger.outcomes):
            raise NotConvergedError("most of what was published was never acknowledged")

    def never_met(self) -> list[str]:
        return [kind for kind in KINDS if not self.met[kind]]
