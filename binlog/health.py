"""What a doctor finds: one thing each, in what state it is, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

from binlog.aws.errors import EXPIRED
from binlog.errors import BinlogError

State = Literal["ok", "noted", "unknown", "failed", "unhealthy"]
"""From the best to the worst, as far as somebody has to do something.

``noted``: good to know; ``unknown``: cannot be known with these permissions, or at all; ``failed``:
could not be looked at now; ``unhealthy``: is wrong, or soon will be.
"""
STATES: tuple[State, ...] = ("unhealthy", "failed", "unknown", "noted", "ok")


class Finding(msgspec.Struct, frozen=True):
    """``check`` is the kind, for scripts; the rest is for people."""

    check: str
    state: State
    what: str
    where: str = ""
    do: str = ""


def found(check: str, error: BinlogError) -> Finding:
    """An error as a finding: what may pass by itself says nothing about health.

    Credentials that have expired may do so only for those who renew them.
    """
    has_passed = error.details.get("code") in EXPIRED
    state: State = "failed" if error.retriable and not has_passed else "unhealthy"
    return Finding(check, state, error.what, error.where, error.do)
