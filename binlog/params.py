"""What a log pins when it is made: the genesis record (S5).

The same bytes stand in every partition of the log, in the archive and in each store's meta row;
``genesis hash``, the first 16 bytes of their SHA-256, is in every frame's header. Two readers that
follow other values would number differently, so one that knows other values refuses to start.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import msgspec

from binlog.errors import DamageError, RefusedError, UpgradeError
from binlog.partition import PARTITIONS_MAX

GENESIS_FORMAT = 1
RULES_VERSION = 1
FRAME_VERSION = 1


_POSITIVE = (
    "id_window",
    "hold_frames_max",
    "hold_bytes_max",
    "frame_bytes_max",
    "body_bytes_max",
    "frame_events_max",
    "frame_version",
    "rules",
    "format",
)


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pinned values of one log. Times in milliseconds of the log's own arrival time."""

    log_id: str  # 32 hex digits, random
    partitions: int = 64  # P
    session_age_ms: int = 15 * 60_000  # A: a session older than this takes no more events
    session_life_ms: int = 60 * 60_000  # L: a frame older than this is expired
    born_tolerance_ms: int = 60_000  # a frame born further in the future is refused
    id_window: int = 1_024  # W: ids remembered per partition for sessions that ask
    hold_frames_max: int = 1_024  # frames held per partition before it halts
    hold_bytes_max: int = 16 * 1024 * 1024
    frame_bytes_max: int = 1024 * 1024  # an encoded frame
    body_bytes_max: int = 8 * 1024 * 1024  # a frame's body when decompressed
    frame_events_max: int = 4_096
    foreign: Literal["divert", "halt", "skip"] = "divert"
    frame_version: int = FRAME_VERSION  # the newest that producers may write
    rules: int = RULES_VERSION
    timeline: int = 0
    format: int = GENESIS_FORMAT

    def __post_init__(self) -> None:
        if len(self.log_id) != 32 or set(self.log_id) - set("0123456789abcdef"):
            raise ValueError(f"log_id {self.log_id!r} is not 32 hex digits")
        if not 1 <= self.partitions <= PARTITIONS_MAX:
            raise ValueError(f"partitions {self.partitions} is not 1 to {PARTITIONS_MAX}")
        if not 0 < self.session_age_ms < self.session_life_ms:
            raise ValueError("session age must be above 0 and below session life")
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is below 1")
        if self.born_tolerance_ms < 0 or self.timeline < 0:
            raise ValueError("born tolerance and timeline must not be below 0")


_encode = msgspec.json.Encoder(order="deterministic").encode


def encode_genesis(params: Params) -> bytes:
    """The genesis record: deterministic JSON of all values, readable by hand."""
    return _encode(params)


def decode_genesis(data: bytes, where: str) -> Params:
    """The parameters that a genesis record pins.

    Raises:
        UpgradeError: a newer format or newer rules than this code knows.
        DamageError: not a genesis record.
    """
    try:
        loose = msgspec.json.decode(data, type=_Versions)
    except (msgspec.DecodeError, ValueError) as error:
        raise DamageError(f"no genesis record ({error})", where, "is this a log?") from error
    for name, found, known in (
        ("genesis format", loose.format, GENESIS_FORMAT),
        ("rules version", loose.rules, RULES_VERSION),
    ):
        if found > known:
            raise UpgradeError(
                f"{name} {found}, this code knows up to {known}", where, "upgrade binlog"
            )
    try:
        return msgspec.json.decode(data, type=Params)
    except (msgspec.DecodeError, ValueError) as error:
        raise DamageError(f"no genesis record ({error})", where, "is this a log?") from error


class _Versions(msgspec.Struct):
    format: int
    rules: int


def genesis_hash(genesis: bytes) -> bytes:
    """The 16 bytes by which every frame names the parameters it was written under."""
    return sha256(genesis).digest()[:16]


def differences(found: Params, wanted: Params) -> list[str]:
    """``name: found X, expected Y`` for every value that differs, the log's id left out."""
    return [
        f"{name}: found {getattr(found, name)}, expected {getattr(wanted, name)}"
        for name in Params.__struct_fields__
        if name != "log_id" and getattr(found, name) != getattr(wanted, name)
    ]


def check_partition(partition: int, params: Params) -> int:
    """``partition`` itself.

    Raises:
        RefusedError: the log has no such partition.
    """
    if not 0 <= partition < params.partitions:
        raise RefusedError(
            f"partition {partition} does not exist",
            do=f"this log has partitions 0 to {params.partitions - 1}",
            partition=partition,
        )
    return partition
