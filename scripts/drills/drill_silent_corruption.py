"""Items change behind everybody's back; they are found, and put right from the log."""

from binlog.drills import Drill, drill, twin

REPAIR = "binlog rebuild {log} {live}"
MANY = 5


@drill(
    "silent-corruption",
    title="Items of a replica are silently wrong",
    looks="Nothing: the table answers. `binlog verify STORE LOG`, run daily, ends with 1.",
    take_back="Nothing is to be taken back: the log says what the items are.",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 120.0},
)
@twin(
    "the snapshot that was taken too late is restored",
    {REPAIR: "binlog restore {snapshots} {live}"},
)
def silent_corruption(d: Drill) -> None:
    """Somebody, or a disk, changes items of the replica, and no event says so.

    A comparison with the log names each of them. The table is made anew from the log in one step;
    a snapshot that was taken meanwhile has the wrong items in it and is not used.
    """
    d.init()
    d.load()
    consumer = d.replicate("live")
    d.flow(400)
    d.caught_up("live")
    with d.disaster(f"{MANY} items are changed by hand", changes="live"):
        consumer.end()
        keys = d.target.corrupt("live", "orders", MANY)
    d.run("binlog snapshot {live} {snapshots}")
    with d.phase("detect"):
        told = d.run("binlog verify {live} {log}", exit=1).stdout
        named = [key for key in keys if f'"{key}"' in told]
        d.expect(
            "verify names each item that was changed",
            len(named) == MANY,
            f"{len(named)} of {MANY} named: {', '.join(named)}",
            by="verify",
        )
    with d.phase("restore"):
        d.run(REPAIR)
    with d.phase("verify"):
        d.run("binlog verify {live} {log}")
    with d.phase("switch"):
        d.replicate("live")
        d.caught_up("live")
    d.flow(200)
    d.settle("live")
    d.log_holds()
    d.holds("live")
