"""A region is gone with its log and its tables; another one has a copy of the archive."""

from two_regions import Replication, TwoFolders, TwoRegions

from binlog.drills import Drill, drill, twin

REBUILD = "binlog rebuild {copy} {other}"


@drill(
    "region-lost",
    title="A region is lost, with events in flight",
    looks="Everything in the region is gone at once. The archive's copy elsewhere answers.",
    take_back="When the region comes back, its log has events that the copy lacks: compare, by hand.",
    rpo_events=4_000,
    rpo_age_s=5.0,
    goes_on=False,
    on=("embedded", "stack"),
    rto_s_on={"stack": 120.0},
    embedded=TwoFolders,
    stack=TwoRegions,
)
@twin(
    "a snapshot of last night is restored",
    {REBUILD: "binlog rebuild {copy} {other} --until {early}"},
)
def region_lost(d: Drill) -> None:
    """The only region with the stream is lost, while producers write; the archive has a copy elsewhere.

    What the archiver had not put there, and what was on its way, is lost. The table is made from the
    copy, and the lost range is named: in each partition all from an offset on, and nothing else.
    """
    assert isinstance(d.target, TwoFolders | TwoRegions)
    d.init()
    d.load()
    d.replicate("live")
    archiver = d.start("binlog archive {log} {archive} --segment-every 500ms")
    copy = d.objects("copy")
    replication = Replication(d.objects("archive"), copy)
    try:
        d.flow(300)
        d.caught_up("live")
        d.name(early=d.ends())
        d.wait("a segment in the other region", lambda: next(copy.list("chain/"), None))
        d.flow(600)
    finally:
        d.stop_load()
        replication.stop()
    places = d.log_holds()
    with d.disaster("the region is gone", changes=("log", "archive", "live")):
        archiver.kill()
        d.kill_all()
        d.target.lose_region()
    with d.phase("detect"):
        d.run("binlog status {log} {live}", exit=(2, 3))
    with d.phase("decide"):
        d.run("binlog check {copy}")
    with d.phase("restore"):
        d.run(REBUILD)
    with d.phase("verify"):
        d.run("binlog verify {other} {copy}")
    with d.phase("switch"):
        d.served = "other"
        d.by_hand("lead readers to {other}; producers need a new log there")
    there = d.places("copy")
    lost = places.keys() - there.keys()
    ends = {p: max((o for q, o in there.values() if q == p), default=0) for p in range(4)}
    behind = {event for event, (p, offset) in places.items() if offset > ends[p]}
    d.expect(
        "what is lost is the end of each partition, and nothing else",
        lost == behind and bool(lost) and all(there[e] == places[e] for e in there),
        f"{len(lost):,} lost; kept up to "
        + ", ".join(f"{end} of partition {p}" for p, end in ends.items()),
        by="ledger",
    )
    d.holds("other", lost=lost)
