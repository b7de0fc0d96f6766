"""Each law of the world can fail: what is written is falsified, and the judge has to say so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from appliers.item import Row, Write
from appliers.store import Checkpoint
from binlog.changes import event, put_item, update_item
from binlog.envelope import Envelope
from binlog.errors import LostError
from binlog.log import Position
from binlog.producer.outcome import Outcome
from binlog.reader import Start
from binlog.testing.violation import Violation
from binlog.testing.world.cell import Poison
from binlog.testing.world.store import Began, Entry, Moved, Noted, WorldStore, Wrote
from binlog.testing.world.world import World
from binlog.values import encode_value
from consumers.engine import Engine
from snapshots.rebuild import Report, rebuild


def one(number: int, expect: int | None = None) -> Envelope:
    name = "ab"[number % 2]
    if number % 3:
        return update_item("orders", {"id": name}, {"Add": {"n": number}}, event_id=f"e{number}")
    return put_item(
        "orders", {"id": name, "n": number}, key="id", event_id=f"e{number}", expect=expect
    )


def busy() -> World:
    """A world in which two replicas have applied a few events each, page by page."""
    world = World()
    for number in range(8):
        world.publish(0, [one(number, expect=99 if number == 6 else None)])
        world.tick(5)
        world.call(0)
        world.consume(0)
        world.consume(1)
    return world


def journal_of(world: World, replica: int = 0) -> list[Entry]:
    return world.replicas[replica].store.journal


def last(journal: list[Entry], kind: type) -> int:
    return max(i for i, entry in enumerate(journal) if isinstance(entry, kind))


def replace_row(journal: list[Entry], change: Callable[[Row], Row]) -> None:
    index = last(journal, Wrote)
    entry = journal[index]
    assert isinstance(entry, Wrote)
    journal[index] = msgspec.structs.replace(entry, row=change(entry.row))


def another_content(journal: list[Entry]) -> None:
    data = encode_value({"id": "a", "n": 4711})
    replace_row(journal, lambda row: msgspec.structs.replace(row, data=data))


def another_version(journal: list[Entry]) -> None:
    replace_row(journal, lambda row: msgspec.structs.replace(row, version=row.version + 100))


def another_partition(journal: list[Entry]) -> None:
    replace_row(journal, lambda row: msgspec.structs.replace(row, partition=row.partition + 1))


def a_version_back(journal: list[Entry]) -> None:
    journal.append(next(entry for entry in journal if isinstance(entry, Wrote)))


def a_version_again(journal: list[Entry]) -> None:
    journal.append(journal[last(journal, Wrote)])


def a_write_left_out(journal: list[Entry]) -> None:
    del journal[last(journal, Wrote)]


def a_checkpoint_back(journal: list[Entry]) -> None:
    journal.append(next(entry for entry in journal if isinstance(entry, Moved)))


def a_checkpoint_beyond_the_log(journal: list[Entry]) -> None:
    entry = journal[last(journal, Moved)]
    assert isinstance(entry, Moved)
    beyond = msgspec.structs.replace(
        entry.checkpoint, applied=entry.checkpoint.applied + 1, sequence=10**60
    )
    journal.append(Moved(entry.generation, beyond))


def another_digest(journal: list[Entry]) -> None:
    index = last(journal, Moved)
    entry = journal[index]
    assert isinstance(entry, Moved)
    journal[index] = Moved(
        entry.generation, msgspec.structs.replace(entry.checkpoint, digest=bytes(32))
    )


def another_offset(journal: list[Entry]) -> None:
    index = last(journal, Moved)
    entry = journal[index]
    assert isinstance(entry, Moved)
    changed = msgspec.structs.replace(entry.checkpoint, offset=entry.checkpoint.offset - 1)
    journal[index] = Moved(entry.generation, changed)


def an_earlier_record(journal: list[Entry]) -> None:
    """The state of this place, and the position of the one before it: events come twice."""
    index = last(journal, Moved)
    entry = journal[index]
    assert isinstance(entry, Moved)
    changed = msgspec.structs.replace(entry.checkpoint, sequence=entry.checkpoint.sequence - 1)
    journal[index] = Moved(entry.generation, changed)


def a_rejection_twice(journal: list[Entry]) -> None:
    journal.append(journal[last(journal, Noted)])


def a_rejection_left_out(journal: list[Entry]) -> None:
    del journal[last(journal, Noted)]


def a_rejection_made_up(journal: list[Entry]) -> None:
    entry = journal[last(journal, Noted)]
    assert isinstance(entry, Noted)
    changed = msgspec.structs.replace(entry.rejection, offset=entry.rejection.offset - 1)
    journal.append(Noted(entry.generation, changed))


def a_rejection_of_another_version(journal: list[Entry]) -> None:
    index = last(journal, Noted)
    entry = journal[index]
    assert isinstance(entry, Noted)
    changed = msgspec.structs.replace(entry.rejection, found=entry.rejection.found + 1)
    journal[index] = Noted(entry.generation, changed)


def a_lost_generation(journal: list[Entry]) -> None:
    entry = journal[last(journal, Wrote)]
    assert isinstance(entry, Wrote)
    journal.append(msgspec.structs.replace(entry, generation="another"))


@pytest.mark.parametrize(
    ("falsify", "law"),
    [
        (another_content, "a row is the fold of its events (10)"),
        (another_version, "a row is the fold of its events (10)"),
        (another_partition, "a row is the fold of its events (10)"),
        (a_version_back, "versions never go back (11)"),
        (a_version_again, "versions never go back (11)"),
        (a_write_left_out, "a checkpoint covers what is applied (12)"),
        (a_checkpoint_back, "checkpoints never move back (13)"),
        (a_checkpoint_beyond_the_log, "nothing beyond the log (13)"),
        (another_digest, "one numbering for all (15)"),
        (another_offset, "the sequencer is its specification (8)"),
        (an_earlier_record, "the sequencer is its specification (8)"),
        (a_rejection_twice, "a rejection is noted once (I5)"),
        (a_rejection_left_out, "a rejection is noted (I5)"),
        (a_rejection_made_up, "a rejection is the reference's (I5)"),
        (a_rejection_of_another_version, "a rejection is the reference's (I5)"),
        (a_lost_generation, "nothing of a lost generation (11)"),
    ],
)
@pytest.mark.parametrize("replica", [0, 1])
def test_a_falsified_journal_is_found(
    falsify: Callable[[list[Entry]], None], law: str, replica: int
) -> None:
    """A judge that cannot fail proves nothing."""
    world = busy()
    falsify(journal_of(world, replica))
    with pytest.raises(Violation) as caught:
        world.check()
    assert caught.value.law == law


def test_what_cannot_be_applied_and_is_passed_over_is_found() -> None:
    """A consumer that skips it loses an event, and nobody hears of it."""
    world = busy()
    world.truth.look()
    partition = next(p for p in range(3) if world.truth.moved[p])
    world.truth.poison[partition, 1] = Poison("it cannot")
    with pytest.raises(Violation, match=r"cannot be applied \(it cannot\), and was passed over"):
        world.check()


def test_what_is_left_out_and_could_be_applied_is_found() -> None:
    """An operator leaves out what no applier takes, and nothing else."""
    world = busy()
    world.truth.look()
    partition = next(p for p in range(3) if world.truth.moved[p])
    journal = journal_of(world)
    began = journal[0]
    assert isinstance(began, Began)
    journal[0] = Began(began.generation, (f"offsets={partition}:1-1",))
    with pytest.raises(Violation, match="was refused, although it can be applied"):
        world.check()


def test_what_was_not_falsified_passes_at_any_moment() -> None:
    """Each entry is looked at once, however often the judge is asked."""
    world = busy()
    world.check()
    world.check()
    world.publish(1, [one(9)])
    world.settle()
    world.check()


def test_a_row_that_changes_without_a_write_is_found_at_rest() -> None:
    """14: what a replica holds in the end is compared, and not only what was written."""
    world = busy()
    rows = world.replicas[1].store._content.tables["orders"]
    key = min(rows)
    rows[key] = msgspec.structs.replace(rows[key], data=None)
    with pytest.raises(Violation, match=r"replica 1 holds another orders \{id: a\}") as caught:
        world.settle()
    assert caught.value.law == "a replica is the fold of its log (14)"


def test_an_acknowledged_event_that_the_log_lost_is_found() -> None:
    """2: the ledger says what producers were told."""
    world = World()
    world.publish(0, [one(1)])
    world.tick(5)
    world.call(0)
    [partition] = [p for p in range(3) if len(world.log.records(p)) > 1]
    shard = world.log._home[partition]
    world.log.records(partition).pop()
    del shard.records[-1]
    with pytest.raises(Violation, match="an acknowledged event is lost"):
        world.settle()


def test_an_event_that_gets_no_outcome_or_two_is_found() -> None:
    """What becomes of an event its owner is told once (P5)."""
    world = World()
    world.publish(0, [one(1)])
    entry = world.producers.ledger[0]
    entry.outcome = Outcome.UNKNOWN
    with pytest.raises(Violation, match="a second outcome"):
        world.settle()
    world = World()
    world.publish(0, [one(1)])
    core = world.producers.processes[0].core
    core.outcomes = list  # type: ignore[method-assign]
    with pytest.raises(Violation, match="no outcome"):
        world.settle()


def test_a_rebuild_that_differs_is_found() -> None:
    """19: a drill is held against the reference, too."""
    world = busy()
    world.drill(3, 5, 7)
    world.truth.look()
    place = max(world.truth.cells, key=lambda place: place[2])
    world.truth.cells[place]._data = encode_value({"id": "b"})
    with pytest.raises(Violation, match="a rebuild to"):
        world.drill()


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
    monkeypatch.setattr("snapshots.rebuild.parse_exclusions", lambda *_, **__: None)
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

    def too_far(position: Position, state: bytes, applied: int) -> Start:
        return Start(position, state, applied + 1)

    monkeypatch.setattr("consumers.checkpoint.Start", too_far)
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
