"""What `scripts/converge` calls a difference, on stores that are not as they have to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from appliers.item import Row
from appliers.stores.memory import MemoryStore
from appliers.summary import summarize
from binlog.envelope import Envelope
from consumers.local import Following, replicate
from tests.converge.converge_command import report
from tests.converge.converge_judge import differences, digest_of_table
from tests.converge.converge_rules import KEYS, POISONED, event_of, mended_rules, write_code
from tests.converge.converge_stage import Options, _weather
from tests.converge.converge_story import KINDS, Story
from tests.faults.fault_judge import Truth, truth_of
from tests.faults.fault_senders import SteppedProducer
from tests.faults.fault_story import Story as Faults
from tests.faults.kinesis_double_place import DoublePlace
from tests.log.log_frames import PARAMS

COUNT = 140


@pytest.fixture
def told() -> tuple[Truth, MemoryStore]:
    """A log's truth, and a store at its end."""
    place = DoublePlace(Faults([]), [])
    store, rules = MemoryStore(), mended_rules()
    with closing(place.open(faults=False)) as log:
        producer = place.producer(log, 1)
        assert isinstance(producer, SteppedProducer)
        events: Sequence[Envelope] = [event_of("p", number) for number in range(COUNT)]
        producer.publish_many(events, on_delivery=lambda _: None)
        producer.call(1_000)
        replicate(log, store, Following(once=True, rules=rules))
    return truth_of(place.client, place.stream, PARAMS, rules=rules), store


def found(told: tuple[Truth, Any]) -> str:
    return next(differences(*told), "")


def test_a_store_at_the_end_has_no_difference(told: tuple[Truth, MemoryStore]) -> None:
    truth, store = told
    assert found(told) == ""
    tables = summarize(store).tables
    assert set(tables) == {"counts", "items"}
    assert {name: digest_of_table(truth, name) for name in tables} == {
        name: each.digest for name, each in tables.items()
    }
    assert tables["counts"].items == KEYS


def _changed(row: Row) -> Row:
    assert row.data is not None
    return msgspec.structs.replace(row, data=row.data[:-1] + bytes([row.data[-1] ^ 1]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_changed, "expected"),
        (lambda row: msgspec.structs.replace(row, version=row.version + 1), "expected"),
        (lambda row: msgspec.structs.replace(row, data=None), "None"),
        (lambda row: msgspec.structs.replace(row, parked=True, tail=row.version + 1), "True"),
    ],
)
def test_one_row_that_differs_is_named(
    told: tuple[Truth, MemoryStore], change: Callable[[Row], Row], says: str
) -> None:
    truth, store = told
    rows = dict(store.scan("counts"))
    key = min(rows)
    store._content.tables["counts"] = rows | {key: change(rows[key])}
    said = found((truth, store))
    assert "table counts" in said
    assert repr(key) in said
    assert says in said


def test_a_missing_row_and_one_too_many_are_named(told: tuple[Truth, MemoryStore]) -> None:
    truth, store = told
    rows = dict(store.scan("items"))
    key = max(rows)
    store._content.tables["items"] = {k: row for k, row in rows.items() if k != key}
    assert "found None" in found((truth, store))
    store._content.tables["items"] = rows | {b"x": rows[key]}
    assert "expected None" in found((truth, store))


def test_a_place_that_is_not_the_end_is_named(told: tuple[Truth, MemoryStore]) -> None:
    truth, store = told
    [kept] = store._content.checkpoints.values()
    at = min(p for p, taken in truth.sequenced.items() if taken)
    whole = kept[at]
    kept[at] = msgspec.structs.replace(whole, applied=whole.applied - 1)
    assert f"partition {at} stands at {whole.applied - 1}" in found((truth, store))
    kept[at] = msgspec.structs.replace(whole, digest=bytes(32))
    assert "went another way" in found((truth, store))
    del kept[at]
    assert "stands nowhere" in found((truth, store))


def test_nothing_at_all_is_a_difference(told: tuple[Truth, MemoryStore]) -> None:
    assert "there is nothing" in found((told[0], MemoryStore()))


def test_what_still_waits_is_a_difference(tmp_path: Path) -> None:
    """By the broken appliers, as they are deployed."""
    write_code(tmp_path, broken=True)
    names: dict[str, Any] = {}
    exec((tmp_path / "converge_code.py").read_text(), names)
    place, store = DoublePlace(Faults([]), []), MemoryStore()
    with closing(place.open(faults=False)) as log:
        producer = place.producer(log, 1)
        assert isinstance(producer, SteppedProducer)
        producer.publish_many([event_of("p", n) for n in range(COUNT)], on_delivery=lambda _: None)
        producer.call(1_000)
        replicate(log, store, Following(once=True, rules=names["rules"].build(), poison="park"))
    truth = truth_of(place.client, place.stream, PARAMS, rules=mended_rules())
    said = list(differences(truth, store))
    assert len(list(store.letters())) > 1
    assert any("still wait" in line for line in said)
    assert any(POISONED in line for line in said)


def test_a_kind_of_trouble_that_never_occurred_is_named(tmp_path: Path) -> None:
    """A run that met none proves nothing (24)."""
    story = Story(tmp_path, Options(seed=7), lambda _: None)
    story.met.update(KINDS)
    assert story.never_met() == []
    del story.met["worker paused, and went on"]
    assert story.never_met() == ["worker paused, and went on"]
    arguments = ["--small", "--report", "x.md", "--keep=logs"]
    said = report(story, arguments, datetime.now(UTC), 1.0)
    assert "`scripts/converge --small`" in said
    assert "seed 7" in said
    assert "| timed out | 1 |" in said


def test_the_same_seed_makes_the_same_weather() -> None:
    one, two = (list(_weather(Random("1 kinesis"))) for _ in range(2))
    assert one == two
    assert len({fault.kind for fault in one}) > 4
    assert one != list(_weather(Random("2 kinesis")))
