"""Appliers that the tests of the command name by `--appliers`."""

from __future__ import annotations

from typing import Any

from appliers.applier import ApplierError, Appliers
from binlog.envelope import Event

appliers = Appliers()


@appliers.on("Renamed", table="users", version=1)
def rename(item: dict[str, Any] | None, event: Event) -> dict[str, Any]:
    """Refuses somebody who is not there."""
    if item is None:
        raise ApplierError("nobody to rename")
    return {**item, "name": event.data["name"]}
