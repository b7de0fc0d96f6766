"""The stream is resharded, while producers and consumers go on."""

from kinesis_here import KinesisHere
from stack_here import StackHere, keep, stores, verified

from binlog.drills import Drill, drill, twin

RATE = 100.0
ANEW = "binlog rebuild {log} {aside}"


@drill(
    "reshard-under-load",
    title="The stream is resharded under load",
    looks="`aws kinesis list-shards` shows parents that are closed; the lag grows for a moment.",
    take_back="Merge what was split; readers follow that likewise.",
    on=("embedded", "stack"),
    rto_s=120.0,
    rto_s_on={"stack": 240.0},  # the KCL finds children seconds after their parents' end
    embedded=KinesisHere,
    stack=StackHere,
)
@twin(
    "the table is rebuilt up to before it", {ANEW: "binlog rebuild {log} {aside} --until {early}"}
)
def reshard_under_load(d: Drill) -> None:
    """Every shard is split and two of them are merged, twice, while producers and consumers go on.

    Order within a partition is kept over it: a child is read when its parents are read to the end.
    Who reads the stream anew comes to the same numbers as who was there, a Lambda function and the
    KCL among them.
    """
    target = d.target
    assert isinstance(target, KinesisHere | StackHere)
    d.init()
    d.load(RATE)
    for name in stores(d):
        keep(d, name)
    d.flow(100)
    for name in stores(d):
        d.caught_up(name)
    d.name(early=d.end_of_log())
    told: list[str] = []
    with d.disaster("shards are split and merged", changes="log", shown=lambda: "; ".join(told)):
        for _ in range(2):
            told.append(target.reshard())
            d.flow(60)
    with d.phase("detect"):
        d.run("binlog status {log} {live}")
    with d.phase("switch"):
        d.flow(50)
        for name in stores(d):
            d.caught_up(name)
    d.flow(50)
    with d.phase("verify"):
        verified(d, RATE)
    d.flow(50)
    for name in stores(d):
        d.settle(name)
    d.run(ANEW)
    d.log_holds()
    d.holds("live")
    d.holds("aside")
    d.same("live", "aside", *stores(d)[1:])
