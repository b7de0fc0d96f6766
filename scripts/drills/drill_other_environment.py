"""Tests need production's table, and may not have anybody's address."""

from collections.abc import Iterator
from hmac import digest
from random import Random

import msgspec

from binlog.drills import Action, Drill, drill, twin
from binlog.drills.action import Item, orders

MASK = """
from appliers.applier import Appliers
from appliers.redaction import pseudonym

shop = Appliers()
shop.transform("orders", version=1, drop=("card",), redact={"mail": pseudonym(), "by": "(removed)"})
"""
SECRET = "a secret of the test environment"
CARRY_ON = "binlog replicate {archive} {other} --once --appliers mask:shop"
COPY = "binlog rebuild {archive} {other} --appliers mask:shop"


def customers(random: Random, name: str) -> Iterator[Action]:
    """Orders with a mail address and the number of a card."""
    for action in orders(random, name):
        if action.type != "PutItem":
            yield action
            continue
        personal = {"mail": f"{action.key}@example.org", "card": f"4711-{action.key}"}
        yield msgspec.structs.replace(action, data={**action.data, **personal})


def masked(item: Item) -> Item:
    """By the rule of docs/transform.md, without the project's code for it."""
    kept = {name: value for name, value in item.items() if name != "card"}
    # The canonical bytes of a text are MessagePack's.
    mail = digest(SECRET.encode(), msgspec.msgpack.encode(item["mail"]), "sha256").hex()[:40]
    return {**kept, "mail": mail, "by": "(removed)"}


@drill(
    "other-environment",
    title="A test environment is filled anew, with nobody's address in it",
    looks="The table of the test environment was dropped, or is months old.",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 120.0},
    take_back="The test environment's table is its own; drop it.",
)
@twin(
    "the transform is left out",
    {
        COPY: "binlog rebuild {archive} {other}",
        CARRY_ON: "binlog replicate {archive} {other} --once",
    },
)
def other_environment(d: Drill) -> None:
    """A test environment needs production's table, and may not see mail addresses or cards.

    It is built from the archive, which the test account may read, by a transform: addresses become
    pseudonyms, the same for the same address, and cards are left out. Production is not touched.
    """
    d.environment(BINLOG_PSEUDONYM_SECRET=SECRET)
    d.write("mask.py", MASK)
    d.init()
    d.load(source=customers)
    d.replicate("live")
    d.flow(300)
    d.run("binlog archive {log} {archive} --once")
    d.run("binlog rebuild {archive} {other} --appliers mask:shop")
    d.flow(100)
    with d.disaster("DROP TABLE orders, in the test environment", changes="other"):
        d.target.drop_table("other", "orders")
    with d.phase("detect"):
        d.run("binlog check {archive} {other} --appliers mask:shop", exit=(1, 2, 3))
    with d.phase("restore"):
        d.run("binlog archive {log} {archive} --once")
        d.run(COPY)
    with d.phase("verify"):
        d.run("binlog verify {other} {archive} --appliers mask:shop")
    with d.phase("switch"):
        d.run(CARRY_ON)
    d.flow(200)
    d.settle("live")
    d.run("binlog archive {log} {archive} --once")
    d.run(CARRY_ON)
    d.log_holds()
    d.holds("other", see=masked)
    d.holds("live", measures=False)
    stored = d.target.stored("other")
    leaked = sum(stored.count(word) for word in (b"@example.org", b"4711-"))
    masks = stored.count(
        masked({"mail": next(iter(d.items("live"))) + "@example.org"})["mail"].encode()
    )
    d.expect(
        "no address and no card is in a byte of the test environment's store",
        leaked == 0 and masks > 0,
        f"{len(stored):,} bytes looked at, {leaked} addresses or cards, {masks} of one pseudonym",
        by="model",
    )
