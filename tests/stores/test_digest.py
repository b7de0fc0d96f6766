"""A table's digest: equal iff the rows are, whatever the order, the parts and the engine."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.digest import BUCKETS, TableDigest, bucket_of, item_hash
from appliers.item import Row

BASE = ("orders", b"\x81\xa2id\x01", Row(7, 3, b"\x81\xa2id\x01", parked=False, tail=0))

small_rows = st.builds(
    Row,
    st.integers(1, 3),
    st.just(0),
    st.none() | st.binary(max_size=2),
    st.booleans(),
    st.integers(0, 2),
)
tables = st.dictionaries(st.binary(max_size=2), small_rows, max_size=12)


def test_the_bytes_that_are_hashed_are_those_of_the_layout() -> None:
    """Written out once by hand: replicas of other releases must hash the same."""
    hashed = (
        b"\x00\x06orders"
        + (7).to_bytes(8, "big")
        + b"\x03"
        + (9).to_bytes(8, "big")
        + b"\x00\x00\x00\x02"
        + b"\x00\x00\x00\x00"
        + b"ke"
    )
    row = Row(7, 3, None, parked=True, tail=9)
    assert item_hash("orders", b"ke", row) == sha256(hashed).digest()
    assert TableDigest("orders").add([(b"ke", row)]).hexdigest() == sha256(hashed).hexdigest()
    assert TableDigest("orders").hexdigest() == "0" * 64


@pytest.mark.parametrize(
    ("table", "key", "row"),
    [
        ("Orders", BASE[1], BASE[2]),
        ("order", b"s" + BASE[1], BASE[2]),
        ("orders", b"\x81\xa2id\x02", BASE[2]),
        ("orders", BASE[1], Row(8, 3, BASE[2].data)),
        ("orders", BASE[1], Row(7, 3, None)),
        ("orders", BASE[1], Row(7, 3, b"")),
        ("orders", BASE[1], Row(7, 3, b"\x81\xa2id\x02")),
        ("orders", BASE[1], Row(7, 3, BASE[2].data, parked=True)),
        ("orders", BASE[1], Row(7, 3, BASE[2].data, tail=1)),
        ("orders", BASE[1] + b"\x81", Row(7, 3, (BASE[2].data or b"")[1:])),
    ],
)
def test_any_change_of_a_row_changes_its_hash(table: str, key: bytes, row: Row) -> None:
    """Also where a byte only moves from one field to the next."""
    assert item_hash(table, key, row) != item_hash(*BASE)
    assert item_hash("orders", BASE[1], Row(7, 3, None)) != item_hash(
        "orders", BASE[1], Row(7, 3, b"")
    )


def test_two_of_the_same_do_not_cancel() -> None:
    """An exclusive or of the hashes is zero for any row that is there twice."""
    twice = TableDigest("orders").add([BASE[1:], BASE[1:]])
    assert twice.hexdigest() != "0" * 64
    assert twice.hexdigest() != TableDigest("orders").add([BASE[1:]]).hexdigest()
    double = 2 * int.from_bytes(item_hash(*BASE), "big") % 2**256
    assert twice.hexdigest() == f"{double:064x}"


@given(one=tables, other=tables, cut=st.integers(0, 12), seed=st.randoms())
def test_equal_iff_the_rows_are_in_any_order_and_in_any_parts(
    one: dict[bytes, Row], other: dict[bytes, Row], cut: int, seed: object
) -> None:
    """Two workers, two engines and two orders must come to one number."""
    whole = TableDigest("t").add(one.items())
    shuffled = list(one.items())
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    parts = TableDigest("t").add(shuffled[:cut]).merge(TableDigest("t").add(shuffled[cut:]))
    assert parts.buckets() == whole.buckets()
    assert parts.hexdigest() == whole.hexdigest()
    counts = [
        sum(row.data is not None for row in one.values()),
        sum(row.data is None for row in one.values()),
        sum(row.parked for row in one.values()),
    ]
    assert [parts.items, parts.tombstones, parts.parked] == counts
    second = TableDigest("t").add(other.items())
    assert (second.hexdigest() == whole.hexdigest()) == (one == other)
    differing = {bucket_of(key) for key in {*one, *other} if one.get(key) != other.get(key)}
    assert whole.differing_buckets(second) == sorted(differing)


@given(one=tables, other=tables)
def test_replacing_rows_one_by_one_comes_to_the_digest_of_the_result(
    one: dict[bytes, Row], other: dict[bytes, Row]
) -> None:
    """A digest that is carried along with the writes is the one that a scan finds."""
    carried = TableDigest("t").add(one.items())
    for key in sorted({*one, *other}):
        carried.replace(key, one.get(key), other.get(key))
    scanned = TableDigest("t").add(other.items())
    assert carried.buckets() == scanned.buckets()
    assert (carried.items, carried.tombstones, carried.parked) == (
        scanned.items,
        scanned.tombstones,
        scanned.parked,
    )


def test_keys_spread_over_all_buckets() -> None:
    """Otherwise a difference is found and not located."""
    assert {bucket_of(b"%d" % number) for number in range(4_000)} == set(range(BUCKETS))


def test_digests_of_two_tables_do_not_add_up() -> None:
    """It would be the digest of nothing."""
    with pytest.raises(ValueError, match="'a' and 'b'"):
        TableDigest("a").merge(TableDigest("b"))
