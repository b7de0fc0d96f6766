"""A worker that carries what a rebuild left, from a log that does not stop."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.stores.memory import MemoryStore
from binlog.clock import ManualClock
from consumers.delivery import Worker, Working
from snapshots.rebuild import Wanted, rebuild
from tests.delivery.delivery_support import add, append, batch, new_log, pulled, tables


def test_a_log_that_does_not_stop_lets_a_call_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end that is read to is that of the call's beginning, or KCL hears nothing any more."""
    log, store = new_log(), MemoryStore()
    clock = log._clock
    assert isinstance(clock, ManualClock)
    append(log, *[add(n) for n in range(8)])
    rebuild(log, store, Wanted())
    append(log, *[add(n) for n in range(8)])
    [shard] = log.shards()
    given, handle = batch(log, shard.id), store.open()
    commits, commit = 0, handle.commit

    def busy(*args: Any, **how: Any) -> Any:
        """Somebody publishes once a second, and so long does each commit take."""
        nonlocal commits
        commits += 1
        assert commits < 100
        clock.advance(1000)
        append(log, add(commits % 8))
        return commit(*args, **how)

    monkeypatch.setattr(handle, "commit", busy)
    worker = Worker(log, handle, Working())
    outcome = worker.apply(shard.id, given)
    assert (outcome.first_failed, outcome.error) == (None, None)
    assert 10 <= commits < 20
    monkeypatch.undo()
    last = given[-1].sequence
    assert worker.apply(shard.id, batch(log, shard.id, after=last)).error is None
    assert tables(store) == pulled(log)
