"""Failing events with plain names for what does not matter: ids e1, e2 .., time 0, no meta."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from binlog.envelope import Envelope


def tidied(events: Sequence[Envelope]) -> Iterator[list[Envelope]]:
    """Forms of ``events`` to try, the plainest first, themselves last."""
    ids = [f"e{number}" for number in range(1, len(events) + 1)]
    bare = [
        replace(event, id=id_, time_ms=0, meta=None) for event, id_ in zip(events, ids, strict=True)
    ]
    yield [replace(event, expect=None) for event in bare]
    yield bare
    yield [replace(event, id=id_) for event, id_ in zip(events, ids, strict=True)]
    yield list(events)
