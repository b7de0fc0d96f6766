"""The laws of replay for `check_applier`: some worlds of `ReplayMachine`, with the same events.

What an applier may do wrong alone is found before; here duplicates, late arrivals, crashes,
zombies and reshards meet the whole set of them. Few worlds: a machine of one's own has more, and
invariants of the domain.
"""

from __future__ import annotations

from typing import Any, cast

from binlog.testing.machine import ReplayMachine
from binlog.testing.subject import Source
from binlog.testing.world.world import World

WORLDS = 15


def check_replays(source: Source, events: Any, *, name: str, **options: Any) -> None:
    """Let everything happen to replicas of ``source``; ``name`` is what code calls it.

    Raises:
        Violation: a replica is not what reference and ledger say.
    """
    __tracebackhide__ = True

    def new_world(cls: type[ReplayMachine], *, kinesis: bool = True, tell: bool = False) -> World:
        return World(cls.applier, kinesis=kinesis, tell=tell, name=name)

    made: dict[str, Any] = {"applier": source, "events": events, **options}
    made["new_world"] = classmethod(new_world)
    machine: type[ReplayMachine] = cast("Any", type("Replays", (ReplayMachine,), made))
    machine.check(WORLDS)
