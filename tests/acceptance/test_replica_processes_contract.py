"""`rebuild` and `replicate` killed, stopped, and two at once."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.acceptance_support import (
    Started,
    World,
    binlog,
    by_key,
    digest,
    digests,
    dump,
    jsonl,
    ok,
    parse,
    wait_until,
)

# -- killed, stopped, two at once ----------------------------------------------------------------


def test_what_a_killed_rebuild_left_is_unseen_and_removed_by_the_next(tmp_path: Path) -> None:
    world = World(tmp_path)
    lines = jsonl(*({"id": f"k{n % 9_000}", "n": n, "text": "x" * 40} for n in range(30_000)))
    small = world.put({"id": "first"})
    assert len(small) == 1
    store = world.store("one")
    world.rebuild(store)
    before = digest(store)
    files = {path.name for path in tmp_path.iterdir()}
    ok("append", world.log, "--table", "users", "--key", "id", given=lines)
    for number in range(2):
        with Started("rebuild", world.log, store, "--workers", "2") as run:
            wait_until(lambda: len(list(tmp_path.iterdir())) > len(files) + 2 or run.poll() == 0)
            run.send_signal(signal.SIGKILL)
            assert run.wait(10) == -signal.SIGKILL
        assert digest(store) == before
        assert dump(store) == [{"id": "first"}]
        if number == 0:
            assert {path.name for path in tmp_path.iterdir()} > files  # it had begun
    report = world.rebuild(store)
    assert report["tables"]["users"]["items"] == 9_001
    assert {path.name for path in tmp_path.iterdir()} == files
    assert world.replicate(world.store("two"))["tables"] == report["tables"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_replicate_with_its_report(tmp_path: Path, end: signal.Signals) -> None:
    world = World(tmp_path)
    world.put({"id": "a"})
    store = world.store("one")
    with Started("replicate", world.log, store, "--json") as run:
        wait_until(lambda: (tmp_path / "one.db").exists() and items_of(store) == 1)
        world.put({"id": "b"}, {"Action": "DeleteItem", "Key": {"id": "a"}})
        wait_until(lambda: set(by_key(dump(store))) == {"b"})
        run.send_signal(end)
        ran = run.end(timeout=10)
    assert (ran.status, ran.err) == (0, "")
    assert ran.document["events"] == 3
    assert ran.document["tables"] == digest(store)["tables"]
    assert ran.document["tables"]["users"]["tombstones"] == 1


def items_of(store: str) -> int:
    ran = binlog("digest", store, "--json")
    if ran.status:
        return 0
    tables: dict[str, dict[str, int]] = parse(ran.out)["tables"]
    return sum(table["items"] for table in tables.values())


def test_a_killed_replicate_goes_on_where_it_was(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put(*({"id": f"k{n}", "n": n} for n in range(3_000)))
    store = world.store("one")
    with Started("replicate", world.log, store, "--rate", "4000") as run:
        wait_until(lambda: items_of(store) > 0)
        run.send_signal(signal.SIGKILL)
    done = sum(digest(store)["vector"].values())
    assert done > 0
    report = world.replicate(store)
    assert report["events"] == 3_000 - done
    assert digest(store)["tables"] == world.rebuild("memory:")["tables"]


def test_a_rate_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put(*({"id": f"k{n}"} for n in range(300)))
    report = world.replicate(world.store("one"), "--rate", "300")
    assert report["items"] == 300
    assert report["seconds"] >= 0.9


def test_a_second_writer_to_a_store_waits_five_seconds_and_says_so(tmp_path: Path) -> None:
    """Two claims for one wait: it gives up after some 5 s, and a shorter wait is no error."""
    world = World(tmp_path)
    world.put({"id": "a"})
    held, freed = world.store("held"), world.store("freed")
    with (
        Started("replicate", world.log, held) as holder,
        Started("replicate", world.log, freed, "--json") as leaving,
    ):
        wait_until(lambda: items_of(held) == items_of(freed) == 1)
        began = time.monotonic()
        with (
            Started("rebuild", world.log, held) as second,
            Started("rebuild", world.log, freed) as lucky,
        ):
            assert digest(held)["tables"]["users"]["items"] == 1  # readers do not wait
            leaving.send_signal(signal.SIGTERM)
            assert lucky.end(timeout=20).status == 0
            ran = second.end(timeout=20)
        waited = time.monotonic() - began
        assert holder.poll() is None
    assert ran.status == 3
    assert ran.err.startswith("binlog: ")
    assert ran.err.count("\n") == 1
    assert "held" in ran.err
    assert 4.5 < waited < 12
    assert digests(digest(freed)["tables"]) == digests(digest(held)["tables"])
