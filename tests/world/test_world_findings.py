"""What soaks have found, each as its shortest story."""

from __future__ import annotations

from binlog.changes import put_item
from binlog.envelope import Envelope
from binlog.testing.world.domain import CARTS
from binlog.testing.world.world import World


def one() -> Envelope:
    item = {"id": "a", "n": 0}
    return put_item("orders", item, key="id", event_id="id0", expect=0)


def test_a_rebuild_in_the_middle_may_hold_what_waits_for_a_frame_under_way() -> None:
    """The judge called it held for ever; that is only true when all has come to rest."""
    world = World(CARTS, kinesis=True)
    world.publish(0, [one()])
    world.call(0, "late")
    world.publish(0, [one()])
    world.tick(4)
    world.call(0, "found later")
    world.call(0, answered=False)
    world.publish(2, [one()])
    world.call(2, answered=False)
    world.drill(7, 0, 0)
    world.settle()
    assert world.met["held"]
    assert world.met["rebuilt elsewhere"]
