"""What producers were told, held against what the log's readers have to find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from binlog.envelope import CONTROL_PREFIX, Envelope
from binlog.frame import Session
from binlog.producer.outcome import Outcome
from tests.proofs.producers import Producers
from tests.proofs.reference_sequencer import COPY, Verdict


def check_ledger(world: Producers, partition: int, verdict: Verdict) -> None:
    """Invariants 2 and 3: every acknowledged event once, nothing alien, the rest at most once."""
    mine = [p for p in world.ledger if p.partition == partition]
    taken = [t for t in verdict.taken if t.event is not None and not is_control(t.event)]
    times = Counter(t.event.time_ms for t in taken if t.event is not None)
    assert set(times) <= {p.serial for p in mine}, "an event that nobody published"
    assert all(count == 1 for count in times.values()), "an event twice"
    where = {(t.session, t.number): t for t in taken}
    sequenced = [(t.at, content(t.event)) for t in verdict.sequenced if t.event is not None]
    for entry in mine:
        if entry.outcome is Outcome.FAILED:
            assert entry.serial not in times, "reported as never sent, and in the log"
        if entry.session is None:
            continue
        found = where.get((entry.session, entry.number))
        assert found is None or found.event == entry.event
        if entry.outcome is Outcome.ACKNOWLEDGED:
            assert found is not None, "an acknowledged event is lost"
            if found.what == COPY:
                earlier = [c for at, c in sequenced if at <= found.at]
                assert content(entry.event) in earlier, "a copy of nothing"


def check_order(events: Iterable[tuple[Session, Envelope]]) -> None:
    """Invariants 4 and 5: of one process life, what came through came in publishing order."""
    last: dict[bytes, int] = {}
    for session, event in events:
        if not is_control(event):
            assert event.time_ms > last.get(session.family, 0), "a process's order is lost"
            last[session.family] = event.time_ms


def is_control(event: Envelope) -> bool:
    return event.type.startswith(CONTROL_PREFIX)


def content(event: Envelope) -> tuple[object, ...]:
    """What makes two events copies of each other (P6)."""
    return event.id, event.type, event.table, event.key, event.data
