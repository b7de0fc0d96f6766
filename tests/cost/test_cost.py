"""What is paid for cannot creep up unseen: ratios of counted units, at small sizes, no times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("botocore", reason="the doubles raise its errors (extra: aws)")

from consumers.thrift import LONGEST_S
from scripts.benchmarks import cost, cost_figures
from scripts.benchmarks.cost_figures import (
    PACKING_GOAL,
    PAGES,
    SMALL,
    bill,
    full_load,
    hour_share,
    live_share,
    packing,
    replay,
)
from scripts.benchmarks.cost_prices import MONTH_S, PRICES
from scripts.benchmarks.cost_world import Dynamo, Kinesis, Scene, World
from scripts.benchmarks.main import main

TINY = msgspec.structs.replace(
    SMALL, warm_s=1.0, seconds=2.0, full_events=4_000, crowd=150, crowd_s=3.0
)


# -- packing -------------------------------------------------------------------------------------


def test_full_frames_hold_hundreds_of_events() -> None:
    """Packing and compression together; without compression it would be 1/118 and less."""
    full = full_load(SMALL)
    assert full.events == SMALL.full_events
    assert full.events / full.units >= 2 * PACKING_GOAL


def test_a_linger_packs_what_comes_within_it() -> None:
    """At 100 events a second over 4 partitions: 25 a record within a second, 125 within five."""
    by_linger = [packing(100.0, linger_s, TINY) for linger_s in (0.05, 1.0, 5.0)]
    assert all(one.units == one.records for one in by_linger)
    per_record = [one.events / one.records for one in by_linger]
    assert 1.5 < per_record[0] < 4
    assert 22 < per_record[1] < 40
    assert 100 < per_record[2] < 160
    assert by_linger[1].record_bytes < 100 * per_record[1]  # half of what the events are


# -- the bill ------------------------------------------------------------------------------------


def test_the_bill_is_below_that_of_both_others() -> None:
    """Line by line what it is made of, and the sums."""
    ours, plain, twice, regions = bill(TINY)
    rate = TINY.scene.producers * TINY.scene.rate
    assert ours.total < plain.total / 2
    assert twice.total < regions.total / 2
    assert ours.put_units_s < rate / 20
    assert ours.write_units_s < 0.65 * rate  # I3: a unit an item and batch, not an event
    assert ours.checkpoint_units_s < 0.02 * ours.write_units_s
    assert ours.read_units_s < 0.2 * rate  # a put reads nothing
    assert twice.write_units_s == 2 * ours.write_units_s
    assert plain.dollars["table writes"] == pytest.approx(rate * MONTH_S * 0.625e-6)
    assert regions.total == 2 * plain.dollars["table writes"]
    assert ours.total == pytest.approx(sum(ours.dollars.values()))


def test_a_run_is_the_same_whenever_it_is_made() -> None:
    """A figure in a README that nobody can repeat is worth nothing."""
    assert bill(TINY) == bill(TINY)
    assert hour_share(4, 0.6, TINY) == hour_share(4, 0.6, TINY)


def test_prices_have_a_source_and_a_date() -> None:
    """And say where they are not the service's own page."""
    for price in PRICES.values():
        assert price.source.startswith("https://aws.amazon.com/")
        assert price.secondary
        assert price.read == "2026-11"


# -- checkpoints and replays ---------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [4, 16])
def test_checkpoints_cost_a_fiftieth_of_the_table_at_most(partitions: int) -> None:
    """With many producers known to every partition; rows, bases, their removal and the lock."""
    scene = msgspec.structs.replace(TINY.scene, rate=50.0, poll_s=2.0)
    # Longer than any row waits, so that each partition has written one.
    sizes = msgspec.structs.replace(TINY, scene=scene, crowd_s=LONGEST_S + 2)
    share = live_share(partitions, sizes)
    assert share.sessions == TINY.crowd
    assert partitions <= share.checkpoint_units <= 0.02 * share.table_units


def test_five_thousand_sessions_that_are_renewed_stay_below_a_fiftieth() -> None:
    """A state of 300 KB is never written whole but as a base, and that seldom."""
    sizes = msgspec.structs.replace(TINY, crowd=5_000, crowd_hours=0.1)
    share = hour_share(4, 0.6, sizes)
    assert share.bases <= 3
    assert share.checkpoint_units <= 0.02 * share.table_units


@pytest.mark.parametrize("page_bytes", PAGES[:2])
def test_a_replay_writes_a_unit_a_key_and_batch(page_bytes: int) -> None:
    """However often a key was written in it."""
    found = replay(page_bytes, SMALL)
    assert found.events == SMALL.replay_events
    assert found.write_units == found.distinct < 0.5 * found.events


# -- the books -----------------------------------------------------------------------------------


def test_a_record_is_billed_by_units_of_25_kibibytes() -> None:
    """Key included, each record by itself."""
    world = World(Scene(producers=1))
    double: Kinesis = world.kinesis
    for size in (1, 25 * 1024 - 5, 25 * 1024 - 4):
        record = {"Data": bytes(size), "PartitionKey": "p0001", "ExplicitHashKey": "0"}
        double.put_records(StreamName="s", Records=[record])
    assert double.puts["records"] == 3
    assert double.puts["units"] == 4
    world.close()


def test_an_item_is_billed_by_the_larger_of_before_and_after() -> None:
    """A delete too; a read by 4 KiB, one of nothing as well."""
    dynamo = Dynamo()
    keys = [{"AttributeName": "id", "KeyType": "HASH"}]
    types = [{"AttributeName": "id", "AttributeType": "S"}]
    dynamo.create_table(TableName="t", KeySchema=keys, AttributeDefinitions=types)

    def put(size: int) -> int:
        before = dynamo.writes["table"]
        dynamo.put_item(TableName="t", Item={"id": {"S": "a"}, "b": {"B": bytes(size)}})
        return dynamo.writes["table"] - before

    assert [put(1), put(3_000), put(1), put(1)] == [1, 3, 3, 1]
    put(9_000)
    dynamo.get_item(TableName="t", Key={"id": {"S": "a"}}, ConsistentRead=True)
    dynamo.get_item(TableName="t", Key={"id": {"S": "b"}}, ConsistentRead=True)
    assert dynamo.reads["table"] == 3 + 1
    before = dynamo.writes["table"]
    dynamo.batch_write_item(RequestItems={"t": [{"DeleteRequest": {"Key": {"id": {"S": "a"}}}}]})
    assert dynamo.writes["table"] - before == 9


# -- the command ---------------------------------------------------------------------------------


def test_the_command_prints_tables_and_writes_a_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """For people, for a README, for programs; the same figures."""
    monkeypatch.setattr(cost, "SMALL", TINY)
    file = tmp_path / "cost.json"
    arguments = ["--cost", "--small", "--only", "bill", "--only", "replay"]
    assert main([*arguments, "--json", str(file), "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "| this project, one table |" in shown
    assert "secondary sources" in shown
    found: dict[str, Any] = json.loads(file.read_bytes())
    assert [goal["met"] for goal in found["goals"]] == [True] * 5
    assert f"{sum(found['bill'][0]['dollars'].values()):,.2f}" in shown
    assert main([*arguments, "--only", "replay"]) == 0
    assert "DynamoDB write units of a replay" in capsys.readouterr().out


def test_the_command_fails_where_a_goal_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check that cannot fail is none."""
    monkeypatch.setattr(cost, "SMALL", TINY)
    monkeypatch.setattr(cost_figures, "RATES", ())
    monkeypatch.setattr(cost, "RATES", (10.0,))
    monkeypatch.setattr(cost, "LINGERS_S", (1.0,))
    monkeypatch.setattr(cost, "PACKING_GOAL", 100_000.0)
    assert main(["--cost", "--small", "--only", "packing"]) == 1
    assert "missed" in capsys.readouterr().out


def test_the_command_refuses_nonsense(capsys: pytest.CaptureFixture[str]) -> None:
    """By the name of what is wrong."""
    with pytest.raises(SystemExit) as stop:
        main(["--cost", "--rate", "0"])
    assert stop.value.code == 2
    assert "--rate 0.0: above 0" in capsys.readouterr().err
