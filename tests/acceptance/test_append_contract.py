"""`append`: what is acknowledged, when, in which form; what is refused, and what then stays."""

from __future__ import annotations

import contextlib
import json
import re
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from tests.acceptance.acceptance_support import (
    Line,
    Started,
    World,
    binlog,
    by_key,
    dump,
    inside,
    inside_refused,
    jsonl,
    many,
    ok,
    refused,
)

KB_400 = 400 * 1024


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("append"))


# -- acknowledgement -----------------------------------------------------------------------------


def test_an_acknowledgement_is_what_cat_shows_of_the_event(tmp_path: Path) -> None:
    world = World(tmp_path)
    batch = {"Action": "BatchWrite", "Id": "B", "Data": [{"id": "x"}, {"Delete": {"id": "k1"}}]}
    acks = world.put(*({"id": f"k{n}", "n": n} for n in range(50)), batch)
    assert all(list(ack) == ["line", "id", "partition", "session", "number"] for ack in acks)
    assert all(re.fullmatch(r"[0-9a-f]{32}\.\d+", ack["session"]) for ack in acks)
    assert sorted(ack["line"] for ack in acks) == [*range(1, 51), 51, 51]
    fields = ("id", "partition", "session", "number")
    events = world.events()
    assert {tuple(a[f] for f in fields) for a in acks} == {
        tuple(e[f] for f in fields) for e in events
    }
    assert len(events) == 52
    # The numbers of a session count from 1 in each partition, in the order of the lines.
    for partition in {ack["partition"] for ack in acks}:
        mine = sorted(a["number"] for a in acks if a["partition"] == partition)
        assert mine == list(range(1, len(mine) + 1))


def test_acknowledges_within_a_second_of_a_pause_while_its_input_is_open(world: World) -> None:
    with Started("append", world.log, "--table", "users", "--key", "id") as run:
        run.send(jsonl({"id": "open-0"}))  # the first one waits for the start as well
        assert run.receive()["line"] == 1
        for number in range(1, 4):
            began = time.monotonic()
            run.send(jsonl({"id": f"open-{number}"}))
            ack = run.receive()
            assert time.monotonic() - began < 1.0
            assert ack["line"] == number + 1
            # Acknowledged is durable, and readable by others, now.
            if number == 3:
                assert ack["id"] in {e["id"] for e in world.events()}
        run.send(b'{"id": "no end of line"}')
        assert run.stdin is not None
        run.stdin.close()
        run.stdin = None
        ran = run.end()
    assert (ran.status, ran.err) == (0, "")
    assert [ack["line"] for ack in ran.lines] == [5]


def test_a_line_that_is_refused_while_the_input_is_open_ends_it_at_once(world: World) -> None:
    with Started("append", world.log, "--table", "users", "--key", "id") as run:
        run.send(jsonl({"id": "live-1"}, {"id": "live-2"}, "oops", {"id": "live-4"}))
        assert run.wait(20) == 2
        ran = run.end()
    assert sorted(ack["line"] for ack in ran.lines) == [1, 2]
    assert "line 3" in ran.err
    keys = {e["key"]["id"] for e in world.events()}
    assert {"live-1", "live-2"} <= keys
    assert "live-4" not in keys


def test_several_appenders_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    count = 300
    with ExitStack() as stack:
        runs = [
            stack.enter_context(Started("append", world.log, "--table", "users", "--key", "id"))
            for _ in range(4)
        ]
        for run in runs:  # all are inside before any gets to its end
            run.send(jsonl({"id": "shared", "by": 0}))
            run.receive()
        for place, run in enumerate(runs):
            run.send(jsonl(*({"id": f"{place}-{n}", "n": n} for n in range(count))))
        for run in runs:
            assert run.stdin is not None
            run.stdin.close()
            run.stdin = None
        ended = [run.end() for run in runs]
    assert [(ran.status, ran.err, len(ran.lines)) for ran in ended] == [(0, "", count)] * 4
    events = world.events()
    assert len(events) == 4 + 4 * count
    acknowledged = {ack["id"] for ran in ended for ack in ran.lines}
    assert acknowledged < {e["id"] for e in events}
    for partition in range(4):
        offsets = [e["offset"] for e in events if e["partition"] == partition]
        assert offsets == list(range(1, len(offsets) + 1))  # dense
    for place in range(4):  # each appender's order is kept, key by key and within a partition
        mine = [e for e in events if e["key"]["id"].startswith(f"{place}-")]
        for partition in range(4):
            numbers = [e["data"]["n"] for e in mine if e["partition"] == partition]
            assert numbers == sorted(numbers)
    assert len({e["session"] for e in events}) == 4


def test_reads_a_file_or_a_dash_and_prints_the_same_with_json(world: World, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl({"id": "file-1"}) + b'{"id": "file-2"}')
    from_file = ok("append", world.log, f"{tmp_path}/in.jsonl", "--table", "users", "--key", "id")
    dash = ok("append", world.log, "-", "--table=users", "--key=id", "--json", given='{"id": "d"}')
    assert sorted(ack["line"] for ack in from_file.lines) == [1, 2]
    assert dash.document["line"] == 1
    assert ok("append", world.log, given=b"").out == ""
    missing = refused(2, "append", world.log, f"{tmp_path}/absent.jsonl")
    assert "absent.jsonl" in missing


# -- refusal -------------------------------------------------------------------------------------


def nested(lists: int) -> str:
    """An item with an attribute of so many lists, one in the other.

    31 and a number in them are within 32 levels however one counts, 33 are not.
    """
    return '{"id": "deep", "d": ' + "[" * lists + "1" + "]" * lists + "}"


def sized(size: int) -> dict[str, str]:
    """An item of that many bytes: names and values, as DynamoDB counts."""
    return {"id": "big", "text": "x" * (size - len("id" + "big" + "text"))}


def action(**fields: object) -> dict[str, object]:
    return {"Action": "PutItem", "Data": {"id": "a"}, **fields}


def change(**sections: object) -> dict[str, object]:
    return {"Action": "UpdateItem", "Key": {"id": "a"}, "Data": sections}


REFUSED: dict[str, tuple[Line, str]] = {
    # what it is: the line, and a word that says why
    "no JSON": ("hello", "JSON"),
    "two documents": ('{"id": "a"} {"id": "b"}', "JSON"),
    "no object": ("[1]", "object"),
    "a name twice": ('{"id": "a", "n": 1, "n": 2}', "twice"),
    "a name twice, spelt in two ways": ('{"id": "a", "\\u0069d": "b"}', "twice"),
    "a name twice, deep": ('{"id": "a", "m": [{"x": {"y": 1, "y": 1}}]}', "twice"),
    "a field twice": ('{"Action": "PutItem", "Data": {"id": "a"}, "Data": {"id": "b"}}', "twice"),
    "bytes that are no UTF-8": (b'{"id": "\xff"}', "UTF-8"),
    "an overlong form": (b'{"id": "\xc0\xaf"}', "UTF-8"),
    "a surrogate as bytes": (b'{"id": "\xed\xa0\x80"}', "UTF-8"),
    "a lone surrogate": ('{"id": "a", "s": "\\ud800"}', "surrogate"),
    "a lone low surrogate, deep": ('{"id": "a", "s": [{"t": "x\\udfffx"}]}', "surrogate"),
    "a lone surrogate in a name": ('{"id": "a", "\\ud800": 1}', "surrogate"),
    "a lone surrogate in Meta": (
        '{"Action": "PutItem", "Data": {"id": "a"}, "Meta": {"m": "\\ud800"}}',
        "surrogate",
    ),
    "NaN": ('{"id": "a", "n": NaN}', "NaN"),
    "Infinity": ('{"id": "a", "n": Infinity}', "Infinity"),
    "-Infinity": ('{"id": "a", "n": [-Infinity]}', "Infinity"),
    "1e400": ('{"id": "a", "n": 1e400}', "range"),
    "-1e400": ('{"id": "a", "n": -1e400}', "range"),
    "1e-400": ('{"id": "a", "n": 1e-400}', "range"),
    "39 digits": ('{"id": "a", "n": ' + "1" * 39 + "}", "38"),
    "39 digits with a point": ('{"id": "a", "n": 0.' + "1" * 39 + "}", "38"),
    "a number of 100,000 digits": ('{"id": "a", "n": ' + "1" * 100_000 + "}", ""),
    "depth 33": (nested(33), "32"),
    "depth 100,000": (nested(100_000), "32"),
    "an item above 400 KB": (sized(KB_400 + 1), str(KB_400 + 1)),
    "a missing key attribute": ({"n": 1}, "'id'"),
    "an empty key attribute": ({"id": ""}, "'id'"),
    "a null key attribute": ({"id": None}, "'id'"),
    "a key that is a list": ({"id": ["a"]}, "'id'"),
    "a key of 2,049 bytes": ({"id": "k" * 2_049}, "2048"),
    "a key of 2,049 bytes in fewer characters": ({"id": "é" * 1_024 + "k"}, "2048"),
    "_binlog in an item": ({"id": "a", "_binlog": 1}, "_binlog"),
    "_binlog set": (change(Set={"_binlog": 1}), "_binlog"),
    "_binlog removed": (change(Remove=["_binlog"]), "_binlog"),
    "_binlog as the key": ({"Action": "DeleteItem", "Key": {"_binlog": "a"}}, "_binlog"),
    "a table of two characters": (action(Table="ab"), "'ab'"),
    "a table with a slash": (action(Table="a/b/c"), "a/b/c"),
    "a table with a line end": (action(Table="abc\n"), "abc"),
    "a table beyond ASCII": (action(Table="tablé"), "tabl"),
    "a table of 256 characters": (action(Table="t" * 256), "255"),
    "an unknown action": ({"Action": "Upsert", "Data": {"id": "a"}}, "Upsert"),
    "an unknown field": (action(Datum=1), "Datum"),
    "Key and Data that disagree": (action(Key={"id": "b"}), "'id'"),
    "a delete with Data": ({"Action": "DeleteItem", "Key": {"id": "a"}, "Data": {}}, "Data"),
    "a delete without Key": ({"Action": "DeleteItem"}, "Key"),
    "an update of the key": (change(Set={"id": "b"}), "'id'"),
    "an update with an unknown section": (change(Put={"n": 1}), "Put"),
    "Add of text": (change(Add={"n": "x"}), "Add"),
    "Delete from what is no set": (change(Delete={"n": 1}), "Delete"),
    "a batch with Expect": ({"Action": "BatchWrite", "Data": [{"id": "a"}], "Expect": 0}, "Expect"),
    "a batch that is no list": ({"Action": "BatchWrite", "Data": {"id": "a"}}, "list"),
    "a batch with one bad element": (
        {"Action": "BatchWrite", "Data": [{"id": "a"}, {"id": ""}]},
        "element 1",
    ),
    "a batch that deletes without a key": (
        {"Action": "BatchWrite", "Data": [{"id": "a"}, {"Delete": {}}]},
        "element 1",
    ),
    "an event without Type": ({"Action": "Event", "Key": {"id": "a"}}, "Type"),
    "an event without Key": ({"Action": "Event", "Type": "Paid", "Data": 1}, "Key"),
    "an event of a built-in type": (
        {"Action": "Event", "Type": "PutItem", "Key": {"id": "a"}},
        "PutItem",
    ),
    "an event of a reserved type": (
        {"Action": "Event", "Type": "binlog.resolve", "Key": {"id": "a"}},
        "binlog.resolve",
    ),
    "Expect below 0": (action(Expect=-1), "Expect"),
    "Expect that is no whole number": ('{"Action":"PutItem","Data":{"id":"a"},"Expect":1.5}', ""),
    "Expect that is text": (action(Expect="1"), "Expect"),
    "an Id that is no text": (action(Id=7), "Id"),
    "Meta that is no object": (action(Meta=[1]), "Meta"),
}


# Those that end a process of their own here; the others do it in this one, which is quicker.
OUTSIDE = (
    "no JSON",
    "a name twice, deep",
    "bytes that are no UTF-8",
    "a lone surrogate",
    "NaN",
    "1e400",
    "39 digits",
    "depth 33",
    "an item above 400 KB",
    "an empty key attribute",
    "a key of 2,049 bytes",
    "_binlog in an item",
    "a table of two characters",
    "a batch with one bad element",
)


def test_what_is_refused_says_line_and_reason_and_leaves_what_came_before(world: World) -> None:
    """Every kind of bad line, between two good ones: exit 2, the first durable, the last not."""
    before = {e["id"] for e in world.events()}
    places = {name: place for place, name in enumerate(REFUSED)}

    def lines(name: str) -> tuple[list[str], bytes]:
        ids = [f"good-{places[name]}-{n}" for n in range(3)]
        good = [action(Data={"id": id_}, Id=id_) for id_ in ids]
        return ids, jsonl(good[0], good[1], REFUSED[name][0], good[2])

    args = ["append", world.log, "--table", "users", "--key", "id"]
    runs = dict(
        zip(OUTSIDE, many(lambda name: binlog(*args, given=lines(name)[1]), OUTSIDE), strict=True)
    )
    wrong = []
    for name, (_, reason) in REFUSED.items():
        ids, given = lines(name)
        ran = runs[name] if name in runs else inside(*args, given=given)
        if ran.status != 2:
            wrong.append(f"{name}: exit {ran.status}")
        if not re.search(r"\bline 3\b", ran.err) or reason not in ran.err or len(ran.err) > 500:
            wrong.append(f"{name}: no line, no reason {reason!r}, or too long: {ran.err}")
        acks = sorted((ack["line"], ack["id"]) for ack in ran.lines)
        if acks != [(1, ids[0]), (2, ids[1])]:
            wrong.append(f"{name}: acknowledged {ran.out}")
    assert "\n".join(wrong) == ""
    after = {e["id"] for e in world.events()} - before
    assert after == {id_ for name in REFUSED for id_ in lines(name)[0][:2]}
    # The log is as good as before.
    assert ok("check", world.log, "--json").document == {"ok": True, "findings": []}


def test_what_stands_just_at_a_limit_is_taken(tmp_path: Path) -> None:
    """Each limit's last good value, and it comes out of a rebuild as it went in."""
    world = World(tmp_path)
    digits = "12345678901234567890123456789012345678"
    lines: list[Line] = [
        nested(31),
        '{"id": "digits", "n": ' + digits + ', "m": -0.' + digits + ', "t": 0.1, "z": 100e-2}',
        '{"id": "range", "most": 9.9e125, "least": 1e-130, "long": 1' + "0" * 125 + "}",
        {"id": "k" * 2_048},
        {"id": "é" * 1_024},
        {"id": 5},
        {"id": "text", "s": "\u0000 \ud83d\ude00 \u2028 \\"},
        {"id": "empty", "s": "", "l": [], "m": {}, "null": None, "no": False},
        sized(400_000),
    ]
    acks = world.put(*lines)
    assert len(acks) == len(lines)
    world.rebuild(world.store("one"))
    items = by_key(dump(world.store("one")))
    assert len(items) == len(lines)
    found = ok("dump", world.store("one"), "--table", "users").out
    assert f'"n":{digits}' in found
    assert f'"m":-0.{digits}' in found
    assert '"t":0.1' in found
    assert items["digits"]["z"] == 1
    assert items["text"]["s"] == "\u0000 😀 \u2028 \\"
    assert items["empty"] == {
        "id": "empty",
        "s": "",
        "l": [],
        "m": {},
        "null": None,
        "no": False,
    }
    assert len(items["big"]["text"]) > 399_000


def test_a_second_key_attribute_may_have_1024_bytes(world: World) -> None:
    good = {"pk": "p" * 2_048, "sk": "s" * 1_024}
    assert len(world.put(good, table="pairs", key="pk,sk")) == 1
    for bad, limit in (
        ({"pk": "p" * 2_049, "sk": "s"}, "2048"),
        ({"pk": "p", "sk": "s" * 1_025}, "1024"),
        ({"pk": "p", "sk": ""}, "'sk'"),
        ({"pk": "p"}, "'sk'"),
    ):
        ran = world.append(good, bad, table="pairs", key="pk,sk")
        assert ran.status == 2, ran
        assert "line 2" in ran.err
        assert limit in ran.err
        assert len(ran.lines) == 1


def test_table_names_have_3_to_255_characters(world: World) -> None:
    for table in ("abc", "A-Z_0.9", "t" * 255, "..."):
        assert len(world.put({"id": "a"}, table=table)) == 1
    for table in ("ab", "t" * 256, "a b", "a/b", ""):
        inside_refused(2, "append", world.log, "--table", table, given='{"id": "a"}\n')


def test_blank_lines_count_and_say_nothing(world: World) -> None:
    ran = world.append(b"", {"id": "blank-1"}, b"  ", {"id": "blank-2"}, b"oops")
    assert ran.status == 2
    assert "line 5" in ran.err
    assert sorted(ack["line"] for ack in ran.lines) == [2, 4]


def test_without_a_table_a_line_is_refused(world: World) -> None:
    for line in (
        {"id": "a"},
        {"Action": "PutItem", "Data": "This is my test data"},
        {"Action": "DeleteItem", "Key": {"id": "a"}},
        {"Action": "BatchWrite", "Data": [{"item1": "value"}]},
    ):
        ran = inside("append", world.log, "--key", "id", given=jsonl(line))
        assert ran.status == 2, (line, ran)
        assert "line 1" in ran.err
        assert "table" in ran.err


def test_never_creates_a_log(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for name in ("absent", "empty", "other"):
        error = refused(
            (2, 3), "append", f"file:{tmp_path}/{name}", "--table=users", given='{"id": "a"}\n'
        )
        assert name in error
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "empty",
        "other",
        "other/notes.txt",
    ]


def test_a_reader_that_leaves_ends_the_run_quietly(world: World) -> None:
    """`binlog cat LOG | head -1`: no trace, no message of the interpreter."""
    world.put(*({"id": f"pipe-{n}", "text": "x" * 200} for n in range(1_000)))
    with Started("cat", world.log, "--json") as run:
        run.receive()
        assert run.stdout is not None
        run.stdout.close()
        assert run.stderr is not None
        err = run.stderr.read()
        run.wait(20)
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err
    assert b"Exception ignored" not in err


def test_an_appended_id_comes_back_as_it_was(world: World) -> None:
    given = 'quote " back \\ é 😀 \t \x7f \x00'
    [ack] = world.put({"Action": "PutItem", "Data": {"id": "a"}, "Id": given, "Meta": {"by": "me"}})
    assert ack["id"] == given
    [event] = [e for e in world.events() if e["session"] == ack["session"]]
    assert (event["id"], event["meta"]) == (given, {"by": "me"})


def test_typed_input_takes_every_kind_of_value_and_refuses_what_is_none(world: World) -> None:
    typed = {
        "id": {"S": "typed"},
        "n": {"N": "0.10"},
        "b": {"B": "AP8="},
        "ss": {"SS": ["b", "a"]},
        "ns": {"NS": ["10", "9"]},
        "bs": {"BS": ["AQ=="]},
        "m": {"M": {"l": {"L": [{"NULL": True}, {"BOOL": False}]}}},
    }
    options = ["--format", "dynamodb", "--table", "typed", "--key", "id"]
    ok("append", world.log, *options, given=jsonl(typed))
    [plain] = world.events("--table", "typed")
    assert plain["data"] == {
        "id": "typed",
        "n": parse_decimal("0.1"),
        "b": "AP8=",
        "ss": ["a", "b"],
        "ns": [9, 10],
        "bs": ["AQ=="],
        "m": {"l": [None, False]},
    }
    [lossless] = world.events("--table", "typed", "--format", "dynamodb")
    assert lossless["data"] == typed | {
        "n": {"N": "0.1"},
        "ss": {"SS": ["a", "b"]},
        "ns": {"NS": ["9", "10"]},
    }
    # What cat prints typed, append reads typed.
    again = {
        "Action": "PutItem",
        "Table": "typed",
        "Key": lossless["key"],
        "Data": lossless["data"],
    }
    ok("append", world.log, "--format", "dynamodb", given=json.dumps(again))
    for bad in (
        {"id": "typed"},
        {"id": {"S": "a"}, "n": {"N": 5}},
        {"id": {"S": "a"}, "n": {"N": "NaN"}},
        {"id": {"S": "a"}, "n": {"N": "1e400"}},
        {"id": {"S": "a"}, "n": {"N": "1" * 39}},
        {"id": {"S": "a"}, "s": {"SS": []}},
        {"id": {"S": "a"}, "s": {"SS": ["a", "a"]}},
        {"id": {"S": "a"}, "b": {"B": "no base64!"}},
        {"id": {"S": "a"}, "x": {"X": "a"}},
        {"id": {"S": "a"}, "two": {"S": "a", "N": "1"}},
    ):
        ran = inside("append", world.log, *options, given=jsonl(typed, bad))
        assert ran.status == 2, (bad, ran)
        assert "line 2" in ran.err
        assert len(ran.lines) == 1


def parse_decimal(text: str) -> object:
    from decimal import Decimal

    return Decimal(text)


def test_the_format_items_takes_every_line_for_an_item(tmp_path: Path) -> None:
    """An attribute may be called Action; only without the option it makes an action."""
    world = World(tmp_path, partitions=1)
    lines = [{"id": "a", "Action": "jump"}, {"id": "b", "Action": "PutItem", "Table": "other"}]
    options = ["--table", "users", "--key", "id"]
    ok("append", world.log, "--format", "items", *options, given=jsonl(*lines))
    assert [(e["type"], e["table"], e["data"]) for e in world.events()] == [
        ("PutItem", "users", line) for line in lines
    ]
    assert "jump" in inside_refused(2, "append", world.log, *options, given=jsonl(lines[0]))


def test_readers_of_a_log_that_grows_see_no_damage(tmp_path: Path) -> None:
    """What is half written, now and then killed, is not the readers' business."""
    world = World(tmp_path)
    world.put({"id": "first"})
    world.rebuild(world.store("one"))
    options = ["--table", "users", "--key", "id"]
    acknowledged: set[str] = set()
    for end in ("killed", "ended"):
        with Started("append", world.log, *options) as run:
            run.send(jsonl({"id": "open"}))
            acknowledged.add(run.receive()["id"])
            feed = Thread(target=feed_until_broken, args=(run,))
            feed.start()
            many(
                lambda args: ok(*args),
                [
                    ["check", world.log],
                    ["cat", world.log],
                    ["rebuild", world.log, "memory:"],
                    ["replicate", world.log, world.store("one"), "--once"],
                    ["check", world.log, world.store("one")],
                ],
            )
            if end == "killed":
                run.kill()
            elif run.stdin is not None:
                feed.join()
                run.stdin.close()
                run.stdin = None
            out = run.communicate(timeout=30)[0]
            feed.join()
        whole = out[: out.rfind(b"\n") + 1].decode()
        acknowledged |= {json.loads(line)["id"] for line in whole.splitlines()}
    assert len(acknowledged) > 100
    assert acknowledged <= {event["id"] for event in world.events()}
    assert ok("check", world.log, "--json").document["ok"] is True


def feed_until_broken(run: Started) -> None:
    """Some 1.5 s of lines in small portions, for who may be killed meanwhile."""
    with contextlib.suppress(OSError, ValueError):
        for portion in range(75):
            run.send(jsonl(*({"id": f"k{n}", "portion": portion} for n in range(20))))
            time.sleep(0.02)
