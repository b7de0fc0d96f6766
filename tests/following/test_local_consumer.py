"""The local consumer: what it takes up, what it refuses, and where it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliers.applier import Appliers, Rules
from appliers.stores import MemoryStore
from appliers.summary import summarize
from binlog.changes import event, put_item
from binlog.clock import ManualClock
from binlog.envelope import Envelope
from binlog.errors import ConflictError, DamageError, MismatchError
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from consumers.local import Following, replicate
from consumers.pace import Setting
from snapshots.rebuild import Wanted, rebuild


def new_log(path: Path, log_id: str = "ab") -> DirectoryLog:
    create_directory_log(path, Params(log_id=log_id * 16, partitions=4))
    return DirectoryLog(path, clock=ManualClock())


def append(log: DirectoryLog, *envelopes: Envelope) -> None:
    with Producer(log) as producer:
        for envelope in envelopes:
            producer.append(envelope)


def rules(*types: str) -> Rules:
    appliers = Appliers()
    for name in types:
        appliers.on(name, table="orders", version=1)(
            lambda item, happened: {**(item or happened.key), "last": happened.type}
        )
    return appliers.build()


def order(number: int) -> Envelope:
    return put_item("orders", {"id": number, "total": 1}, key="id")


def test_an_applier_of_a_type_never_met_goes_on(tmp_path: Path) -> None:
    """A new event type with its applier must not force a rebuild of what never held one."""
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, order(1), event("Paid", {"id": 1}, {}, table="orders"))
    replicate(log, store, Following(once=True, rules=rules("Paid")))
    append(log, event("Sent", {"id": 1}, {}, table="orders"))
    report = replicate(log, store, Following(once=True, rules=rules("Paid", "Sent")))
    assert report.counts.events == 1
    again = MemoryStore()
    rebuild(log, again, Wanted(rules=rules("Paid", "Sent")))
    assert summarize(store).tables == summarize(again).tables


def test_an_applier_of_a_type_passed_over_is_refused(tmp_path: Path) -> None:
    """Its events are behind the checkpoint, applied by nobody: the replica would lack them."""
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, order(1), event("Sent", {"id": 1}, {}, table="orders"))
    replicate(log, store, Following(once=True))
    with pytest.raises(MismatchError, match="Sent"):
        replicate(log, store, Following(once=True, rules=rules("Sent")))


def test_a_rebuilt_store_knows_the_types_it_met(tmp_path: Path) -> None:
    """The same refusal after a rebuild as after a replication."""
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, order(1), event("Sent", {"id": 1}, {}, table="orders"))
    rebuild(log, store, Wanted())
    with pytest.raises(MismatchError, match="Sent"):
        replicate(log, store, Following(once=True, rules=rules("Sent")))


def test_each_generation_goes_on_from_its_own_vector(tmp_path: Path) -> None:
    """A rebuilt table is not applied twice, and the others are not left behind (C0)."""
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, order(1), put_item("users", {"id": 1}, key="id"))
    rebuild(log, store, Wanted(tables=("orders",)))
    append(log, order(2), put_item("users", {"id": 2}, key="id"))
    replicate(log, store, Following(once=True))
    whole = MemoryStore()
    rebuild(log, whole, Wanted())
    digests = [
        {name: table.digest for name, table in summarize(each).tables.items()}
        for each in (store, whole)
    ]
    assert digests[0] == digests[1]
    assert len(store.generations()) == 2


def test_refuses_a_store_of_another_log(tmp_path: Path) -> None:
    """Offsets of two logs mean nothing to each other."""
    store = MemoryStore()
    replicate(new_log(tmp_path / "one"), store, Following(once=True))
    with pytest.raises(MismatchError, match="belongs to log"):
        replicate(new_log(tmp_path / "two", "cd"), store, Following(once=True))


def test_refuses_a_store_that_is_ahead_of_its_log(tmp_path: Path) -> None:
    """A log restored from an older copy would number new events like those applied already."""
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, order(1))
    replicate(log, store, Following(once=True))
    shorter = new_log(tmp_path / "copy")  # the same log id and parameters, nothing in it
    with pytest.raises(DamageError, match="ahead"):
        replicate(shorter, store, Following(once=True))


def test_refuses_a_log_restored_from_a_copy_and_written_to_since(tmp_path: Path) -> None:
    """Records of one size stand at the same places: only what stands there tells the two apart."""
    store, copy = MemoryStore(), tmp_path / "copy"
    log = new_log(tmp_path / "log")
    append(log, order(1))
    log.close()
    shutil.copytree(tmp_path / "log", copy)
    for path, number in ((tmp_path / "log", 2), (copy, 3)):
        with DirectoryLog(path, clock=ManualClock()) as each:
            append(each, order(number))
            if path != copy:
                replicate(each, store, Following(once=True))
            else:
                append(each, order(4))
                with pytest.raises(DamageError, match="another record"):
                    replicate(each, store, Following(once=True))


def test_exclusions_of_a_store_are_not_changed_by_the_way(tmp_path: Path) -> None:
    """They belong to what was made under them."""
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, order(1))
    replicate(log, store, Following(once=True, excluded=("type=Sent",)))
    replicate(log, store, Following(once=True))
    with pytest.raises(ConflictError, match="type=Sent"):
        replicate(log, store, Following(once=True, excluded=("id=x",)))


def test_a_rate_makes_it_wait_for_what_it_wrote(tmp_path: Path) -> None:
    """Items a second, counted as written: 400 items at 100 a second, the first ones too."""
    log, store, waits = new_log(tmp_path / "log"), MemoryStore(), list[float]()
    for start in range(0, 400, 100):
        with Producer(log) as producer:
            producer.append_many([order(start + i) for i in range(100)])
    clock = ManualClock()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(round(seconds * 1000))

    replicate(
        log,
        store,
        Following(once=True, setting=Setting(rate=100.0), page_bytes=1),
        clock=clock,
        sleep=sleep,
    )
    assert sum(waits) == pytest.approx(4.0, abs=0.1)
