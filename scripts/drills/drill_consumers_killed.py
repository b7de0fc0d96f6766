"""Consumers are killed and frozen while they write, and come back."""

from stack_here import StackHere, keep, rate, stores, verified

from binlog.drills import Drill, drill, twin
from binlog.drills.background import Background

AGAIN = "binlog replicate {log} {live}"
KILLS = 4
WHOLE = ""
# Of a consumer of the stack its processes are killed one by one, from within to without.
PARTS = [
    ("live", "awslambdaric", "the function's process"),
    ("lazy", "consumers.kcl", "a shard's process"),
    ("live", WHOLE, "function and mapping"),
    ("lazy", "MultiLangDaemon", "the daemon"),
]


@drill(
    "consumers-killed",
    title="Consumers are killed and frozen",
    looks="The lag grows. `binlog status` shows it; a new consumer says which process has the store.",
    take_back="Nothing is to be taken back: a consumer goes on at its checkpoint.",
    on=("embedded", "stack"),
    rto_s=120.0,
    rto_s_on={
        "stack": 120.0
    },  # the KCL waits for its leases; the machine has two CPUs for all of it
    stack=StackHere,
)
@twin("the new consumer is given another store", {AGAIN: "binlog replicate {log} {aside}"})
def consumers_killed(d: Drill) -> None:
    """Under load a consumer is killed again and again, at any moment; its successor stands still.

    A process that stands still keeps the store to itself: whoever comes after it is told its number.
    It is ended, and the next one goes on where the last commit was. Items and checkpoint are one
    commit, so whatever was interrupted is either whole or was never there. On the stack there are two
    consumers, a Lambda function and the KCL, and of each every process is killed: what is around it
    starts it again, and items that were written before their checkpoint are found to be written.
    """
    d.init()
    d.load(rate(d))
    kept = {name: keep(d, name) for name in stores(d)}
    d.flow(200)
    for name in kept:
        d.caught_up(name)
    killed: list[str] = []
    with d.disaster("consumers are killed, and one stands still", shown=lambda: "; ".join(killed)):
        for name, part, what in PARTS if "lazy" in kept else [("live", WHOLE, "it")] * KILLS:
            d.flow(d.random.randint(20, 120))
            killed.append(f"{name}: {what}, {kill(d, kept[name], part)}")
            if part == WHOLE:
                kept[name] = keep(d, name)
        for name in kept:
            d.wait(f"a consumer that applies to {name}", d.applies(name))
        for name, consumer in kept.items():
            consumer.freeze()
            killed.append(f"{name}: process {consumer.pid} {consumer.state}")
        d.flow(200)
    with d.phase("detect"):
        d.run("binlog status {log} {live}", says="behind")
        if "lazy" not in kept:
            who = f"process {kept['live'].pid} writes"
            d.run("binlog replicate {log} {live} --once", exit=3, says=who)
    with d.phase("restore"):
        for name, consumer in kept.items():
            consumer.kill()
            keep(d, name)
    with d.phase("switch"):
        for name in kept:
            d.caught_up(name)
    with d.phase("verify"):
        verified(d, rate(d))
    d.flow(200)
    for name in kept:
        d.settle(name)
    d.log_holds()
    d.holds("live")
    for name in kept:
        d.run(f"binlog check {{log}} {{{name}}}")
        d.holds(name, measures=False)


def kill(d: Drill, consumer: Background, part: str) -> str:
    """A process of it by a word of its command line, as soon as there is one that is at work."""
    if part == WHOLE:
        consumer.kill()
        return f"process {consumer.pid} {consumer.state}"
    found: list[int] = []

    def is_killed() -> bool:
        found.append(consumer.kill_part(part))
        return bool(found[-1])

    d.wait(f"{part} at work", is_killed)
    return f"process {found[-1]}"
