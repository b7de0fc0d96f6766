"""Each law of the world can fail: what is written is falsified, and the judge has to say so."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from appliers.item import Row
from binlog.producer.outcome import Outcome
from binlog.testing.violation import Violation
from binlog.testing.world.cell import Poison
from binlog.testing.world.store import Began, Entry, Moved, Noted, Wrote
from binlog.testing.world.world import World
from binlog.values import encode_value
from tests.world.falsified import busy, change_last, journal_of, last, one


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


def the_checkpoint_again(journal: list[Entry]) -> None:
    change_last(journal, again=True)


def an_offset_back(journal: list[Entry]) -> None:
    change_last(journal, again=True, offset=0, sequence=10**60)


def less_applied_than_read(journal: list[Entry]) -> None:
    index = last(journal, Moved)
    entry = journal[index]
    assert isinstance(entry, Moved)
    change_last(journal, applied=entry.checkpoint.applied - 1)


def another_state(journal: list[Entry]) -> None:
    change_last(journal, state=b"another")


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
        (another_state, "one numbering for all (15)"),
        (the_checkpoint_again, "checkpoints never move back (13)"),
        (an_offset_back, "checkpoints never move back (13)"),
        (less_applied_than_read, "the sequencer is its specification (8)"),
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


@pytest.mark.parametrize("what", ["changed", "moved", "gone", "more"])
def test_a_row_that_changes_without_a_write_is_found_at_rest(what: str) -> None:
    """14: what a replica holds in the end is compared, and not only what was written."""
    world = busy()
    rows = world.replicas[1].store._content.tables["orders"]
    key = min(rows)
    if what == "changed":
        rows[key] = msgspec.structs.replace(rows[key], data=None)
    elif what == "moved":
        rows[key] = msgspec.structs.replace(rows[key], partition=7)
    elif what == "gone":
        del rows[key]
    else:
        rows[encode_value({"id": "A"})] = rows[key]
    with pytest.raises(Violation, match=r"replica 1 holds another orders \{id: [aA]\}") as caught:
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
