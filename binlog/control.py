"""Control records (S8): envelopes of type ``binlog.…`` that take offsets like any other.

A RESOLVE lifts a halt (`binlog.halt`), a PARAMS changes a pinned value for the records after it, an
ADOPT makes what a table held before the log's (`binlog.adoption`), a no-op only moves the mark, a
relay leaves marks of its own (`binlog.relay`). Appliers never see them; ``cat`` shows them with
``--control``.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from binlog.adoption import Adoption, adopt_envelope, adopt_session
from binlog.columns import Columns, FrameError, columns_of, decode_columns, encode_body
from binlog.envelope import CONTROL_PREFIX, Envelope
from binlog.errors import DamageError, RefusedError
from binlog.frame import (
    Header,
    Session,
    decode_body,
    encode_frame,
)
from binlog.halt import Resolution
from binlog.params import Params, genesis_hash
from binlog.values import decode_value, encode_value

RESOLVE_TYPE = CONTROL_PREFIX + "resolve"
PARAMS_TYPE = CONTROL_PREFIX + "params"
NOOP_TYPE = CONTROL_PREFIX + "noop"
RELAY_TYPE = CONTROL_PREFIX + "relay"

# What a PARAMS record may change. Not the number of partitions: that is a new timeline.
CHANGEABLE = frozenset(
    {"frame_version", "id_window", "hold_frames_max", "hold_bytes_max", "session_age_ms"}
)
CHANGE_MAX = 2**31 - 1
_EMPTY_KEY = encode_value({})


def genesis_frame(params: Params, genesis: bytes, partition: int) -> bytes:
    """The record that opens a partition, at offset 0."""
    header = _header(params, genesis, partition, Session(bytes(16), 0), genesis_frame=True)
    return encode_frame(header, genesis)


def resolve_frame(
    params: Params, genesis: bytes, resolution: Resolution, *, family: bytes, now_ms: int
) -> bytes:
    """A RESOLVE, unborn: alone, plain, number 1 of the fresh ``family`` (so it is never held)."""
    data = encode_value(msgspec.to_builtins(resolution))
    return _control_frame(
        params, genesis, resolution.partition, RESOLVE_TYPE, data, family, now_ms, resolve=True
    )


def noop_frame(
    params: Params, genesis: bytes, partition: int, *, family: bytes, now_ms: int
) -> bytes:
    """A no-op, unborn: on a quiet log it moves the mark."""
    return _control_frame(params, genesis, partition, NOOP_TYPE, None, family, now_ms)


def adopt_frame(
    params: Params,
    genesis: bytes,
    adoption: Adoption,
    partition: int,
    *,
    now_ms: int,
    bits: int = 0,
) -> bytes:
    """The ADOPT record of a partition, unborn: one attempt at it, never to be sent a second time.

    ``now_ms`` is the log's time, and ``bits`` as `adopt_session` takes them.
    """
    log_id = bytes.fromhex(params.log_id)
    session = adopt_session(log_id, adoption.table, partition, now_ms=now_ms, bits=bits)
    envelope = adopt_envelope(adoption, partition, now_ms=now_ms)
    header = _header(params, genesis, partition, session, id_window=True)
    return encode_frame(header, encode_body(columns_of([envelope])))


def params_envelope(changes: dict[str, int], *, new_id: Callable[[], str], now_ms: int) -> Envelope:
    """A PARAMS record; one is needed in every partition.

    Raises:
        RefusedError: a value that cannot be changed within a timeline, or out of bounds.
    """
    if fixed := set(changes) - CHANGEABLE:
        raise RefusedError(
            f"{', '.join(sorted(fixed))} cannot be changed", do="it takes a new log or timeline"
        )
    for name, value in changes.items():
        if not 0 < value <= CHANGE_MAX:
            raise RefusedError(f"{name} {value}: from 1 to {CHANGE_MAX}")
    data = encode_value(changes)
    return Envelope(new_id(), PARAMS_TYPE, 1, "", _EMPTY_KEY, data, time_ms=now_ms)


def decode_params_change(columns: Columns, params: Params) -> dict[str, int]:
    """What the PARAMS records among the envelopes change of ``params``.

    One that is no such record, or that no log could have been made with, has no effect: it has
    its offset already, so it cannot halt any more, and every reader decides alike. So have names
    that are unknown, and values out of 1 to `CHANGE_MAX`.
    """
    changes: dict[str, int] = {}
    for envelope in columns.envelopes():
        if envelope.type != PARAMS_TYPE or envelope.data is None:
            continue
        try:
            value = decode_value(envelope.data)
            if not isinstance(value, dict):
                continue
            change = {
                name: number
                for name, number in value.items()
                if name in CHANGEABLE and type(number) is int and 0 < number <= CHANGE_MAX
            }
            msgspec.structs.replace(params, **changes | change)
        except (DamageError, ValueError):
            continue
        changes |= change
    return changes


def decode_resolution(data: bytes, header: Header) -> Resolution | None:
    """The content of a RESOLVE frame; ``None`` if it is none that can count."""
    try:
        columns = decode_columns(decode_body(data, header), header.count)
    except FrameError:
        return None
    envelope = next(columns.envelopes())
    if envelope.type != RESOLVE_TYPE or envelope.data is None:
        return None
    try:
        return msgspec.convert(decode_value(envelope.data), Resolution)
    except (DamageError, msgspec.ValidationError, ValueError):
        return None


def _control_frame(
    params: Params,
    genesis: bytes,
    partition: int,
    kind: str,
    data: bytes | None,
    family: bytes,
    now_ms: int,
    *,
    resolve: bool = False,
) -> bytes:
    envelope = Envelope(f"{kind}/{family.hex()}", kind, 1, "", _EMPTY_KEY, data, time_ms=now_ms)
    header = _header(params, genesis, partition, Session(family, 1), resolve=resolve)
    return encode_frame(header, encode_body(columns_of([envelope])))


def _header(
    params: Params,
    genesis: bytes,
    partition: int,
    session: Session,
    *,
    resolve: bool = False,
    genesis_frame: bool = False,
    id_window: bool = False,
) -> Header:
    return Header(
        session=session,
        born_ms=0,
        partition=partition,
        first=0 if genesis_frame else 1,
        count=0 if genesis_frame else 1,
        log_id=bytes.fromhex(params.log_id),
        genesis_hash=genesis_hash(genesis),
        resolve=resolve,
        genesis=genesis_frame,
        id_window=id_window,
    )
