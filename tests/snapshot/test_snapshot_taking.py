"""Taking a snapshot: in which order, how fast, by how many, and what becomes of one that is left."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from appliers import survey
from appliers.item import Row, Write
from appliers.stores import MemoryStore
from binlog.clock import ManualClock
from binlog.errors import ConflictError, DamageError, LostError, RefusedError, StorageError
from binlog.objects import MemoryObjects
from binlog.values import encode_value
from consumers.local import replicate
from snapshots.rebuild import Wanted, rebuild
from snapshots.restore import restore
from snapshots.snapshot import Snapshot, open_snapshot, snapshots_in
from snapshots.snapshot_begin import JOIN_MS, LEFT_MS, unfinished
from snapshots.snapshot_take import take_snapshot
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint
from tests.snapshot.snapshot_support import ONCE, filled, new_log, orders, rows, taken
from tests.stores.dynamodb_double import DynamoDBDouble
from tests.stores.dynamodb_story import begin

LIMIT_S = 100.0  # of what has to come, however busy the machine is


class Failing(MemoryObjects):
    """Objects where the ``at``-th write fails, once."""

    def __init__(self, clock: ManualClock, at: int = 0) -> None:
        super().__init__(clock=clock)
        self.at = at
        self.written = 0

    def put_new(self, key: str, data: bytes) -> bool:
        self.written += 1
        if self.written == self.at:
            raise StorageError("no room", self.name)
        return super().put_new(key, data)


def on_double(path: Path, count: int = 40) -> tuple[Any, DynamoDBDouble]:
    """A log of so many orders, and the service on which a store is at its end."""
    log = new_log(path / "log")
    orders(log, *range(count))
    double = DynamoDBDouble(page_items=3)
    store = store_on(double)
    replicate(log, store, ONCE)
    store.close()
    return log, double


# -- order ---------------------------------------------------------------------------------------


def test_the_checkpoints_are_durable_before_anything_is_read(tmp_path: Path) -> None:
    """Read after the rows they may be of events that no row shows (N1)."""
    _, double = on_double(tmp_path)
    double.calls.clear()
    objects = MemoryObjects()
    at_first_scan: list[list[str]] = []

    def note(_: Any) -> None:
        at_first_scan.append([entry.key.rpartition("/")[2] for entry in objects.list()])

    double.hooks["scan"] = note
    taken(store_on(double), objects)
    assert at_first_scan[0] == ["begun", "0000-0000-000000"]
    reads = [request for operation, request in double.calls if operation in ("scan", "query")]
    rows_of = [each for each in reads if each["TableName"] == "shop.orders"]
    assert rows_of
    assert all(each["ConsistentRead"] for each in reads), "a stale row lacks acknowledged events"
    names = [
        each.get("ExpressionAttributeValues", {}).get(":pk", {}).get("S", "") for each in reads
    ]
    kinds = [name.partition("#")[0] or "rows" for name in names]
    order = [kind for at, kind in enumerate(kinds) if kind not in kinds[:at]]
    assert order == ["at", "letters", "rows", "rejected", "foreign", "relayed"]


def test_a_table_that_comes_between_catalog_and_checkpoints_is_not_left_out(
    tmp_path: Path,
) -> None:
    """A checkpoint that passed its first event is no use without its items."""
    log, double = on_double(tmp_path, 5)

    def once(request: Any) -> None:
        if request["Key"]["sk"]["S"] == "catalog":
            del double.after["get_item"]
            orders(log, *range(5), table="users")
            replicate(log, store_on(double, width=1), ONCE)

    double.after["get_item"] = once
    snapshot = taken(store_on(double, width=1))
    assert snapshot.manifest.generation.tables == ("orders", "users")
    assert sum(snapshot.manifest.vector.values()) == 10
    assert snapshot.manifest.tables["users"].items == 5


def test_the_manifest_is_the_last_write(tmp_path: Path) -> None:
    """Whatever ends it before, nothing is there, and the next one finishes it."""
    log, live = filled(tmp_path, "dynamodb")
    clock = ManualClock()
    counted = Failing(clock)
    take_snapshot(live, counted, clock=clock, part_bytes=60)
    assert counted.written > 8
    for at in range(1, counted.written + 1):
        objects = Failing(clock, at)
        with pytest.raises(StorageError):
            take_snapshot(live, objects, clock=clock, part_bytes=60, random=Random(at))
        assert snapshots_in(objects) == []
        with pytest.raises(RefusedError, match="no snapshot"):
            open_snapshot(objects)
        before = {entry.key for entry in objects.list()}
        manifest = take_snapshot(live, objects, clock=clock, part_bytes=60)
        assert before - {e.key for e in objects.list()} <= {
            f"parts/{manifest.id}/letters-read/0000-0000-000000"
        }, "finished parts are kept"
        back = MemoryStore()
        restore(Snapshot(objects, manifest), back)
        assert rows(back) == rows(live)
    assert log


# -- going on ------------------------------------------------------------------------------------


def test_going_on_reads_only_what_is_missing(tmp_path: Path) -> None:
    """By the checkpoints of the beginning: newer ones would be of events that old parts lack."""
    log, double = on_double(tmp_path, 60)
    clock = ManualClock()
    objects = Failing(clock, 9)
    with pytest.raises(StorageError):
        take_snapshot(store_on(double, width=1), objects, clock=clock, part_bytes=60)
    orders(log, *range(60), size=3)
    consumer = store_on(double, width=1)
    replicate(log, consumer, ONCE)
    consumer.close()
    read = double.counts["scan"]
    manifest = take_snapshot(store_on(double, width=1), objects, clock=clock, part_bytes=60)
    assert double.counts["scan"] - read < read + 8
    assert sum(manifest.vector.values()) == 60
    assert sum(manifest.exact.values()) > 60
    texts = {len(row.data or b"") for _, row in Snapshot(objects, manifest).rows("orders")}
    assert len(texts) > 1, "rows of before and of now"
    back = MemoryStore()
    restore(Snapshot(objects, manifest), back, log=log)
    replicate(log, back, ONCE)
    assert rows(back) == rows(store_on(double))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_moment_is_not_gone_on_with_at_another(kind: str, tmp_path: Path) -> None:
    """It would no longer be exact as it is, which is what such a store is worth."""
    log, live = filled(tmp_path, kind)
    clock = ManualClock()
    objects = Failing(clock, 3)
    with pytest.raises(StorageError):
        take_snapshot(live, objects, clock=clock)
    [(left, _, _)] = unfinished(objects)
    again = take_snapshot(live, objects, clock=clock)
    assert again.id == left
    objects.at = objects.written + 3
    with pytest.raises(StorageError):
        take_snapshot(live, objects, clock=clock)
    orders(log, 99)
    replicate(log, live, ONCE)
    manifest = take_snapshot(live, objects, clock=clock)
    assert manifest.is_exact
    assert manifest.id not in {id_ for id_, _, _ in unfinished(objects)}
    assert len(list(unfinished(objects))) == 1


def test_another_store_or_one_asked_for_anew_is_begun_anew(tmp_path: Path) -> None:
    log, live = filled(tmp_path)
    clock = ManualClock()
    objects = Failing(clock, 3)
    with pytest.raises(StorageError):
        take_snapshot(live, objects, clock=clock)
    other = MemoryStore(name="memory:other")
    replicate(log, other, ONCE)
    same = MemoryStore()
    replicate(log, same, ONCE)
    ids = [take_snapshot(store, objects, clock=clock).id for store in (other, same)]
    ids.append(take_snapshot(live, objects, clock=clock, anew=True).id)
    [(left, _, _)] = unfinished(objects)
    assert left not in ids
    assert take_snapshot(live, objects, clock=clock).id == left


def test_one_that_is_left_is_gone_on_with_for_half_a_day_and_removed_after_one(
    tmp_path: Path,
) -> None:
    """The two differ, so that nobody goes on with what somebody else is removing."""
    _, live = filled(tmp_path)
    clock = ManualClock()
    objects = Failing(clock, 3)
    with pytest.raises(StorageError):
        take_snapshot(live, objects, clock=clock)
    [(left, _, _)] = unfinished(objects)
    clock.advance(JOIN_MS)
    assert take_snapshot(live, objects, clock=clock).id != left
    assert [id_ for id_, _, _ in unfinished(objects)] == [left]
    clock.advance(LEFT_MS - JOIN_MS)
    take_snapshot(live, objects, clock=clock)
    assert list(unfinished(objects)) == []
    assert JOIN_MS < LEFT_MS


def test_what_was_damaged_while_it_lay_there_is_not_gone_on_with(tmp_path: Path) -> None:
    """A part that cannot be read ends it, by name; it is begun anew where its beginning is damaged."""
    _, live = filled(tmp_path, "dynamodb")
    clock = ManualClock()
    objects = Failing(clock, 6)
    with pytest.raises(StorageError):
        take_snapshot(live, objects, clock=clock, part_bytes=60)
    [(left, _, _)] = unfinished(objects)
    key = f"parts/{left}/rows/0000-0000-000000"
    objects.put(key, b"no part")
    with pytest.raises(DamageError, match="does not end as a part does"):
        take_snapshot(live, objects, clock=clock, part_bytes=60)
    objects.put(f"parts/{left}/begun", b"no beginning")
    assert take_snapshot(live, objects, clock=clock).id != left


def test_two_who_take_one_finish_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every point where the second one may come in; each finds the manifest in the end."""
    monkeypatch.setattr(survey, "PAGE_ROWS", 7)
    _, live = filled(tmp_path)
    clock = ManualClock()

    class Meeting(Failing):
        """Somebody else takes it as well, just before a write."""

        def put_new(self, key: str, data: bytes) -> bool:
            self.written += 1
            if self.written == self.at:
                other.append(take_snapshot(live, self, clock=clock, part_bytes=100))
            return MemoryObjects.put_new(self, key, data)

    counted = Meeting(clock)
    take_snapshot(live, counted, clock=clock, part_bytes=1)
    for at in range(2, counted.written + 1):
        other: list[Any] = []
        objects = Meeting(clock, at)
        manifest = take_snapshot(live, objects, clock=clock, part_bytes=1)
        assert other == [manifest]
        assert snapshots_in(objects) == [manifest]
        back = MemoryStore()
        restore(Snapshot(objects, manifest), back)
        assert rows(back) == rows(live)


def rebuilt_in(log: Any, double: DynamoDBDouble) -> None:
    with contextlib.closing(store_on(double, width=1)) as store:
        rebuild(log, store, Wanted())


def test_who_takes_over_and_dies_leaves_parts_to_go_on_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two cut their parts elsewhere; what stands under a key is what counts, whoever wrote it."""
    monkeypatch.setattr(survey, "PAGE_ROWS", 7)
    _, live = filled(tmp_path)
    clock = ManualClock()
    met = 0

    class Meeting(Failing):
        """Somebody else goes on with it, and dies two parts later."""

        def put_new(self, key: str, data: bytes) -> bool:
            nonlocal met
            self.written += 1
            if self.written == self.at:
                theirs = Failing(clock, 3)
                theirs._held = self._held
                with contextlib.suppress(StorageError):
                    take_snapshot(live, theirs, clock=clock, part_bytes=700)
                met += theirs.written == 3
            return MemoryObjects.put_new(self, key, data)

    for at in range(2, 9):
        objects = Meeting(clock, at)
        manifest = take_snapshot(live, objects, clock=clock, part_bytes=1)
        back = MemoryStore()
        restore(Snapshot(objects, manifest), back)
        assert rows(back) == rows(live)
    assert met > 4


# -- generations ---------------------------------------------------------------------------------


def test_a_store_that_is_rebuilt_meanwhile_is_begun_again_with(tmp_path: Path) -> None:
    """Of the old generation's rows and the new one's nothing would fit together."""
    log, double = on_double(tmp_path)
    times = 1

    def replaced(request: Any) -> None:
        nonlocal times
        if times and "Segment" in request:  # of a snapshot's
            times -= 1
            rebuilt_in(log, double)

    double.hooks["scan"] = replaced
    objects = MemoryObjects()
    manifest = take_snapshot(store_on(double, width=1), objects)
    assert manifest.generation.id == store_on(double).generations()[0].id
    assert manifest.tables["orders"].items == 40
    times = 99
    with pytest.raises(LostError, match="rebuilt while it was read"):
        take_snapshot(store_on(double, width=1), objects)


def test_a_rebuild_after_the_last_row_is_seen(tmp_path: Path) -> None:
    """Its rejections and letters went with it."""
    log, double = on_double(tmp_path)
    rebuilt: list[int] = []

    def replaced(request: Any) -> None:
        if request["ExpressionAttributeValues"][":pk"]["S"] == "relayed" and not rebuilt:
            rebuilt.append(1)
            rebuilt_in(log, double)

    double.hooks["query"] = replaced
    manifest = take_snapshot(store_on(double, width=1), MemoryObjects())
    assert manifest.generation.id == store_on(double).generations()[0].id


def test_a_store_that_holds_nothing_has_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="belongs to no log"):
        taken(MemoryStore())
    store = MemoryStore()
    store.bind(new_log(tmp_path / "log").genesis)
    with pytest.raises(ConflictError, match="holds nothing yet"):
        taken(store)
    store.create(tables=None, fingerprint="f", excluded=())
    snapshot = taken(store)
    assert (snapshot.manifest.vector, snapshot.manifest.parts[-1].rows) == ({}, 0)
    back = MemoryStore()
    restore(snapshot, back)
    assert back.generations()[0].open


# -- speed ---------------------------------------------------------------------------------------


def test_all_segments_together_keep_the_rate(tmp_path: Path) -> None:
    """Production reads the same table; the double moves its clock by what is waited."""
    _, double = on_double(tmp_path, 200)
    began = double.clock.monotonic()
    before = double.counts["scan"]
    store = store_on(double, width=4)
    taken(store, rate=2.0, workers=3)
    scans = double.counts["scan"] - before
    assert scans >= 6
    # Of so small items each page is one unit; the last page of each waits, too.
    assert double.clock.monotonic() - began >= (scans - 3) / 2.0
    with pytest.raises(RefusedError, match="nothing is paid by the unit"):
        taken(filled(tmp_path / "other")[1], rate=2.0)


def test_what_a_scan_costs_is_told_beforehand(tmp_path: Path) -> None:
    """Strongly consistent: a unit for 4 KiB, and 0.125 dollars a million of them."""
    _, double = on_double(tmp_path)
    real = double.describe_table

    def counted(**request: Any) -> Any:
        reply = real(**request)
        reply["Table"] |= {"ItemCount": 40, "TableSizeBytes": 4097 * 4096}
        return reply

    vars(double)["describe_table"] = counted
    with survey.survey(store_on(double)) as found:
        assert isinstance(found, survey.Billed)
        cost = found.size("orders")
        assert cost is not None
        assert (cost.items, cost.bytes, cost.read_units) == (40, 4097 * 4096, 4097)
        assert cost.dollars == pytest.approx(4097 * 0.125e-6)
        assert found.size("nothing") is None
        double.faults["describe_table"] = deque(["refuse"])
        vars(double)["describe_table"] = real
        assert found.size("orders") is None, "who may read it may not describe it"
    assert not double.counts["scan"]
    with survey.survey(filled(tmp_path / "other")[1]) as found:
        assert not isinstance(found, survey.Billed)


def test_segments_are_a_share_each(tmp_path: Path) -> None:
    _, double = on_double(tmp_path, 90)
    store = store_on(double)
    snapshot = taken(store, workers=5)
    assert len(snapshot.parts("rows", "orders")) == 5
    assert dict(snapshot.rows("orders")) == rows(store)
    asked = {r["Segment"] for op, r in double.calls if op == "scan" and "Segment" in r}
    assert asked >= set(range(5))


def test_binary_keys_are_gone_on_behind() -> None:
    """A place of a scan is kept as text."""
    double = DynamoDBDouble(page_items=2)
    store, generation = begin(double, tables=["pairs"])
    keys = [encode_value({"b": bytes([n, 255]), "r": n}) for n in range(9)]
    writes = [Write("pairs", key, Row(1, 0, key), None) for key in keys]
    store.commit(generation, writes, [checkpoint(0, 1)], tables=["pairs"])
    clock = ManualClock()
    objects = Failing(clock, 5)
    with pytest.raises(StorageError):
        take_snapshot(store, objects, clock=clock, part_bytes=1)
    snapshot = Snapshot(objects, take_snapshot(store, objects, clock=clock, part_bytes=1))
    assert dict(snapshot.rows("pairs")) == rows(store, "pairs")
    assert len(snapshot.parts("rows", "pairs")) > 3
    assert store.genesis() == GENESIS


def test_ctrl_c_ends_all_workers_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of hours must not go on until its end; what is finished by then stays."""
    _, double = on_double(tmp_path, 400)
    before = double.counts["scan"]
    objects = MemoryObjects()

    def interrupted(self: Future[None], timeout: float | None = None) -> None:
        assert started.wait(LIMIT_S)
        raise KeyboardInterrupt

    started, told = threading.Event(), threading.Event()
    leave = ThreadPoolExecutor.__exit__

    def left(pool: ThreadPoolExecutor, *error: Any) -> bool | None:
        told.set()  # whatever the workers are to know they can know by now
        return leave(pool, *error)

    def slow(_: Any) -> None:
        started.set()
        assert told.wait(LIMIT_S)

    double.hooks["scan"] = slow
    monkeypatch.setattr(Future, "result", interrupted)
    monkeypatch.setattr(ThreadPoolExecutor, "__exit__", left)
    with pytest.raises(KeyboardInterrupt):
        take_snapshot(store_on(double, width=1), objects, workers=4, part_bytes=1)
    monkeypatch.undo()
    del double.hooks["scan"]
    assert 1 <= double.counts["scan"] - before <= 4, "of each worker the page that was under way"
    manifest = take_snapshot(store_on(double, width=1), objects, workers=4, part_bytes=1)
    assert manifest.tables["orders"].items == 400
    assert len(snapshots_in(objects)) == 1


def pages_of(store: Any) -> Iterator[Any]:
    with survey.survey(store) as found:
        yield from found.pages("orders", 0, 1)


def test_a_page_of_large_items_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand items may have 400 MB."""
    monkeypatch.setattr(survey, "PAGE_BYTES", 1000)
    log = new_log(tmp_path / "log")
    orders(log, *range(10), size=400)
    store = MemoryStore()
    replicate(log, store, ONCE)
    assert [len(page.rows) for page in pages_of(store)] == [3, 3, 3, 1]
