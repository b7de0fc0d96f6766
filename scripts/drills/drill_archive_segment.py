"""A segment of the archive is lost; what can be rebuilt is, what cannot is named."""

import json
import re
import shutil

from binlog.drills import Drill, drill, twin

COPY_BACK = "cp copy/{segment} archive/{segment}"


@drill(
    "archive-segment-lost",
    title="A segment of the archive is lost, and another one damaged",
    looks="`binlog check ARCHIVE`, run daily, ends with 1 and names the segments.",
    take_back="Nothing is to be taken back: segments are immutable, a copy is the segment.",
)
@twin("another segment is copied into its place", {COPY_BACK: "cp copy/{wrong} archive/{segment}"})
def archive_segment_lost(d: Drill) -> None:
    """An object of the archive is deleted, and a bit of another one turns.

    The check names both. Without them the table can be rebuilt up to the hole, and the events that
    are missing are those that the check names. With the segments from a copy of the archive, the
    archive is whole again and gives everything.
    """
    d.init(partitions=2)
    d.load()
    d.replicate("live")
    for _ in range(3):
        d.flow(150)
        d.run("binlog archive {log} {archive} --once")
    shutil.copytree(d.target.path("archive"), d.target.path("copy"))
    chains = [
        sorted((d.target.path("archive") / "chain" / p).iterdir()) for p in ("p0000", "p0001")
    ]
    lost, damaged = chains[0][1], chains[1][1]
    root = d.target.path("archive")
    with d.disaster("one segment is deleted, a bit of another one turns", changes="archive"):
        lost.unlink()
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
    with d.phase("detect"):
        told = d.run("binlog check {archive}", exit=1).stdout
        named = [path for path in (lost, damaged) if str(path.relative_to(root)) in told]
        d.expect(
            "the check names both segments",
            len(named) == 2,
            f"{len(named)} of 2 named",
            by="check",
            lines=told.splitlines()[:4],
        )
    with d.phase("decide"):
        d.flow(50)
        first, after = int(lost.name[:20]), int(re.findall(r"begins at (\d+)", told)[0])
        end = int(damaged.name[:20])
        d.name(until=json.dumps({"0": first - 1, "1": end - 1}))
        d.run("binlog rebuild {archive} {other} --until {until}")
        d.note(f"without a copy offsets {first} to {after - 1} of partition 0 are lost")
    with d.phase("restore"):
        for path in (lost, damaged):
            d.name(segment=str(path.relative_to(root)), wrong=str(chains[0][2].relative_to(root)))
            d.run(COPY_BACK)
    with d.phase("verify"):
        d.run("binlog check {log} --archive {archive}")
        d.run("binlog rebuild {archive} {aside}")
    d.flow(200)
    d.settle("live")
    places = d.log_holds()
    beyond = {
        event for event, (p, offset) in places.items() if offset >= (first if p == 0 else end)
    }
    d.expect(
        "the named events are not all", 0 < len(beyond) < len(places), f"{len(beyond):,} named"
    )
    d.holds("other", lost=beyond, measures=False)
    d.run("binlog archive {log} {archive} --once")
    d.run("binlog rebuild {archive} {aside}")
    d.holds("aside")
    d.same("live", "aside")
