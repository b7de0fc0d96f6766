"""Adoption: the ADOPT record, by which a table that was full before it had a log becomes the log's.

There is one in every partition. It names the table, and a base: a snapshot of all its items as they
were (`snapshots.adopt`). From there on the items of that table whose events come in that partition
are the base's, all at the version that the record's own offset makes; events of the table follow.

* It stands before every event of its table in its partition. One that does not is no adoption:
  whoever folds it stops and says so (`appliers.adoption`), and what stood before it stays.
* A partition has one, however often it is written. The session's family follows from log, table and
  partition; its generation is the log's time of the attempt, with random bits below it; and it asks for
  the id window. So a later attempt at the same adoption is dropped as a copy, and of an earlier one
  that lands late, whatever it says, the generation is closed. One session for all of them would not
  do: each attempt is stamped with its own time of birth, and a session born twice halts its partition
  (found). Who writes it when the window has passed has read the log before.

The data of the envelope is a map: ``table``, ``base`` (the snapshot's id), ``digest`` (SHA-256 of its
manifest, hex), ``address`` (of the snapshots, as it was written; it may have moved since).
"""

from __future__ import annotations

import re
from hashlib import sha256

import msgspec

from binlog.columns import is_table_name
from binlog.envelope import CONTROL_PREFIX, Envelope
from binlog.errors import DamageError
from binlog.frame import Session
from binlog.values import decode_value, encode_value

ADOPT_TYPE = CONTROL_PREFIX + "adopt"
ATTEMPT_BITS = 20  # of a generation, below the time

_DOMAIN = b"binlog.adopt\0"
_EMPTY_KEY = encode_value({})
_BASE = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Adoption(msgspec.Struct, frozen=True):
    """What an ADOPT record says."""

    table: str
    base: str  # the snapshot's id
    digest: str  # of its manifest, hex
    address: str  # of the snapshots that it is among

    def __str__(self) -> str:
        return f"base {self.base} of table {self.table}, {self.address}"


class AdoptedAt(msgspec.Struct, frozen=True):
    """An adoption, and by partition the offset of its record: the version of what was not touched."""

    adoption: Adoption
    offsets: tuple[int, ...]


def adopt_session(
    log_id: bytes, table: str, partition: int, *, now_ms: int, bits: int = 0
) -> Session:
    """The session of one attempt at the record of that table and partition.

    ``bits`` are random, `ATTEMPT_BITS` of them: two attempts in one millisecond are two.
    """
    name = _DOMAIN + log_id + table.encode() + b"\0" + partition.to_bytes(2, "big")
    generation = now_ms << ATTEMPT_BITS | bits & (1 << ATTEMPT_BITS) - 1
    return Session(sha256(name).digest()[:16], max(1, generation))


def adopt_envelope(adoption: Adoption, partition: int, *, now_ms: int) -> Envelope:
    """The event; only its place says that it is of that partition."""
    return Envelope(
        id=f"{ADOPT_TYPE}/{adoption.table}/{partition}",
        type=ADOPT_TYPE,
        schema=1,
        table=adoption.table,
        key=_EMPTY_KEY,
        data=encode_value(msgspec.to_builtins(adoption)),
        time_ms=now_ms,
    )


def decode_adoption(table: str, data: bytes | None) -> Adoption | None:
    """What the data of an ADOPT record of ``table`` say; ``None``: nothing that can be meant.

    Whatever it is has its offset already, so it can stop nobody: it has no effect.
    """
    try:
        adoption = msgspec.convert(decode_value(data or b""), Adoption)
    except (DamageError, msgspec.ValidationError, ValueError):
        return None
    is_good = (
        adoption.table == table
        and is_table_name(table)
        and bool(_BASE.fullmatch(adoption.base))
        and bool(_DIGEST.fullmatch(adoption.digest))
        and bool(adoption.address)
    )
    return adoption if is_good else None
