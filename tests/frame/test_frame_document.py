"""The writer of docs/frame-format.md, in plain Python, and ours write the same bytes."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.columns import columns_of, encode_body
from binlog.envelope import Envelope
from binlog.frame import Header, Predecessor, Session, encode_frame
from binlog.params import genesis_hash
from binlog.partition import explicit_hash_key, ordering_key, partition_key, partition_of
from binlog.values import encode_value

DOCUMENT = Path(__file__).parents[2] / "docs/frame-format.md"
TIME = 1_700_000_000_000


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the document's own files define."""
    folder = tmp_path_factory.mktemp("shown")
    for block in re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.M | re.S):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None
        (folder / name[1]).write_text(block, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield runpy.run_path(str(folder / "writer.py")) | runpy.run_path(str(folder / "vectors.py"))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("writer", None)


def test_the_document_shows_the_bytes_that_we_write(shown: dict[str, Any]) -> None:
    """Its vectors are what other languages are tested with."""
    text, genesis = DOCUMENT.read_text("utf-8"), b"{}"
    envelopes = [
        Envelope(
            event_id,
            kind,
            1,
            table,
            encode_value(key),
            None if data is None else encode_value(data),
            time_ms=time_ms,
        )
        for event_id, kind, table, key, data, time_ms in shown["EVENTS"]
    ]
    partition = partition_of(ordering_key("users", envelopes[0].key), 4)
    assert (
        f"partition {partition}\nkeys {partition_key(partition)} {explicit_hash_key(partition, 4)}\n"
        in text
    )
    for generation, part, predecessor in (
        (1, envelopes[:2], None),
        (2, envelopes[2:], Predecessor(1, 2, TIME)),
    ):
        header = Header(
            session=Session(b"\x11" * 16, generation),
            born_ms=TIME,
            partition=partition,
            first=1,
            count=len(part),
            log_id=bytes(range(16)),
            genesis_hash=genesis_hash(genesis),
            predecessor=predecessor,
        )
        data = encode_frame(header, encode_body(columns_of(part)))
        lines = [data[at : at + 32].hex() for at in range(0, len(data), 32)]
        assert "\n".join(lines) + "\n" in text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(min_size=1), inner, max_size=20)
    ),
    max_leaves=30,
)


@given(VALUES)
def test_its_canonical_bytes_are_ours(shown: dict[str, Any], value: object) -> None:
    assert shown["pack"](value) == encode_value(value)


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
def test_its_lengths_are_ours(shown: dict[str, Any], size: int) -> None:
    for value in ("x" * size, bytes(size), [0] * size, {str(n): n for n in range(size)}):
        assert shown["pack"](value) == encode_value(value)
