"""The peer MariaDB: a table rebuilt from its binary log, in the two ways that it offers.

`mariadb-binlog | mariadb` is what its manual prescribes for point-in-time recovery; the replica
applier is what a replica runs. The history is first executed on a source server, 500 statements a
transaction, untimed, to get its binary log.

- `DEFAULTS` keeps the server's settings (MIXED format, so the log holds statements). The goals of
  our table are measured against it.
- `TUNED` is the best that we found for this history: ROW format, and commits that are flushed
  once a second. More applier threads (`slave_parallel_threads` 2 and 4) were slower on 2 cores.

PutItem is a REPLACE (`INSERT ... ON DUPLICATE KEY UPDATE` of all columns was slower in both).
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from scripts.benchmarks.mariadb import Server, command, server
from scripts.benchmarks.workload import TABLE, Action, History, Items

COMMIT = 500
DATABASE = "bench"
WAIT_SECONDS_MAX = 900
_PACKET = "--max-allowed-packet=256M"

# In the order of an item's attributes; an attribute that an item does not have is NULL.
_COLUMNS = ("customer", "status", "total", "paid", "city", "lines", "carrier", "visits")
_NUMBERS = frozenset({"total", "visits"})
_NAMES = ", ".join(f"`{name}`" for name in _COLUMNS)
_SCHEMA = f"""
CREATE DATABASE {DATABASE};
CREATE TABLE {DATABASE}.{TABLE} (
  id VARCHAR(32) CHARACTER SET ascii PRIMARY KEY,
  customer VARCHAR(64), status VARCHAR(16), total BIGINT, paid BOOL, city VARCHAR(32),
  `lines` JSON, carrier VARCHAR(16), visits BIGINT
);
"""


class Settings(msgspec.Struct, frozen=True):
    """How the servers run."""

    name: str
    binlog_format: str
    flush: int
    """`innodb_flush_log_at_trx_commit` of the server that is rebuilt."""


DEFAULTS = Settings("defaults", "MIXED", 1)
TUNED = Settings("tuned", "ROW", 2)


class Source:
    """A server that has executed the history, and the binary logs it wrote."""

    def __init__(self, running: Server, settings: Settings, folder: Path) -> None:
        self.running = running
        self.settings = settings
        self.folder = folder
        self.binlogs = sorted(running.data.glob("bin.[0-9]*"))
        self._runs = 0

    def scratch(self) -> Path:
        """A folder for the next server that is rebuilt."""
        self._runs += 1
        return self.folder / f"{self.settings.name}-{self._runs}"


@contextlib.contextmanager
def source(folder: Path, spec: History, settings: Settings) -> Iterator[Source]:
    """Execute the history on a private server; it runs until the block ends, for the replicas."""
    options = ["--log-bin=bin", "--server-id=1", f"--binlog-format={settings.binlog_format}"]
    options.append("--innodb-flush-log-at-trx-commit=2")  # untimed, so it may be quick
    script = folder / "history.sql"
    with server(folder / f"{settings.name}-source", *options, network=True) as running:
        running.query(_SCHEMA)
        with script.open("w", encoding="utf-8") as out:
            for batch in spec.batches(COMMIT):
                out.write("BEGIN;\n")
                out.writelines(f"{statement(action)};\n" for action in batch)
                out.write("COMMIT;\n")
        with script.open("rb") as sql:
            subprocess.run(running.client(DATABASE), stdin=sql, check=True)
        script.unlink()
        running.query("FLUSH BINARY LOGS")
        yield Source(running, settings, folder)


def pipe(origin: Source) -> tuple[float, Items]:
    """`mariadb-binlog BINLOGS | mariadb` into an empty server: seconds, and the table."""
    with server(origin.scratch(), _flush(origin), _PACKET) as target:
        start = time.perf_counter()
        with subprocess.Popen(
            command("mariadb-binlog", *map(str, origin.binlogs)), stdout=subprocess.PIPE
        ) as reader:
            subprocess.run(target.client(_PACKET), stdin=reader.stdout, check=True)
        seconds = time.perf_counter() - start
        if reader.returncode:
            raise RuntimeError(f"mariadb-binlog ended with {reader.returncode}")
        return seconds, read_table(target)


def applier(origin: Source) -> tuple[float, Items]:
    """A replica's SQL thread, its relay log already there: seconds, and the table."""
    with server(origin.scratch(), "--server-id=2", _flush(origin), _PACKET) as target:
        first = origin.binlogs[0].name
        target.query(
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={origin.running.port}, "
            f"MASTER_USER='root', MASTER_LOG_FILE='{first}', MASTER_LOG_POS=4; "
            "START SLAVE IO_THREAD;"
        )
        file, offset = origin.running.query("SHOW MASTER STATUS")[0][:2]
        _wait_for_relay(target, file, int(offset))
        start = time.perf_counter()
        target.query(
            "START SLAVE SQL_THREAD; "
            f"SELECT MASTER_POS_WAIT('{file}', {offset}, {WAIT_SECONDS_MAX});"
        )
        seconds = time.perf_counter() - start
        return seconds, read_table(target)


def _flush(origin: Source) -> str:
    return f"--innodb-flush-log-at-trx-commit={origin.settings.flush}"


def _wait_for_relay(target: Server, file: str, offset: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        status = target.query("SHOW SLAVE STATUS")[0]
        if status[5] == file and int(status[6]) >= offset:
            return
        time.sleep(0.05)
    raise RuntimeError(f"the replica has not fetched {file}:{offset} in {WAIT_SECONDS_MAX} s")


def statement(action: Action) -> str:
    """The SQL of one action. An update of a row that is not there makes it, as ours does."""
    key = _quote(action["Key"]["id"])
    data: dict[str, Any] = action.get("Data", {})
    if action["Action"] == "DeleteItem":
        return f"DELETE FROM {TABLE} WHERE id={key}"
    if action["Action"] == "PutItem":
        values = ", ".join(_quote(data.get(name)) for name in _COLUMNS)
        return f"REPLACE INTO {TABLE} (id, {_NAMES}) VALUES ({key}, {values})"
    fresh = {**data.get("Set", {}), **data.get("Add", {})}
    changes = [f"`{name}`={_quote(value)}" for name, value in data.get("Set", {}).items()]
    changes += [f"`{name}`=IFNULL(`{name}`, 0)+{n}" for name, n in data.get("Add", {}).items()]
    changes += [f"`{name}`=NULL" for name in data.get("Remove", ())]
    names = ", ".join(f"`{name}`" for name in fresh)
    values = ", ".join(_quote(value) for value in fresh.values())
    return (
        f"INSERT INTO {TABLE} (id, {names}) VALUES ({key}, {values}) "
        f"ON DUPLICATE KEY UPDATE {', '.join(changes)}"
    )


def _quote(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):  # a bool too: BOOL is a number to MariaDB
        return str(int(value))
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def read_table(running: Server) -> Items:
    """The rows as items, a NULL column being an attribute that is not there."""
    items: Items = {}
    for name, *columns in running.query(f"SELECT id, {_NAMES} FROM {TABLE}", DATABASE):
        item: dict[str, Any] = {"id": name}
        for column, text in zip(_COLUMNS, columns, strict=True):
            if text != "NULL":
                item[column] = _value(column, text)
        items[name] = item
    return items


def _value(column: str, text: str) -> Any:
    if column in _NUMBERS:
        return int(text)
    if column == "paid":
        return text == "1"
    return msgspec.json.decode(text) if column == "lines" else text
