"""How long tests wait for what must come."""

from __future__ import annotations

import os

_IN_VAIN = os.environ.get("HYPOTHESIS_PROFILE") == "sabotage"


def patience(seconds: float) -> float:
    """So long; a quarter under a mutation, where most that is waited for will never come.

    A mutation is killed whenever the wait ends. Where nothing is broken the wait has to be long: a
    machine that others keep busy takes a minute for what is a matter of a second.
    """
    return seconds / 4 if _IN_VAIN else seconds
