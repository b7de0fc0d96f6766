"""The checker of an SQLite store's file: what must hold of it whenever nobody is writing."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from binlog.json_values import item_data

OURS = re.compile(r"_binlog_(meta|generations|tables|checkpoints|rejections|letters|foreign)")


def assert_sound(path: Path) -> None:
    """Every invariant of `sqlite_schema` and `generations`, read without our own code."""
    connection = sqlite3.connect(path)
    try:

        def all_(statement: str) -> list[tuple[Any, ...]]:
            return connection.execute(statement).fetchall()

        assert all_("PRAGMA integrity_check") == [("ok",)]
        places = {name: place for name, _, place in all_("SELECT * FROM _binlog_tables")}
        live = {id_ for (id_,) in all_("SELECT id FROM _binlog_generations")}
        found = {name for (name,) in all_("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {n for n in found if not OURS.fullmatch(n)} >= set(places.values())
        assert not [n for n in found if n.startswith("_binlog_") and not OURS.fullmatch(n)]
        assert len(all_("SELECT 1 FROM _binlog_generations WHERE open")) <= 1
        assert {g for _, g, _ in all_("SELECT * FROM _binlog_tables")} <= live
        assert {g for (g,) in all_("SELECT generation FROM _binlog_checkpoints")} <= live
        owners = {(name, g) for name, g, _ in all_("SELECT * FROM _binlog_tables")}
        rejected = all_("SELECT table_name, generation FROM _binlog_rejections")
        assert set(rejected) <= owners
        if "_binlog_letters" in found:
            letters = all_("SELECT table_name, generation FROM _binlog_letters")
            assert {place for place in letters if place[0]} <= owners
            assert {g for _, g in letters} <= live
        for place in places.values():
            rows = all_(f'SELECT key_bytes, key, version, tombstone, item, tail FROM "{place}"')
            for key, text, version, tombstone, item, tail in rows:
                assert isinstance(key, bytes)
                assert item_data(text) == key
                assert version > 0 or tail > 0
                assert (item is None) == bool(tombstone)
    finally:
        connection.close()
