"""How many CPUs there are for this process, and whether others that do its work have all of them."""

from __future__ import annotations

import os

_workers = 1


def cpus() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share(workers: int) -> None:
    """This process is one of so many that share some work, and have all they can do."""
    global _workers  # noqa: PLW0603 (a fact of the process)
    _workers = workers


def has_spare() -> bool:
    """Whether a CPU may be idle while this process works: a thread beside it costs nobody anything."""
    return cpus() > _workers
