"""Waiting for what must come, on a machine that may have much else to do."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 90.0  # what takes longer hangs


def until(is_so: Callable[[], object], what: str) -> None:
    """Wait until it is so.

    Raises:
        AssertionError: it is not, for `PATIENCE_S`.
    """
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, f"not in {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)
