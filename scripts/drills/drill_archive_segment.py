"""A segment of the archive is lost; what can be rebuilt is, what cannot is named."""

import contextlib
import json
import re

from binlog.drills import Drill, drill, twin

COPY_BACK = "cp {copy}/{segment} {archive}/{segment}"


def copy_all(d: Drill) -> None:
    """What a bucket's replication does, or a backup."""
    with (
        contextlib.closing(d.objects("archive")) as archive,
        contextlib.closing(d.objects("copy")) as copy,
    ):
        for each in archive.list():
            copy.put_new(each.key, archive.get(each.key) or b"")


def break_two(d: Drill) -> tuple[str, str, str]:
    """Delete the second segment of partition 0, and turn a bit in that of partition 1.

    Their keys, and that of another segment.
    """
    with contextlib.closing(d.objects("archive")) as archive:
        _, lost, wrong = (each.key for each in archive.list("chain/p0000/"))
        _, damaged, _ = (each.key for each in archive.list("chain/p0001/"))
        data = bytearray(archive.get(damaged) or b"")
        data[len(data) // 2] ^= 1
        archive.delete([lost])
        archive.put(damaged, bytes(data))
    return lost, damaged, wrong


def first_of(segment: str) -> int:
    """The offset with which it begins."""
    return int(segment.rpartition("/")[2][:20])


@drill(
    "archive-segment-lost",
    title="A segment of the archive is lost, and another one damaged",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 120.0},
    looks="`binlog check ARCHIVE`, run daily, ends with 1 and names the segments.",
    take_back="Nothing is to be taken back: segments are immutable, a copy is the segment.",
    names={
        "until": """the last offsets before the holes that step 1 names: '{"0": 17, "1": 12}'""",
        "segment": "a segment that step 1 names, and again for each",
    },
)
@twin(
    "another segment is copied into its place", {COPY_BACK: "cp {copy}/{wrong} {archive}/{segment}"}
)
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
    copy_all(d)
    with d.disaster("one segment is deleted, a bit of another one turns", changes="archive"):
        lost, damaged, wrong = break_two(d)
    with d.phase("detect"):
        told = d.run("binlog check {archive}", exit=1).stdout
        named = [key for key in (lost, damaged) if key in told]
        d.expect(
            "the check names both segments",
            len(named) == 2,
            f"{len(named)} of 2 named",
            by="check",
            lines=told.splitlines()[:4],
        )
    with d.phase("decide"):
        d.flow(50)
        first, after = first_of(lost), int(re.findall(r"begins at (\d+)", told)[0])
        end = first_of(damaged)
        d.name(until=json.dumps({"0": first - 1, "1": end - 1}))
        d.run("binlog rebuild {archive} {other} --until {until}")
        d.note(f"without a copy offsets {first} to {after - 1} of partition 0 are lost")
    with d.phase("restore"):
        for key in (lost, damaged):
            d.name(segment=key, wrong=wrong)
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
