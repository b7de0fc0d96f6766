"""Checkpoint rows of DynamoDB stores, and the bases they name: what was written is still read.

``checkpoints-1.jsonl`` holds rows as the service has them (DynamoDB JSON), states and bases in hex. It
is only ever added to; a new case is printed by::

    python -m tests.golden.test_golden_checkpoints
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import google_crc32c
import msgspec
import pytest

from appliers.state_base import Base, named_by, unpack
from appliers.store import Checkpoint
from appliers.stores.dynamodb_catalog import Standing, checkpoint_item, standing_of
from binlog.errors import DamageError
from tests.state.state_worlds import NOW_MS, Bases, crowd, step

GENERATION = "0" * 31 + "7"
GOLDEN = Path(__file__).with_name("checkpoints-1.jsonl")


def cases() -> Iterator[dict[str, Any]]:
    """As today's code writes them."""
    random = Random(5)
    bases = Bases(random)
    small, large = crowd(random, 2).encode(), crowd(random, 120)
    first = large.encode()
    step(random, large, 7)
    at = Checkpoint(3, "shardId-000000000001", 10**55 + 7, 12, 14, bytes(range(32)), b"")

    def case(name: str, state: bytes, before: Base | None, standing: Standing) -> Any:
        packed = bases.pack(state, before)
        return packed.named, {
            "case": name,
            "row": shown(checkpoint_item(GENERATION, standing, packed.row)),
            "base": packed.named and [packed.named.id, packed.named.data.hex()],
            "state": state.hex(),
            "says": {**shown_place(standing.checkpoint), "rev": standing.rev},
        }

    yield case("small, nothing seen", small, None, Standing(at, 1))[1]
    beginning = msgspec.structs.replace(at, sequence=-1, offset=0, applied=0, seen_ms=NOW_MS)
    yield case("a beginning, its end seen", small, None, Standing(beginning, 1))[1]
    base, made = case("large, all in its base", first, None, Standing(at, 9))
    yield made
    seen = msgspec.structs.replace(at, sequence=10**55 + 9, offset=19, applied=19, seen_ms=NOW_MS)
    yield case("large, a delta, its end seen", large.encode(), base, Standing(seen, 10))[1]


def shown(item: Mapping[str, Any]) -> dict[str, Any]:
    """DynamoDB JSON, binary as base64."""
    return {
        name: {"B": base64.b64encode(value["B"]).decode()} if "B" in value else dict(value)
        for name, value in item.items()
    }


def stored(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"B": base64.b64decode(value["B"])} if "B" in value else value
        for name, value in item.items()
    }


def shown_place(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "partition": checkpoint.partition,
        "shard": checkpoint.shard,
        "sequence": str(checkpoint.sequence),
        "offset": checkpoint.offset,
        "applied": checkpoint.applied,
        "digest": checkpoint.digest.hex(),
        "seen_ms": checkpoint.seen_ms,
    }


def golden() -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def by_case(case: dict[str, Any]) -> str:
    return str(case["case"])


@pytest.mark.parametrize("case", golden(), ids=by_case)
def test_a_row_says_what_it_always_said(case: dict[str, Any]) -> None:
    """Also one that has no `seen`: a release before the field wrote it."""
    standing = standing_of(stored(case["row"]), GENERATION, "dynamodb://t")
    at = standing.checkpoint
    assert {**shown_place(at), "rev": standing.rev} == case["says"]
    name, data = case["base"] or (None, "")
    assert named_by(at.state) == name
    state, base = unpack(at.state, lambda asked: bytes.fromhex(data) if asked == name else None)
    assert state.hex() == case["state"]
    assert (base is None) == (name is None)


@pytest.mark.parametrize("case", golden(), ids=by_case)
def test_the_layout_is_the_documented_one(case: dict[str, Any]) -> None:
    """Read by the tables at the top of the two modules, with nothing of theirs."""
    row = stored(case["row"])
    assert row["pk"] == {"S": f"at#{GENERATION}"}
    assert row["sk"] == {"S": "00003"}
    says = case["says"]
    assert row["sequence"] == {"S": says["sequence"]}
    assert row.get("seen") == (says["seen_ms"] and {"N": str(says["seen_ms"])})
    parts = [row["state"]["B"], *([bytes.fromhex(case["base"][1])] if case["base"] else [])]
    for part in parts:
        assert part[0] == 1
        assert int.from_bytes(part[1:5], "big") == google_crc32c.value(part[5:])
    kind, size, crc, body, base, base_crc, *_ = msgspec.msgpack.decode(parts[0][5:])
    assert (size, crc) == (
        len(case["state"]) // 2,
        google_crc32c.value(bytes.fromhex(case["state"])),
    )
    if case["base"]:
        assert (base.hex(), base_crc) == (case["base"][0], google_crc32c.value(parts[1]))
        assert (kind == 2) == (body == b"")
    else:
        assert (kind, base) == (1, b"")


def test_every_case_of_today_has_its_golden_bytes() -> None:
    kept = {by_case(case): case for case in golden()}
    for case in cases():
        assert json.loads(json.dumps(case)) == kept[by_case(case)]


@pytest.mark.parametrize("seen", [{"N": "-1"}, {"N": "x"}, {"S": "5"}])
def test_a_damaged_time_is_never_read_as_any(seen: dict[str, str]) -> None:
    row = stored(golden()[0]["row"])
    with pytest.raises(DamageError, match="checkpoint"):
        standing_of(row | {"seen": seen}, GENERATION, "dynamodb://t")


if __name__ == "__main__":
    there = {by_case(case) for case in golden()} if GOLDEN.exists() else set()
    for made in cases():
        if by_case(made) not in there:
            print(json.dumps(made, sort_keys=True))
