"""Ids in a segment: 16 bytes each where they are UUIDs, and untouched where they are not."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.archive.packed_ids import pack_ids, unpack_ids
from binlog.ids import event_ids

UUIDS = st.lists(st.builds(lambda n: str(UUID(int=n)), st.integers(0, 2**128 - 1)), max_size=40)


def columns_of(*ids: list[str]) -> list[bytes]:
    return [msgspec.msgpack.encode(each) for each in ids]


@given(st.lists(UUIDS, max_size=5))
def test_unpacking_gives_back_the_columns(ids: list[list[str]]) -> None:
    """Whatever UUIDs they are, and however many a frame has."""
    columns = columns_of(*ids)
    packed = pack_ids(columns)
    assert packed is not None
    assert unpack_ids(packed, list(map(len, columns))) == b"".join(columns)
    assert len(packed) == 16 * sum(map(len, ids))


@given(st.lists(st.lists(st.text(max_size=40), max_size=20), min_size=1, max_size=4))
def test_what_are_no_uuids_is_left_alone_or_comes_back(ids: list[list[str]]) -> None:
    """Never is a byte changed."""
    columns = columns_of(*ids)
    packed = pack_ids(columns)
    assert packed is None or unpack_ids(packed, list(map(len, columns))) == b"".join(columns)


@pytest.mark.parametrize(
    "id_",
    [
        "01A2188A-188F-7742-9FF8-C0C487A6E368",
        "01a2188a-188f-7742-9ff8-c0c487a6e36g",
        "01a2188a-188f-7742-9ff8-c0c487a6e3  ",
        "01a2188a_188f-7742-9ff8-c0c487a6e368",
        "01a2188a-188f-7742-9ff8-c0c487a6e\u00e98",
        "order-17",
        "",
    ],
)
def test_an_id_that_would_come_back_changed_is_not_packed(id_: str) -> None:
    """Capitals, blanks that `bytes.fromhex` would skip, another dash, another alphabet."""
    good = "01a2188a-188f-7742-9ff8-c0c487a6e368"
    assert pack_ids(columns_of([good, id_, good])) is None
    assert pack_ids(columns_of([good], [id_])) is None


def test_a_column_with_an_array_head_of_another_form_is_not_packed() -> None:
    """Msgpack knows longer heads for the same number; they would come back as the shortest."""
    [column] = columns_of(["01a2188a-188f-7742-9ff8-c0c487a6e368"] * 2)
    longer = b"\xdc\x00\x02" + column[1:]
    assert pack_ids([longer]) is None
    assert pack_ids([b"\xdd\x00\x00\x00\x02" + column[1:]]) is None


def test_ids_of_one_batch_become_mostly_zeros() -> None:
    """Which is what a compressor is good at."""
    new_id = event_ids(1_700_000_000_000, entropy=lambda size: bytes(range(size)))
    packed = pack_ids(columns_of([new_id() for _ in range(500)]))
    assert packed is not None
    assert packed.count(0) > len(packed) * 0.9


@given(st.binary(max_size=80), st.lists(st.integers(-2, 90), max_size=6))
def test_sizes_that_do_not_fit_are_refused(packed: bytes, sizes: list[int]) -> None:
    """Damage that a checksum has let through, or an archiver that is wrong."""
    try:
        found = unpack_ids(packed, sizes)
    except ValueError:
        return
    assert len(found) == sum(sizes)
