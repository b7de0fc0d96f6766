"""`append`: what is refused, with line and reason, and what stands just at a limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.acceptance_support import (
    Line,
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
    return World(tmp_path_factory.mktemp("refusal"))


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
