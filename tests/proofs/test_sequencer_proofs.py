"""The sequencer gives what its specification says, wherever it is cut and whatever is repeated."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from binlog.testing.world.records import Resolve
from binlog.testing.world.specification import Verdict
from tests.proofs.budget import HALTS, assert_met, examples
from tests.proofs.drive import Driven, Driver
from tests.proofs.histories import Soup, soups

COUNTED_ALIKE = ("expired", "closed", "id_reused", "given_up_late", "held")


def assert_same(soup: Soup, driven: Driven, verdict: Verdict) -> None:
    got = [(e.session, e.number, e.event) for e in driven.events]
    assert got == [(t.session, t.number, t.event) for t in verdict.sequenced]
    assert [e.offset for e in driven.events] == list(range(1, len(got) + 1))
    assert lifted_of(soup, driven) == [
        (t.at, t.rule, t.session, t.offset, d) for t, d in verdict.lifted
    ]
    trouble, halt = verdict.trouble, driven.halt
    assert (trouble is None) == (halt is None), (trouble, halt)
    if trouble is not None and halt is not None:
        assert (halt.rule, halt.session, halt.offset) == (
            trouble.rule,
            trouble.session,
            trouble.offset,
        )
        assert halt.position.sequence == soup.log.sequence(trouble.at)
        assert halt.digest == driven.digest.hex()
    elif not verdict.lifted:
        counted = {name: driven.counters[name] for name in COUNTED_ALIKE}
        assert counted == {name: verdict.counts.get(name, 0) for name in COUNTED_ALIKE}


def lifted_of(soup: Soup, driven: Driven) -> list[tuple[int, str, str | None, int, str]]:
    index = {soup.log.sequence(i): i for i in range(len(soup.history))}
    return [(index[h.position.sequence], h.rule, h.session, h.offset, d) for h, d in driven.lifted]


# (That a number given up comes after all is shown by hand, in `test_halt_proofs`.)
MUST_HAPPEN = (
    "duplicates",
    "expired",
    "closed",
    "held",
    "drained",
    "window_dropped",
    "id_reused",
    *HALTS,
)


def note(met: Counter[str], soup: Soup, driven: Driven) -> None:
    for name, count in driven.counters.items():
        met[name] += count
    if driven.halt is not None:
        met[f"halt {driven.halt.rule}"] += 1
    for halt, decision in driven.lifted:
        met[f"lifted {halt.rule} {decision}"] += 1
    resolves = sum(isinstance(rec, Resolve) for rec in soup.history)
    met["RESOLVE that does not count"] += resolves > len(driven.lifted)
    positions = Counter(halt.position for halt, _ in driven.lifted)
    met["several halts at one record"] += any(count > 1 for count in positions.values())


def test_sequencer_equals_its_specification() -> None:
    """Invariants 1 and 8: offsets, events, order, halts and counts, against a model that shares
    no code with it."""
    met: Counter[str] = Counter()

    @examples(20)
    @given(soups())
    def holds(soup: Soup) -> None:
        driven = Driver(soup.log).run(soup.history)
        note(met, soup, driven)
        assert_same(soup, driven, soup.judge())

    holds()
    assert_met(met, MUST_HAPPEN)


@examples(8)
@given(soups(), st.data())
def test_saved_anywhere_it_goes_on_alike(soup: Soup, data: st.DataObject) -> None:
    """Invariant 9: state is a fold; saved before any records and read back, the numbers, digests,
    halts and states after every record are the same."""
    straight = Driver(soup.log).run(soup.history)
    cuts = frozenset(data.draw(st.sets(st.integers(1, len(soup.history)))))
    for cut in (cuts, frozenset(range(1, len(soup.history) + 1))):
        assert Driver(soup.log, restart_at=cut).run(soup.history) == straight


@examples(4)
@given(soups())
def test_a_record_fed_twice_changes_nothing(soup: Soup) -> None:
    """Invariant 9: what was read before the checkpoint may be read again after it."""
    every = frozenset(range(len(soup.history) + 1))
    straight = Driver(soup.log).run(soup.history)
    again = Driver(soup.log, repeat_at=every).run(soup.history)
    assert (again.events, again.halt, again.digests) == (
        straight.events,
        straight.halt,
        straight.digests,
    )


def test_a_digest_names_what_was_accepted_and_in_which_frames() -> None:
    """S6: two histories with one digest have numbered the same events, and a change of any event
    changes every digest after it."""
    seen: dict[bytes, list[object]] = {}

    @examples(4)
    @given(soups(max_size=20))
    def holds(soup: Soup) -> None:
        driven = Driver(soup.log).run(soup.history)
        events: list[object] = [event.event for event in driven.events]
        assert seen.setdefault(driven.digest, events) == events

    holds()
    assert len(seen) > 100
