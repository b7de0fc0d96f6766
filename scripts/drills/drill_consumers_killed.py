"""Consumers are killed and frozen while they write, and come back."""

from binlog.drills import Drill, drill, twin

AGAIN = "binlog replicate {log} {live}"
KILLS = 4


@drill(
    "consumers-killed",
    title="Consumers are killed and frozen",
    looks="The lag grows. `binlog status` shows it; a new consumer says which process has the store.",
    take_back="Nothing is to be taken back: a consumer goes on at its checkpoint.",
)
@twin("the new consumer is given another store", {AGAIN: "binlog replicate {log} {lazy}"})
def consumers_killed(d: Drill) -> None:
    """Under load a consumer is killed again and again, at any moment; its successor stands still.

    A process that stands still keeps the store to itself: whoever comes after it is told its number.
    It is ended, and the next one goes on where the last commit was. Items and checkpoint are one
    commit, so whatever was interrupted is either whole or was never there.
    """
    d.init()
    d.load()
    consumer = d.replicate("live")
    d.flow(200)
    d.caught_up("live")
    killed: list[str] = []
    with d.disaster(
        f"{KILLS} kills and a process that stands still", shown=lambda: "; ".join(killed)
    ):
        for _ in range(KILLS):
            d.flow(d.random.randint(20, 120))
            consumer.kill()
            killed.append(f"process {consumer.pid} {consumer.state}")
            consumer = d.replicate("live")
        d.wait("a consumer that applies", d.applies("live"))
        consumer.freeze()
        killed.append(f"process {consumer.pid} {consumer.state}")
        d.flow(200)
    with d.phase("detect"):
        d.run("binlog status {log} {live}", says="behind")
        d.run("binlog replicate {log} {live} --once", exit=3, says=f"process {consumer.pid} writes")
    with d.phase("restore"):
        consumer.kill()
        d.start(AGAIN)
    with d.phase("switch"):
        d.caught_up("live")
    with d.phase("verify"):
        d.run("binlog verify {live} {log}")
    d.flow(200)
    d.settle("live")
    d.log_holds()
    d.holds("live")
    d.run("binlog check {log} {live}")
