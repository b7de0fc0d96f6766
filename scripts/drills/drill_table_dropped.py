"""A table is dropped, and rebuilt: from the log alone, or from a snapshot and the tail."""

from binlog.drills import Drill, drill, twin

FROM_LOG = "binlog rebuild {log} {live}"
FROM_SNAPSHOT = "binlog rebuild {log} {live} --snapshots {snapshots}"
LOOKS = "Readers get errors, there is no such table; `binlog digest STORE` says so at once, too."
TAKE_BACK = "Nothing is to be taken back: what the rebuild replaced was gone already."


def drop(d: Drill) -> None:
    """Given a table that is followed, and a snapshot that is behind it; then it is dropped."""
    d.init()
    d.load()
    consumer = d.replicate("live")
    d.flow(300)
    d.caught_up("live")
    d.run("binlog snapshot {live} {snapshots}")
    d.flow(max(300, d.scale.events // 100))
    d.caught_up("live")
    with d.disaster("DROP TABLE orders", changes="live"):
        consumer.kill()
        d.target.drop_table("live", "orders")


def recover(d: Drill, rebuild: str) -> None:
    with d.phase("detect"):
        d.run(
            "binlog digest {live}", exit=3
        )  # no walk of the log: that a table is gone shows at once
    with d.phase("decide"):
        d.run(f"{rebuild} --dry-run")
    with d.phase("restore"):
        d.run(rebuild)
    with d.phase("verify"):
        d.run("binlog verify {live} {log}")
    with d.phase("switch"):
        d.replicate("live")
        d.caught_up("live")
    d.flow(200)
    d.settle("live")
    d.log_holds()
    d.holds("live")


@drill(
    "table-dropped",
    title="A table is dropped",
    looks=LOOKS,
    take_back=TAKE_BACK,
    on=("embedded", "stack", "real"),
    rto_s_on={"stack": 120.0},
)
@twin(
    "another store is rebuilt, and not the one that is read",
    {FROM_LOG: "binlog rebuild {log} {aside}"},
)
def table_dropped(d: Drill) -> None:
    """Somebody drops the table that production reads, while events come in.

    The log has everything: the table is made anew from it, in one step, followed again, and compared
    with the log.
    """
    drop(d)
    recover(d, FROM_LOG)


@drill(
    "table-dropped-snapshot",
    title="A table is dropped, with a snapshot at hand",
    looks=LOOKS,
    take_back=TAKE_BACK,
    on=("embedded", "stack", "real"),
    rto_s_on={"stack": 120.0},
)
@twin(
    "whoever types it leaves the updates out",
    {FROM_SNAPSHOT: "binlog rebuild {log} {live} --exclude type=UpdateItem"},
)
def table_dropped_snapshot(d: Drill) -> None:
    """The table that production reads is dropped, and its log is long.

    The rebuild begins at the newest snapshot, and reads only what came after it.
    """
    drop(d)
    recover(d, FROM_SNAPSHOT)
    d.expect(
        "the rebuild began at the snapshot",
        any("began at snapshot" in line for line in d.last(FROM_SNAPSHOT).output),
        "; ".join(d.last(FROM_SNAPSHOT).output[:2]),
    )
