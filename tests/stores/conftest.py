"""Time in these tests is the double's, which stands until they move it."""

from __future__ import annotations

import pytest

from appliers.stores import dynamodb_lease


@pytest.fixture(autouse=True)
def no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock is renewed behind a test's back: a thread does that by the machine's clock, so it came
    between two lines of a test that took ten seconds on a busy machine. Who wants it sets it.
    """
    monkeypatch.setattr(dynamodb_lease, "BEAT_S", 1e6)
