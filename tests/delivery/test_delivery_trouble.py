"""What a worker reports when something fails in the middle of a batch, and what it has done by then."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.applier import Appliers
from appliers.stores.memory import MemoryStore
from binlog.changes import event
from binlog.clock import ManualClock
from binlog.control import resolve_frame
from binlog.envelope import Event
from binlog.errors import BusyError, HaltedError, PoisonError, StorageError
from binlog.halt import Halt, resolution_for
from binlog.lineage import Searched
from binlog.log import Put, Record
from binlog.logs.memory import MemoryLog
from binlog.resolution import find_in_log
from binlog.testing.world.store import WorldStore
from consumers.delivery import Outcome, Worker, Working, record_of
from consumers.local import Following, replicate
from tests.delivery.delivery_support import (
    add,
    append,
    apply_all,
    batch,
    new_log,
    pulled,
    put,
    tables,
    worker,
)

SHARD = "shard-0000"


def vector(store: MemoryStore) -> dict[int, int]:
    [generation] = store.generations()
    return {p: c.applied for p, c in store.checkpoints(generation.id).items()}


def fails(item: dict[str, Any] | None, happened: Event) -> dict[str, Any] | None:
    raise ValueError(f"{happened.type} fits no {item}")


def rules() -> Appliers:
    appliers = Appliers()
    appliers.on("Broken", table="orders", version=1)(fails)
    return appliers


def resolve(log: MemoryLog, decision: str) -> None:
    """As an operator does: by what a reader of the log says is halted."""
    with pytest.raises(HaltedError) as error:
        replicate(log, MemoryStore(), Following(once=True))
    halt = error.value.details["halt"]
    assert isinstance(halt, Halt)
    frame = resolve_frame(
        log.params,
        log.genesis,
        resolution_for(halt, decision),
        family=bytes(16),
        now_ms=log.now_ms(),
    )
    log.append([Put(halt.partition, frame)])


def test_a_halted_partition_is_named_and_the_others_go_on() -> None:
    """All before it is durable; what lifts it is looked for in the log, not in what was delivered."""
    log, store = new_log(), MemoryStore()
    append(log, *[add(n) for n in range(12)])
    bad = log.inject(2, b"no frame at all")
    append(log, *[add(n) for n in range(12)])
    records = batch(log, SHARD)
    outcome = worker(log, store).apply(SHARD, records)
    assert outcome.first_failed == bad.sequence
    assert isinstance(outcome.error, HaltedError)
    assert [halt.partition for halt in outcome.halted] == [2]
    assert vector(store)[2] > 0
    resolve(log, "skip")
    assert worker(log, store).apply(SHARD, records).first_failed is None
    assert apply_all(log, store).first_failed is None
    assert tables(store) == pulled(log)


def test_a_poison_event_stops_its_partition_alone() -> None:
    """Where it is not to be parked; the lowest of what is not done is reported."""
    log, store = new_log(), MemoryStore()
    append(log, *[put(n) for n in range(8)])
    append(log, event("Broken", {"id": 3}, {}, table="orders"))
    append(log, *[put(n, 2) for n in range(8)])
    records = batch(log, SHARD)
    outcome = worker(log, store, rules=rules().build(), poison="stop").apply(SHARD, records)
    assert isinstance(outcome.error, PoisonError)
    poisoned = outcome.error.details["partition"]
    of_it = [r.sequence for r in records if r.partition == poisoned]
    assert outcome.first_failed in of_it
    [generation] = store.generations()
    for partition, row in store.checkpoints(generation.id).items():
        before = [r for r in records if r.partition == partition and r.sequence <= row.sequence]
        whole = [r for r in records if r.partition == partition]
        assert (before == whole) == (partition != poisoned)


def test_with_little_time_it_stops_and_reports_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are as long as the time allows; what is reported comes again, and is done then."""
    monkeypatch.setattr("consumers.budget.FIRST_BYTES", 1_000)
    monkeypatch.setattr("consumers.budget.LEAST_BYTES", 500)
    log, store, clock = new_log(), WorldStore(), ManualClock(0)
    append(log, *[add(n) for n in range(60)])
    records = batch(log, SHARD)
    team = Worker(log, store, Working(), clock=clock)

    def pass_time() -> None:
        clock.advance(300)
        store.between = pass_time

    store.between = pass_time
    nothing = team.apply(SHARD, records, deadline=clock.monotonic())
    assert (nothing.first_failed, nothing.events) == (records[0].sequence, 0)
    first = -1
    for _ in range(20):
        begun = clock.monotonic()
        late = team.apply(SHARD, records, deadline=begun + 2.0)
        assert clock.monotonic() - begun <= 2.0
        if late.first_failed is None:
            break
        assert late.error is not None
        assert late.error.retriable
        assert late.first_failed > first, "nothing was done in two seconds"
        first = late.first_failed
    else:
        pytest.fail("it never comes to an end")
    assert first > records[0].sequence
    assert tables(store) == pulled(log)


@pytest.mark.parametrize("steps", range(6))
def test_success_is_what_the_rows_say(steps: int) -> None:
    """A commit that breaks, wherever it does, leaves its records failed (C3)."""
    log, store = new_log(), WorldStore()
    append(log, *[add(n % 2) for n in range(6)])
    records = batch(log, SHARD)
    team = Worker(log, store, Working())
    assert team.apply(SHARD, records[:5]).first_failed is None
    store.crash_after, store.time_out = steps, True
    outcome = team.apply(SHARD, records)
    if steps < 4:  # two items, two rows, the answer
        assert outcome.first_failed is not None
        assert isinstance(outcome.error, StorageError)
    store.crash_after = None
    before = vector(store)
    again = team.apply(SHARD, records)
    assert again.first_failed is None
    assert all(vector(store)[p] >= offset for p, offset in before.items())
    assert tables(store) == pulled(log)


def test_what_another_did_meanwhile_is_read_first() -> None:
    """What a worker remembers of the last call is where it stood then, and no place to go on from.

    The row's own condition is too late for that: by then items were written, at offsets that are not
    their events'.
    """
    log, store = new_log(), WorldStore()
    records: list[Record] = []
    parts = []
    for part in range(3):
        append(log, *[add(n + 10 * part) for n in range(6)])  # a session each
        parts.append(batch(log, SHARD)[len(records) :])
        records = batch(log, SHARD)
    one, other = (Worker(log, store.open(), Working()) for _ in range(2))
    for each, part in ((one, 0), (other, 1), (one, 2)):
        assert each.apply(SHARD, parts[part]).first_failed is None
    assert tables(store) == pulled(log)


def test_partitions_of_a_batch_stand_at_different_places() -> None:
    """Whoever is ahead of it is left where it is; the others are carried to its end."""
    log, store = new_log(), MemoryStore()
    append(log, *[add(n % 8) for n in range(24)])
    records = batch(log, SHARD)
    ahead = [r for r in records if r.partition == 1]
    assert worker(log, store).apply(SHARD, ahead).first_failed is None
    [generation] = store.generations()
    row = store.checkpoints(generation.id)[1]
    half = worker(log, store).apply(SHARD, records[: len(records) // 2])
    assert (half.first_failed, half.error) == (None, None)
    assert store.checkpoints(generation.id)[1] == row
    assert worker(log, store).apply(SHARD, records).first_failed is None
    assert tables(store) == pulled(log)


def test_foreign_records_are_kept_in_whichever_lane_they_come() -> None:
    """Their home's row may be beyond them, when it is in another lane."""
    log, store = new_log(), MemoryStore()
    places = set()
    for number in range(6):
        append(log, add(number))
        found = log.inject_foreign(f"customer-{number}", b"sample", shard=SHARD)
        places.add((found.shard, found.sequence))
    own = [r for r in batch(log, SHARD) if r.partition >= 0]
    alien = [r for r in batch(log, SHARD) if r.partition < 0]
    assert worker(log, store).apply(SHARD, own).first_failed is None
    for _ in range(2):
        outcome = worker(log, store).apply(SHARD, alien)
        assert (outcome.first_failed, outcome.foreign) == (None, 6)
    assert {record.place for record in store.foreign()} == places
    assert tables(store) == pulled(log)


@pytest.mark.parametrize("decision", ["divert", "skip"])
def test_a_foreign_record_that_halts_waits_for_a_decision(decision: str) -> None:
    log, store = new_log(foreign="halt"), MemoryStore()
    append(log, *[add(n) for n in range(4)])
    found = log.inject_foreign("customer", b"sample", shard=SHARD)
    append(log, *[add(n) for n in range(4)])
    records = batch(log, SHARD)
    for given in (records, [r for r in records if r.partition < 0]):  # whole, and in a lane alone
        outcome = worker(log, store).apply(SHARD, given)
        assert outcome.first_failed == found.sequence
        assert isinstance(outcome.error, HaltedError)
    resolve(log, decision)
    assert worker(log, store).apply(SHARD, batch(log, SHARD)).first_failed is None
    assert [record.sequence for record in store.foreign()] == (
        [found.sequence] if decision == "divert" else []
    )
    assert tables(store) == pulled(log)


def test_a_shard_that_ended_hands_its_partitions_on() -> None:
    """Those without a record for long, too: else nobody could tell what lies between one day."""
    log, store = new_log(), MemoryStore()
    append(log, *[add(n) for n in range(8)])
    assert worker(log, store).apply(SHARD, batch(log, SHARD)).first_failed is None
    children = log.split(SHARD)
    outcome = worker(log, store).apply(SHARD, [], closed=True)
    assert (outcome.first_failed, outcome.error) == (None, None)
    [generation] = store.generations()
    rows = store.checkpoints(generation.id)
    assert {(row.shard, row.sequence) for row in rows.values()} == {(c, -1) for c in children}
    append(log, *[add(n) for n in range(8)])
    for child in children:
        assert worker(log, store).apply(child, batch(log, child)).first_failed is None
    assert tables(store) == pulled(log)


def test_arrival_is_the_same_integer_from_every_reader() -> None:
    """Lambda gives seconds as a float, which has no exact millisecond: from 2038 on it matters."""
    [shard] = new_log().shards()
    for arrival_ms in (1_700_000_000_001, 1_545_084_650_987, 2_147_600_966_357):
        record = record_of(
            shard,
            sequence=1,
            arrival_s=arrival_ms / 1000,
            partition_key="p0003",
            data=b"",
            partitions=4,
        )
        assert (record.arrival_ms, record.partition, record.partition_key) == (arrival_ms, 3, "")
    alien = record_of(
        shard, sequence=1, arrival_s=1.0, partition_key="p0004", data=b"", partitions=4
    )
    assert (alien.partition, alien.partition_key) == (-1, "p0004")


def test_records_out_of_order_are_refused() -> None:
    log, store = new_log(), MemoryStore()
    with pytest.raises(ValueError, match="out of order"):
        worker(log, store).apply(SHARD, batch(log, SHARD)[::-1])


def test_what_comes_behind_a_halt_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is delivered again and again, and a day of the log may lie behind it."""
    log, store = new_log(), MemoryStore()
    append(log, *[add(number) for number in range(20)])
    log.inject(2, b"no frame")
    append(log, *[add(number) for number in range(200)])
    records = [r for r in batch(log, SHARD) if r.partition == 2]
    one = worker(log, store)
    first = one.apply(SHARD, records)
    assert first.halted
    read, whole = [0], log.read

    def reads(*arguments: Any, **more: Any) -> Any:
        page = whole(*arguments, **more)
        read[0] += len(page.records)
        return page

    monkeypatch.setattr(log, "read", reads)
    for _ in range(3):
        assert one.apply(SHARD, records).halted == first.halted
    assert read[0] == 0
    append(log, *[add(number) for number in range(40)])
    read[0] = 0
    assert one.apply(SHARD, records).halted == first.halted
    assert 0 < read[0] <= 40
    monkeypatch.undo()
    resolve(log, "skip")
    outcome = one.apply(SHARD, [r for r in batch(log, SHARD) if r.partition == 2])
    assert (outcome.first_failed, outcome.error) == (None, None)
    assert one.apply(SHARD, batch(log, SHARD)).first_failed is None
    assert tables(store) == pulled(log)


def test_a_foreign_halt_is_searched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log, store = new_log(foreign="halt"), MemoryStore()
    append(log, *[add(number) for number in range(20)])
    log.inject_foreign("customer", b"sample", shard=SHARD)
    append(log, *[add(number) for number in range(200)])
    records, one = batch(log, SHARD), worker(log, store)
    first = one.apply(SHARD, records)
    assert first.halted
    read, whole = [0], log.read

    def reads(*arguments: Any, **more: Any) -> Any:
        page = whole(*arguments, **more)
        read[0] += len(page.records)
        return page

    monkeypatch.setattr(log, "read", reads)
    assert one.apply(SHARD, records).halted == first.halted
    assert read[0] == 0


def test_a_search_that_goes_on_knows_the_times_of_what_it_has_passed() -> None:
    """A RESOLVE that is expired where it stands counts for nobody, however its record is found."""
    log = new_log()
    append(log, *[add(number) for number in range(12)])
    log.inject(2, b"no frame")
    with pytest.raises(HaltedError) as error:
        replicate(log, MemoryStore(), Following(once=True))
    halt = error.value.details["halt"]
    assert isinstance(halt, Halt)
    now_ms = log.now_ms()
    log.inject(2, b"nor this", arrival_ms=now_ms + log.params.session_life_ms + 60_000)
    searched = Searched()
    assert find_in_log(log, halt, log.params, searched) is None
    frame = resolve_frame(
        log.params,
        log.genesis,
        resolution_for(halt, "skip"),
        family=bytes(16),
        now_ms=now_ms,
    )
    log.inject(2, frame, arrival_ms=now_ms)
    assert find_in_log(log, halt, log.params, Searched()) is None
    assert find_in_log(log, halt, log.params, searched) is None


def test_a_search_that_takes_longer_than_a_call_goes_on_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each would begin anew, be killed for its time, and nobody ever be told of the halt."""
    log, store, clock = new_log(), MemoryStore(), ManualClock()
    append(log, *[add(number) for number in range(20)])
    bad = log.inject(2, b"no frame")
    append(log, *[add(number) for number in range(200)])
    records = [r for r in batch(log, SHARD) if r.sequence <= bad.sequence]
    team = Worker(log, store.open(), Working(), clock=clock)
    read, whole = [0], log.read

    def slowly(*arguments: Any, **more: Any) -> Any:
        clock.advance(1_000)
        page = whole(*arguments, **more | {"bytes_max": 500})
        read[0] += len(page.records)
        return page

    monkeypatch.setattr(log, "read", slowly)
    said: list[Outcome] = []
    while len(said) < 40 and not (said and said[-1].halted):
        said.append(team.apply(SHARD, records, deadline=clock.monotonic() + 5))
        assert said[-1].first_failed is not None
    assert said[-1].halted
    assert len(said) > 1
    assert all(isinstance(outcome.error, BusyError) for outcome in said[:-1])
    assert read[0] <= 200
