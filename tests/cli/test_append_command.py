"""`binlog append`: what is acknowledged is durable, what is refused is nowhere."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from binlog.errors import DamageError
from binlog.log import Put, Reply
from binlog.logs.memory import MemoryLog
from binlog.params import Params
from tests.cli.running import LIMIT_S, Started, append, assert_one_line, binlog


@pytest.fixture
def log(tmp_path: Path) -> str:
    assert binlog("init", f"file:{tmp_path}/log", "--partitions=4").status == 0
    return f"file:{tmp_path}/log"


def events(log: str, *options: str) -> list[dict[str, object]]:
    ran = binlog("cat", log, "--json", *options)
    assert ran.status == 0, ran.err
    return ran.lines


def test_prints_a_line_an_event_as_cat_shows_it(log: str) -> None:
    ran = append(log, *({"id": f"k{n}", "n": n} for n in range(20)))
    assert (ran.status, ran.err) == (0, "")
    acks = ran.lines
    assert sorted(ack["line"] for ack in acks) == list(range(1, 21))
    assert all(list(ack) == ["line", "id", "partition", "session", "number"] for ack in acks)
    seen = {(e["id"], e["partition"], e["session"], e["number"]) for e in events(log)}
    assert {(a["id"], a["partition"], a["session"], a["number"]) for a in acks} == seen
    assert len(seen) == 20


def test_json_changes_nothing_since_the_answer_is_json_lines(log: str) -> None:
    ran = binlog("append", log, "--table=users", "--key=id", "--json", given='{"id": "a"}\n')
    assert ran.status == 0
    assert [ack["line"] for ack in ran.lines] == [1]


def test_reads_a_file(log: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": "a"}\n\n{"id": "b"}')
    ran = binlog("append", log, f"{tmp_path}/in.jsonl", "--table=users", "--key=id")
    assert sorted(ack["line"] for ack in ran.lines) == [1, 3]


def test_an_id_comes_back_as_it_was_given(log: str) -> None:
    """Whatever JSON has to escape in it."""
    given = 'quote " back \\ é 😀 \t \x7f'
    line = {"Action": "PutItem", "Data": {"id": "a"}, "Id": given}
    assert [ack["id"] for ack in append(log, line).lines] == [given]
    assert [event["id"] for event in events(log)] == [given]


def test_events_of_a_batch_share_its_line(log: str) -> None:
    line = {"Action": "BatchWrite", "Id": "B", "Data": [{"id": "a"}, {"Delete": {"id": "b"}}]}
    acks = append(log, line).lines
    assert sorted((ack["line"], ack["id"]) for ack in acks) == [(1, "B/0"), (1, "B/1")]


def test_nothing_in_means_nothing_out_and_success(log: str) -> None:
    ran = append(log)
    assert (ran.status, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize("place", [0, 1, 50, 99])
def test_a_refused_line_leaves_those_before_it_and_none_after_it(log: str, place: int) -> None:
    lines: list[bytes | dict[str, object]] = [{"id": f"k{n}"} for n in range(100)]
    lines[place] = b'{"id": "a", "id": "b"}'
    ran = append(log, *lines)
    assert ran.status == 2
    assert f": line {place + 1}" in ran.err
    assert sorted(ack["line"] for ack in ran.lines) == list(range(1, place + 1))
    assert {json.dumps(e["key"]) for e in events(log)} == {
        json.dumps({"id": f"k{n}"}) for n in range(place)
    }


def test_a_refused_element_of_a_batch_keeps_the_whole_batch_out(log: str) -> None:
    ran = append(log, {"Action": "BatchWrite", "Data": [{"id": "a"}, {"id": ""}]})
    assert ran.status == 2
    assert "element 1" in ran.err
    assert events(log) == []


def test_never_creates_a_log(tmp_path: Path) -> None:
    ran = append(f"file:{tmp_path}/log", {"id": "a"})
    assert ran.status == 2
    assert "no log there" in ran.err
    assert f"binlog init file:{tmp_path}/log" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"table": "ab"},
        {"table": "a/b/c"},
        {"key": "a,b,c"},
        {"key": "a,a"},
        {"key": ""},
        {"format": "csv"},
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(
    log: str, options: dict[str, str]
) -> None:
    assert append(log, {"id": "a"}, **options).status == 2
    assert events(log) == []


def test_two_key_attributes_make_one_key(log: str) -> None:
    append(log, {"id": "a", "sort": 2, "v": 1}, key="id, sort")
    assert [event["key"] for event in events(log)] == [{"id": "a", "sort": 2}]


class InDoubt(MemoryLog):
    """Breaks while it writes."""

    def append(self, frames: Sequence[Put]) -> list[Reply]:  # noqa: ARG002
        raise DamageError("bad bytes", "segment 7, byte 12", "restore it")


def test_an_event_that_may_be_in_the_log_is_unknown_and_never_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = InDoubt(Params(log_id="ab" * 16, partitions=1))
    monkeypatch.setattr("binlog.cli.append.open_log", lambda _url: log)
    ran = append("file:any", {"id": "a"}, {"id": "b"})
    assert ran.status == 3
    assert [list(answer) for answer in ran.lines] == [["line", "id", "outcome", "error"]] * 2
    assert [(a["line"], a["outcome"]) for a in ran.lines] == [(1, "unknown"), (2, "unknown")]
    assert ran.lines[0]["error"] == "bad bytes: segment 7, byte 12: restore it"
    assert ran.err == (
        "binlog: 2 events may or may not be in the log, bad bytes: segment 7, byte 12, from line 1"
        " on: restore it; then append what is not acknowledged again, with --id-window and its Id\n"
    )


def test_a_lost_event_outweighs_a_refused_line(monkeypatch: pytest.MonkeyPatch) -> None:
    log = InDoubt(Params(log_id="ab" * 16, partitions=1))
    monkeypatch.setattr("binlog.cli.append.open_log", lambda _url: log)
    ran = append("file:any", {"id": "a"}, b"no JSON")
    assert (ran.status, len(ran.lines)) == (3, 1)


# -- as a process of its own -----------------------------------------------------------------------


def test_acknowledges_while_its_input_is_open(log: str, tmp_path: Path) -> None:
    """An application that waits for each acknowledgement must not wait for ever."""
    with Started("append", log, "--table=users", "--key=id", cwd=tmp_path) as process:
        for number in range(1, 4):
            process.send(b'{"id": "a"}\n')
            assert process.receive()["line"] == number  # the suite's time limit is the failure
        out, err = process.communicate(b'{"id": "last, and without a line end"}', timeout=LIMIT_S)
    assert [json.loads(line)["line"] for line in out.splitlines()] == [4]
    assert (process.returncode, err) == (0, b"")


def test_what_was_acknowledged_survives_a_kill(log: str, tmp_path: Path) -> None:
    with Started("append", log, "--table=users", "--key=id", cwd=tmp_path) as process:
        process.send(b'{"id": "a"}\n')
        ack = process.receive()
        process.kill()
    assert [event["id"] for event in events(log)] == [ack["id"]]


def test_ctrl_c_prints_what_is_durable_and_ends_with_130(log: str, tmp_path: Path) -> None:
    with Started("append", log, "--table=users", "--key=id", cwd=tmp_path) as process:
        process.send(b'{"id": "a"}\n{"id": "b"}\n')
        acks = [process.receive() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out, err) == (130, b"", b"binlog: interrupted\n")
    assert {event["id"] for event in events(log)} == {ack["id"] for ack in acks}


def test_a_reader_that_leaves_ends_it_quietly(log: str, tmp_path: Path) -> None:
    with Started("append", log, "--table=users", "--key=id", cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.send(b'{"id": "a"}\n')
        assert process.wait(LIMIT_S) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert len(events(log)) == 1


def limit_file_size() -> None:
    """Files end at 300 KB, with EFBIG: a full disk that needs no file system of its own."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


def test_a_full_disk_is_status_3_and_keeps_what_was_acknowledged(log: str, tmp_path: Path) -> None:
    lines = b"".join(
        json.dumps({"id": f"k{n}", "v": str(n * 7919**9)}).encode() + b"\n" for n in range(40_000)
    )
    args = ("append", log, "--table=users", "--key=id")
    with Started(*args, cwd=tmp_path, preexec_fn=limit_file_size) as process:
        process.send(b'{"id": "first"}\n')
        first = process.receive()  # however much comes at once after it
        out, err = process.communicate(lines, timeout=LIMIT_S)
    assert process.returncode == 3
    assert_one_line(err.decode())
    assert "append what is not acknowledged again" in err.decode()
    answers = [json.loads(line) for line in out.splitlines()]
    lost = [answer for answer in answers if "outcome" in answer]
    acknowledged = {answer["id"] for answer in (first, *answers) if "number" in answer}
    assert acknowledged
    assert lost
    assert all(list(answer) == ["line", "id", "outcome", "error"] for answer in lost)
    stored = {event["id"] for event in events(log)}
    assert acknowledged <= stored
    assert stored.isdisjoint(a["id"] for a in lost if a["outcome"] == "failed")


def test_several_appenders_to_one_log_are_normal(log: str, tmp_path: Path) -> None:
    acknowledged: set[object] = set()
    with ExitStack() as stack:
        args = ("append", log, "--table=users", "--key=id")
        processes = [stack.enter_context(Started(*args, cwd=tmp_path)) for _ in range(3)]
        for number, process in enumerate(processes):
            process.send(b"".join(b'{"id": "%d", "n": %d}\n' % (n % 5, number) for n in range(200)))
        for process in processes:
            out, _ = process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0
            acknowledged |= {json.loads(line)["id"] for line in out.splitlines()}
    assert len(acknowledged) == 600
    assert {event["id"] for event in events(log)} == acknowledged
