"""`check` finds what is wrong with a log: bytes, genesis, events, numbering, halts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from appliers.stores import SQLiteStore
from binlog.clock import ManualClock
from binlog.columns import columns_of, encode_body
from binlog.control import genesis_frame
from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Header, Session, encode_frame
from binlog.logs import DirectoryLog, MemoryLog
from binlog.logs.directory_check import Finding
from binlog.params import encode_genesis, genesis_hash
from binlog.partition import ordering_key, partition_of
from binlog.values import encode_value
from snapshots.check import check, check_log
from snapshots.rebuild import Wanted, rebuild
from tests.check.replicas import (
    PARAMS,
    append,
    flip,
    history,
    last_segment,
    make_log,
    make_store,
    opened,
)


@pytest.fixture
def log(tmp_path: Path) -> str:
    return make_log(tmp_path / "log")


@pytest.fixture
def memory() -> MemoryLog:
    made = MemoryLog(PARAMS, clock=ManualClock(1_000_000))
    append(made, history())
    return made


def rules(findings: list[Finding]) -> list[str]:
    return [finding.rule for finding in findings]


def test_a_log_as_it_was_made_has_no_findings(log: str, memory: MemoryLog) -> None:
    """Else what follows would prove nothing."""
    assert list(check(log)) == []
    assert list(check_log(memory)) == []


# -- bytes ---------------------------------------------------------------------------------------


def test_check_finds_a_flipped_byte_wherever_it_is(log: str) -> None:
    """Every byte of a segment that was acknowledged is under some checksum or rule (D2)."""
    segment = last_segment(log)
    whole = segment.read_bytes()
    for byte in range(0, len(whole), 97):
        flip(segment, byte, bits=1 << byte % 8)
        findings = list(check(log))
        assert any(f.broken for f in findings), f"byte {byte} of {len(whole)}"
        damaged = [f for f in findings if f.rule in ("damage", "genesis")]
        assert damaged, (byte, findings)
        segment.write_bytes(whole)
    assert list(check(log)) == []


def test_check_names_segment_byte_and_partition_and_goes_on(log: str) -> None:
    """Two damages far apart are two findings, in one run."""
    segment = last_segment(log)
    size = segment.stat().st_size
    flip(segment, size // 3)
    flip(segment, size * 3 // 4)
    damaged = [f for f in check(log) if f.rule == "damage"]
    assert len(damaged) == 2
    for finding in damaged:
        assert f"segment {segment.name} byte " in finding.where
        assert " partition " in finding.where


def test_check_with_a_store_reports_the_damage_and_what_it_prevents(
    log: str, tmp_path: Path
) -> None:
    """The store's checkpoints lie beyond what can be read, and its items cannot be recomputed."""
    make_store(log, tmp_path / "replica.db")
    flip(last_segment(log), last_segment(log).stat().st_size // 2)
    with closing(SQLiteStore(tmp_path / "replica.db")) as store:
        findings = list(check(log, store))
    assert set(rules(findings)) == {"damage", "checkpoint-position", "fold"}
    [fold] = [f for f in findings if f.rule == "fold"]
    assert "not compared" in fold.detail


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"BLBK rubbish", b"\xff"])
def test_a_torn_tail_is_mentioned_and_not_broken(log: str, tail: bytes) -> None:
    """What was never acknowledged is no damage (D2)."""
    with last_segment(log).open("ab") as file:
        file.write(tail)
    [finding] = check(log)
    assert (finding.rule, finding.broken) == ("torn-tail", False)
    assert f"byte {last_segment(log).stat().st_size - len(tail)}" in finding.where


def test_a_lost_note_is_mentioned_and_not_broken(log: str) -> None:
    """It counts as 0; the blocks prove themselves."""
    Path(log.removeprefix("file:"), "note").write_bytes(b"")
    findings = list(check(log))
    assert rules(findings)[0] == "note-lost"
    assert not any(f.broken for f in findings)


def test_a_log_that_cannot_be_opened_is_a_finding(log: str) -> None:
    """Its first block is another log's: nothing more can be said, and that is said."""
    genesis = Path(log.removeprefix("file:"), "GENESIS")
    params = msgspec.structs.replace(PARAMS, log_id="00" * 16)
    genesis.write_bytes(msgspec.json.encode(params))
    findings = list(check(log))
    assert findings
    assert all(f.broken for f in findings)


# -- what the log holds --------------------------------------------------------------------------


def frame(
    partition: int,
    *,
    key: bytes,
    data: bytes | None,
    number: int = 1,
    born_ms: int = 1_000_000,
    session: int = 77,
    log: MemoryLog,
) -> bytes:
    header = Header(
        session=Session(session.to_bytes(16, "big"), 1),
        born_ms=born_ms,
        partition=partition,
        first=number,
        count=1,
        log_id=bytes.fromhex(log.params.log_id),
        genesis_hash=genesis_hash(log.genesis),
    )
    envelope = Envelope("forged", PUT_ITEM, 1, "users", key, data)
    return encode_frame(header, encode_body(columns_of([envelope])))


KEY = encode_value({"id": "forged"})
HOME = partition_of(ordering_key("users", KEY), PARAMS.partitions)
ITEM = encode_value({"id": "forged", "n": 1})


@pytest.mark.parametrize(
    ("partition", "key", "data", "says"),
    [
        (HOME, KEY, b"\x82\xa1n\x01\xa2id\xa6forged", "canonical"),  # names out of order
        (HOME, KEY, b"\xc1", "no value"),
        (HOME, KEY, encode_value({"id": "other"}), "disagree"),
        (HOME, KEY, None, "canonical bytes are needed"),
        (HOME, b"\x80", ITEM, "key"),
        ((HOME + 1) % 3, KEY, ITEM, f"belongs to partition {HOME}"),
    ],
)
def test_check_finds_an_event_that_publish_would_have_refused(
    memory: MemoryLog, partition: int, key: bytes, data: bytes | None, says: str
) -> None:
    """Whoever wrote it had no producer of ours: it is accepted, and wrong for ever."""
    memory.inject(partition, frame(partition, key=key, data=data, log=memory))
    [finding] = check_log(memory)
    assert finding.rule == "event"
    assert says in finding.detail
    assert f"partition {partition} offset " in finding.where


def test_check_takes_a_good_forged_frame(memory: MemoryLog) -> None:
    """The same frame, with nothing wrong in it, is an event like any other."""
    memory.inject(HOME, frame(HOME, key=KEY, data=ITEM, log=memory))
    assert list(check_log(memory)) == []


def test_check_reports_each_halt_and_walks_on(memory: MemoryLog) -> None:
    """A halted partition does not hide what is wrong in another one."""
    memory.inject(0, b"not a frame")
    memory.inject(1, b"nor this")
    append(memory, history())
    memory.inject(2, frame(2, key=b"\x80", data=ITEM, log=memory))
    findings = list(check_log(memory))
    assert sorted(rules(findings)) == ["event", "halt", "halt"]
    assert "binlog resolve" in next(f.detail for f in findings if f.rule == "halt")


def test_a_checkpoint_before_a_halt_is_right_and_one_beyond_it_is_not(
    memory: MemoryLog, tmp_path: Path
) -> None:
    """Nothing can have been read beyond a record that stops every reader."""
    with closing(SQLiteStore(tmp_path / "before.db")) as store:
        rebuild(memory, store, Wanted())
        memory.inject(0, b"not a frame")
        assert rules(list(check_log(memory, store))) == ["halt"]
        [generation] = store.generations()
        last = memory.inject(0, b"beyond")
        moved = msgspec.structs.replace(store.checkpoints(generation.id)[0], sequence=last.sequence)
        store.commit(generation.id, [], [moved])
        assert set(rules(list(check_log(memory, store)))) == {"halt", "checkpoint-position"}


def test_check_finds_a_partition_without_its_genesis(tmp_path: Path) -> None:
    """A log that was cut at the front cannot be numbered (C1); the others can."""
    log = MemoryLog(PARAMS, clock=ManualClock(1_000_000))
    log._shards["shard-0000"].records.clear()
    for partition in (0, 2):
        log.inject(partition, genesis_frame(PARAMS, log.genesis, partition))
    log.inject(1, frame(1, key=KEY, data=ITEM, log=log))
    findings = list(check_log(log))
    assert set(rules(findings)) == {"genesis"}
    assert any("partition 1" in f.detail for f in findings)
    log._shards["shard-0000"].records.pop()
    [finding] = check_log(log)
    assert finding.rule == "genesis"
    assert "partition 1" in finding.where


def test_check_names_a_foreign_record(memory: MemoryLog) -> None:
    """A sample put with another tool must not vanish (S7)."""
    memory.inject_foreign("my-key", b"hello", shard="shard-0000")
    [finding] = check_log(memory)
    assert finding.rule == "foreign"
    assert "my-key" in finding.detail


# -- across shards -------------------------------------------------------------------------------


def reshard(log: MemoryLog, then: Callable[[MemoryLog], None]) -> None:
    log.split("shard-0000")
    then(log)
    log.merge("shard-0001", "shard-0002")
    then(log)


def test_checkpoints_are_compared_across_splits_and_merges(
    memory: MemoryLog, tmp_path: Path
) -> None:
    """Taken in a parent shard, passed on the way to a child: still compared, still right."""
    paths: list[Path] = []

    def snap(log: MemoryLog) -> None:
        append(log, history())
        paths.append(tmp_path / f"{len(paths)}.db")
        with closing(SQLiteStore(paths[-1])) as store:
            rebuild(log, store, Wanted())

    snap(memory)
    reshard(memory, snap)
    for path in paths:
        with closing(SQLiteStore(path)) as store:
            assert list(check_log(memory, store)) == []
            [generation] = store.generations()
            first = store.checkpoints(generation.id)[0]
        with closing(SQLiteStore(path)) as store:
            wrong = bytes(reversed(first.digest))
            store._writing().execute(
                "UPDATE _binlog_checkpoints SET digest = ? WHERE partition = 0", (wrong,)
            )
            assert rules(list(check_log(memory, store))) == ["checkpoint-digest"]


def test_the_directory_log_and_its_open_form_agree(log: str) -> None:
    """What `check` says of a log at rest, its walk says of the open log."""
    with opened(log) as source:
        assert isinstance(source, DirectoryLog)
        assert list(check_log(source)) == []


def test_check_finds_a_genesis_of_other_parameters() -> None:
    """The same log's id under other values: who wrote there would number differently."""
    other = msgspec.structs.replace(PARAMS, id_window=7)
    log = MemoryLog(PARAMS, clock=ManualClock(1_000_000))
    log._shards["shard-0000"].records.clear()
    for partition in range(3):
        params = other if partition == 1 else PARAMS
        log.inject(partition, genesis_frame(params, encode_genesis(params), partition))
    [finding] = check_log(log)
    assert finding.rule == "genesis"
    assert "partition 1" in finding.detail
