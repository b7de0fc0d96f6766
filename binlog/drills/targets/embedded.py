"""A directory of one's own: log and archive in files, stores in SQLite."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from appliers.address import open_store
from appliers.store import Store
from binlog.address import open_log
from binlog.drills.action import Item
from binlog.drills.clock import ClockAhead
from binlog.drills.harm import Parts, parts_of_files, parts_of_sqlite, read_whole
from binlog.drills.processes import nobodys_environment
from binlog.drills.seen import seen_in_sqlite
from binlog.drills.target import STORES
from binlog.drills.targets.copying import copying_files
from binlog.errors import StorageError
from binlog.log import Log


class Embedded:
    """See `binlog.drills.target.Target`. Addresses are relative: commands run in the folder."""

    name = "embedded"
    rate = 1_000.0
    every_s = 0.05
    init_more = ""
    tells_applied = True
    wait_s = 120.0  # a machine may be busy with something else
    twin_wait_s = 4.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._addresses = {
            "log": "file:log",
            "archive": "file:archive",
            "copy": "file:copy",
            "snapshots": "file:snapshots",
            **{name: f"sqlite:{name}.db" for name in STORES},
        }

    @property
    def addresses(self) -> Mapping[str, str]:
        return self._addresses

    @property
    def environment(self) -> Mapping[str, str]:
        return nobodys_environment()

    def typed(self, command: str) -> str:
        return copying_files(command, self._addresses)

    def open_log(self, name: str = "log", *, clock_s: float = 0.0) -> Log:
        return open_log(f"file:{self.path(name)}", clock=ClockAhead(clock_s))

    def open_store(self, name: str) -> Store:
        return open_store(f"sqlite:{self.path(name)}", must_exist=True)

    def rows(self, name: str, table: str) -> Iterator[tuple[str, Item]]:
        self.open_store(name).close()  # whether it is there is the project's to say
        return seen_in_sqlite(self.path(name), table)

    def items(self, name: str, table: str) -> dict[str, Item]:
        return dict(self.rows(name, table))

    def fingerprint(self, name: str) -> str:
        total = sha256()
        for path in self._files(name):
            if (found := read_whole(path)) is not None:
                size, digest = found
                total.update(f"{path.relative_to(self.folder)} {size}\n".encode())
                total.update(digest)
        return total.hexdigest()

    def parts(self, name: str) -> Parts | None:
        path = self.path(name)
        return parts_of_sqlite(path) if name in STORES else parts_of_files(path)

    def stored(self, name: str) -> bytes:
        return b"".join(path.read_bytes() for path in self._files(name))

    def drop_table(self, name: str, table: str) -> None:
        with self._database(name) as database:
            database.execute(f'DROP TABLE "{table}"')

    def drop_checkpoints(self, name: str) -> None:
        self.drop_table(name, "_binlog_checkpoints")

    def corrupt(self, name: str, table: str, count: int) -> list[str]:
        with self._database(name) as database:
            rows = database.execute(
                f'SELECT key_bytes, item FROM "{table}" WHERE tombstone = 0 ORDER BY key LIMIT ?',  # noqa: S608  our own names
                (count,),
            ).fetchall()
            for key, text in rows:
                item = json.loads(text)
                item["total"]["N"] = str(int(item["total"]["N"]) + 1)
                changed = json.dumps(item, separators=(",", ":"))
                database.execute(
                    f'UPDATE "{table}" SET item = ? WHERE key_bytes = ?',  # noqa: S608
                    (changed, key),
                )
        return [json.loads(text)["id"]["S"] for _, text in rows]

    def versions(self) -> dict[str, str]:
        return {"sqlite": sqlite3.sqlite_version}

    def close(self) -> list[str]:
        shutil.rmtree(self.folder, ignore_errors=True)
        return [str(self.folder)] if self.folder.exists() else []

    # -- files -----------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        return self.folder / self._addresses[name].partition(":")[2]

    def _files(self, name: str) -> list[Path]:
        path = self.path(name)
        if path.is_dir():
            return sorted(each for each in path.rglob("*") if each.is_file())
        return sorted(self.folder.glob(f"{path.name}*"))

    @contextlib.contextmanager
    def _database(self, name: str) -> Iterator[sqlite3.Connection]:
        path = self.path(name)
        if not path.exists():
            raise StorageError("there is no such file", str(path), "make the store first")
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database, database:
            yield database
