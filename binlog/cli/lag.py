"""How `status` says how far the consumers of a store are behind, and how long that may go on."""

from __future__ import annotations

import math
from typing import Any

from binlog.cli.pace import setting_document, setting_text
from consumers.lag import ConsumerLag, Lag, latest
from consumers.pace import Setting


def lag_document(found: Lag, setting: Setting | None) -> dict[str, Any]:
    """What a store adds to the document of `status`."""
    consumers = found.consumers
    return {
        "sum": {
            "lag_events": sum(p.lag_events or 0 for p in found.partitions),
            "lag_bytes": sum(p.lag_bytes or 0 for p in found.partitions),
            "lag_seconds": max((p.lag_seconds or 0.0 for p in found.partitions), default=0.0),
            "runway_seconds": found.runway_s,
            "eta_seconds": latest([each.eta_seconds for each in consumers]),
        },
        "runway": found.runway,
        "retention_seconds": found.retention_s,
        "consumers": consumers,
        "pace": None if setting is None else setting_document(setting),
    }


def lag_lines(found: Lag, setting: Setting | None) -> list[str]:
    """A line a consumer that is behind, and what they are to go by."""
    lines = [_line(each) for each in found.consumers if each.lag_events]
    if setting is not None:
        lines.append(f"pace: {setting_text(setting)}")
    return lines


def runway_text(found: Lag, store: str) -> str | None:
    """A warning where not much is left before the log forgets what is not applied."""
    left_s, kept_s = found.runway_s, found.retention_s
    if found.runway not in {"short", "lifted"} or left_s is None or kept_s is None:
        return None
    what = (
        f"{duration_text(left_s, zero='nothing')} left before the log forgets what {store} has not"
        f" applied; it keeps {duration_text(kept_s)}"
    )
    if found.runway == "lifted":
        return f"{what}: its consumers go as fast as they can, if there are any: have the log keep more"
    return f"{what}: raise what binlog pace {store} shows, or start a consumer"


def _line(lag: ConsumerLag) -> str:
    tables = ", ".join(lag.tables[:3]) + (" and others" if len(lag.tables) > 3 else "")
    said = (
        f"{tables or 'no table yet'}: {lag.lag_events:,} events behind,"
        f" {bytes_text(lag.lag_bytes)} of log, for {duration_text(lag.lag_seconds)}; "
    )
    if lag.events_per_second is None:
        return said + "when it has all is not known (--over 30s measures it)"
    speeds = f"{lag.events_per_second:,.0f} events a second are applied"
    speeds += f" and {lag.arriving_per_second or 0:,.0f} come"
    if lag.eta_seconds is None:
        return said + f"it does not catch up: {speeds}"
    return said + f"it has all in {duration_text(lag.eta_seconds)}: {speeds}"


def bytes_text(count: int) -> str:
    """``0 B``, ``990 B``, ``4.2 MB``."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(int(math.log(max(count, 1), 1000)), len(units) - 1)
    return f"{count / 1000**power:.{1 if power else 0}f} {units[power]}"


def duration_text(seconds: float, *, zero: str = "-") -> str:
    """``0.3 s``, ``59 s``, ``3 min``, ``2.5 h``, ``4.0 d``: as exact as one needs it."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds else zero
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3_600:.1f} h"
    return f"{seconds / 86_400:.1f} d"
