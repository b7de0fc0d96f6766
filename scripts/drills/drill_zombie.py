"""A consumer that was taken for dead comes back, with writes in its hand."""

import json

from stack_here import StackHere, rate, stores
from zombies import StackZombie, zombie

from binlog.drills import Drill, drill, twin

AGAIN = "binlog replicate {log} {live}"


@drill(
    "zombie-returns",
    title="A consumer that was taken for dead comes back",
    looks="Two consumers write to one store, and one of them logs `checkpoint.lost`: somebody else is"
    " further. The lag is as usual, `binlog verify` finds nothing.",
    take_back="Nothing is to be taken back: what came too late has changed nothing.",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 240.0},  # as that of killed consumers
    stack=StackHere,
)
@twin("the new consumer is given another store", {AGAIN: "binlog replicate {log} {aside}"})
def zombie_returns(d: Drill) -> None:
    """A machine stands still in the midst of its work. Another one takes over, and then it goes on.

    It knows nothing of what happened meanwhile, and writes what it had in hand: items of versions that
    are long past, and a checkpoint that is behind. Each write is made on a condition, of which none
    holds any more. It notices, and begins anew at the checkpoint that it finds. Somebody ends it.
    """
    d.init()
    d.load(rate(d))
    zombies = [zombie(d, name) for name in stores(d)]
    d.flow(200)
    for each in zombies:
        d.caught_up(each.name)
    told: list[str] = []
    with d.disaster(
        "consumers stand still, others take over, and they go on", shown=lambda: "; ".join(told)
    ):
        told += [each.stand_still() for each in zombies]
        successors = {each.name: each.take_over() for each in zombies}
        d.flow(100)
        for each in zombies:
            d.settle(each.name)
        # Nothing else is written now: whatever changes is of those who come back.
        before = digests(d)
        told += [each.come_back() for each in zombies]
        after = digests(d)
    d.expect(
        "nothing is changed by what was written late",
        before == after,
        f"digests before: {before}, after: {after}",
        by="digest",
        lines=told,
    )
    for each in zombies:
        if isinstance(each, StackZombie):
            d.expect(f"no late write changed an item of {each.name}", each.is_harmless, each.says)
    with d.phase("detect"):
        for each in zombies:
            d.run(f"binlog verify {{{each.name}}} {{log}}")
    with d.phase("restore"):
        for each in zombies:
            each.consumer.kill()
        successors["live"].end()
        d.start(AGAIN)
    d.load(rate(d))
    d.flow(100)
    with d.phase("switch"):
        d.caught_up("live")
    d.flow(100)
    for each in zombies:
        d.settle(each.name)
    d.log_holds()
    d.holds("live")
    for each in zombies:
        d.run(f"binlog check {{log}} {{{each.name}}}")
        d.holds(each.name, measures=False)
    if len(zombies) > 1:
        d.same(*stores(d))


def digests(d: Drill) -> str:
    """Of the stores' tables."""
    found = []
    for name in stores(d):
        told = json.loads(d.run(f"binlog digest {{{name}}} --json").stdout)
        found += [f"{name}.{table} {each['digest'][:16]}" for table, each in told["tables"].items()]
    return ", ".join(found)
