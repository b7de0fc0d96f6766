"""The digest of a partition (S6), worked out from what is numbered: a replica's has to be the same.

One link a frame, over what was accepted of it at once: SHA-256 of the digest before, the offset of
its first event (8 bytes), how many (4 bytes), which of the frame's events (4 bytes each, from 0;
nothing if all of them are), and the frame's body, decompressed. It begins with 32 zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import islice, takewhile

from binlog.frame import Session
from binlog.testing.world.records import Frame, Resolve
from binlog.testing.world.specification import Taken


def digest_of(sequenced: Sequence[Taken], recs: Iterable[tuple[Frame | Resolve, bytes]]) -> bytes:
    """Of all events of a partition, in order, and the frames that they came in, with their bodies.

    Assumed, as every producer keeps it: of a session, a number is in one frame only, however often
    that landed, and a frame is taken as a whole.
    """
    frames: dict[Session, dict[int, tuple[int, bytes]]] = {}  # last number and body, by the first
    for rec, body in recs:
        first, last = (rec.first, rec.last) if isinstance(rec, Frame) else (1, 1)
        frames.setdefault(rec.session, {}).setdefault(first, (last, body))
    digest, start, end = bytes(32), 0, len(sequenced)
    while start < end:
        session, number = sequenced[start].session, sequenced[start].number
        # The first ones of a frame may be copies, and have no offset.
        first = number
        while first not in frames[session]:
            first -= 1
        last, body = frames[session][first]
        count = last - first + 1
        which = b""
        full = sequenced[start + count - 1] if start + count <= end else None
        if full is None or full.session != session or full.number != last:
            indexes = [
                taken.number - first
                for taken in takewhile(
                    lambda taken: taken.session == session and number <= taken.number <= last,  # noqa: B023
                    islice(sequenced, start, end),
                )
            ]
            count, which = len(indexes), b"".join([i.to_bytes(4, "big") for i in indexes])
        link = sha256(digest + (start + 1).to_bytes(8, "big") + count.to_bytes(4, "big") + which)
        link.update(body)
        digest = link.digest()
        start += count
    return digest
