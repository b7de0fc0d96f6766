"""A region is gone with its log and its tables; another one has a copy of the archive."""

import contextlib
import shutil
import threading
from pathlib import Path

from binlog.drills import Drill, drill, twin

REBUILD = "binlog rebuild {copy} {other}"


class Replication:
    """What a bucket's replication does: objects come to the other region, one by one, a bit later."""

    def __init__(self, source: Path, copy: Path) -> None:
        self._source, self._copy = source, copy
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replication", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            for path in sorted(self._source.rglob("*.*")):
                there = self._copy / path.relative_to(self._source)
                if path.is_file() and path.suffix in (".seg", ".json") and not there.exists():
                    there.parent.mkdir(parents=True, exist_ok=True)
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copyfile(path, there.with_suffix(".part"))
                        there.with_suffix(".part").rename(there)


@drill(
    "region-lost",
    title="A region is lost, with events in flight",
    looks="Everything in the region is gone at once. The archive's copy elsewhere answers.",
    take_back="When the region comes back, its log has events that the copy lacks: compare, by hand.",
    rpo_events=4_000,
    rpo_age_s=5.0,
    goes_on=False,
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
    d.init()
    d.load()
    d.replicate("live")
    archiver = d.start("binlog archive {log} {archive} --segment-every 500ms")
    root = d.target.path("archive")
    replication = Replication(root, d.target.path("copy"))
    try:
        d.flow(300)
        d.caught_up("live")
        d.name(early=d.vector("live"))
        d.flow(600)
    finally:
        d.stop_load()
        replication.stop()
    places = d.log_holds()
    with d.disaster("the region is gone", changes=("log", "archive", "live")):
        archiver.kill()
        d.kill_all()
        for name in ("log", "archive"):
            shutil.rmtree(d.target.path(name))
        d.target.path("live").unlink()
    with d.phase("detect"):
        d.run("binlog status {log} {live}", exit=(2, 3))
    with d.phase("decide"):
        d.run("binlog check {copy}")
    with d.phase("restore"):
        d.run(REBUILD)
    with d.phase("verify"):
        d.run("binlog verify {other} {copy}")
    d.served = "other"
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
