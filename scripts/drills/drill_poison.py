"""Events that the applier cannot apply, on the busiest key; and a partition that stands still."""

import json
from collections.abc import Iterator
from random import Random

from stack_here import StackHere, keep, rate, stores, verified

from binlog.control import noop_frame
from binlog.drills import Action, Drill, drill, twin
from binlog.drills.action import Item, orders
from binlog.log import Put

BROKEN = "item['paid'] + event.data['amount']"
MENDED = "item['paid'] + int(event.data['amount'])"
SHOP = """
from appliers.applier import Appliers

shop = Appliers()


@shop.on("Paid", table="orders", version=1)
def paid(item, event):
    item = {**event.key, "paid": 0, **(item or {})}
    return {**item, "paid": AMOUNT}
"""
FOLLOW = "binlog replicate {log} {live} --park --appliers shop:shop"
REDRIVE = "binlog redrive {live} --appliers shop:shop --same-meaning --yes"


def payments(random: Random, name: str) -> Iterator[Action]:
    """Orders, and payments of which every other one is of the same order."""
    for number, action in enumerate(orders(random, name)):
        yield action
        if number % 3 == 0:
            key = "hot" if random.random() < 0.5 else str(random.randrange(20))
            yield Action(type="Paid", key=f"{name}-pay-{key}", data={"amount": number % 90})


def paid(item: Item | None, key: Item, data: Item) -> Item:
    before = {**key, "paid": 0} if item is None else item
    return {**before, "paid": before["paid"] + int(data["amount"])}


@drill(
    "poison-event",
    title="An event that cannot be applied, on a hot key",
    looks="`binlog status` ends with 1: a key is parked. Its item stands still, all others go on.",
    take_back="`binlog rebuild` with the old applier parks the same keys again.",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 120.0},
)
@twin(
    "the event is left out instead of mending the applier",
    {REDRIVE: "binlog redrive {live} --appliers shop:shop --same-meaning --without {poison} --yes"},
)
def poison_event(d: Drill) -> None:
    """A payment arrives with its amount as text, and the applier raises, on the busiest key.

    The key is parked, later events of it wait in order, and everything else goes on. The applier is
    mended, and what waits is put back in its order.
    """
    d.folds("Paid", paid)
    d.write("shop.py", SHOP.replace("AMOUNT", BROKEN))
    d.init()
    d.load(source=payments)
    consumer = d.start(FOLLOW)
    d.flow(300)
    d.caught_up("live")
    hot = max((key for key in d.items("live") if key.endswith("hot")), default="hot")

    def parked() -> str:
        d.caught_up("live", wanted=lambda entry: entry.action.key != hot)
        told = d.run("binlog parked {live} --json", exit=1).stdout
        return f"{hot} waits" if hot in told else ""

    with d.disaster("a payment with its amount as text", shown=parked):
        d.append([Action(type="Paid", key=hot, data={"amount": "12"})], tag="poison")
        d.flow(200)
    d.name(poison=d.tagged("poison")[0].id)
    with d.phase("detect"):
        d.run("binlog status {log} {live}", exit=1, says="parked")
    with d.phase("decide"):
        d.by_hand("mend the applier, here shop:shop, and deploy it")
        d.write("shop.py", SHOP.replace("AMOUNT", MENDED))
        consumer.end()
        d.run("binlog redrive {live} --appliers shop:shop --same-meaning", exit=(0, 1))
    with d.phase("restore"):
        d.run(REDRIVE)
    with d.phase("verify"):
        d.run("binlog parked {live}")
        d.run("binlog verify {live} {log} --appliers shop:shop")
    with d.phase("switch"):
        d.start(FOLLOW)
        d.caught_up("live")
    d.flow(200)
    d.settle("live")
    d.log_holds()
    d.holds("live")


RESOLVE = "binlog resolve {log} {partition} {position} skip"


@drill(
    "partition-halted",
    title="A partition halts at a record that is no frame",
    looks="`binlog status` ends with 1 and names the partition; the other partitions go on.",
    take_back="A decision cannot be taken back: every reader goes by the first one.",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 240.0},  # the KCL begins, and two services wait before they look again
    stack=StackHere,
    names={
        "partition": "the one that is halted, as `binlog halted LOG` prints it",
        "position": "where, as `binlog halted LOG` prints it",
    },
)
@twin("nobody decides", {RESOLVE: None})
def partition_halted(d: Drill) -> None:
    """A writer of somebody's own puts a frame into the log whose checksum is wrong.

    Every reader stops there, in that partition, and all alike; on the stack, where a Lambda function
    and the KCL take a shard's records in order, in that shard. A decision is written into the log; all
    go on, and nothing that was acknowledged is lost.
    """
    d.init()
    d.load(rate(d))
    kept = {name: keep(d, name) for name in stores(d)}
    d.flow(200)
    for name in stores(d):
        d.caught_up(name)

    def halted() -> str:
        told = json.loads(d.run("binlog halted {log} --json", exit=1).stdout)
        d.name(partition="1", position=str(told["halts"][0]["position"]))
        return f"partition 1 is halted at {d['position']}"

    with d.disaster("a frame with a wrong checksum", shown=halted):
        with d.open_log() as log:
            frame = noop_frame(log.params, log.genesis, 1, family=bytes(16), now_ms=log.now_ms())
            log.append([Put(1, frame[:-1] + bytes([frame[-1] ^ 1]))])
        d.flow(200, alone=True)  # a consumer with nothing else to do ends there
    with d.phase("detect"):
        d.run("binlog status {log} {live}", exit=1, says="halted")
    with d.phase("decide"):
        d.run(f"{RESOLVE} --dry-run")
    with d.phase("restore"):
        d.run(RESOLVE)

    def watch() -> None:
        """One that has given up at the halt is started again."""
        for name, consumer in kept.items():
            if consumer.has_ended:
                consumer.forgive()
                kept[name] = d.replicate(name, again=True)

    with d.phase("switch"):
        for name in stores(d):
            d.caught_up(name, watch=watch)
    with d.phase("verify"):
        verified(d, rate(d))
    d.flow(200)
    for name in stores(d):
        d.settle(name)
    d.log_holds()
    d.holds("live")
    for name in stores(d)[1:]:
        d.holds(name, measures=False)
