"""A small log in a directory, and a replica of it, for tests that break one of the two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from appliers.stores import SQLiteStore
from binlog.actions import build_many
from binlog.log import Log
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from snapshots.rebuild import Wanted, rebuild

PARAMS = Params(log_id="5a" * 16, partitions=3)


def put(item: str, n: int, *, table: str = "users", **more: Any) -> dict[str, Any]:
    return {
        "Action": "PutItem",
        "Table": table,
        "Key": {"id": item},
        "Data": {"n": n, "text": f"value {n}"},
        **more,
    }


def delete(item: str, *, table: str = "users") -> dict[str, Any]:
    return {"Action": "DeleteItem", "Table": table, "Key": {"id": item}}


def add(item: str, n: int, *, table: str = "users") -> dict[str, Any]:
    return {"Action": "UpdateItem", "Table": table, "Key": {"id": item}, "Data": {"Add": {"n": n}}}


def history() -> list[dict[str, Any]]:
    """Puts, updates, deletes and a rejected event, in two tables, over all partitions."""
    actions = [put(f"u{n % 12}", n) for n in range(40)]
    actions += [add(f"u{n % 12}", 100) for n in range(20)]
    actions += [delete("u3"), delete("u7"), put("u1", 999, Expect=0)]
    actions += [put(f"o{n}", n, table="orders") for n in range(9)]
    return actions


def append(log: Log, actions: Iterable[Mapping[str, Any]], *, at_once: int = 5) -> None:
    """A commit for each few actions, so that there are several blocks and frames."""
    ids = (f"id-{log.now_ms()}-{number}" for number in count())
    actions = list(actions)
    with Producer(log) as producer:
        for start in range(0, len(actions), at_once):
            envelopes = build_many(
                actions[start : start + at_once], now_ms=1, new_id=lambda: next(ids)
            )
            producer.append_many(envelopes)


def make_log(path: Path, *, params: Params = PARAMS) -> str:
    """A log with the history; its address."""
    create_directory_log(path, params)
    with closing(DirectoryLog(path)) as log:
        append(log, history())
    return f"file:{path}"


def make_store(log: str, path: Path, wanted: Wanted | None = None) -> str:
    """A replica of the log; its address."""
    with opened(log) as source, closing(SQLiteStore(path)) as store:
        rebuild(source, store, wanted or Wanted())
    return f"sqlite:{path}"


@contextmanager
def opened(log: str) -> Iterator[DirectoryLog]:
    with closing(DirectoryLog(log.removeprefix("file:"))) as found:
        yield found


def last_segment(log: str) -> Path:
    return max(Path(log.removeprefix("file:")).glob("*.seg"))


def flip(path: Path, byte: int, *, bits: int = 1) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[byte] ^= bits
    path.write_bytes(data)
