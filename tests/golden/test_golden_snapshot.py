"""A snapshot as the first version wrote it is read for ever, and encoded in the same way.

`snapshot-1.json` holds its objects by key, in base64. It is only ever read: what another version writes
gets a file of its own beside it.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import msgspec

from appliers.stores import MemoryStore
from appliers.summary import summarize
from binlog.compression import decompress
from binlog.foreign import Foreign
from binlog.objects import MemoryObjects
from snapshots.check_snapshots import check_snapshots
from snapshots.restore import restore
from snapshots.snapshot import Snapshot, open_snapshot, read_begun
from snapshots.snapshot_manifest import Part, begun_key, manifest_key, seal
from snapshots.snapshot_part import HEAD, index_of, pack, read_part

FILES = json.loads((Path(__file__).parent / "snapshot-1.json").read_bytes())
ID = "20231114T221320Z-9f767c45"
DIGEST = "bebf84ce7c9ca60d30430249938a75fae472f3c2fbaddbf3fe593091c4d7e508"
TABLE = "1def7d382fce88f9bc694b1e1b559dc656ce8fc8ca4bdf8555ce6fbd9838fb45"


def opened() -> Snapshot:
    objects = MemoryObjects()
    for key, data in FILES.items():
        objects.put_new(key, base64.b64decode(data))
    return open_snapshot(objects)


def test_a_snapshot_of_format_1_is_read_and_restored() -> None:
    snapshot = opened()
    manifest = snapshot.manifest
    assert manifest.id == ID
    assert manifest.digest == DIGEST, "ADOPT records name snapshots by it"
    assert list(check_snapshots(snapshot.objects)) == []
    assert (manifest.vector, manifest.exact) == ({0: 10}, {0: 10})
    back = MemoryStore()
    restore(snapshot, back)
    found = summarize(back).tables["orders"]
    assert (found.items, found.tombstones, found.parked) == (4, 1, 1)
    assert found.digest == TABLE
    assert [(x.offset, x.reason) for x in back.letters()] == [(3, "not this one"), (4, "")]
    assert [(x.offset, x.expected, x.found) for x in back.rejections()] == [(5, 7, 0)]
    sequence = 49590338271490256608559692538361571095921575989136588898
    assert list(back.foreign()) == [
        Foreign("shardId-000000000001", sequence, "me", 1795708548337, b"hello")
    ]
    assert list(snapshot.relayed()) == [("shardId-000000000001", 7)]
    assert snapshot.checkpoints[0].offset == 10


def test_the_same_documents_are_encoded_to_the_same_bytes() -> None:
    snapshot = opened()
    manifest = snapshot.manifest
    begun = read_begun(snapshot.objects, manifest)
    assert seal(manifest) == snapshot.objects.get(manifest_key(ID))
    assert seal(begun) == snapshot.objects.get(begun_key(ID))


def test_the_same_records_are_packed_to_the_same_bytes_but_for_their_compression() -> None:
    """What zstd makes of them differs from one of its versions to the next."""
    snapshot = opened()
    for part in snapshot.manifest.parts:
        data = snapshot.objects.get(part.key)
        assert data is not None
        assert data.startswith(HEAD)
        index = index_of(snapshot.objects, part)
        assert msgspec.json.encode(index) == data[part.index : -12]
        read = [record for records in read_part(snapshot.objects, part) for record in records]
        records = [(_partition(part, record), 200, record) for record in read]
        again, made, _ = pack(index, records, part.key)
        old = b"".join(
            decompress(data[s.start : s.start + s.bytes], s.raw) or b"" for s in index.sections
        )
        new = b"".join(
            decompress(again[s.start : s.start + s.bytes], s.raw) or b"" for s in made.sections
        )
        assert _joined(old) == _joined(new)


def _partition(part: Part, record: tuple[object, ...]) -> int:
    places = {"rows": 2, "letters": 1, "rejections": 0}
    found = record[places[part.kind]] if part.kind in places else 0
    assert isinstance(found, int)
    return found


def _joined(sections: bytes) -> bytes:
    """Records without the heads of the arrays, since sections may be cut elsewhere."""
    records = b""
    while sections:
        count = sections[0] & 0x0F
        assert sections[0] >> 4 == 9, "fewer than 16 in a section"
        decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
        length = 1
        for length in range(1, len(sections) + 1):
            try:
                found = decoder.decode(sections[:length])
            except msgspec.DecodeError:
                continue
            if len(found) == count:
                records += b"".join(bytes(each) for each in found)
                break
        sections = sections[length:]
    return records
