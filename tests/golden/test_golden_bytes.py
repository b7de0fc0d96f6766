"""What was ever written still decodes to the same (invariant 22), and is never written anew."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from binlog.columns import FrameError
from binlog.frame import HEADER_BYTES, decode_body, decode_header
from binlog.json_values import parse_line, untyped
from binlog.values import decode_value, encode_value, is_canonical
from tests.golden.cases import FILES
from tests.golden.decoding import described

FOLDER = Path(__file__).parent


def golden(name: str) -> list[dict[str, Any]]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def by_case(case: dict[str, Any]) -> str:
    return str(case["case"])


@pytest.mark.parametrize("case", golden("values-1.jsonl"), ids=by_case)
def test_a_value_has_the_bytes_it_always_had(case: dict[str, Any]) -> None:
    """Digests of tables that exist depend on it."""
    data = bytes.fromhex(case["bytes"])
    value = untyped(parse_line(case["typed"].encode()))
    assert encode_value(value) == data
    assert encode_value(decode_value(data)) == data
    assert is_canonical(data)


@pytest.mark.parametrize("case", golden("frames-1.jsonl"), ids=by_case)
def test_a_frame_says_what_it_always_said(case: dict[str, Any]) -> None:
    assert described(bytes.fromhex(case["frame"])) == case["says"]


@pytest.mark.parametrize("case", golden("frames-1.jsonl"), ids=by_case)
def test_the_layout_is_the_documented_one(case: dict[str, Any]) -> None:
    """Read by the table at the top of `binlog.frame`, with nothing but struct."""
    data, says = bytes.fromhex(case["frame"]), case["says"]
    assert data[:4] == b"BLFR"
    assert data[4] == says["version"] == 1
    flags = {"compressed": 1, "id_window": 2, "resolve": 4, "genesis": 8}
    assert data[5] == sum(flags[name] for name in says["flags"])
    size, header_crc, body_crc = struct.unpack_from(">HII", data, 6)
    assert size == 136
    assert header_crc == google_crc32c.value(data[:8] + data[12:136])
    assert body_crc == google_crc32c.value(data[136:])
    assert (data[16:32].hex(), data[32:48].hex()) == (says["log"], says["genesis"])
    generation, born, first, base, *predecessor = struct.unpack_from(">7Q", data, 64)
    assert f"{data[48:64].hex()}.{generation}" == says["session"]
    assert (born, first, base) == (says["born"], says["first"], says["base"])
    assert predecessor == (says["predecessor"] or [0, 0, 0])
    count, stored, body, partition, zero = struct.unpack_from(">IIIHH", data, 120)
    assert (count, stored, body) == (says["count"], len(data) - 136, says["body_bytes"])
    assert (partition, zero) == (says["partition"], 0)


@pytest.mark.parametrize("name", FILES)
def test_every_case_of_today_has_its_golden_bytes(name: str) -> None:
    """Run scripts/add_golden.py after adding a case; bytes that changed need a new case's name."""
    kept = {by_case(case): case for case in golden(name)}
    made = {by_case(case): case for case in FILES[name]()}
    assert not set(made) - set(kept)
    # zstd may pack differently in another version, so a compressed frame is compared by content.
    for case, fields in made.items():
        if "compressed" not in fields.get("says", {}).get("flags", []):
            assert fields == kept[case]


@pytest.mark.parametrize("case", golden("frames-1.jsonl"), ids=by_case)
def test_any_flipped_bit_is_found(case: dict[str, Any]) -> None:
    """The checksum covers everything: header, body, and itself."""
    data = bytes.fromhex(case["frame"])
    places = [*range(HEADER_BYTES), *range(HEADER_BYTES, len(data), max(1, len(data) // 64))]
    for place in places:
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            with pytest.raises(FrameError):
                decode_header(bytes(damaged))


@pytest.mark.parametrize("case", golden("frames-1.jsonl"), ids=by_case)
def test_any_cut_is_found(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["frame"])
    for length in [*range(HEADER_BYTES + 2), len(data) - 1]:
        with pytest.raises(FrameError):
            decode_header(data[:length])
    with pytest.raises(FrameError):
        decode_header(data + b"\0")


def with_header(frame: bytes, offset: int, form: str, *values: int) -> bytes:
    """The frame with header fields changed and its checksum made right again."""
    head = bytearray(frame[:HEADER_BYTES])
    struct.pack_into(form, head, offset, *values)
    crc = google_crc32c.value(bytes(head[:8] + head[12:]))
    struct.pack_into(">I", head, 8, crc)
    return bytes(head) + frame[HEADER_BYTES:]


def frame_of(case: str) -> bytes:
    [found] = [c for c in golden("frames-1.jsonl") if c["case"] == case]
    return bytes.fromhex(found["frame"])


@pytest.mark.parametrize(
    ("offset", "form", "values", "says"),
    [
        (4, ">B", (2,), "version 2, this log allows up to 1"),
        (4, ">B", (0,), "version 0"),
        (5, ">B", (16,), "flags 16"),
        (6, ">H", (140,), "header of 140 bytes"),
        (124, ">I", (1,), "header says 1"),
        (134, ">H", (1,), "not of version 1"),
    ],
)
def test_a_header_that_is_wrong_under_a_right_checksum_is_refused(
    offset: int, form: str, values: tuple[int, ...], says: str
) -> None:
    with pytest.raises(FrameError, match=says):
        decode_header(with_header(frame_of("one put"), offset, form, *values))


@pytest.mark.parametrize("claimed", [0, 1, 100, 2**32 - 1])
def test_a_compressed_body_is_never_larger_than_its_header_says(claimed: int) -> None:
    """The bound is what the header names, which `check_header` holds against the pinned one."""
    data = with_header(frame_of("compressed"), 128, ">I", claimed)
    header = decode_header(data)
    with pytest.raises(FrameError, match="does not decompress"):
        decode_body(data, header)
