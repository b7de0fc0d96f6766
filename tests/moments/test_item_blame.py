"""The events that made an item: each with what it did, or why it did nothing."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.applier import Appliers
from appliers.stores import MemoryStore
from binlog.clock import ManualClock
from binlog.columns import columns_of, encode_body
from binlog.envelope import PUT_ITEM, Envelope
from binlog.errors import ConflictError, RefusedError
from binlog.frame import Header, Session, encode_frame
from binlog.logs.memory import MemoryLog
from binlog.params import genesis_hash
from binlog.partition import ordering_key, partition_of
from binlog.target import Target
from binlog.values import decode_value, encode_value
from snapshots.blame import Blame, Told
from snapshots.rebuild import Wanted, rebuild
from tests.moments.small_log import (
    PARAMS,
    Writer,
    delete,
    event,
    key_of,
    new_log,
    put,
    update,
)
from tests.moments.test_log_diff import shop

KEY = key_of("a")
HOME = partition_of(ordering_key("users", KEY), PARAMS.partitions)


def blamed(log: MemoryLog, **wanted: Any) -> tuple[Blame, list[Told]]:
    blame = Blame(log, "users", KEY, Wanted(**wanted))
    return blame, list(blame.events())


def summary(told: list[Told]) -> list[tuple[str, str]]:
    return [(each.cause.id, each.outcome) for each in told]


def origins(blame: Blame) -> dict[str, tuple[Any, str, str]]:
    return {
        name: (decode_value(origin.value), origin.since.id, origin.writer.id)
        for name, origin in blame.attributes.items()
    }


def test_of_each_attribute_it_names_who_gave_it_its_value_and_who_wrote_it_last() -> None:
    """Leaving out the first alone would change nothing, where the second writes the same again."""
    log = new_log()
    Writer(log).append(
        [
            put("a", n=1, m="x"),
            put("b", n=9),
            update("a", Set={"n": 2}),
            update("a", Set={"n": 2, "k": 1}),
            update("a", Remove=["m"]),
        ]
    )
    blame, told = blamed(log)
    assert summary(told) == [(f"e{number}", "applied") for number in (1, 3, 4, 5)]
    assert origins(blame) == {
        "id": ("a", "e1", "e1"),
        "n": (2, "e3", "e4"),
        "k": (1, "e4", "e4"),
    }
    assert [each.values for each in told[2:]] == [{"k": encode_value(1)}, {"m": None}]


def test_what_comes_out_is_what_a_rebuild_has() -> None:
    """Each event is folded by itself, and all of them come to the item that everybody has."""
    log = new_log()
    Writer(log).append(
        [put("a", n=1), delete("a"), update("a", Add={"n": 3}), {**put("a", n=9), "Expect": 1}]
    )
    blame, told = blamed(log)
    store = MemoryStore()
    rebuild(log, store, Wanted())
    [generation] = store.generations()
    assert blame.item == store.read(generation.id, "users", [KEY])[KEY]
    assert summary(told) == [
        ("e1", "applied"),
        ("e2", "applied"),
        ("e3", "applied"),
        ("e4", "rejected"),
    ]
    assert told[1].deleted
    assert told[3].detail.startswith("expected version 1, the item's was ")


def test_excluded_events_are_told_with_their_rule_and_up_to_where_is_obeyed() -> None:
    """So it says of a table that was rebuilt without them what it says of the log."""
    log = new_log()
    Writer(log).append([put("a", n=1), put("a", n=2), put("a", n=3)])
    blame, told = blamed(log, excluded=("id=e2", "type=Nothing"), target=Target(vector={HOME: 2}))
    assert summary(told) == [("e1", "applied"), ("e2", "excluded")]
    assert told[1].detail == "by id=e2"
    assert origins(blame)["n"] == (1, "e1", "e1")
    with pytest.raises(ConflictError, match="the log ends at 3"):
        blamed(log, target=Target(vector={HOME: 4}))


def test_the_users_appliers_are_asked_event_by_event() -> None:
    """And an event that they cannot apply parks the item, behind which the others wait."""
    log = new_log()
    Writer(log).append(
        [
            put("a", n=1),
            event("Paid", "a", sum=5),
            event("Paid", "b", sum=6),
            event("Paid", "a", bad=True),
            put("a", n=2),
        ]
    )
    blame, told = blamed(log, rules=shop.build())
    assert summary(told) == [
        ("e1", "applied"),
        ("e2", "applied"),
        ("e4", "parked"),
        ("e5", "waits"),
    ]
    assert told[2].detail == "no such sum"
    assert told[3].detail == f"behind offset {told[2].cause.offset}"
    assert origins(blame)["paid"] == (5, "e2", "e2")
    assert blame.item is not None
    assert blame.item.parked


def test_transforms_are_laid_on_first() -> None:
    """The item is asked for as the replica has it, and exclusions name events as the log has them."""
    replica = Appliers()
    replica.transform("users", to="people", version=1, rename={"n": "number"})
    log = new_log()
    Writer(log).append([put("a", n=1), put("a", n=2)])
    wanted = Wanted(rules=replica.build(), excluded=('key=users:{"id":"a"}',))
    blame = Blame(log, "people", KEY, Wanted(rules=replica.build()))
    assert summary(list(blame.events())) == [("e1", "applied"), ("e2", "applied")]
    assert origins(blame)["number"] == (2, "e2", "e2")
    out = list(Blame(log, "people", KEY, wanted).events())
    assert summary(out) == [("e1", "excluded"), ("e2", "excluded")]


def test_a_key_that_no_owner_can_be_told_of_is_refused() -> None:
    """The declared function fails on it, as it would on an event."""
    odd = Appliers()
    odd.table("users", owner=lambda key: ("orders", {"id": key["order"]}))
    with pytest.raises(RefusedError, match="KeyError: 'order'"):
        blamed(new_log(), rules=odd.build())


# -- what the log's readers drop ----------------------------------------------------------------


def frame(
    log: MemoryLog,
    numbers: list[int],
    *,
    generation: int = 1,
    born_ms: int = 0,
    ids: str = "f",
    id_window: bool = False,
) -> bytes:
    header = Header(
        session=Session(b"s" * 16, generation),
        born_ms=born_ms,
        partition=HOME,
        first=numbers[0],
        count=len(numbers),
        log_id=bytes.fromhex(log.params.log_id),
        genesis_hash=genesis_hash(log.genesis),
        id_window=id_window,
    )
    events = [
        Envelope(f"{ids}{n}", PUT_ITEM, 1, "users", KEY, encode_value({"id": "a", "n": n}))
        for n in numbers
    ]
    return encode_frame(header, encode_body(columns_of(events)))


@pytest.fixture
def log() -> MemoryLog:
    return new_log(ManualClock())


def injected(log: MemoryLog, *frames: bytes) -> list[tuple[str, str]]:
    for each in frames:
        log.inject(HOME, each)
    return summary(blamed(log)[1])


def test_a_frame_that_came_twice_is_told_as_a_duplicate(log: MemoryLog) -> None:
    """What a person sees in the stream, and not in the item; a part of it that is new counts."""
    born = log.now_ms()
    told = injected(
        log,
        frame(log, [1, 2], born_ms=born),
        frame(log, [1, 2], born_ms=born),
        frame(log, [2, 3], born_ms=born),
    )
    assert told == [
        ("f1", "applied"),
        ("f2", "applied"),
        ("f1", "duplicate"),
        ("f2", "duplicate"),
        ("f2", "duplicate"),
        ("f3", "applied"),
    ]


def test_an_id_that_was_there_is_a_duplicate(log: MemoryLog) -> None:
    """By the id window: another session, the same event."""
    born = log.now_ms()
    log.inject(HOME, frame(log, [1], born_ms=born, id_window=True))
    again = frame(log, [1], born_ms=born, generation=2, id_window=True)
    assert injected(log, again) == [("f1", "applied"), ("f1", "duplicate")]


def test_what_came_too_late_is_told_so(log: MemoryLog) -> None:
    """Nobody has it, and who wrote it was never told that it was acknowledged."""
    born = log.now_ms()
    log.inject(HOME, frame(log, [1], born_ms=born))
    late = born + log.params.session_life_ms + 1
    log.inject(HOME, frame(log, [2], born_ms=born), arrival_ms=late)
    _, told = blamed(log)
    assert summary(told) == [("f1", "applied"), ("f2", "expired")]
    assert told[1].cause.offset == 0


def test_an_older_generation_is_told_as_closed(log: MemoryLog) -> None:
    """A ghost of a session that was renewed."""
    born = log.now_ms()
    young, old = frame(log, [1], generation=2, born_ms=born, ids="y"), frame(log, [1], born_ms=born)
    assert injected(log, young, old) == [("y1", "applied"), ("f1", "closed")]


def test_what_waits_for_a_frame_before_it_is_told_last_or_when_it_came(log: MemoryLog) -> None:
    """Held is no loss: once the missing frame is there the events take their offsets."""
    born = log.now_ms()
    ahead = frame(log, [2], born_ms=born)
    assert injected(log, ahead) == [("f2", "held")]
    assert injected(log, frame(log, [1], born_ms=born)) == [("f1", "applied"), ("f2", "applied")]
    younger = frame(log, [1], generation=2, born_ms=born, ids="y")
    log.inject(HOME, frame(log, [9], born_ms=born))
    assert injected(log, younger)[-2:] == [("y1", "applied"), ("f9", "closed")]
