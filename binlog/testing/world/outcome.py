"""What a run left behind, as one digest: equal digests are equal runs, on any machine.

It covers what the model says of each partition's log, the journals of the replicas and the ledger
of the producers. Left out is what a version of the compressor decides: the bytes of large frames,
and of checkpoints that hold such.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from binlog.frame import Session
from binlog.testing.world.store import Began, Diverted, Entry, Kept, Noted, Settled, Wrote
from binlog.testing.world.truth import PARTITIONS
from binlog.testing.world.world import World


def digest_of(world: World) -> str:
    """64 hex digits."""
    truth, named = world.truth, _Names()
    log = [
        [
            [taken.at, named[taken.session], taken.number, taken.what, taken.event]
            for taken in truth.verdict(partition).taken
        ]
        for partition in PARTITIONS
    ]
    ledger = [
        [entry.serial, entry.outcome and entry.outcome.name, named[entry.session], entry.number]
        for entry in world.producers.ledger
    ]
    journals = [[_plain(entry) for entry in r.store.journal] for r in world.replicas]
    return sha256(msgspec.msgpack.encode([log, ledger, journals])).hexdigest()


class _Names(dict[Session | None, str]):
    """Sessions as text, each made once."""

    def __missing__(self, session: Session | None) -> str:
        text = self[session] = str(session)
        return text


def _plain(entry: Entry) -> list[Any]:
    if isinstance(entry, Began):
        return [entry.generation, entry.excluded]
    if isinstance(entry, Noted):
        return [entry.generation, entry.rejection]
    if isinstance(entry, Wrote):
        return [entry.generation, entry.table, entry.key, entry.row]
    if isinstance(entry, Kept):
        return [entry.foreign]
    if isinstance(entry, Diverted | Settled):
        return [entry.generation, type(entry).__name__, entry.letter]
    place = entry.checkpoint
    return [
        entry.generation,
        place.partition,
        place.shard,
        str(place.sequence),
        place.offset,
        place.applied,
        place.digest,
    ]
