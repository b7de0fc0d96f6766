"""The format of a store's file: what was released is read, and what is written is what is known.

``tests/golden/store-N.sql`` is the dump of a store of format N, as ``sqlite3 FILE .dump`` gives it.
A change of the layout takes a new number, and a new file beside the old ones::

    python -m tests.stores.test_store_format > tests/golden/store-N.sql
"""

from __future__ import annotations

import re
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from appliers.item import Rejection, Row, Write
from appliers.letters import DeadLetter
from appliers.store import Checkpoint, Generation
from appliers.stores import SQLiteStore
from appliers.stores.sqlite_schema import APPLICATION_ID, FORMAT
from binlog.foreign import Foreign
from binlog.values import encode_item
from tests.contracts.store_contract import GENESIS, begun, content, key, put
from tests.stores.soundness import assert_sound

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("store-*.sql"))
IDS = ["0" * 31 + "1", "0" * 31 + "2"]
ITEM = {"id": "é\n'", "n": 10**37, "half": None, "set": {"a", "b"}, "b": b"\0\xff"}
ROWS = {
    key("a"): Row(1, 2, encode_item(ITEM)),
    key("b"): Row((1 << 48) + 3, 1, None),
    key("c"): Row(5, 0, encode_item({"id": "c"}), parked=True, tail=9),
}
PLACES = {
    0: Checkpoint(0, "shardId-0", 10**55 + 7, 12, 14, b"\x01" * 32, b"state \0", 1_700_000_000_001),
    2: Checkpoint(2, "shardId-1", -1, 0, 0, b"", b""),
}
OLD = {"store-1", "store-2"}  # without places seen, and letters
UNSEEN = {p: msgspec.structs.replace(place, seen_ms=None) for p, place in PLACES.items()}
LETTERS = [
    DeadLetter("", 1, key("e"), 4, True, "id-4", "PutItem", "it names no table", b"\x91\x01"),
    DeadLetter("orders", 0, key("c"), 9, False, "id-9", "Counted é", "n\n'", b"\0\xff"),
]
REJECTIONS = [Rejection(0, 7, "orders", key("a"), "id-7", 3, 1)]
FOREIGN = [  # by number, not by text
    Foreign("shardId-0", 9, "", 0, b""),
    Foreign("shardId-0", 10**55 + 6, "kunde-é", 1_700_000_000_000, b"\0\xff"),
]


def write(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        _, everything = begun(lambda: store)
        writes = [Write("orders", k, row, 0) for k, row in ROWS.items()]
        writes += [put("a", 1, table="Orders"), put("a", 2, table="sqlite_x")]
        places = list(PLACES.values())
        assert not store.commit(
            everything,
            writes,
            places,
            rejections=REJECTIONS,
            letters=LETTERS,
            foreign=[*FOREIGN[::-1], Foreign("shardId-0", 8, "gone", 7, b"relayed")],
            relayed=[("shardId-0", 8)],
        )
        store.describe(everything, fingerprint="f3", types=["OrderPlaced"])
        build = store.build(tables=["users"], fingerprint="f2", excluded=["type=x", "id=1"])
        build.load("users", [(key("u"), Row(3, 3, encode_item({"id": "u"})))])
        build.finish({2: PLACES[2]}, tables=[], types=["B", "A"])


def dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        pragmas = [
            f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
            for name in ("application_id", "user_version")
        ]
        ids = connection.execute("SELECT id FROM _binlog_generations ORDER BY number").fetchall()
        text = "\n".join([*pragmas, *connection.iterdump()]) + "\n"
    for (id_,), known in zip(ids, IDS, strict=True):
        text = text.replace(id_, known)
    return text


def test_what_is_written_is_the_released_format(tmp_path: Path) -> None:
    """Another layout under the same number would be misread by whoever has the other code."""
    path = tmp_path / "store.db"
    write(path)
    golden = GOLDEN[-1]
    assert re.fullmatch(rf"store-{FORMAT}\.sql", golden.name)
    assert dump(path) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_every_released_format_is_read_and_goes_on(golden: Path, tmp_path: Path) -> None:
    """Whatever made the store, its tables, checkpoints and rejections are what they were."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(golden.read_text(encoding="utf-8"))
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    with closing(SQLiteStore(path)) as store:
        assert store.genesis() == GENESIS
        everything, users = store.generations()
        tables = ("Orders", "orders", "sqlite_x")
        assert everything == Generation(IDS[0], tables, True, "f3", (), ("OrderPlaced",))
        assert users == Generation(IDS[1], ("users",), False, "f2", ("id=1", "type=x"), ("A", "B"))
        known_places = UNSEEN if golden.stem in OLD else PLACES
        assert store.checkpoints(IDS[0]) == known_places
        assert store.checkpoints(IDS[1]) == {2: PLACES[2]}
        assert content(store) == ROWS
        assert list(store.rejections()) == REJECTIONS
        assert list(store.letters()) == (LETTERS if golden.stem not in OLD else [])
        known = [] if golden.stem == "store-1" else FOREIGN
        assert list(store.foreign()) == known
        assert [row.version for row in content(store, "sqlite_x").values()] == [2]
        later = Checkpoint(0, "shardId-0", 10**55 + 8, 15, 15, b"", b"", 1_700_000_000_002)
        assert store.commit(IDS[0], [put("b", 9), put("d", 15)], [later]) == [put("b", 9)]
        more = {"foreign": FOREIGN, "letters": LETTERS}
        assert store.commit(IDS[0], [put("d", 15)], [later], **more) == []  # type: ignore[arg-type]
        assert list(store.letters()) == LETTERS
        assert list(store.foreign()) == FOREIGN
        assert store.checkpoints(IDS[0]) == known_places | {0: later}
        build = store.build(tables=None, fingerprint="f", excluded=())
        build.finish({}, tables=["orders"])
        assert content(store) == {}
    assert_sound(path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory, "store.db"))
        sys.stdout.write(dump(Path(directory, "store.db")))
