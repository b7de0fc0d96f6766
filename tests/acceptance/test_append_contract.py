"""`append`: what is acknowledged, when, in which form; what is refused, and what then stays."""

from __future__ import annotations

import contextlib
import json
import re
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.acceptance.acceptance_support import (
    PATIENCE_S,
    Started,
    World,
    inside,
    inside_refused,
    jsonl,
    many,
    ok,
    refused,
    wait_until,
)


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
        # What the command waits for it waits for each time, other processes only now and then: so
        # the quickest of many tells.
        took: list[float] = []
        acks: list[str] = []
        while not took or (min(took) >= 1.0 and len(took) < 30):
            began = time.monotonic()
            run.send(jsonl({"id": f"open-{len(took) + 1}"}))
            ack = run.receive()
            took.append(time.monotonic() - began)
            acks.append(ack["id"])
            assert ack["line"] == len(took) + 1
        assert min(took) < 1.0
        # Acknowledged is durable, and readable by others, now.
        assert set(acks) <= {e["id"] for e in world.events()}
        run.send(b'{"id": "no end of line"}')
        assert run.stdin is not None
        run.stdin.close()
        run.stdin = None
        ran = run.end()
    assert (ran.status, ran.err) == (0, "")
    assert [ack["line"] for ack in ran.lines] == [len(took) + 2]


def test_a_line_that_is_refused_while_the_input_is_open_ends_it_at_once(world: World) -> None:
    with Started("append", world.log, "--table", "users", "--key", "id") as run:
        run.send(jsonl({"id": "live-1"}, {"id": "live-2"}, "oops", {"id": "live-4"}))
        assert run.wait(PATIENCE_S) == 2
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


def test_a_reader_that_leaves_ends_the_run_quietly(world: World) -> None:
    """`binlog cat LOG | head -1`: no trace, no message of the interpreter."""
    world.put(*({"id": f"pipe-{n}", "text": "x" * 200} for n in range(1_000)))
    with Started("cat", world.log, "--json") as run:
        run.receive()
        assert run.stdout is not None
        run.stdout.close()
        assert run.stderr is not None
        err = run.stderr.read()
        run.wait(PATIENCE_S)
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
        printed, over = tmp_path / f"acknowledged-{end}.jsonl", Event()
        with printed.open("wb") as out, Started("append", world.log, *options, stdout=out) as run:
            feed = Thread(target=feed_until, args=(run, over))
            feed.start()
            before = wait_for_more(printed, than=0)
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
            wait_for_more(printed, than=before)  # it is at work still, and was meanwhile
            if end == "killed":
                run.kill()
            over.set()
            feed.join()
            run.communicate(timeout=PATIENCE_S)  # closes its input
        told = printed.read_bytes()
        whole = told[: told.rfind(b"\n") + 1].decode()
        acknowledged |= {json.loads(line)["id"] for line in whole.splitlines()}
    assert acknowledged <= {event["id"] for event in world.events()}
    assert ok("check", world.log, "--json").document["ok"] is True


def wait_for_more(path: Path, *, than: int) -> int:
    """Until a file is larger than that; its size then."""
    wait_until(lambda: path.stat().st_size > than)
    return path.stat().st_size


def feed_until(run: Started, over: Event) -> None:
    """Lines in small portions until then, for who may be killed meanwhile."""
    with contextlib.suppress(OSError):
        for portion in range(10_000):
            run.send(jsonl(*({"id": f"k{n}", "portion": portion} for n in range(20))))
            if over.wait(0.05):
                return
