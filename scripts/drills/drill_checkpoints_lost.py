"""The table of checkpoints is gone: nobody knows any more how far the items are."""

from binlog.drills import Drill, drill, twin

ANEW = "binlog rebuild {log} {aside} --snapshots {snapshots}"

REFUSED = {  # how a consumer says it: in DynamoDB the store's catalog was in the same table
    "embedded": (3, "lacks what it should have"),
    "stack": (2, "holds items of a store that is not there any more"),
}


@drill(
    "checkpoints-lost",
    title="The table of checkpoints is lost",
    looks="The consumer ends: the store lacks what it should have. Readers notice nothing.",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 120.0},
    take_back="The old store stays where it is until somebody removes it.",
)
@twin(
    "whoever types it leaves the updates out",
    {ANEW: "binlog rebuild {log} {aside} --exclude type=UpdateItem"},
)
def checkpoints_lost(d: Drill) -> None:
    """Somebody drops the table of checkpoints. The items are there, and of no known moment.

    Nothing is guessed: a consumer refuses such a store, it never begins from the start on items that
    are there. The tables are made beside it from a snapshot and the log, and readers are led there.
    """
    d.init()
    d.load()
    consumer = d.replicate("live")
    d.flow(200)
    d.caught_up("live")
    d.run("binlog snapshot {live} {snapshots}")
    d.flow(200)
    d.caught_up("live")
    consumer.end()
    with d.disaster("the table of checkpoints is dropped", changes="live"):
        d.target.drop_checkpoints("live")
    with d.phase("detect"):
        status, says = REFUSED[d.target.name]
        d.run("binlog replicate {log} {live} --once", exit=status, says=says)
    with d.phase("restore"):
        d.run(ANEW)
    with d.phase("verify"):
        d.run("binlog verify {aside} {log}")
    with d.phase("switch"):
        d.served = "aside"
        d.by_hand("lead readers to {aside}")
        d.start("binlog replicate {log} {aside}")
        d.caught_up("aside")
    d.flow(200)
    d.settle("aside")
    d.log_holds()
    d.holds("aside")
