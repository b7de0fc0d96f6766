"""How many events came to what."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct):
    """Of events. ``events`` are all but control events, and the sum of the three after it."""

    events: int = 0
    routed: int = 0  # to one item or several; rejected ones are among them
    unrouted: int = 0  # no applier takes them, or their table is not wanted
    excluded: int = 0
    rejected: int = 0  # their expected version was not the item's
    control: int = 0
    parked: int = 0  # could not be applied, or wait behind one that could not
