"""An adoption as it was stored: its base, what a record says of it, what a DynamoDB store keeps of both.

``adoption-1.json`` is what released code wrote, and is never written anew; a new one is printed by::

    python -m tests.golden.test_golden_adoption
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from appliers.stores.dynamodb_adopted import Adopted, BaseHashes, adopted_of, chunk_row, chunk_rows
from appliers.stores.dynamodb_catalog import Catalog, catalog_item, catalog_of
from appliers.stores.dynamodb_tables_spec import KeySchema
from binlog.adoption import AdoptedAt, adopt_envelope, adopt_session, decode_adoption
from binlog.clock import ManualClock
from binlog.objects.memory import MemoryObjects
from binlog.params import Params, encode_genesis
from binlog.values import decode_value, encode_item, encode_value
from snapshots.adopt_base import KeptBases, Ordered, adoption_of, bases_in, write_base

GOLDEN = Path(__file__).with_name("adoption-1.json")
PARAMS = Params(log_id="ab" * 16, partitions=4)
GENESIS = encode_genesis(PARAMS)
ADDRESS = "s3://kept/shop"
ITEMS = {
    f"k{n}": {"id": f"k{n}", "n": n, "tags": frozenset({"a", f"t{n}"}), "b": bytes([n])}
    for n in range(12)
}


def content() -> list[tuple[bytes, bytes]]:
    return [(encode_value({"id": name}), encode_item(each)) for name, each in ITEMS.items()]


def written() -> dict[str, Any]:
    """All of it, by today's code."""
    objects = MemoryObjects()
    ordered = Ordered("users", 4, "dynamodb://Users")
    for key, data in content():
        ordered.add(key, data)
    clock = ManualClock(1_700_000_000_000)
    name = "dynamodb://Users"
    manifest = write_base(objects, name, GENESIS, "users", ordered, identity="arn id", clock=clock)
    adoption = adoption_of(manifest, ADDRESS)
    at = AdoptedAt(adoption, (1, 1, 7, 2))
    adopted = adopted_of(at, "Users", KeySchema(("id", "S")), 3_001, timeline=0)
    bases = KeptBases(GENESIS, objects)
    chunks = [
        [row["pk"]["S"], row["sk"]["S"], row["data"]["B"].hex()]
        for p in range(4)
        for row in chunk_rows(adopted, p, bases.rows(adoption, p))
    ]
    catalog = catalog_item(Catalog(3, GENESIS, adopted=(adopted,)), "dynamodb://shop")
    return {
        "objects": {
            entry.key: base64.b64encode(objects.get(entry.key) or b"").decode()
            for entry in objects.list()
        },
        "record": (adopt_envelope(adoption, 2, now_ms=5).data or b"").hex(),
        "session": str(adopt_session(bytes.fromhex(PARAMS.log_id), "users", 2, now_ms=7, bits=3)),
        "catalog": [catalog["format"]["N"], catalog["catalog"]["S"]],
        "chunks": chunks,
    }


def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def stored() -> MemoryObjects:
    objects = MemoryObjects()
    for key, data in kept()["objects"].items():
        objects.put_new(key, base64.b64decode(data))
    return objects


def adopted() -> Adopted:
    number, text = kept()["catalog"]
    item = {
        "rev": {"N": "3"},
        "format": {"N": number},
        "catalog": {"S": text},
        "genesis": {"B": GENESIS},
    }
    found = catalog_of(item, "dynamodb://shop").adoption("users")
    assert found is not None
    assert catalog_item(Catalog(3, GENESIS, adopted=(found,)), "x")["catalog"]["S"] == text
    return found


def test_a_record_names_a_base_by_the_digest_that_it_always_had() -> None:
    """A field that manifests gain may not change the digest of those that were adopted."""
    data = bytes.fromhex(kept()["record"])
    adoption = decode_adoption("users", data)
    assert adoption is not None
    [manifest] = bases_in(stored(), GENESIS, "users")
    assert adoption_of(manifest, ADDRESS) == adoption
    assert encode_value(decode_value(data)) == data
    assert adopt_envelope(adoption, 2, now_ms=5).data == data


def test_a_base_has_the_items_that_it_always_had() -> None:
    adoption = adopted().adoption
    bases = KeptBases(GENESIS, stored())
    found = [pair for p in range(4) for pair in bases.rows(adoption, p)]
    assert sorted(found) == sorted(content())


def test_the_session_of_a_record_is_the_same_for_ever() -> None:
    """By the words of `binlog.adoption`: attempts of two releases are of one family."""
    name = b"binlog.adopt\0" + b"\xab" * 16 + b"users\0" + b"\0\2"
    assert kept()["session"] == f"{sha256(name).hexdigest()[:32]}.{7 * 2**20 + 3}"
    assert str(adopt_session(b"\xab" * 16, "users", 2, now_ms=7, bits=3)) == kept()["session"]


def test_the_catalog_is_of_a_format_that_older_code_refuses() -> None:
    """It would write the catalog anew without it, and take the items for somebody else's."""
    assert kept()["catalog"][0] == "2"
    assert catalog_item(Catalog(3, GENESIS), "x")["format"]["N"] == "1"


def test_a_store_finds_what_its_base_says() -> None:
    """Rows of the control table, by the layout at the top of `dynamodb_adopted`."""
    known = adopted()
    rows = {(pk, sk): bytes.fromhex(data) for pk, sk, data in kept()["chunks"]}
    assert len(rows) == 4 * 3
    entries = {
        data[at : at + 16]: data[at + 16 : at + 32]
        for data in rows.values()
        for at in range(0, len(data), 32)
    }
    wanted = {sha256(key).digest()[:16]: sha256(data).digest()[:16] for key, data in content()}
    assert entries == wanted

    class Rows:
        def get(self, key: Any) -> dict[str, Any] | None:
            return {**key, "data": {"B": rows[key["pk"]["S"], key["sk"]["S"]]}}

    hashes = BaseHashes(Rows(), "dynamodb://shop")
    for key, data in content():
        assert hashes.of(known, key) == sha256(data).digest()[:16]
    assert chunk_row(known, 3, 2)["sk"]["S"] == "00003#000002"


if __name__ == "__main__":
    print(json.dumps(written(), indent=1))
