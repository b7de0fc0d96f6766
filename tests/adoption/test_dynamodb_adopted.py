"""A DynamoDB table taken over as it is: untouched items, first touches, and what others wrote between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliers.applier import NO_RULES
from appliers.stores import MemoryStore
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_physical import item_of
from appliers.stores.dynamodb_tables_spec import Specification
from appliers.stores.dynamodb_writes import COMPARED_MAX, unmarked_condition
from appliers.summary import summarize
from binlog.errors import ConflictError, DamageError, PoisonError, RefusedError
from binlog.input import InputLines
from binlog.producer import Producer
from binlog.values import decode_value
from consumers.local import Following, replicate
from consumers.redrive import Redrive
from snapshots.adopt_restore import restore
from snapshots.counterpart import verify_against_log
from snapshots.rebuild import Wanted, rebuild
from tests.adoption.adoption_world import (
    add,
    adopting_by,
    append,
    delete,
    folded,
    held,
    item,
    items,
    new_log,
    put,
)
from tests.adoption.in_place import PHYSICAL, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, items(25))


@pytest.fixture
def taken(place: Place) -> DynamoDBStore:
    return place.take_over(place.adopt())


def follow(place: Place, store: DynamoDBStore) -> None:
    replicate(place.log, store, Following(once=True))
    store.close()


EVENTS = [add("k001", 5), put("k002", 70), delete("k003"), put("new", 1), add("new", 2)]


def test_nothing_is_written_to_the_table_by_an_adoption(place: Place) -> None:
    """Applications read it as before, and it costs no write units."""
    before = place.stored()
    store = place.take_over(place.adopt())
    follow(place, store)
    assert place.stored() == before


def test_an_item_without_marks_stands_at_the_record(place: Place, taken: DynamoDBStore) -> None:
    """Digest, scan and verify have it there, as a rebuild has it."""
    follow(place, taken)
    rebuilt = MemoryStore()
    rebuild(place.log, rebuilt, Wanted(bases=place.bases))
    with place.store().view() as view:
        assert held(view) == place.content
    assert summarize(place.store()).tables == summarize(rebuilt).tables


def test_before_its_record_is_applied_it_is_not_there(place: Place, taken: DynamoDBStore) -> None:
    """What a store holds is what the log says up to its vector."""
    store = place.store()
    with store.view() as view:
        assert list(view.scan("users")) == []


def test_events_touch_what_was_adopted(place: Place, taken: DynamoDBStore) -> None:
    """Each on the condition that it is as it was; the result is the rebuild's, marks and all."""
    append(place.log, *EVENTS)
    follow(place, taken)
    rebuilt = MemoryStore()
    rebuild(place.log, rebuilt, Wanted(bases=place.bases))
    with place.store().view() as view:
        assert held(view) == folded(place.content, EVENTS)
    assert summarize(place.store()).tables == summarize(rebuilt).tables
    marked = {name for name, each in place.stored().items() if "_binlog" in each}
    assert marked == {"k001", "k002", "k003", "new"}


def test_it_goes_on_after_it_began(place: Place, taken: DynamoDBStore) -> None:
    """Second touches are like those of any table."""
    for event in [*EVENTS, add("k001", 1), delete("k002"), put("k003", 9)]:
        append(place.log, event)
        follow(place, place.store())
    whole = [*EVENTS, add("k001", 1), delete("k002"), put("k003", 9)]
    with place.store().view() as view:
        assert held(view) == folded(place.content, whole)


@pytest.mark.parametrize(
    ("stray", "says"),
    [
        (lambda place: place.write(item("k001", 99)), "was changed"),
        (lambda place: place.write(item("k001", 1) | {"more": True}), "was changed"),
        (lambda place: place.remove("k001"), "was deleted"),
        (lambda place: place.write(item("odd", 1)), "was put"),
    ],
)
def test_what_was_written_in_between_is_named_and_left(
    place: Place, taken: DynamoDBStore, stray: Callable[[Place], object], says: str
) -> None:
    """An event that meets it stops, before its checkpoint; nothing is written over it."""
    stray(place)
    append(place.log, add("odd" if says == "was put" else "k001", 5))
    before = place.stored()
    with pytest.raises(PoisonError, match=rf"users is not the base's: it {says}.*--check") as error:
        follow(place, taken)
    assert error.value.stray in ("changed", "gone", "new")
    assert place.stored() == before


def test_a_put_finds_it_too(place: Place, taken: DynamoDBStore) -> None:
    """A whole item would wipe out what was written in between without a word."""
    place.write(item("k001", 99))
    append(place.log, put("k001", 5))
    with pytest.raises(PoisonError, match="was changed"):
        follow(place, taken)
    assert place.stored()["k001"]["n"] == {"N": "99"}


@pytest.mark.parametrize("event", [add("k001", 5), put("k001", 5), delete("k001")])
def test_a_write_between_the_look_and_the_touch_is_found(
    place: Place, taken: DynamoDBStore, event: dict[str, Any]
) -> None:
    """The condition of the write says every attribute."""
    append(place.log, event)

    def before(request: dict[str, Any]) -> None:
        if request["TableName"] == PHYSICAL and "#a0" in str(request):
            place.double.hooks.clear()
            place.write(item("k001", 99))

    place.double.hooks["put_item"] = before
    with pytest.raises(PoisonError, match="was changed"):
        follow(place, taken)
    assert place.stored()["k001"]["n"] == {"N": "99"}


def test_what_comes_before_is_applied(place: Place, taken: DynamoDBStore) -> None:
    """Like other poison: the checkpoint stands before the record that meets it."""
    place.write(item("k001", 99))
    for event in (add("k002", 1), add("k001", 5), add("k004", 1)):
        append(place.log, event)
    with pytest.raises(PoisonError):
        follow(place, taken)
    assert place.stored()["k002"]["n"] == {"N": "3"}


def test_lost_replies_of_a_first_touch_are_read(place: Place, taken: DynamoDBStore) -> None:
    """A put that was done, or not, and whose reply was lost."""
    append(place.log, *EVENTS)
    place.double.faults["put_item"] = deque(
        [None, None, "lose reply", "lose request", "lose reply", None, "lose reply"]
    )
    follow(place, taken)
    with place.store().view() as view:
        assert held(view) == folded(place.content, EVENTS)


def test_check_lists_all_of_them(place: Place, taken: DynamoDBStore) -> None:
    """Touched items are the log's business, whatever they hold."""
    append(place.log, *EVENTS)
    follow(place, taken)
    place.write(item("k010", 99))
    place.remove("k011")
    place.write(item("odd", 1))
    _, found = place.strays()
    assert sorted((each.kind, decode_value(each.key)["id"]) for each in found) == [
        ("changed", "k010"),
        ("gone", "k011"),
        ("new", "odd"),
    ]


def test_restore_keeps_them_for_the_log_and_puts_the_base_back(
    place: Place, taken: DynamoDBStore, tmp_path: Path
) -> None:
    """Appended, they are in every replica, this one too."""
    follow(place, taken)
    place.write(item("k010", 99))
    place.remove("k011")
    place.write(item("odd", 1))
    path = tmp_path / "strays.jsonl"
    adoption, strays = place.strays()
    done = restore(strays, adoption, place.physical(), path)
    assert (done.kept, done.restored, done.moved) == (3, 3, 0)
    assert {name: item_of(each) for name, each in place.stored().items()} == place.content
    reading = InputLines(input_format="dynamodb", now_ms=lambda: 1)
    batch = reading.take(path.read_bytes())
    assert batch.refused is None
    with Producer(place.log) as producer:
        producer.append_many(batch.envelopes)
    follow(place, place.store())
    wanted = {**place.content, "k010": item("k010", 99), "odd": item("odd", 1)}
    del wanted["k011"]
    with place.store().view() as view:
        assert held(view) == wanted


def test_restore_keeps_before_it_changes(
    place: Place, taken: DynamoDBStore, tmp_path: Path
) -> None:
    """Killed at the first change, nothing that stood there is lost."""
    place.write(item("k010", 99))
    adoption, strays = place.strays()
    path = tmp_path / "kept"
    kept: list[bytes] = []
    place.double.hooks["put_item"] = lambda _: kept.append(path.read_bytes())
    restore(strays, adoption, place.physical(), path)
    assert b'"99"' in kept[0]


def test_restore_leaves_what_moved_meanwhile(
    place: Place, taken: DynamoDBStore, tmp_path: Path
) -> None:
    """On the condition that the table still holds what was kept."""
    place.write(item("k010", 99))
    adoption, strays = place.strays()
    place.write(item("k010", 100))
    done = restore(strays, adoption, place.physical(), tmp_path / "kept")
    assert (done.restored, done.moved) == (0, 1)
    assert place.stored()["k010"]["n"] == {"N": "100"}


def test_taken_over_twice_is_the_same(place: Place) -> None:
    """Every step finds what is there."""
    adopted = place.adopt()
    place.take_over(adopted)
    calls = place.double.counts["put_item"]
    place.take_over(place.adopt())
    assert place.double.counts["put_item"] - calls <= 8  # the hashes' rows, refused as there


def test_a_chunk_that_is_gone_is_no_empty_one(place: Place, taken: DynamoDBStore) -> None:
    """Else every item would seem put by somebody else, or none."""
    for row in place.double.items("shop.binlog"):
        if row["pk"]["S"].startswith("adopted#"):
            place.double.wipe("shop.binlog", row)
    append(place.log, add("k001", 5))
    with pytest.raises(DamageError, match=r"says of partition .* is gone.*binlog adopt"):
        follow(place, taken)


def test_a_table_that_is_not_declared_as_owned_is_refused(place: Place) -> None:
    """A rebuild would put another one in its place; the message has the line to write."""
    store = place.store(Specification("shop"))
    with pytest.raises(RefusedError, match=r'tables.users = \{ physical = "Users-2023", owned'):
        store.check_adoptable("users", PHYSICAL)


def test_without_an_adoption_nothing_is_touched(place: Place) -> None:
    """As before: what nobody made is refused, and the verb is named."""
    append(place.log, put("k001", 5))
    with pytest.raises(ConflictError, match=r"no _binlog.*binlog adopt"):
        follow(place, place.store())


def test_a_store_follows_no_other_adoption(place: Place, taken: DynamoDBStore) -> None:
    """Whose items would stand at versions that the log does not have."""
    other = new_log(place.folder / "other")
    append(other, put("a", 1, table="orders"))  # the same id of log: a copy that went on elsewhere
    adopting = adopting_by(other, place.objects, place.source())
    adopting.run(place.source())
    with pytest.raises(ConflictError, match=r"adopted with base .*the log says"):
        replicate(other, taken, Following(once=True))


def test_verify_lists_strays_too(place: Place, taken: DynamoDBStore) -> None:
    """They stand at the record's version, and are not what the log says there."""
    follow(place, taken)
    place.write(item("k010", 99))
    place.remove("k011")
    with verify_against_log(place.store(), place.log, bases=place.bases) as found:
        differing = {decode_value(each.key)["id"] for each in found.differences("users")}
    assert differing == {"k010", "k011"}


def test_a_take_over_that_is_stopped_at_any_write_is_gone_on_with(place: Place) -> None:
    """Hashes before the catalog: a store that says it has taken a table over can compare it."""
    adopted = place.adopt()
    whole = 0
    for at in range(100):
        place.double.faults["put_item"] = deque([*[None] * at, "refuse"])
        try:
            place.take_over(adopted).close()
        except RefusedError:
            whole = at
            with closing(place.store()) as store:
                known = store.adopted("users")
            assert known is None
            continue
        break
    assert whole >= 4  # a chunk a partition, and the catalog
    place.double.faults.clear()
    place.double.clock.advance(60_000)  # the last that was refused was to release the lock
    append(place.log, *EVENTS)
    follow(place, place.store())
    with place.store().view() as view:
        assert held(view) == folded(place.content, EVENTS)


def test_what_was_parked_and_left_out_is_touched_again(place: Place, taken: DynamoDBStore) -> None:
    """Its marks then say the version of the record: it is untouched, and yet not without marks."""
    bad = {**add("k001", 1), "Id": "bad", "Data": {"Add": {"text": 1}}}
    append(place.log, bad)
    with closing(place.store()) as store:
        replicate(place.log, store, Following(once=True, poison="park"))
        [done] = Redrive(store, NO_RULES, without=["bad"], dry_run=False).run()
        assert done.outcome == "back"
        append(place.log, add("k001", 5))
        steps = iter(range(20))  # it would try for ever
        replicate(place.log, store, Following(once=True), stop=lambda: next(steps, None) is None)
    assert place.stored()["k001"]["n"] == {"N": "6"}


@pytest.mark.parametrize("attributes", [1, COMPARED_MAX, 400])
def test_the_condition_of_a_first_touch_is_one_that_the_service_takes(attributes: int) -> None:
    """300 operators and functions, 4 KB of text: beyond them every touch would be refused for good."""
    item = {f"attribute {n:03}": {"NULL": True} for n in range(attributes)}
    text = unmarked_condition(item)["ConditionExpression"]
    assert len(text) <= 4096
    assert text.count(" = ") + text.count(" AND ") + text.count("attribute_not_exists(") <= 300
