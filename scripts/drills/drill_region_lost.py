"""A region is gone with its log and its tables; another one has a copy of the archive."""

import json

from two_regions import SEGMENTS, Replication, TwoFolders, TwoRegions

from binlog.drills import Drill, drill, twin
from binlog.objects.objects import Objects

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
    rto_s=60.0,
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
        d.wait("what came since in the other region", lambda: is_beyond(copy, d["early"]))
        d.flow(300)
        with d.disaster("the region is gone", changes=("log", "archive", "live")):
            replication.stop()  # the way out is gone first, so these are in flight
            d.flow(100)
            d.stop_load()
            places = d.log_holds()
            archiver.kill()
            d.kill_all()
            d.target.lose_region()
    finally:
        replication.stop()
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


def is_beyond(copy: Objects, ends: str) -> bool:
    """Whether a copy of an archive has later segments of each partition than those that end there."""
    begin: dict[str, int] = {}
    for each in copy.list(SEGMENTS):
        partition = str(int(each.key.split("/")[1].removeprefix("p")))
        begins_at = int(each.key.rpartition("/")[2][:20])
        begin[partition] = max(begins_at, begin.get(partition, 0))
    return all(begin.get(partition, 0) > end for partition, end in json.loads(ends).items())
