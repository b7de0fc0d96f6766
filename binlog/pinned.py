"""What PARAMS records change of the pinned parameters, and the archive that they name.

Both are part of a sequencer's state: whoever has a checkpoint knows them, whatever the log has
forgotten since. An address says nothing about how a record is numbered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from binlog.columns import Columns
from binlog.control import CHANGEABLE, PARAMS_TYPE, decode_params_change
from binlog.errors import DamageError
from binlog.params import Params
from binlog.values import decode_value

__all__ = ["ARCHIVE", "PARAMS_TYPE", "URL_BYTES_MAX", "announced", "changed", "changes_in"]

Changes: TypeAlias = Mapping[str, int | str]

ARCHIVE = "archive"
URL_BYTES_MAX = 1_024


def changed(pinned: Params, changes: Changes) -> Params:
    """The parameters that hold after these changes."""
    numbers = {name: value for name, value in changes.items() if name in CHANGEABLE}
    return msgspec.structs.replace(pinned, **numbers)


def changes_in(columns: Columns, params: Params) -> dict[str, int | str]:
    """What the PARAMS records among the envelopes change, and name; see `decode_params_change`."""
    found: dict[str, int | str] = {**decode_params_change(columns, params)}
    archive = announced(columns)
    return found if archive is None else {**found, ARCHIVE: archive}


def announced(columns: Columns) -> str | None:
    """The archive that the last such record among these envelopes names; ``None``: there is none.

    Anybody may write a record of that type: what is not of this form names nothing. An empty
    address takes it back.
    """
    if not any(kind[0] == PARAMS_TYPE for kind in columns.kinds):
        return None
    found = None
    for envelope in columns.envelopes():
        if envelope.type != PARAMS_TYPE or envelope.data is None:
            continue
        try:
            value = decode_value(envelope.data)
        except DamageError:
            continue
        url = value.get(ARCHIVE) if isinstance(value, dict) else None
        if isinstance(url, str) and len(url.encode(errors="replace")) <= URL_BYTES_MAX:
            found = url
    return found
