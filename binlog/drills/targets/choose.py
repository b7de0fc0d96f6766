"""From ``--on`` to what makes a target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from binlog.drills.target import Target
from binlog.drills.targets.embedded import Embedded
from binlog.errors import RefusedError


def maker(on: str) -> Callable[[Path], Target]:
    """What makes the target ``on`` in a folder.

    Raises:
        RefusedError: there is no such target.
    """
    if on == "embedded":
        return Embedded
    if on == "stack":
        from binlog.drills.targets.stack_aws import Stack

        return Stack
    raise RefusedError(f"there is no target {on!r}", "--on", "write embedded or stack")
