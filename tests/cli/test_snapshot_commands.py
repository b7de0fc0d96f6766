"""`snapshot`, `snapshots` and `restore`: what they print, refuse, and leave alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import append, binlog

# All that is ever taken in one piece of time, whatever the hour strikes meanwhile.
KEEP_ONE = ("--keep", "9999w:9999w")


class Place:
    """A log, a replica of it, and where its snapshots go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = f"file:{path / 'log'}"
        self.store = f"sqlite:{path / 'live.db'}"
        self.dest = f"file:{path / 'snapshots'}"
        binlog("init", self.log, "--partitions", "4")
        append(self.log, *({"id": f"u{n}", "n": n} for n in range(30)))
        binlog("replicate", self.log, self.store, "--once")

    def sqlite(self, name: str) -> str:
        return f"sqlite:{self.path / name}"

    def taken(self, *options: str) -> dict[str, Any]:
        ran = binlog("snapshot", self.store, self.dest, "--json", *options)
        assert ran.status == 0, ran.err
        [document] = ran.lines
        [snapshot] = document["snapshots"]
        return dict(snapshot)

    def listed(self) -> list[dict[str, Any]]:
        [document] = binlog("snapshots", self.dest, "--json").lines
        return list(document["snapshots"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def digests(store: str) -> Any:
    [document] = binlog("digest", store, "--json").lines
    return document


def test_a_snapshot_is_taken_listed_checked_and_restored(place: Place) -> None:
    taken = place.taken()
    assert taken["is_exact"]
    assert taken["vector"] == digests(place.store)["vector"]
    assert taken["tables"]["users"]["digest"] == digests(place.store)["tables"]["users"]["digest"]
    assert place.listed() == [taken]
    [checked] = binlog("snapshots", place.dest, "--check", "--json").lines
    assert checked == {"ok": True, "findings": []}
    back = place.sqlite("back.db")
    [planned] = binlog("restore", place.dest, back, "--dry-run", "--json").lines
    assert planned["would_restore"][0]["replaces"] == []
    assert not (place.path / "back.db").exists()
    [restored] = binlog("restore", place.dest, back, "--workers", "2", "--json").lines
    assert restored["restored"][0]["id"] == taken["id"]
    assert digests(back) == digests(place.store)
    append(place.log, {"id": "u5", "n": 99})
    for store in (place.store, back):
        assert binlog("replicate", place.log, store, "--once").status == 0
    assert binlog("verify", place.store, back).status == 0
    [planned] = binlog("restore", place.dest, back, "--dry-run", "--json").lines
    assert planned["would_restore"][0]["replaces"] == ["users"]


def test_what_would_be_read_is_told(place: Place) -> None:
    [told] = binlog("snapshot", place.store, place.dest, "--dry-run", "--json").lines
    assert told == {"would_read": {"users": None}, "read_units": 0, "dollars": 0, "seconds": None}
    assert binlog("snapshot", place.store, place.dest, "--dry-run").out.splitlines()[1].split() == [
        "users",
        *("-" * 4),
    ]
    assert place.listed() == []


def test_people_see_a_table(place: Place) -> None:
    assert binlog("snapshots", place.dest).err == f"{place.dest}: no snapshot is finished there\n"
    said = binlog("snapshot", place.store, place.dest).out
    assert said.endswith("30 rows of users\n")
    shown = binlog("snapshots", place.dest).out.splitlines()
    assert shown[0].split() == [
        "id",
        "taken",
        "tables",
        "rows",
        "offsets",
        "exact",
        "size",
        "digest",
    ]
    assert shown[1].split()[2:6] == ["users", "30", "30", "yes"]
    assert binlog("restore", place.dest, place.sqlite("b.db"), "--dry-run").out == (
        f"would restore {said.split()[0]}: 30 rows of users\n"
    )
    assert binlog("restore", place.dest, place.sqlite("b.db")).out == (
        f"restored {said.split()[0]}: 30 rows\n"
    )
    assert "in place of users" in binlog("restore", place.dest, place.store, "--dry-run").out


def test_a_policy_is_a_dry_run_until_yes(place: Place) -> None:
    """A typing error in a policy must not cost a snapshot."""
    first, second, third = (place.taken("--anew")["id"] for _ in range(3))
    order = [each["id"] for each in place.listed()]
    keep = ["snapshots", place.dest, *KEEP_ONE, "--log", place.log]
    [told] = binlog(*keep, "--json").lines
    assert told["dry_run"]
    assert sorted(told["removed"]) == sorted({first, second, third} - {order[-1]})
    assert [each["id"] for each in told["kept"]] == [order[-1]]
    assert len(place.listed()) == 3
    said = binlog(*keep)
    assert "would go: 2 of 3" in said.out
    assert said.out.count("the newest") == 1
    [done] = binlog(*keep, "--yes", "--json").lines
    assert not done["dry_run"]
    assert [each["id"] for each in place.listed()] == [order[-1]]
    assert binlog("restore", place.dest, place.sqlite("back.db")).status == 0


def test_the_oldest_stays_where_no_log_is_named(place: Place) -> None:
    for _ in range(3):
        place.taken("--anew")
    order = [each["id"] for each in place.listed()]
    [done] = binlog("snapshots", place.dest, *KEEP_ONE, "--yes", "--json").lines
    assert [each["id"] for each in done["kept"]] == [order[0], order[-1]]
    assert done["kept"][0]["reasons"] == ["the oldest, since no log was named"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "soon"], "is no term of a policy"),
        (["--yes"], "go with --keep"),
        (["--log", "file:x"], "goes with --keep or --check"),
        (["--keep", "1h:1h", "--yes", "--dry-run"], "not both"),
        (["--keep", "1h:1h", "--check"], "not both"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    place: Place, options: list[str], said: str
) -> None:
    ran = binlog("snapshots", place.dest, *options)
    assert ran.status == 2
    assert said in ran.err


def test_damage_is_told_and_its_snapshot_not_restored(place: Place) -> None:
    id_ = place.taken()["id"]
    [part] = (place.path / "snapshots" / "parts" / id_ / "rows").iterdir()
    data = bytearray(part.read_bytes())
    data[20] ^= 1
    part.write_bytes(data)
    ran = binlog("snapshots", place.dest, "--check")
    assert ran.status == 1
    assert ran.out.startswith("broken snapshot-part: byte 8 of ")
    assert ran.out.endswith("damaged\n")
    back = binlog("restore", place.dest, place.sqlite("back.db"))
    assert back.status == 3
    assert "a section is not what was written" in back.err
    assert "use another one: `binlog snapshots` lists them, restore takes it by --id" in back.err
    assert not (place.path / "back.db").exists()
    manifest = place.path / "snapshots" / "manifests" / f"{id_}.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"format":1', b'"format":7', 1))
    ran = binlog("snapshots", place.dest)
    assert ran.status == 1
    assert "its checksum is another" in ran.err
    [document] = binlog("snapshots", place.dest, "--json").lines
    assert [each["id"] for each in document["unreadable"]] == [id_]
    assert binlog("snapshots", place.dest, "--keep", "1h:1h", "--yes").status == 0
    assert manifest.exists(), "what cannot be read is not touched"


def test_a_snapshot_that_is_not_there_or_not_finished_is_refused(place: Place) -> None:
    ran = binlog("restore", place.dest, place.sqlite("back.db"))
    assert ran.status == 2
    assert "there is no snapshot" in ran.err
    id_ = place.taken()["id"]
    ran = binlog(
        "restore", place.dest, place.sqlite("back.db"), "--id", "20200101T000000Z-00000000"
    )
    assert ran.status == 2
    assert "there is no snapshot 20200101T000000Z-00000000" in ran.err
    (place.path / "snapshots" / "manifests" / f"{id_}.json").unlink()
    ran = binlog("restore", place.dest, place.sqlite("back.db"), "--id", id_)
    assert ran.status == 2
    assert f"snapshot {id_} was finished, and its manifest is gone" in ran.err
    ran = binlog("snapshots", place.dest)
    assert ran.status == 1, "it is listed as what cannot be read"
    assert f"{id_}: snapshot {id_} was finished" in ran.err
    [last] = (place.path / "snapshots" / "parts" / id_).glob("relayed/*")
    last.unlink()
    ran = binlog("restore", place.dest, place.sqlite("back.db"), "--id", id_)
    assert ran.status == 2
    assert "has no manifest: it was interrupted" in ran.err
    assert place.taken()["id"] == id_, "gone on with"


def test_another_log_and_another_store_are_refused(place: Place, tmp_path: Path) -> None:
    """Nothing that exists is touched."""
    place.taken()
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    before = digests(other.store)
    for more in ([], ["--dry-run"]):
        ran = binlog("restore", place.dest, other.store, *more)
        assert ran.status == 2
        assert "log" in ran.err
    assert digests(other.store) == before
    ran = binlog("restore", place.dest, place.sqlite("back.db"), other.log)
    assert ran.status == 2
    assert "the log given is" in ran.err
    ran = binlog("snapshots", place.dest, "--keep", "1h:1h", "--log", other.log)
    assert ran.status == 2
    assert "name the log that they are of" in ran.err
    ran = binlog("snapshot", place.sqlite("nothing.db"), place.dest)
    assert ran.status == 2
    ran = binlog("snapshot", place.store, place.dest, "--rate", "5")
    assert ran.status == 2
    assert "nothing is paid by the unit" in ran.err


def test_tables_built_apart_have_a_snapshot_each_and_come_back_together(place: Place) -> None:
    append(place.log, {"id": "o1", "n": 1}, table="orders")
    assert binlog("rebuild", place.log, place.store, "--table", "orders").status == 0
    binlog("replicate", place.log, place.store, "--once")
    [document] = binlog("snapshot", place.store, place.dest, "--json").lines
    ids = [each["id"] for each in document["snapshots"]]
    assert len(ids) == 2
    [open_one] = [each for each in document["snapshots"] if each["open"]]
    assert open_one["without"] == ["orders"]
    back = place.sqlite("back.db")
    ran = binlog("restore", place.dest, back, "--id", open_one["id"])
    assert ran.status == 2
    assert "all tables but orders" in ran.err
    ran = binlog("restore", place.dest, back, "--id", ids[0], "--id", ids[1])
    assert ran.status == 0, ran.err
    assert binlog("verify", place.store, back).status == 0
    [restored] = binlog("restore", place.dest, place.sqlite("whole.db"), "--json").lines
    assert [each["open"] for each in restored["restored"]] == [True, False]
    assert binlog("verify", place.store, place.sqlite("whole.db")).status == 0


def test_what_was_removed_by_hand_is_named_by_check(place: Place) -> None:
    id_ = place.taken()["id"]
    shutil.rmtree(place.path / "snapshots" / "parts" / id_ / "rows")
    ran = binlog("snapshots", place.dest, "--check")
    assert ran.status == 1
    assert "a part is missing" in ran.out


def test_checkpoints_are_held_against_the_log(place: Place, tmp_path: Path) -> None:
    """A snapshot that is whole may still be of a log that is not this one any more."""
    place.taken()
    check = ["snapshots", place.dest, "--check", "--log"]
    assert binlog(*check, place.log).out == "ok\n"
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    append(place.log, {"id": "u5", "n": 99})
    binlog("replicate", place.log, place.store, "--once")
    place.taken()
    append(f"file:{tmp_path / 'copy'}", {"id": "u5", "n": 100, "more": "x"})
    ran = binlog(*check, f"file:{tmp_path / 'copy'}")
    assert ran.status == 1
    assert "broken checkpoint-" in ran.out
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    ran = binlog(*check, other.log)
    assert ran.status == 2, "nothing there was held against it"
    assert "is of log" in ran.err
    assert "and none there is of it" in ran.err
    assert "name the log that they are of" in ran.err
    binlog("snapshot", other.store, place.dest)
    ran = binlog(*check, other.log)
    assert ran.status == 0
    assert ran.out.count("noted  snapshot-log") == 2


@pytest.mark.parametrize("what", ["a part", "the manifest"])
def test_a_damaged_base_of_an_adopted_table_is_no_matter_of_another_one(
    tmp_path: Path, what: str
) -> None:
    """It cannot be taken again, and no other one stands in its place."""
    (tmp_path / "users.jsonl").write_text('{"id": "u1", "n": 1}\n')
    log, dest = f"file:{tmp_path / 'log'}", f"file:{tmp_path / 'bases'}"
    binlog("init", log, "--partitions", "4")
    adopt = ["adopt", f"file:{tmp_path / 'users.jsonl'}", log, "--as", "users", "--key", "id"]
    assert binlog(*adopt, "--snapshots", dest, "--yes").status == 0
    found = "parts/*/rows/*" if what == "a part" else "manifests/*.json"
    [part] = (tmp_path / "bases").glob(found)
    part.write_bytes(part.read_bytes().replace(b"n", b"N").replace(b"\0", b"\1"))
    ran = binlog("rebuild", log, f"sqlite:{tmp_path / 'r.db'}")
    assert ran.status == 3
    assert "the base of table users, which cannot be taken again: bring this object back" in ran.err
    assert "use another one" not in ran.err
    if what == "a part":
        assert binlog("snapshots", dest, "--check").out.count("cannot be taken again") == 1


def test_check_of_a_log_looks_at_its_snapshots_too(place: Place) -> None:
    id_ = place.taken()["id"]
    check = ["check", place.log, place.store, "--snapshots", place.dest]
    ran = binlog(*check)
    assert ran.status == 0, ran.out
    begun = place.path / "snapshots" / "parts" / id_ / "begun"
    data = begun.read_bytes()
    begun.write_bytes(data.replace(b'"offset":', b'"offset":1', 1))
    [document] = binlog(*check, "--json").lines
    assert not document["ok"]
    assert {each["rule"] for each in document["findings"]} == {"snapshot-begun"}
    begun.write_bytes(data)
    shutil.rmtree(place.path / "log")
    binlog("init", place.log, "--partitions", "4")
    ran = binlog("check", place.log, "--snapshots", place.dest)
    assert ran.status == 0, "of another log, which is mentioned"
    assert "noted  snapshot-log" in ran.out


def test_neither_an_archive_nor_a_log_is_a_place_for_snapshots(place: Place) -> None:
    """A slip of the hand; what is kept there stays as it is."""
    archive = f"file:{place.path / 'archive'}"
    binlog("archive", place.log, archive, "--once")
    for dest, what in ((archive, "an archive"), (place.log, "a log")):
        ran = binlog("snapshot", place.store, dest)
        assert ran.status != 0
        assert f"{what} is kept there" in ran.err
        assert binlog("check", dest).status == 0
        assert not (place.path / dest.rpartition("/")[2] / "parts").exists()
