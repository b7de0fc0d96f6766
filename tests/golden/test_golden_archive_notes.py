"""Notes beside an archive's chains, as the first version wrote them, are believed for ever.

`archive-notes-1.json` holds two of them as text: where chains end, and up to where a shard is archived. It
is only ever read: what another version writes gets a file of its own beside it. A note that is not
believed is passed over in silence, so nothing else would tell that an old one is not read any more.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from binlog.archive.ends import End, encode_ends, ends_key, read_ends
from binlog.archive.keys import Place
from binlog.archive.through import Through, read_through, through_key, write_through
from binlog.log import Position
from binlog.objects import MemoryObjects

FILES: dict[str, str] = json.loads((Path(__file__).parent / "archive-notes-1.json").read_bytes())
ENDS = {
    16: End(Place(61, 0), 63, Position("shard-0000", 49 * 10**54 + 5), bytes(range(32))),
    17: End(Place(1, 2), 0, Position("shard-0001", 7), bytes(32)),
}
THROUGH = Through("shard-0001", 49 * 10**54 + 9, 1_788_000_000_000, {3: ENDS[16].position})


@pytest.fixture
def objects() -> MemoryObjects:
    objects = MemoryObjects()
    for key, content in FILES.items():
        objects.put(key, content.encode())
    return objects


def test_where_chains_end_is_read(objects: MemoryObjects) -> None:
    assert read_ends(objects, 16) == ENDS
    assert encode_ends(16, ENDS).decode() == FILES[ends_key(16)]


def test_up_to_where_a_shard_is_archived_is_read(objects: MemoryObjects) -> None:
    assert read_through(objects, THROUGH.shard) == THROUGH
    write_through(objects, THROUGH)
    written = objects.get(through_key(THROUGH.shard))
    assert written is not None
    assert written.decode() == FILES[through_key(THROUGH.shard)]


@pytest.mark.parametrize("key", sorted(FILES))
def test_none_of_a_note_can_be_changed_and_is_believed(key: str, objects: MemoryObjects) -> None:
    """Any byte: what a note says is acted on."""
    content = FILES[key].encode()
    for at in range(len(content) - 1):  # the line feed at its end says nothing
        changed = bytearray(content)
        changed[at] ^= 1
        objects.put(key, bytes(changed))
        found = (
            read_ends(objects, 16) if key == ends_key(16) else read_through(objects, "shard-0001")
        )
        assert found is None, at
