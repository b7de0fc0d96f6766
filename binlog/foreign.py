"""Foreign records: what others put into the log's stream (S7), and whose they are to keep.

A record is ours if its partition key is the fixed text of a partition that its shard holds. What
is not ours belongs to a shard and to no partition, yet whatever moves in a log is a partition's
checkpoint. So every foreign record is given a *home*, a partition of the shard it lies in:

* the partition whose slice of the hash keys its partition key falls into, where the shard holds
  it (Kinesis put it there for that reason);
* else, of those that the shard holds, the one nearest to that slice. It was put by an explicit
  hash key then, which no reader is told, or lies in a slice that a split has cut.

The home is a function of the shard's hash range, which never changes, of the record and of P: every
reader of the log finds the same. What the policy asks for is asked of the home alone:

* ``divert``: whoever carries the home's checkpoint beyond the record keeps the record whole, durable
  before that checkpoint moves. Kept twice is kept once, by (shard, sequence);
* ``halt``: the home halts, by the rule ``foreign``, until a RESOLVE decides; the others go on;
* ``skip``: it is passed.

So none is lost when the partitions of a shard are read by several consumers (the home's one
keeps it), nor by a restart (the home's checkpoint stands before it, or it is kept), a reshard
(a checkpoint leaves a shard only behind the last record of it) or a target (a partition that has
reached its target stands where it stopped, and goes on from there). A record beyond a target may be
kept already, which is harmless: the vector of a store says nothing about foreign records.

It has no place in the numbering: its arrival does not move the mark, nor can its content lift a
halt, although the bytes may be those of a frame of ours.

``binlog relay LOG LOG`` brings them in as events of the log, under a session family that follows from
the log's id (`relay_family`) and with an id that names the record (`relay_id`). Whoever applies such
an event notes the record as relayed, in the same commit, so a store knows which are outstanding.

A shard may hold no partition at all (more shards than partitions): see `binlog.homeless`.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import sha256
from typing import TypeAlias

import msgspec

from binlog.halt import FOREIGN, Halt
from binlog.log import Position, Record, Shard
from binlog.partition import hash_to_partition
from binlog.sequencer import Sequencer

Place: TypeAlias = tuple[str, int]
"""Shard and sequence number: what tells a record of a stream from all others."""

_RELAY = "relay/"


class Foreign(msgspec.Struct, frozen=True, gc=False):
    """A record that no producer of this log wrote, kept whole. ``arrival_ms`` is the log's."""

    shard: str
    sequence: int
    partition_key: str
    arrival_ms: int
    data: bytes

    @property
    def place(self) -> Place:
        """What tells it from all others."""
        return self.shard, self.sequence


def foreign_of(shard: str, record: Record) -> Foreign:
    """The record as it is kept. A key that is no text (a lone surrogate) is told by "?"."""
    key = _encoded(record.partition_key).decode()
    return Foreign(shard, record.sequence, key, record.arrival_ms, record.data)


def home_of(shard: Shard, partition_key: str, partitions: int) -> int | None:
    """The partition whose readers answer for a foreign record; ``None`` in a shard that has none."""
    if not shard.partitions:
        return None
    own = hash_to_partition(_encoded(partition_key), partitions)
    if own in shard.partitions:
        return own
    held = sorted(shard.partitions)
    at = bisect_left(held, own)
    # Of two that are equally near the lower: any choice does that all readers make alike.
    return min(held[max(0, at - 1) : at + 1], key=lambda partition: abs(partition - own))


def foreign_halt(sequencer: Sequencer, shard: str, record: Record) -> Halt:
    """The halt by which a home stops at a foreign record, under the policy ``halt``."""
    return Halt(
        log_id=sequencer.params.log_id,
        partition=sequencer.partition,
        position=Position(shard, record.sequence),
        rule=FOREIGN,
        session=None,
        offset=sequencer.offset,
        digest=sequencer.digest.hex(),
        mark=sequencer.mark,
        detail=f"a foreign record, partition key {record.partition_key!r}",
    )


def _encoded(partition_key: str) -> bytes:
    return partition_key.encode("utf-8", "replace")


# -- relayed -------------------------------------------------------------------------------------


def relay_family(log_id: bytes, inbox: str) -> bytes:
    """The session family of all relays from ``inbox`` to the log of this id (16 bytes).

    A foreign record's own log is the inbox of the empty name.
    """
    return sha256(b"binlog relay\0" + log_id + b"\0" + inbox.encode()).digest()[:16]


def relay_id(place: Place) -> str:
    """The id of the event that a record becomes; of several, `relay_id`/0, /1 and so on."""
    return f"{_RELAY}{place[0]}/{place[1]}"


def relayed_place(event_id: str) -> Place | None:
    """The record that an event was; ``None`` if the id is not of that form, or of a later part."""
    parts = event_id.removeprefix(_RELAY).split("/")
    if not event_id.startswith(_RELAY) or len(parts) not in (2, 3) or parts[2:] not in ([], ["0"]):
        return None
    shard, sequence = parts[:2]
    if not (sequence.isascii() and sequence.isdigit() and len(sequence) <= 64):
        return None  # anybody may write an event of that family
    return shard, int(sequence)
