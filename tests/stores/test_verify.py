"""Two replicas are compared by what their rows are, and only if they should be equal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.applier import NO_RULES
from appliers.digest import TableDigest
from appliers.fingerprint import fingerprint
from appliers.item import Row
from appliers.store import Checkpoint, Store
from appliers.stores import MemoryStore, SQLiteStore
from binlog.errors import ConflictError, DamageError
from snapshots.verify import Difference, verify
from tests.contracts.store_contract import GENESIS, OTHER_LOG, checkpoint, key, put, row

RULES = fingerprint(NO_RULES)
Tables = dict[str, dict[str, Row]]


def fill(
    store: Store,
    tables: Tables,
    *,
    genesis: bytes = GENESIS,
    rules: str = RULES,
    excluded: tuple[str, ...] = (),
    at: Checkpoint | None = None,
    named: list[str] | None = None,
) -> Store:
    store.bind(genesis)
    build = store.build(tables=named, fingerprint=rules, excluded=excluded)
    for table, rows in tables.items():
        build.load(table, [(key(name), row) for name, row in rows.items()])
    place = at or checkpoint(0, 9)
    build.finish({place.partition: place}, tables=[])
    return store


def differences(left: Store, right: Store) -> list[Difference]:
    with verify(left, right) as verification:
        return [d for table in verification.tables for d in verification.differences(table)]


rows = st.builds(
    lambda version, gone, parked, tail: row(
        "x", version, gone=gone, parked=parked, tail=tail if parked else 0
    ),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1),
)
contents = st.dictionaries(
    st.sampled_from(["orders", "users"]),
    st.dictionaries(st.sampled_from("abcdef"), rows, max_size=6),
)


@given(one=contents, other=contents)
def test_every_differing_key_is_named_in_order_and_no_other(one: Tables, other: Tables) -> None:
    """And none differs iff the digests are equal."""
    left, right = fill(MemoryStore(), one), fill(MemoryStore(), other)
    found = differences(left, right)
    wanted = [
        (table, key(name), one.get(table, {}).get(name), other.get(table, {}).get(name))
        for table in ("orders", "users")
        for name in "abcdef"
        if one.get(table, {}).get(name) != other.get(table, {}).get(name)
    ]
    assert [(d.table, d.key, d.left, d.right) for d in found] == wanted
    digests = [
        [TableDigest(table).add(store.scan(table)).hexdigest() for table in ("orders", "users")]
        for store in (left, right)
    ]
    assert (not found) == (digests[0] == digests[1])


def test_counts_what_it_looked_at_and_names_a_table_that_one_does_not_have() -> None:
    """Nothing compared is no proof of anything."""
    left = fill(MemoryStore(), {"orders": {"a": row("a", 1), "b": row("b", 1)}, "empty": {}})
    right = fill(MemoryStore(), {"orders": {"a": row("a", 1), "c": row("c", 2)}})
    with verify(left, right) as verification:
        assert verification.tables == ("empty", "orders")
        found = {table: list(verification.differences(table)) for table in verification.tables}
        assert [len(each) for each in found.values()] == [0, 2]
        assert (verification.rows, verification.differing) == (3, 2)
        assert verification.lacking("empty") == "right"
        assert verification.lacking("orders") is None
    with verify(right, left) as verification:
        assert verification.lacking("empty") == "left"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"genesis": OTHER_LOG}, ["different logs", "ab" * 16, "cd" * 16]),
        ({"at": checkpoint(0, 8)}, ["different vectors", "partition 0: 9 and 8"]),
        ({"at": checkpoint(1, 9)}, ["different vectors", "0: 9 and 0", "1: 0 and 9"]),
        ({"excluded": ("id=1",)}, ["different exclusions", "none and id=1"]),
        (
            {"rules": RULES.replace('"actions":1', '"actions":2')},
            ["different rules", "built-in actions"],
        ),
    ],
)
@pytest.mark.parametrize("tables", [{"orders": {"a": row("a", 1)}}, {}])
def test_replicas_that_are_not_meant_to_be_equal_are_not_compared(
    more: dict[str, object], says: list[str], tables: Tables
) -> None:
    """Every difference would be noise; what differs in their making is the answer."""
    left = fill(MemoryStore(name="memory:left"), tables)
    right = fill(MemoryStore(name="memory:right"), tables, **more)  # type: ignore[arg-type]
    with pytest.raises(ConflictError) as caught:
        differences(left, right)
    assert caught.value.exit_status == 2
    for text in [*says, "memory:left", "memory:right"]:
        assert text in str(caught.value)


def test_each_table_is_judged_by_its_own_vector() -> None:
    """A table rebuilt alone stands elsewhere than the rest (C0)."""
    tables: Tables = {"orders": {"a": row("a", 1)}, "users": {"a": row("a", 2)}}
    left, right = fill(MemoryStore(), tables), fill(MemoryStore(), tables)
    fill(left, {"users": tables["users"]}, named=["users"])
    assert differences(left, right) == []
    fill(left, {"users": tables["users"]}, named=["users"], at=checkpoint(0, 10))
    with pytest.raises(ConflictError, match="table users"):
        differences(left, right)
    fill(right, {"users": tables["users"]}, named=["users"], at=checkpoint(0, 10))
    assert differences(left, right) == []


def test_compares_the_moment_at_which_it_began() -> None:
    """A replication that goes on is no difference."""
    tables: Tables = {"orders": {"a": row("a", 1)}, "users": {"b": row("b", 2)}}
    left, right = fill(MemoryStore(), tables), fill(MemoryStore(), tables)
    with verify(left, right) as verification:
        [generation] = right.generations()
        later = [put("a", 10), put("b", 11, table="users")]
        assert right.commit(generation.id, later, [checkpoint(0, 10)]) == []
        assert all(not list(verification.differences(table)) for table in verification.tables)
        assert verification.rows == 2


# -- a file changed by hand ----------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rows = {f"k{number}": row(f"k{number}", number + 1) for number in range(5)}
    for name in ("left.db", "right.db"):
        with closing(SQLiteStore(tmp_path / name)) as store:
            fill(store, {"orders": rows})
    return tmp_path / "left.db", tmp_path / "right.db"


@pytest.mark.parametrize(
    ("change", "side"),
    [
        ("UPDATE orders SET item = replace(item, '\"3\"', '\"4\"')", Row),
        ("UPDATE orders SET version = 99 WHERE key LIKE '%k2%'", Row),
        ("UPDATE orders SET tombstone = 1, item = NULL WHERE key LIKE '%k2%'", Row),
        ("UPDATE orders SET parked = 1 WHERE key LIKE '%k2%'", Row),
        ("DELETE FROM orders WHERE key LIKE '%k2%'", type(None)),
        ("UPDATE orders SET item = '{' WHERE key LIKE '%k2%'", DamageError),
        ("UPDATE orders SET version = 'x' WHERE key LIKE '%k2%'", DamageError),
    ],
)
def test_a_row_changed_by_hand_is_found_and_only_that(
    files: tuple[Path, Path], change: str, side: type
) -> None:
    """Nothing that is stored beside the rows is believed."""
    with closing(sqlite3.connect(files[1])) as connection:
        connection.execute(change)
        connection.commit()
    with closing(SQLiteStore(files[0])) as left, closing(SQLiteStore(files[1])) as right:
        [found] = differences(left, right)
        assert found.key == key("k2")
        assert found.left == row("k2", 3)
        assert type(found.right) is side
        [mirrored] = differences(right, left)
        assert (mirrored.key, mirrored.right) == (key("k2"), row("k2", 3))


def test_a_changed_partition_or_text_of_a_key_is_no_difference(files: tuple[Path, Path]) -> None:
    """They follow from the key's bytes; `check` looks at them. Spelling of JSON is no content."""
    with closing(sqlite3.connect(files[1])) as connection:
        connection.execute("UPDATE orders SET partition = 3, item = ' ' || item || char(10)")
        connection.commit()
    with closing(SQLiteStore(files[0])) as left, closing(SQLiteStore(files[1])) as right:
        assert differences(left, right) == []


def test_memory_and_sqlite_hold_the_same(files: tuple[Path, Path]) -> None:
    """The item's bytes, not the engine's columns, are compared."""
    rows = {f"k{number}": row(f"k{number}", number + 1) for number in range(5)}
    with closing(SQLiteStore(files[0])) as left:
        assert differences(left, fill(MemoryStore(), {"orders": rows})) == []
