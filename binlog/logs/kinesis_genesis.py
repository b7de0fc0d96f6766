"""Making a log of a stream, and recognising one.

A stream becomes a log by the genesis record in every partition (S5); the same bytes are in its
tags, packed, since a stream forgets its first records. The tags are written last: a stream that has
them is finished, and `create_kinesis_log` on one that has not begins again, which changes nothing
in what is there. The log's id is derived from the stream's ARN and the moment of its creation, so
two that make the log at once, or one after the other's crash, write the same bytes; and a stream
that is deleted and made again is another log.

Tags::

    binlog/log-id       32 hex digits, to find the stream by
    binlog/genesis-1    base64 of the deflated genesis record, first 256 characters, and so on

Whoever may tag the stream could put another genesis there. Its writers' frames would then name
another genesis hash than the stream's, and every reader would halt at the first of them.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from binlog.aws.errors import error_code
from binlog.columns import FrameError
from binlog.control import genesis_frame
from binlog.errors import (
    BinlogError,
    ConflictError,
    DamageError,
    MismatchError,
    NoLogError,
    RefusedError,
    StorageError,
)
from binlog.frame import HEADER_BYTES, MAGIC, Header, decode_body, decode_header
from binlog.log import Appended, Put
from binlog.logs.admission import Admission
from binlog.logs.kinesis_appender import Appender
from binlog.logs.kinesis_service import Service, Summary, is_missing
from binlog.params import Params, decode_genesis, differences, encode_genesis, genesis_hash
from binlog.partition import partition_from_key

FRAME_BYTES_MAX = 1_000_000  # a record and its partition key take 1 MiB together (service limit)
SHARDS_MAX = 10_000
LOG_ID_TAG = "binlog/log-id"
_GENESIS_TAG = "binlog/genesis-"
_TAG_CHARACTERS = 256  # of a value (service limit)
_GENESIS_BYTES_MAX = 64 * 1024


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream is made with; ``None``: the service's default, and whatever is there."""

    shards: int | None = None  # provisioned
    on_demand: bool = False
    retention_hours: int | None = None
    kms_key: str | None = None


# -- recognising one -----------------------------------------------------------------------------


def read_genesis(service: Service) -> tuple[bytes, Summary, dict[str, str]]:
    """The genesis record of the log in a stream, the stream, and its tags.

    From the tags, or else from the stream's beginning, as long as it is there whole. A part of it
    is not enough: what was made a log halfway is none yet, and a frame before a partition's genesis
    would be lost to every reader.

    Raises:
        RefusedError: there is no such stream.
        NoLogError: there is, and no log is in it.
        MismatchError: a log that is not whole yet, or of several.
        DamageError, UpgradeError: see `binlog.params.decode_genesis`.
    """
    summary, tags = service.describe(), service.tags()
    genesis = genesis_of_tags(tags, service.name)
    if genesis is not None:
        decode_genesis(genesis, service.name)
        return genesis, summary, tags
    partitions: dict[bytes, set[int]] = {}
    for shard in service.shard_ids():
        for _, data in service.first_records(shard):
            if (frame := _frame(data)) is not None and frame[1] is not None:
                partitions.setdefault(frame[1], set()).add(frame[0].partition)
    if not partitions:
        raise NoLogError(
            "a stream, but no log: neither its tags nor its first records hold a genesis",
            service.name,
            f"binlog init {service.name} --partitions N",
        )
    if len(partitions) > 1:
        raise MismatchError(
            "genesis records of different parameters", service.name, "name another stream"
        )
    [(genesis, begun)] = partitions.items()
    params = decode_genesis(genesis, service.name)
    if len(begun) < params.partitions:
        raise MismatchError(
            f"no tags, and a genesis record in {len(begun)} of {params.partitions} partitions only",
            service.name,
            "repeat binlog init with the log's parameters: it finishes what is there",
        )
    return genesis, summary, tags


def genesis_of_tags(tags: Mapping[str, str], where: str) -> bytes | None:
    """The genesis record that the tags hold; ``None`` if they hold none.

    Raises:
        DamageError: they hold a part of one.
    """
    parts: list[str] = []
    while (part := tags.get(f"{_GENESIS_TAG}{len(parts) + 1}")) is not None:
        parts.append(part)
    if not parts:
        return None
    try:
        unpacker = zlib.decompressobj()
        packed = base64.b64decode("".join(parts), validate=True)
        genesis = unpacker.decompress(packed, _GENESIS_BYTES_MAX)
        if not unpacker.eof:
            raise ValueError("cut short")  # noqa: TRY301
    except (ValueError, zlib.error) as error:
        raise DamageError(
            f"the tags {_GENESIS_TAG}N hold no genesis record ({error})",
            where,
            "remove them and repeat binlog init with the log's parameters",
        ) from error
    return genesis


def tags_of(genesis: bytes, params: Params) -> dict[str, str]:
    """The tags that a log's stream has."""
    packed = base64.b64encode(zlib.compress(genesis, 9)).decode()
    parts = [packed[i : i + _TAG_CHARACTERS] for i in range(0, len(packed), _TAG_CHARACTERS)]
    return {LOG_ID_TAG: params.log_id} | {
        f"{_GENESIS_TAG}{number}": part for number, part in enumerate(parts, 1)
    }


def _frame(data: bytes) -> tuple[Header, bytes | None] | None:
    """The header of a frame, and of a genesis the body; ``None``: it is no frame."""
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        return None
    try:
        header = decode_header(data)
        if not header.genesis:
            return header, None
        if header.compressed or header.body_bytes > _GENESIS_BYTES_MAX:
            return None  # none of ours; it may be a bomb
        return header, decode_body(data, header)
    except (FrameError, BinlogError):
        return None  # what it is is the readers' business


# -- making one ----------------------------------------------------------------------------------


def create_kinesis_log(
    service: Service, wanted: Params, options: StreamOptions
) -> tuple[Literal["created", "exists"], Params]:
    """Make the stream, if there is none, and a log of it; or find that it is one.

    The log's id in ``wanted`` is not looked at. What a run that was killed has left is finished.

    Raises:
        RefusedError: no stream, and not said how to make one; or one that keeps no order.
        ConflictError: a log with other parameters, or a stream with other options.
        MismatchError: the stream holds frames of another log, or what readers would stop at.
        StorageError: the service failed; repeat it.
    """
    summary = _stream(service, options)
    genesis = genesis_of_tags(service.tags(), service.name)
    if genesis is not None:
        found = decode_genesis(genesis, service.name)
        _refuse_differences(service.name, differences(found, wanted))
        _refuse_differences(service.name, _unlike(summary, options))
        return "exists", found
    params = msgspec.structs.replace(wanted, log_id=summary.log_id)
    genesis = encode_genesis(params)
    _refuse_other_logs(service, genesis, params)
    _prepare(service, summary, options)
    begin_kinesis_log(service, genesis, params)
    return "created", params


def begin_kinesis_log(service: Service, genesis: bytes, params: Params) -> None:
    """Write the genesis record into every partition, and then the tags.

    Raises:
        ConflictError, MismatchError: another log was being made of the stream meanwhile.
    """
    _write(service, genesis, params)
    _refuse_other_logs(service, genesis, params)
    service.call("add_tags_to_stream", StreamName=service.stream, Tags=tags_of(genesis, params))


def _stream(service: Service, options: StreamOptions) -> Summary:
    try:
        service.describe()
    except RefusedError as error:
        if not is_missing(error):
            raise
        if options.shards is None and not options.on_demand:
            raise RefusedError(
                "no such stream",
                service.name,
                "--shards N or --on-demand makes it; is the region right?",
            ) from error
        mode: dict[str, Any] = {"ShardCount": options.shards}
        if options.on_demand:
            mode = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
        try:
            service.call("create_stream", StreamName=service.stream, **mode)
        except BinlogError as raced:
            if raced.__cause__ is None or error_code(raced.__cause__) != "ResourceInUseException":
                raise
    return service.wait(lambda _: True)


def _unlike(summary: Summary, options: StreamOptions) -> list[str]:
    """How a finished stream differs from the options given; shards come and go."""
    unlike = []
    if options.retention_hours not in {None, summary.retention_hours}:
        unlike.append(
            f"retention: found {summary.retention_hours} h, expected {options.retention_hours} h"
        )
    if options.kms_key is not None and summary.kms_key is None:
        unlike.append("encryption: found none")
    return unlike


def _refuse_differences(name: str, unlike: list[str]) -> None:
    if unlike:
        raise ConflictError(
            f"a log with other parameters is there ({'; '.join(unlike)})",
            name,
            "give these, or choose another stream",
            differences=unlike,
        )


def _refuse_other_logs(service: Service, genesis: bytes, params: Params) -> None:
    """Refuse frames of another log, and what would stand before a partition's genesis."""
    ours = bytes.fromhex(params.log_id) + genesis_hash(genesis)
    begun: set[int] = set()
    for shard in service.shards(params.partitions):
        where = f"shard {shard.id} of {service.name}"
        for key, data in service.first_records(shard.id):
            frame, partition = _frame(data), partition_from_key(key)
            if frame is None:
                if partition in shard.partitions - begun:
                    raise MismatchError(
                        f"a record that is no frame, and has the partition key {key!r}, which is the"
                        " log's own: every reader would stop at it",
                        where,
                        "choose another stream, or wait until its retention has taken the record",
                    )
                continue
            header, body = frame
            identity = header.log_id + header.genesis_hash
            if identity == ours:
                if body is not None:
                    begun.add(header.partition)
                continue
            if identity[:16] == ours[:16] and body is not None:
                found = decode_genesis(body, service.name)
                _refuse_differences(service.name, differences(found, params))
            raise MismatchError(
                f"the stream holds frames of log {identity[:16].hex()}"
                + (" under other parameters" if identity[:16] == ours[:16] else ""),
                where,
                "choose another stream",
            )


def _prepare(service: Service, summary: Summary, options: StreamOptions) -> None:
    """Retention and encryption, before anything is in the stream."""
    hours, key = options.retention_hours, options.kms_key
    if hours is not None and hours < summary.retention_hours:
        _refuse_differences(service.name, _unlike(summary, options))
    if hours is not None and hours > summary.retention_hours:
        service.call(
            "increase_stream_retention_period",
            StreamName=service.stream,
            RetentionPeriodHours=hours,
        )
        service.wait(lambda now: now.retention_hours == hours)
    if key is not None and summary.kms_key is None:
        service.call(
            "start_stream_encryption", StreamName=service.stream, EncryptionType="KMS", KeyId=key
        )
        service.wait(lambda now: now.kms_key is not None)


def _write(service: Service, genesis: bytes, params: Params) -> None:
    """The genesis record into every partition; one that is there already does no harm."""
    appender = Appender(
        service.name,
        service.stream,
        params,
        Admission(params, genesis),
        service.clients,
        service.time,
    )
    missing = [Put(p, genesis_frame(params, genesis, p)) for p in range(params.partitions)]
    service.retry(lambda: _left(appender, missing))


def _left(appender: Appender, missing: list[Put]) -> BinlogError | None:
    error: BinlogError | None = None
    for put, reply in zip(list(missing), appender.append(missing), strict=True):
        if isinstance(reply, Appended):
            missing.remove(put)
        else:
            found = getattr(reply, "error", None)
            error = found if isinstance(found, BinlogError) else StorageError("not written")
    return error
