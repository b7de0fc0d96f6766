"""What is looked at when a world has come to rest, and what must not go on: each can fail."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest

from appliers.applier import Appliers
from appliers.item import Row, Write
from appliers.store import Checkpoint
from binlog.changes import event, put_item, update_item
from binlog.envelope import Envelope
from binlog.errors import LostError, RefusedError
from binlog.log import Position
from binlog.producer.outcome import Outcome
from binlog.reader import Start
from binlog.target import END
from binlog.testing.violation import Violation
from binlog.testing.world.store import Moved, WorldStore
from binlog.testing.world.world import World
from binlog.values import encode_value
from consumers.engine import Engine
from snapshots.rebuild import Report, rebuild
from tests.world.falsified import busy, change_last, journal_of, last, one


def test_a_digest_that_all_replicas_agree_upon_is_held_against_the_records() -> None:
    """15: code that all of them share is wrong in all of them alike."""
    world = busy()
    for number in range(2):
        journal = journal_of(world, number)
        for index, entry in enumerate(journal):
            if isinstance(entry, Moved):
                wrong = msgspec.structs.replace(entry.checkpoint, digest=bytes(32))
                journal[index] = Moved(entry.generation, wrong)
    world.check()
    [first, _] = world.judge.journals
    with pytest.raises(Violation, match="replica 0 has another digest") as caught:
        first.check_stands_at(world.truth.end())
    assert caught.value.law == "a digest tells what was read (15)"


def test_who_stands_elsewhere_is_found() -> None:
    """14: at rest a replica is at the log's end, and a rebuild at its vector."""
    world = busy()
    world.check()
    [journal, _] = world.judge.journals
    journal.check_stands_at(world.truth.end())
    with pytest.raises(Violation, match="replica 0 has come to rest, and stands elsewhere"):
        journal.check_stands_at({})


def test_a_rejection_that_is_gone_without_a_word_is_found_at_rest() -> None:
    world = busy()
    world.replicas[1].store._content.rejections.clear()
    with pytest.raises(Violation, match="replica 1 holds other rejections"):
        world.settle()


def test_a_table_that_is_gone_is_found_at_rest() -> None:
    world = busy()
    world.publish(0, [put_item("more", {"id": "a"}, key="id")])
    world.settle()
    [generation] = world.replicas[0].store.generations()
    made = msgspec.structs.replace(generation, tables=("orders",))
    world.replicas[0].store._content.generations[generation.id] = made
    with pytest.raises(Violation, match="replica 0 has other tables"):
        world.settle()


@pytest.mark.parametrize("types", [(), ("Seen", "Unseen")])
def test_types_that_are_not_noted_or_were_never_met_are_found(types: tuple[str, ...]) -> None:
    """By them it is decided whether other rules may go on with a table."""
    world = busy()
    world.publish(0, [event("Seen", {"id": "a"}, {})])
    world.settle()
    [generation] = world.replicas[0].store.generations()
    made = msgspec.structs.replace(generation, types=types)
    world.replicas[0].store._content.generations[generation.id] = made
    with pytest.raises(Violation, match="replica 0 has noted down other types"):
        world.settle()


def test_what_waits_for_ever_is_found() -> None:
    """7: at rest all has landed, and every session has expired."""
    world = World()
    world.stray(1, 0, 1, 2)
    world.consume(0)
    world.check()
    [journal, _] = world.judge.journals
    with pytest.raises(Violation, match=r"holds frames of .* in partition 1 for ever"):
        journal.check_holds_nothing()


POISON = Envelope(
    "p", "UpdateItem", 1, "orders", encode_value({"id": "a"}), encode_value({"Add": {"id": 1}})
)


def test_what_lies_before_poison_has_to_be_applied() -> None:
    """An engine that gives up the whole page loses nothing, and stops others' events for nothing."""
    world = World()
    world.publish(0, [put_item("orders", {"id": "a"}, key="id")])
    world.tick(5)
    world.call(0)
    world.publish(0, [POISON])
    world.tick(5)
    world.call(0)

    def all_or_nothing(engine: Engine, **_: float) -> object:
        engine._careful = True  # as if it had read record by record by now
        return Engine.step(engine)

    replica = world.replicas[0]
    replica.engine = replica.new_engine(1_000)
    replica.engine.step = partial(all_or_nothing, replica.engine)  # type: ignore[method-assign,assignment]
    with pytest.raises(Violation, match="expected 1 events applied, found 0") as caught:
        world.consume(0)
    assert caught.value.law == "what cannot be applied stops nothing before it"


def test_poison_that_is_met_although_it_was_left_out_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it is left out again, for ever."""
    monkeypatch.setattr("snapshots.folding.watch_exclusions", lambda *_, **__: None)
    world = World()
    world.publish(0, [POISON])
    with pytest.raises(Violation, match="left out is met all the same"):
        world.settle()


def test_a_report_that_is_not_true_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Any, **named: Any) -> Report:
        report = rebuild(*args, **named)
        report.counts.rejected += 1
        return report

    monkeypatch.setattr("binlog.testing.world.drill.rebuild", wrong)
    world = busy()
    with pytest.raises(Violation, match="a rebuild did something else than it says"):
        world.drill()


def test_who_goes_on_from_a_vector_that_cuts_a_frame_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has to read the record again, and to leave out what it has of it."""
    world = World()
    world.publish(0, [update_item("orders", {"id": "a"}, {"Add": {"n": 1}}) for _ in range(7)])
    world.tick(5)
    world.call(0)

    def too_far(position: Position, state: bytes, applied: int, seen_ms: int | None) -> Start:
        return Start(position, state, applied + 1, seen_ms)

    monkeypatch.setattr("appliers.starts.Start", too_far)
    with pytest.raises(Violation, match="a rebuild to"):
        world.drill(3, 3, 3)


def test_a_producer_that_never_sends_again_is_found() -> None:
    """It loses nothing, and says so of each event: all laws of safety hold."""
    world = busy()
    session = world.producers.processes[2].core._session_at(world.producers.now)
    session.launched = True  # and its birth is never told
    session._renew_at = float("inf")
    with pytest.raises(Violation, match="the producer of process 2 is at rest, and does not send"):
        world.settle()


def test_to_be_asked_whether_it_is_alive_changes_nothing() -> None:
    """The world goes on after it has come to rest once."""
    world = busy()
    world.settle()
    world.producers.check_alive()
    assert [process.core.pending_events for process in world.producers.processes] == [0, 0, 0]
    for process in range(3):
        world.publish(process, [one(process)])
        world.tick(5)
        world.call(process)
    assert [entry.outcome for entry in world.producers.ledger[-3:]] == [Outcome.ACKNOWLEDGED] * 3
    world.settle()


@pytest.mark.parametrize("at", ["write", "checkpoint"])
def test_a_store_with_transactions_does_nothing_where_a_condition_fails(at: str) -> None:
    """A directory's world has such stores, and one of Kinesis others."""
    store = WorldStore(looks_first=True)
    made = store.create(tables=["orders"], fingerprint="", excluded=())
    old, new = (Row(version, 0, b"") for version in (1, 2))
    place = Checkpoint(0, "s", 5, 1, 1, bytes(32), b"")
    assert not store.commit(made.id, [Write("orders", b"a", old, None)], [place])
    before = len(store.journal)
    writes = [Write("orders", b"b", new, None)]
    if at == "write":
        writes.append(Write("orders", b"a", new, 7))
        assert store.commit(made.id, writes, []) == writes[1:]
    else:
        with pytest.raises(LostError):
            store.commit(made.id, writes, [place])
    assert len(store.journal) == before


def test_a_checkpoint_behind_a_record_that_halts_is_found() -> None:
    """Nobody can have read on there, and no number behind it is known."""
    world = busy()
    entry = journal_of(world)[last(journal_of(world), Moved)]
    assert isinstance(entry, Moved)
    world.damage(entry.checkpoint.partition, 0)
    world.check()
    [*_, (_, record)] = world.log.records(entry.checkpoint.partition)
    change_last(journal_of(world), again=True, sequence=record.sequence)
    with pytest.raises(Violation, match="the log halts its readers before that record") as caught:
        world.check()
    assert caught.value.law == "the sequencer is its specification (8)"


def test_a_consumer_that_applies_again_what_it_has_applied_is_found() -> None:
    """9: a zombie that wakes up when all is done writes nothing."""
    world = busy()
    world.zombie(0)
    replica = world.replicas[0]

    def wake(_pages: int) -> bool:
        replica.store.journal.append(replica.store.journal[-1])
        return True

    replica.wake = wake  # type: ignore[method-assign,assignment]
    with pytest.raises(Violation, match="read all again wrote again") as caught:
        world.settle()
    assert caught.value.law == "a replay changes nothing (9)"


@pytest.mark.parametrize(
    "check",
    [
        "stage.check_ledger",
        "stage.check_order",
        "stage.check_predecessors",
        "stage.check_waits",
        "judge.Journal.check_holds_nothing",
    ],
)
def test_each_check_is_made_when_all_is_at_rest(
    monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    """One that nobody calls never fails."""

    def fail(*_: Any) -> None:
        raise Violation("it was asked", law="")

    world = busy()
    world.tick(330)  # the next generation names what it waits for
    world.publish(0, [one(number) for number in range(9)])
    world.tick(5)
    world.call(0)
    monkeypatch.setattr(f"binlog.testing.world.{check}", fail)
    with pytest.raises(Violation, match="it was asked"):
        world.settle()


def test_what_its_applier_takes_and_a_consumer_refuses_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be left out by everybody, the reference as well."""

    def refuse(*_: Any) -> None:
        raise RefusedError("it is Monday")

    monkeypatch.setattr("appliers.entries.change_item", refuse)
    world = World()
    world.publish(0, [one(1)])
    with pytest.raises(Violation, match="an event was refused that its applier takes") as caught:
        world.settle()
    assert caught.value.law == "what cannot be applied stops everybody"


def test_an_applier_that_fails_undeclared_is_found_although_the_reference_fails_alike() -> None:
    made = Appliers()

    @made.on("Seen", table="orders")
    def seen(_item: object, _event: object) -> dict[str, Any]:
        raise ValueError("no declared error")

    world = World(made)
    world.publish(0, [event("Seen", {"id": "a"}, {}, table="orders")])
    with pytest.raises(Violation, match="an applier fails on an event") as caught:
        world.settle()
    assert caught.value.law == "total"


def test_a_rebuild_that_passes_its_target_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """19: it is judged where it has to stand, and not only where it is led to afterwards."""

    def too_far(log: Any, store: Any, wanted: Any) -> Report:
        return rebuild(log, store, msgspec.structs.replace(wanted, target=END))

    monkeypatch.setattr("binlog.testing.world.drill.rebuild", too_far)
    with pytest.raises(Violation, match="has come to rest, and stands elsewhere"):
        busy().drill(3, 3, 3)


def test_an_outcome_in_another_partition_is_found() -> None:
    world = World()
    [entry] = world.producers.publish(0, [one(1)])
    entry.partition += 1
    with pytest.raises(Violation, match="an outcome in partition"):
        world.settle()
