"""The local replica: `binlog replicate` into a file, killed and started again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from appliers.address import open_store
from tests.converge.converge_rules import APPLIERS
from tests.converge.converge_stage import STREAM, NotConvergedError, Stage

ROOT = Path(__file__).parents[2]


class LocalConsumer:
    """One process at a time: a file has one writer."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._random = Random(f"{stage.options.seed} local")
        self.url = f"sqlite:{stage.folder}/replica.db"
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[LocalConsumer]:
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        stage = self._stage
        log = f"kinesis://{STREAM}?endpoint={stage.kinesis_proxy.url}"
        command = [sys.executable, "-m", "binlog.cli", "replicate", log, self.url, "--park"]
        command += ["--appliers", APPLIERS, "--same-meaning"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(stage.code), str(ROOT))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (stage.folder / "local.log").open("ab") as log_file:
            self._process = subprocess.Popen(
                command, stdout=log_file, stderr=log_file, env=environment, cwd=stage.folder
            )

    def kill(self) -> None:
        """By SIGKILL, wherever it is."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def kill_and_start(self) -> None:
        self.check()
        self.kill()
        self._stage.met["local replica killed"] += 1
        self.start()

    def check(self) -> None:
        """Raise if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            said = (self._stage.folder / "local.log").read_text()[-2_000:]
            raise NotConvergedError(f"binlog replicate has ended: {said}")

    def applied(self) -> int:
        """Events, in all partitions."""
        if not Path(self.url.removeprefix("sqlite:")).exists():
            return 0
        with contextlib.closing(open_store(self.url)) as store:
            return sum(
                row.applied
                for generation in store.generations()
                for row in store.checkpoints(generation.id).values()
            )
