"""``binlog rebuild``: where it begins, what it keeps when it is killed, and what it refuses."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from binlog.cli.rebuild_options import prepare_load
from binlog.errors import RefusedError
from tests.cli.running import LIMIT_S, Started, append, binlog
from tests.contracts.dynamodb_places import store_on
from tests.stores.dynamodb_double import DynamoDBDouble

# Waits, after telling that a rebuild has got to it, until it may go on: the same source both times.
SLOW = """
import time
from pathlib import Path
from appliers.applier import Appliers

appliers = Appliers()


@appliers.on("Waited", table="users", version=1)
def wait(item, event):
    Path("waiting").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    return {**(item or event.key), "waited": True}
"""


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    binlog("init", address, "--partitions", "4")
    append(address, *({"id": f"u{n % 20}", "n": n} for n in range(60)))
    return address


@pytest.fixture
def kept(log: str, tmp_path: Path) -> tuple[str, str]:
    """A place with a snapshot of the log as it was then, and the snapshot's id."""
    store, place = f"sqlite:{tmp_path / 'then.db'}", f"file:{tmp_path / 'snapshots'}"
    binlog("rebuild", log, store)
    [taken] = binlog("snapshot", store, place, "--json").lines[0]["snapshots"]
    append(log, *({"id": f"u{n % 20}", "n": n} for n in range(60, 75)))
    return place, str(taken["id"])


def tables(document: dict[str, Any]) -> Any:
    return document["tables"], document["vector"]


def test_it_begins_at_the_nearest_snapshot_and_says_so(
    log: str, kept: tuple[str, str], tmp_path: Path
) -> None:
    """The same tables as from the first event, from the tail's events alone."""
    place, id_ = kept
    [whole] = binlog("rebuild", log, "memory:", "--json").lines
    [found] = binlog("rebuild", log, "memory:", "--snapshots", place, "--json").lines
    assert tables(found) == tables(whole)
    assert (found["start"], found["not_taken"], found["events"]) == (id_, [], 15)
    assert "start" not in whole
    told = binlog("rebuild", log, f"sqlite:{tmp_path / 'a.db'}", "--snapshots", place)
    assert told.status == 0
    assert f"began at snapshot {id_}, taken 20" in told.out
    assert not list(tmp_path.glob("a.db.rebuild*"))


def test_a_dry_run_tells_where_and_why_not(log: str, kept: tuple[str, str], tmp_path: Path) -> None:
    """And makes nothing."""
    place, id_ = kept
    store = f"sqlite:{tmp_path / 'b.db'}"
    options = ("rebuild", log, store, "--snapshots", place, "--dry-run")
    [plan] = binlog(*options, "--json").lines
    assert plan["start"] == id_
    assert sum(plan["vector"].values()) == 60
    told = binlog(*options, "--exclude", "type=PutItem")
    assert told.out.startswith("would begin at the log's beginning\n")
    assert f"  not at {id_}: what type=PutItem names may be in it" in told.out
    [plan] = binlog(*options, "--until", '{"0": 1}', "--json").lines
    [reason] = [each["reason"] for each in plan["not_taken"]]
    assert plan["start"] is None
    assert "the target is 1" in reason
    assert not (tmp_path / "b.db").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--start", "20260101T000000Z-00000000"], "give --snapshots URL as well"),
        (["--snapshots", "SNAPSHOTS", "--start", "nobody"], "there is no snapshot nobody"),
        (["--snapshots", "sqlite:x.db"], "is no place for objects"),
        (["--snapshots", "SNAPSHOTS", "--start", "ID", "--until", '{"0": 1}'], "is no start of"),
        (["--work", "sqlite:x.db"], "is no place for objects"),
        (["--rate", "100"], "nothing is paid by the unit there"),
        (["--import", "s3://bucket/data"], "nothing is paid by the unit there"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_touched(
    log: str, kept: tuple[str, str], tmp_path: Path, options: list[str], told: str
) -> None:
    place, id_ = kept
    given = [{"SNAPSHOTS": place, "ID": id_}.get(option, option) for option in options]
    ran = binlog("rebuild", log, f"sqlite:{tmp_path / 'c.db'}", *given)
    assert ran.status == 2
    assert told in ran.err
    assert not (tmp_path / "c.db").exists()


def test_a_paid_store_is_loaded_at_a_rate_or_by_an_import() -> None:
    """Not both: an import takes no units. Its data set has to be where the service reads from."""
    store = store_on(DynamoDBDouble())
    prepare_load(store, "dynamodb://shop", rate=500.0, import_from=None)
    assert store.load_rate == 500.0
    prepare_load(
        store, "dynamodb://shop", rate=None, import_from="s3://bucket/data?region=eu-west-1"
    )
    assert store.importer is not None
    assert store.importer.objects.name.startswith("s3://bucket/data")
    with pytest.raises(RefusedError, match="takes no write units"):
        prepare_load(store, "dynamodb://shop", rate=500.0, import_from="s3://bucket/data")
    with pytest.raises(RefusedError, match="reads from S3"):
        prepare_load(store, "dynamodb://shop", rate=None, import_from="file:data")


def test_begin_means_the_logs_beginning(log: str, kept: tuple[str, str]) -> None:
    """For whoever does not trust a snapshot."""
    place, id_ = kept
    options = ("--snapshots", place, "--start", "begin", "--json")
    [found] = binlog("rebuild", log, "memory:", *options).lines
    assert (found["start"], found["events"]) == (None, 75)
    assert [each["id"] for each in found["not_taken"]] == [id_]


def test_a_damaged_snapshot_is_named_and_never_served(
    log: str, kept: tuple[str, str], tmp_path: Path
) -> None:
    """The old content stays; another start is one option away."""
    place, _ = kept
    store = f"sqlite:{tmp_path / 'd.db'}"
    binlog("rebuild", log, store, "--until", '{"0": 2}')
    before = binlog("digest", store, "--json").out
    folder = Path(place.removeprefix("file:"))
    part = next(path for path in folder.rglob("*") if "rows" in path.parts and path.is_file())
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 4
    part.write_bytes(bytes(data))
    ran = binlog("rebuild", log, store, "--snapshots", place)
    assert ran.status == 3
    assert part.name in ran.err
    assert binlog("digest", store, "--json").out == before
    assert binlog("rebuild", log, store, "--snapshots", place, "--start", "begin").status == 0


def test_what_is_large_is_kept_beside_the_store_until_it_is_done(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to think of it before the machine goes down."""
    monkeypatch.setattr("snapshots.rebuild.GROUP_BYTES", 1)  # so there are four groups
    store = tmp_path / "e.db"
    last = next(
        line["key"] for line in binlog("cat", log, "--json").lines if line["partition"] == 3
    )
    update = {"Action": "UpdateItem", "Key": last, "Data": {"Add": {"n": 1}}}
    append(log, {"n": "text", **last}, update)
    command = ["rebuild", log, f"sqlite:{store}", "--workers", "1", "--json"]
    ran = binlog(*command)
    assert ran.status == 3, ran
    assert len(groups(Path(f"{store}.rebuild"))) == 3, "all but the one with the poison"
    assert binlog(*command).status == 3
    [found] = binlog(*command, "--park").lines
    assert "resumed" not in found, "with --park it is another rebuild"
    assert found["parked"] == 1
    assert not Path(f"{store}.rebuild").exists()


def test_killed_it_goes_on_with_what_was_folded(log: str, tmp_path: Path) -> None:
    """kill -9 in the middle, workers and all: the second run reads again only what was not kept."""
    (tmp_path / "slow.py").write_text(SLOW)
    append(log, {"Action": "Event", "Type": "Waited", "Table": "users", "Key": {"id": "u1"}})
    store, work = f"sqlite:{tmp_path / 'f.db'}", tmp_path / "work"
    command = ["rebuild", log, store, "--workers", "4", "--appliers", "slow:appliers", "--json"]
    command += ["--work", f"file:{work}"]
    with Started(*command, cwd=tmp_path) as running:
        running.wait_until(lambda: len(groups(work)) == 3 and (tmp_path / "waiting").exists())
        running.send_signal(signal.SIGKILL)
        assert running.communicate(timeout=LIMIT_S)[0] == b""
    assert not (tmp_path / "f.db").exists()
    (tmp_path / "go").touch()
    with Started(*command, cwd=tmp_path) as running:
        out, err = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0, err
    assert b'"resumed":3' in out.replace(b" ", b"")
    assert not work.exists() or not any(path.is_file() for path in work.rglob("*"))
    [found] = binlog("digest", store, "--json").lines
    assert found["tables"]["users"]["items"] == 20


def groups(work: Path) -> list[Path]:
    return [path for path in work.rglob("[0-9][0-9][0-9][0-9]") if path.is_file()]


def test_a_place_without_snapshots_is_told(log: str, tmp_path: Path) -> None:
    """It may be a slip in its name, and the rebuild takes long for it; asked for, it is none."""
    empty = f"file:{tmp_path / 'snapshot'}"
    told = f"{empty}: no snapshot is finished there"
    assert told in binlog("rebuild", log, "memory:", "--snapshots", empty).err
    ran = binlog("rebuild", log, "memory:", "--snapshots", empty, "--start", "begin")
    assert told not in ran.err
