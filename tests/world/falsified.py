"""A world in which something was applied, and ways to falsify what it wrote."""

from __future__ import annotations

from typing import Any

import msgspec

from binlog.changes import put_item, update_item
from binlog.envelope import Envelope
from binlog.testing.world.store import Entry, Moved
from binlog.testing.world.world import World


def one(number: int, expect: int | None = None) -> Envelope:
    name = "ab"[number % 2]
    if number % 3:
        return update_item("orders", {"id": name}, {"Add": {"n": number}}, event_id=f"e{number}")
    return put_item(
        "orders", {"id": name, "n": number}, key="id", event_id=f"e{number}", expect=expect
    )


def busy() -> World:
    """A world in which two replicas have applied a few events each, page by page."""
    world = World()
    for number in range(8):
        world.publish(0, [one(number, expect=99 if number == 6 else None)])
        world.tick(5)
        world.call(0)
        world.consume(0)
        world.consume(1)
    return world


def journal_of(world: World, replica: int = 0) -> list[Entry]:
    return world.replicas[replica].store.journal


def last(journal: list[Entry], kind: type) -> int:
    return max(i for i, entry in enumerate(journal) if isinstance(entry, kind))


def change_last(journal: list[Entry], *, again: bool = False, **changes: Any) -> None:
    """Another last checkpoint, or one more behind it."""
    index = last(journal, Moved)
    entry = journal[index]
    assert isinstance(entry, Moved)
    changed = Moved(entry.generation, msgspec.structs.replace(entry.checkpoint, **changes))
    journal[index + again : index + 1] = [changed]
