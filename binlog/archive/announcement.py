"""The PARAMS record that names the archive of a log: so nobody needs to be told its address.

A control record (S8) of the type of PARAMS in every partition, whose data is ``{"archive": URL}``. It
changes no value that a sequencer knows, so readers that have never heard of it pass it by. Of several
the last one of a partition counts; an empty address takes it back.

A stream forgets it with everything else: whoever follows a log to archive it announces again before
that. What a log keeps beside its records (`binlog.log.NamesArchive`) names it from then on, for a
reader that comes when all that is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from secrets import token_bytes

from binlog.columns import columns_of, encode_body
from binlog.control import PARAMS_TYPE
from binlog.envelope import Envelope
from binlog.errors import RefusedError, StorageError
from binlog.frame import Header, Session, encode_frame
from binlog.log import Appended, Failed, Log, NamesArchive, Put
from binlog.params import Params, genesis_hash
from binlog.pinned import ARCHIVE, URL_BYTES_MAX, announced
from binlog.values import encode_value

__all__ = ["URL_BYTES_MAX", "announce", "announce_frame", "announced"]

_EMPTY_KEY = encode_value({})


def announce_frame(
    params: Params, genesis: bytes, partition: int, url: str, *, family: bytes, now_ms: int
) -> bytes:
    """The record for one partition, unborn, alone in a session of its own.

    Raises:
        RefusedError: no address can be so long.
    """
    if len(url.encode()) > URL_BYTES_MAX:
        raise RefusedError(f"an address of {len(url.encode())} bytes, limit {URL_BYTES_MAX}")
    data = encode_value({ARCHIVE: url})
    event = f"{PARAMS_TYPE}/{family.hex()}"
    envelope = Envelope(event, PARAMS_TYPE, 1, "", _EMPTY_KEY, data, time_ms=now_ms)
    header = Header(
        session=Session(family, 1),
        born_ms=0,
        partition=partition,
        first=1,
        count=1,
        log_id=bytes.fromhex(params.log_id),
        genesis_hash=genesis_hash(genesis),
    )
    return encode_frame(header, encode_body(columns_of([envelope])))


def announce(
    log: Log,
    url: str,
    *,
    partitions: Iterable[int] | None = None,
    entropy: Callable[[int], bytes] = token_bytes,
) -> int:
    """Write the record into every partition; how many were written. Repeated, it is written again.

    Raises:
        StorageError: of some it is not known whether they are written; run it again.
        RefusedError: not permitted, to write to the log or to name it beside its records.
    """
    wanted = range(log.params.partitions) if partitions is None else partitions
    family, now_ms = entropy(16), log.now_ms()
    puts = [
        Put(p, announce_frame(log.params, log.genesis, p, url, family=family, now_ms=now_ms))
        for p in wanted
    ]
    replies = log.append(puts)
    for put, reply in zip(puts, replies, strict=True):
        if isinstance(reply, Appended):
            continue
        why = str(reply.error) if isinstance(reply, Failed) else "too old"
        raise StorageError(
            f"the archive could not be announced in partition {put.partition} ({why})",
            log.name,
            "announce it again; twice does no harm",
            partition=put.partition,
        )
    if isinstance(log, NamesArchive):
        log.name_archive(url)
    return len(puts)
