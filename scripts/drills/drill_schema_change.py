"""Producers write a new schema before consumers know it; the table is rebuilt beside the old one."""

from collections.abc import Iterator
from itertools import count
from random import Random

from binlog.drills import Action, Drill, drill, twin
from binlog.drills.action import Item, Source

V1 = """
from appliers.applier import Appliers

shop = Appliers()


@shop.on("Paid", table="orders", version=1)
def paid(item, event):
    item = item or {**event.key, "cents": 0}
    return {**item, "cents": item["cents"] + 100 * event.data["euros"]}
"""
V2 = """
from appliers.applier import Appliers

shop = Appliers()


@shop.upcaster("Paid", from_version=1)
def to_cents(data):
    return {"cents": FACTOR * data["euros"]}


@shop.on("Paid", table="orders", version=2)
def paid(item, event):
    item = item or {**event.key, "cents": 0}
    return {**item, "cents": item["cents"] + event.data["cents"]}
"""
BESIDE = "binlog rebuild {log} {aside} --appliers shop2:shop"
FOLLOW = "binlog replicate {log} {aside} --appliers shop2:shop"


def payments(schema: int) -> Source:
    """In euros, or in cents."""

    def made(random: Random, name: str) -> Iterator[Action]:
        for _ in count():
            amount = random.randint(1, 99)
            data = {"euros": amount} if schema == 1 else {"cents": amount}
            yield Action(
                type="Paid", key=f"{name}-{random.randrange(30)}", data=data, schema=schema
            )

    return made


def paid(item: Item | None, key: Item, data: Item) -> Item:
    before = {**key, "cents": 0} if item is None else item
    more = data["cents"] if "cents" in data else 100 * data["euros"]
    return {**before, "cents": before["cents"] + more}


@drill(
    "schema-change",
    title="A new schema arrives before its appliers",
    looks="The consumer ends, a function fails: the event has a schema version that its appliers do not know.",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 120.0},
    take_back="The old table stays until it is removed; readers are led back to it.",
    names={"before": "how far the old table came: its vector, as `binlog digest` prints it"},
)
@twin(
    "the upcaster forgets that a euro has a hundred cents",
    {
        BESIDE: "binlog rebuild {log} {aside} --appliers wrong:shop",
        FOLLOW: "binlog replicate {log} {aside} --appliers wrong:shop",
    },
)
def schema_change(d: Drill) -> None:
    """Producers begin to pay in cents. The applier reads euros, and the consumer stops at the first one.

    The new applier and an upcaster for the old events are given; the table is rebuilt with them beside
    the old one, both are compared up to where the old one stopped, and readers are led to the new.
    """
    d.folds("Paid", paid)
    d.write("shop1.py", V1)
    d.write("shop2.py", V2.replace("FACTOR", "100"))
    d.write("wrong.py", V2.replace("FACTOR", "1"))
    d.init()
    d.load(source=payments(1))
    consumer = d.start("binlog replicate {log} {live} --appliers shop1:shop")
    d.flow(300)
    d.caught_up("live")

    def stopped() -> str:
        def refused() -> list[str]:
            return [line for line in consumer.said().splitlines() if "schema version 2" in line]

        # A function does not end: its mapping delivers the same records again and again.
        goes_on = d.target.name == "stack"

        def stops() -> bool:
            return bool(refused()) and (goes_on or consumer.has_ended)

        d.wait("the consumer that stops", stops, alone=True)
        return f"the consumer ({consumer.state}): {refused()[-1][:200]}"

    with d.disaster("producers write schema 2", shown=stopped):
        d.load(source=payments(2))
        d.flow(100, alone=True)  # the consumer ends at the first of them
    consumer.end()
    before = d.vector("live")
    with d.phase("detect"):
        d.run("binlog status {log} {live}", says="behind")
    with d.phase("restore"):
        d.by_hand("write the new applier, and an upcaster for the old events: here shop2:shop")
        d.run(BESIDE)
    with d.phase("verify"):
        d.run("binlog verify {aside} {log} --appliers shop2:shop")
        d.name(before=before)
        d.run("binlog rebuild {log} {other} --until {before} --appliers shop2:shop")
        d.same("live", "other")
    with d.phase("switch"):
        d.served = "aside"
        d.by_hand("lead readers to {aside}")
        d.start(FOLLOW)
        d.caught_up("aside")
    d.flow(200)
    d.settle("aside")
    d.log_holds()
    d.holds("aside")
