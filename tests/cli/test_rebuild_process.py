"""A rebuild that is killed or interrupted, as a process: the old content stays, nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import LIMIT_S, Started, append, binlog

# An applier that waits, after telling that a rebuild has got to it; the second one does not.
SLOW = """
import time
from pathlib import Path
from appliers.applier import Appliers

appliers = Appliers()


@appliers.on("Waited", table="users", version=1)
def wait(item, event):
    Path("waiting").touch()
    time.sleep(3_600)
    return item
"""


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    binlog("init", address, "--partitions", "4")
    append(address, *({"id": f"u{n % 20}", "n": n} for n in range(60)))
    (tmp_path / "slow.py").write_text(SLOW)
    return address


def digest(store: str) -> dict[str, Any]:
    [found] = binlog("digest", store, "--json").lines
    return found


@pytest.mark.parametrize("old", [True, False], ids=["replacing", "new"])
@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_rebuild_that_ends_early_changes_nothing(
    log: str, tmp_path: Path, number: signal.Signals, workers: str, old: bool
) -> None:
    """Readers see what was there; an interrupted one tidies up, a killed one's traces go next."""
    path = tmp_path / "replica.db"
    store = f"sqlite:{path}"
    before: dict[str, Any] = {}
    if old:
        binlog("rebuild", log, store)
        before = digest(store)
    append(log, {"Action": "Event", "Type": "Waited", "Table": "users", "Key": {"id": "u1"}})
    command = ["rebuild", log, store, "--workers", workers, "--appliers", "slow:appliers"]
    with Started(*command, cwd=tmp_path) as running:
        running.wait_until((tmp_path / "waiting").exists)
        running.send_signal(number)
        # Ends when the last one is gone that holds the pipes: no worker may live on.
        out, err = running.communicate(timeout=LIMIT_S)
    assert out == b""
    if number == signal.SIGINT:
        assert (running.returncode, err) == (130, b"binlog: interrupted\n")
        assert builds(tmp_path) == []
    if old:
        assert digest(store) == before
    else:
        assert not path.exists()
    assert binlog("rebuild", log, store, "--exclude", "type=Waited").status == 0
    assert builds(tmp_path) == []
    assert digest(store)["tables"]["users"]["items"] == 20


def builds(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if ".build-" in path.name]
