"""What an engine says has partition, offset and lag, and costs nothing where nobody listens."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.stores import MemoryStore
from binlog.clock import ManualClock
from binlog.log import Log
from consumers.engine import Engine
from consumers.telling import Telling
from tests.moments.small_log import Writer, new_log, put


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    found = [json.loads(m) for m in caplog.messages if m.startswith("{")]
    return [each for each in found if each["event"] == event]


def test_each_checkpoint_that_moves_is_a_line_with_its_place_and_lag(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a partition that hangs is found by its lines, and how far it is behind stands in them."""
    monkeypatch.setenv("BINLOG_LOG_FORMAT", "json")
    clock = ManualClock()
    log = new_log(clock)
    places = Writer(log, clock).append([put(name, n=1) for name in "abcdefgh"])
    clock.advance(30_000)
    store = MemoryStore()
    store.bind(log.genesis)
    made = store.create(tables=None, fingerprint=fingerprint(NO_RULES), excluded=())
    engine = Engine(log, store, made, NO_RULES, page_bytes=1)
    with caplog.at_level(logging.DEBUG, logger="consumers.engine"):
        while engine.step() is not None:
            pass
    told = lines(caplog, "checkpoint.advanced")
    ends = {partition: max(n for p, n in places if p == partition) for partition, _ in places}
    reached = {each["partition"]: each["offset"] for each in told}
    assert reached == ends
    assert {each["logger"] for each in told} == {"consumers.engine"}
    lags = [float(str(each["lag_s"])) for each in told]
    assert lags == sorted(lags, reverse=True)
    assert (lags[0], lags[-1]) == (30.0, 0.0)


def test_what_nobody_listens_to_is_not_looked_up() -> None:
    """The place of a halt, the lag, the lines themselves: a busy engine has other things to do."""
    ran = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True, timeout=200
    )
    assert ran.stdout.split() == ["nothing", "False"]


_CODE = """
import sys
from consumers.telling import Telling
telling = Telling(None, "memory:")
telling.advanced(None, None, None)
telling.failed(None, None, 1)
print("nothing", "structlog" in sys.modules)
"""


def test_a_lag_that_is_not_known_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Rather than said to be none: a shard was not looked at yet."""

    class Nowhere:
        partitions = (0,)

        def through_ms(self) -> None:
            return None

        def vector(self) -> dict[int, int]:
            return {0: 7}

    log: Log = new_log()
    Telling(log, "memory:").lost(Nowhere())  # type: ignore[arg-type]
    assert "lag_s" not in caplog.text
    assert "event='checkpoint.lost' partition=0 offset=7" in caplog.text
