"""The quick model of the sequencer gives what the slow specification says, on every history."""

from __future__ import annotations

from collections import Counter
from time import process_time

import pytest
from hypothesis import given

from binlog.envelope import Envelope
from binlog.frame import Session
from binlog.testing.world.model import Model, judge
from binlog.testing.world.records import Frame, Resolve
from binlog.testing.world.specification import GIVEN_UP, Limits, Reference, Verdict
from tests.proofs.budget import HALTS, LARGE, assert_met, examples, until_caught
from tests.proofs.histories import PARAMS, Soup, limits_of, small_event, soups

LIMITS = limits_of(PARAMS)


def same(one: Verdict, other: Verdict) -> bool:
    """Equal in every field; a count of nothing is none."""
    return (
        one.taken == other.taken
        and one.sequenced == other.sequenced
        and one.trouble == other.trouble
        and one.lifted == other.lifted
        and Counter(one.counts) == Counter(other.counts)
    )


def note(met: Counter[str], soup: Soup, verdict: Verdict) -> None:
    met.update({name: count for name, count in verdict.counts.items() if count})
    if verdict.trouble is not None:
        met[f"halt {verdict.trouble.rule}"] += 1
    met.update(f"lifted {trouble.rule} {decision}" for trouble, decision in verdict.lifted)
    met["given up"] += any(t.what == GIVEN_UP for t in verdict.taken)
    met["copies"] += any(t.what == "copy" for t in verdict.taken)
    resolves = sum(isinstance(rec, Resolve) for rec in soup.history)
    met["RESOLVE that does not count"] += resolves > len(verdict.lifted)
    met["several halts at one record"] += len({t.at for t, _ in verdict.lifted}) < len(
        verdict.lifted
    )


MUST_HAPPEN = (
    "expired",
    "closed",
    "held",
    "id_reused",
    "skipped",
    "given up",
    "copies",
    *HALTS,
)


def test_the_model_equals_the_specification() -> None:
    """Every field of the verdict, on histories that break what a log and an operator can break;
    and reading on gives what reading anew gives, after every record."""
    met: Counter[str] = Counter()

    @examples(20)
    @given(soups())
    def holds(soup: Soup) -> None:
        model = Model(LIMITS, soup.resolvable)
        for rec in soup.history:
            model.read(rec)
        verdict = soup.judge()
        assert same(model.verdict(), verdict), (model.verdict(), verdict)
        note(met, soup, verdict)

    holds()
    assert_met(met, MUST_HAPPEN)


def test_the_model_is_incremental() -> None:
    """At every record it stands where the specification stands with the history so far: a halt
    that is lifted later is a halt until then, and nothing behind it has happened."""
    met: Counter[str] = Counter()

    @examples(2)
    @given(soups(max_size=24))
    def holds(soup: Soup) -> None:
        model = Model(LIMITS, soup.resolvable)
        troubled = 0
        for count, rec in enumerate(soup.history, 1):
            model.read(rec)
            verdict = Reference(LIMITS, soup.history[:count], soup.resolvable).judge()
            assert same(model.verdict(), verdict), count
            troubled += verdict.trouble is not None
        met["halted, then lifted"] += bool(troubled and model.trouble is None)

    holds()
    assert_met(met, ["halted, then lifted"])


def long_history(count: int) -> list[Frame]:
    """Three processes that take turns, six events a frame, every tenth frame twice."""
    history: list[Frame] = []
    event = small_event(1)
    sent = [0, 0, 0]
    for n in range(count):
        who = n % 3
        events = tuple(_numbered(event, 6 * n + i) for i in range(6))
        session = Session(bytes([who]) * 16, 1 + n // 300)
        first = sent[who] + 1 if n % 300 >= 3 else 1
        sent[who] = first + 5
        frame = Frame(1_000 + n // 8, session, 1_000 + n // 300 * 37, first, events,
                      id_window=who == 0)  # fmt: skip
        history += [frame] * (1 + (n % 10 == 0))
    return history


def _numbered(event: Envelope, number: int) -> Envelope:
    return Envelope(f"id{number}", event.type, 1, event.table, event.key, event.data)


def test_the_model_is_linear_and_cheap() -> None:
    """A budget, generous; and four times the records take about four times as long.

    Others only make it slower, never quicker: what counts is the best of as many runs as it takes.
    """
    limits = Limits(life=60_000, window=1_024, hold_frames=100, hold_bytes=1 << 20)
    histories = {count: long_history(count) for count in (1_000, 4_000)}
    best = dict.fromkeys(histories, 1e9)
    for run in range(40):
        for count, history in histories.items():
            started = process_time()
            verdict = judge(limits, history)
            best[count] = min(best[count], process_time() - started)
            assert len(verdict.sequenced) == 6 * count
        if run >= 2 and best[4_000] < 24_000 * 40e-6 and best[4_000] < 8 * best[1_000]:
            break
    print(f"model: {best[4_000] / 24_000 * 1e6:.2f} us an event")
    assert best[4_000] < 24_000 * 40e-6
    assert best[4_000] < 8 * best[1_000]


@LARGE
def test_a_model_that_forgets_a_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: without the predecessor's rule it does."""
    monkeypatch.setattr(Model, "_may_begin", lambda *_: True)

    @until_caught(4)
    @given(soups())
    def holds(soup: Soup) -> None:
        assert same(judge(LIMITS, soup.history, soup.resolvable), soup.judge())

    with pytest.raises(AssertionError):
        holds()
