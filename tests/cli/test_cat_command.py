"""`binlog cat`: what every reader of the log sees, chosen, ordered and formatted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from binlog.json_values import untyped_item
from tests.cli.running import LIMIT_S, Started, append, binlog

FIELDS = """partition offset version id type schema table key time arrival data meta session
    number""".split()  # noqa: SIM905 (as section 11 writes them)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    assert binlog("init", f"file:{tmp_path}/log", "--partitions=4").status == 0
    return tmp_path / "log"


@pytest.fixture
def log(directory: Path) -> str:
    """Two appends of 30 puts over four partitions, a delete, an update and an event."""
    address = f"file:{directory}"
    for number in range(2):
        puts = [{"id": f"k{n}", "n": n, "round": number} for n in range(30)]
        assert append(address, *puts).status == 0
    ran = append(
        address,
        {"Action": "DeleteItem", "Key": {"id": "k1"}, "Meta": {"by": "test"}},
        {"Action": "UpdateItem", "Key": {"id": "k2"}, "Data": {"Set": {"a": 0.1}, "Remove": ["n"]}},
        {"Action": "Event", "Type": "Seen", "Schema": 3, "Key": {"id": "k3"}, "Data": [1, None]},
        {"Action": "PutItem", "Table": "orders", "Data": {"id": "k1"}},
    )
    assert ran.status == 0, ran.err
    return address


def cat(log: str, *options: str) -> list[dict[str, Any]]:
    ran = binlog("cat", log, "--json", *options)
    assert (ran.status, ran.err) == (0, "")
    return ran.lines


def places(events: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(event["partition"], event["offset"]) for event in events]


def test_prints_every_event_by_partition_then_offset_dense_from_one(log: str) -> None:
    events = cat(log)
    assert len(events) == 64
    by_partition: dict[int, list[int]] = {}
    for partition, offset in places(events):
        by_partition.setdefault(partition, []).append(offset)
    assert list(by_partition) == sorted(by_partition)
    assert len(by_partition) == 4
    for offsets in by_partition.values():
        assert offsets == list(range(1, len(offsets) + 1))


def test_a_line_has_the_agreed_fields(log: str) -> None:
    events = {event["type"]: event for event in cat(log)}
    assert all(list(event) == FIELDS for event in events.values())
    assert {t: e["data"] for t, e in events.items() if t != "PutItem"} == {
        "DeleteItem": None,
        "UpdateItem": {"Remove": ["n"], "Set": {"a": "0.1"}},
        "Seen": [1, None],
    }
    delete, event = events["DeleteItem"], events["Seen"]
    assert (delete["key"], delete["table"], delete["meta"]) == (
        {"id": "k1"},
        "users",
        {"by": "test"},
    )
    assert (event["schema"], event["meta"], event["table"]) == (3, None, "users")
    assert event["version"] == event["offset"]
    for name in ("time", "arrival"):
        assert len(event[name]) == len("2026-01-31T12:00:00.000Z")
        assert event[name].endswith("Z")
    family, _, generation = event["session"].partition(".")
    assert (len(family), generation.isdigit()) == (32, True)


def test_an_event_without_a_table_has_none(directory: Path) -> None:
    line = b'{"Action": "Event", "Type": "Seen", "Key": {"id": "a"}}\n'
    assert binlog("append", f"file:{directory}", given=line).status == 0
    [event] = cat(f"file:{directory}")
    assert (event["table"], event["data"]) == (None, None)


def test_numbers_come_back_with_every_digit(directory: Path) -> None:
    digits, fraction = "9" * 38, "0." + "1" * 38
    line = f'{{"id": "a", "n": {digits}, "f": {fraction}, "t": 0.1, "w": 1e2}}'.encode()
    append(f"file:{directory}", line)
    out = binlog("cat", f"file:{directory}", "--json").out
    assert f'"n":{digits},' in out
    assert f'"f":{fraction},' in out
    assert '"t":0.1,"w":100}' in out


# -- choosing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--table=orders"], 1),
        (["--table=nothing"], 0),
        (["--table=users"], 63),
        (["--type=PutItem"], 61),
        (["--type=Seen"], 1),
        (['--key={"id": "k1"}'], 4),
        (['--key={"id": {"S": "k1"}}'], 4),
        (['--key={"id": "k1"}', "--table=users"], 3),
        (['--key={"id": "k1"}', "--table=users", "--type=DeleteItem"], 1),
        (['--key={"id": "nobody"}'], 0),
    ],
)
def test_chooses_by_table_key_and_type(log: str, options: list[str], count: int) -> None:
    every, some = cat(log), cat(log, *options)
    assert len(some) == count
    assert [event for event in every if event in some] == some


def test_chooses_a_partition(log: str) -> None:
    every = cat(log)
    for partition in range(4):
        wanted = [event for event in every if event["partition"] == partition]
        assert cat(log, f"--partition={partition}") == wanted


def test_a_key_that_lives_in_another_partition_than_asked_gives_nothing(log: str) -> None:
    [home] = {e["partition"] for e in cat(log, "--table=users", '--key={"id": "k1"}')}
    other = (home + 1) % 4
    assert cat(log, "--table=users", '--key={"id": "k1"}', f"--partition={other}") == []


def test_after_the_end_is_nothing_yet(log: str) -> None:
    """The same word as in --through; with --follow it is what comes from now on."""
    assert cat(log, "--after=end") == []


def test_after_is_exclusive_and_through_is_inclusive(log: str) -> None:
    every = cat(log)
    after, through = {"0": 2, "1": 5}, {"0": 7, "1": 5, "3": 1}
    wanted = [
        (partition, offset)
        for partition, offset in places(every)
        if after.get(str(partition), 0) < offset <= through.get(str(partition), 0)
    ]
    got = cat(log, f"--after={json.dumps(after)}", f"--through={json.dumps(through)}")
    assert places(got) == wanted == [(0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (3, 1)]


def test_a_vector_may_stand_in_a_file(log: str, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"2": 3}\n')
    assert places(cat(log, f"--through=@{tmp_path}/v.json")) == [(2, 1), (2, 2), (2, 3)]


def test_end_means_all_there_is(log: str) -> None:
    assert cat(log, "--through=end") == cat(log)


def test_through_a_moment_is_what_had_arrived_by_then(log: str) -> None:
    every = cat(log)
    for moment in {event["arrival"] for event in every}:
        wanted = [event for event in every if event["arrival"] <= moment]
        assert cat(log, f"--through={moment}") == wanted
        # The same moment in another zone.
        elsewhere = moment.replace("Z", "+00:00").replace("T", " ")
        assert cat(log, f"--through={elsewhere}") == wanted
    assert cat(log, "--through=2001-01-01T00:00:00Z") == []
    assert cat(log, "--through=2999-01-01T00:00:00Z") == every


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (['--through={"4": 1}'], "the vector names partition 4"),
        (['--after={"4": 1}'], "the vector names partition 4"),
        (['--through={"0": 1000}'], "the vector names offset 1000 of partition 0"),
        (['--after={"0": 1000}'], "--after names offset 1000 of partition 0"),
        (['--through={"0": -1}'], "the vector names offset -1"),
        (['--through={"x": 1}'], "no vector"),
        (['--through={"0": 1.5}'], "no vector"),
        (["--through={"], "no vector"),
        (["--through=@nowhere"], "cannot read nowhere"),
        (["--through=tomorrow"], "is not a vector"),
        (["--through=2026-01-31"], "is not a vector"),
        (["--through=2026-01-31T12:00:00"], "is not a vector"),
        (["--through=2026-02-30T12:00:00Z"], "is no time"),
        (["--after=2026-01-31T12:00:00Z"], "is not a vector"),
        (["--partition=4"], "partition 4 does not exist"),
        (["--partition=-1"], "-1 is not in the range"),
        (["--key=k1"], "no JSON"),
        (["--key={}"], "a key is an object of attributes"),
        (['--key={"id": 1, "id": 1}'], "stands twice"),
        (["--appliers=nowhere:nothing"], "no module 'nowhere'"),
    ],
)
def test_refuses_what_it_cannot_choose_by(log: str, options: list[str], says: str) -> None:
    ran = binlog("cat", log, *options)
    assert ran.status == 2
    assert says in ran.err


# -- forms -----------------------------------------------------------------------------------------


def test_text_is_a_line_an_event_with_what_matters(log: str) -> None:
    ran = binlog("cat", log, "--table=users", '--key={"id": "k1"}')
    lines = ran.out.splitlines()
    assert len(lines) == 3
    assert "PutItem" in lines[0]
    assert '{"id":"k1","n":1,"round":0}' in lines[0]
    assert lines[2].endswith('DeleteItem  users  {"id":"k1"}')


def test_text_cannot_steer_the_terminal(directory: Path) -> None:
    append(f"file:{directory}", {"id": "a\u009b2Jb\u202e"})
    out = binlog("cat", f"file:{directory}").out
    assert "\\x9b2Jb\\u202e" in out


def test_dynamodb_form_is_lossless_and_plain_is_not(directory: Path) -> None:
    address = f"file:{directory}"
    item = {"id": {"S": "a"}, "b": {"B": "AAE="}, "s": {"NS": ["1", "2"]}, "l": {"L": [{"N": "1"}]}}
    append(address, json.dumps(item).encode(), format="dynamodb")
    [plain], [typed] = cat(address), cat(address, "--format=dynamodb")
    assert plain["data"] == {"b": "AAE=", "id": "a", "l": [1], "s": [1, 2]}
    assert typed["data"] == item
    assert typed["key"] == {"id": {"S": "a"}}


def test_what_dynamodb_form_prints_can_be_appended_again(log: str, directory: Path) -> None:
    """The data and key of each type of event, in the shape that append reads."""
    copy = f"file:{directory.parent}/copy"
    binlog("init", copy, "--partitions=4")
    lines = []
    for event in cat(log, "--format=dynamodb"):
        action = {"Action": event["type"], "Table": event["table"], "Key": event["key"]}
        if event["type"] == "Seen":
            action |= {"Action": "Event", "Type": "Seen", "Schema": event["schema"]}
        if event["data"] is not None:
            action["Data"] = event["data"]
        lines.append(action)
    assert append(copy, *lines, format="dynamodb").status == 0
    keep = ("partition", "offset", "type", "schema", "table", "key", "data")
    assert [[e[k] for k in keep] for e in cat(copy)] == [[e[k] for k in keep] for e in cat(log)]
    assert untyped_item(lines[0]["Key"])


def test_upcasts_with_the_users_appliers(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cat_rules.py").write_text(
        "from appliers.applier import Appliers\n"
        "appliers = Appliers()\n"
        "@appliers.upcaster('Seen', from_version=3)\n"
        "def newer(data):\n"
        "    return {'list': data}\n"
        "@appliers.upcaster('Seen', from_version=2)\n"
        "def new(data):\n"
        "    return data\n"
        "@appliers.upcaster('Seen', from_version=1)\n"
        "def old(data):\n"
        "    return data\n"
    )
    monkeypatch.chdir(tmp_path)
    [event] = cat(log, "--type=Seen", "--appliers=cat_rules:appliers")
    assert (event["schema"], event["data"]) == (4, {"list": [1, None]})


# -- a log that is not whole, and one that grows -----------------------------------------------------


def segment(directory: Path) -> Path:
    [found] = directory.glob("*.seg")
    return found


def flips(size: int) -> Iterator[int]:
    yield from range(size // 2, size, max(1, size // 16))


def test_prints_what_lies_before_damage_and_says_where_it_is(log: str, directory: Path) -> None:
    whole = cat(log)
    path = segment(directory)
    data = path.read_bytes()
    for place in flips(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        ran = binlog("cat", log, "--json")
        assert ran.status == 3
        assert path.name in ran.err
        assert "byte" in ran.err
        kept = ran.lines
        assert len(kept) < len(whole)
        for partition in range(4):
            mine = [event for event in kept if event["partition"] == partition]
            assert mine == [e for e in whole if e["partition"] == partition][: len(mine)]


@pytest.mark.parametrize("tail", [bytes(5_000), b"\xff" * 100], ids=["zeros", "ones"])
def test_a_torn_tail_is_no_damage(log: str, directory: Path, tail: bytes) -> None:
    whole = cat(log)
    with segment(directory).open("ab") as file:
        file.write(tail)
    assert cat(log) == whole


def test_follows_what_others_append(log: str, directory: Path) -> None:
    before = cat(log)
    with Started("cat", log, "--json", "--follow", cwd=directory.parent) as process:
        assert [process.receive()["id"] for _ in before] == [event["id"] for event in before]
        for number in range(3):
            append(log, {"id": "new", "n": number})
            assert process.receive()["data"] == {"id": "new", "n": number}
        process.terminate()


def test_follows_up_to_a_vector_that_is_still_to_come(log: str, directory: Path) -> None:
    before = cat(log)
    end = max(offset for partition, offset in places(before) if partition == 1)
    key = next(e["key"] for e in before if e["partition"] == 1 and e["table"] == "users")
    args = ["--json", "--follow", "--partition=1", f'--through={{"1": {end + 1}}}']
    with Started("cat", log, *args, cwd=directory.parent) as process:
        for _ in range(end):
            process.receive()
        append(log, key | {"n": 1}, key | {"n": 2})
        assert process.receive()["offset"] == end + 1
        assert process.wait(LIMIT_S) == 0
