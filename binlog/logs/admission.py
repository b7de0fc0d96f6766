"""What every log of ours looks at before it takes a frame: that it is one of its own, and its age.

Only fields at fixed places of the header (see `binlog.frame`) are looked at; checksums and bounds
are the sequencer's business, since Kinesis takes what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

from binlog.errors import RefusedError, TooLargeError
from binlog.frame import HEADER_BYTES, MAGIC
from binlog.log import Put
from binlog.params import Params, check_partition, genesis_hash

_CRC_AT, _IDENTITY_AT, _FAMILY_AT, _BORN_AT, _FIRST_AT = 8, 16, 48, 72, 80
_PARTITION_AT = 132
BORN = slice(_BORN_AT, _FIRST_AT)
"""Where a frame's `born` is."""


class Admission:
    """Checks the frames given to one log."""

    def __init__(self, params: Params, genesis: bytes) -> None:
        self._params = params
        self._identity = bytes.fromhex(params.log_id) + genesis_hash(genesis)
        self._age_ms = params.session_age_ms

    def check(self, puts: Sequence[Put]) -> None:
        """Nothing, if each is a frame of this log for its partition.

        Raises:
            RefusedError: no frame, another log's, or another partition's.
            TooLargeError: above the size that the log pins.
        """
        identity, partitions = self._identity, self._params.partitions
        bytes_max = self._params.frame_bytes_max
        for put in puts:
            data, partition = put.data, put.partition
            if (
                data[_IDENTITY_AT:_FAMILY_AT] == identity
                and HEADER_BYTES <= len(data) <= bytes_max
                and data.startswith(MAGIC)
                and 0 <= partition < partitions
                and partition == data[_PARTITION_AT] << 8 | data[_PARTITION_AT + 1]
            ):
                continue
            self._refuse(put)

    def _refuse(self, put: Put) -> None:
        data = put.data
        check_partition(put.partition, self._params)
        where = f"partition {put.partition}"
        if len(data) > self._params.frame_bytes_max:
            raise TooLargeError(
                f"a frame of {len(data)} bytes, the limit is {self._params.frame_bytes_max}",
                where,
                "put fewer or smaller events into one frame",
                size=len(data),
                limit=self._params.frame_bytes_max,
            )
        if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
            raise RefusedError("not a frame", where)
        if data[_IDENTITY_AT:_FAMILY_AT] != self._identity:
            raise RefusedError(
                f"a frame of log {data[_IDENTITY_AT : _IDENTITY_AT + 16].hex()}, "
                f"this log is {self._params.log_id}"
                if data[_IDENTITY_AT : _IDENTITY_AT + 16] != self._identity[:16]
                else "a frame written under other parameters",
                where,
                "open the log again",
            )
        raise RefusedError(
            f"a frame of partition {int.from_bytes(data[_PARTITION_AT : _PARTITION_AT + 2], 'big')}",
            where,
        )

    def is_too_old(self, born_ms: int, arrival_ms: int) -> bool:
        """Whether a session born then takes no more events at ``arrival_ms`` (P2)."""
        return arrival_ms > born_ms + self._age_ms

    def check_born(self, born_ms: int, arrival_ms: int) -> None:
        """Nothing, unless the frame is born in the future beyond the tolerance.

        Raises:
            RefusedError: the stamp is not this log's; no log gives one from its own future.
        """
        if born_ms > arrival_ms + self._params.born_tolerance_ms:
            raise RefusedError(
                f"a frame born {born_ms - arrival_ms} ms after the log's own time",
                do="take `born` from the log's replies, never from a clock",
                born_ms=born_ms,
                arrival_ms=arrival_ms,
            )


def born_of(frame: bytes) -> int:
    """The ``born`` in a frame's header, ms; 0 when it is not yet stamped."""
    return int.from_bytes(frame[BORN], "big")


def session_of(frame: bytes) -> bytes:
    """The session in a frame's header, family and generation, as bytes."""
    return frame[_FAMILY_AT:_BORN_AT]


def is_same_frame(stored: bytes, wanted: bytes) -> bool:
    """Whether ``stored`` is what a log made of ``wanted``: equal, but for a ``born`` it stamped."""
    if born_of(wanted):
        return stored == wanted
    return (
        len(stored) == len(wanted)
        and stored[_FAMILY_AT:_BORN_AT] == wanted[_FAMILY_AT:_BORN_AT]  # the session: differs first
        and stored[_FIRST_AT:] == wanted[_FIRST_AT:]
        and stored[:_CRC_AT] == wanted[:_CRC_AT]
        and stored[_CRC_AT + 4 : _FAMILY_AT] == wanted[_CRC_AT + 4 : _FAMILY_AT]
    )
