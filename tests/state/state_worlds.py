"""States as a sequencer has them, and as it never has them, for the tests of rows and bases."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

from appliers.state_base import Base, Packed, pack
from binlog.frame import Predecessor, Session
from binlog.sequencer_state import Closed, Held, SequencerState, SessionState

LIFE_MS = 3_600_000
NOW_MS = 1_700_000_000_000
_random = Random(0)
FAMILIES = sorted(_random.randbytes(16) for _ in range(8))
assert len(set(FAMILIES)) == 8


class Bases:
    """Where bases are kept; ids are drawn from a seed."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._kept: dict[str, bytes] = {}

    def pack(self, state: bytes, base: Base | None, **options: Any) -> Packed:
        packed = pack(state, base, token=self._random.randbytes, **options)
        if packed.base is not None:
            assert packed.base.id not in self._kept
            self._kept[packed.base.id] = packed.base.data
        return packed

    def get(self, name: str) -> bytes | None:
        return self._kept.get(name)


def numbers() -> st.SearchStrategy[int]:
    """Small ones that collide, and the largest there are."""
    return st.one_of(st.integers(0, 3), st.integers(0, 1 << 20), st.integers(0, (1 << 63) - 1))


@st.composite
def sessions(draw: st.DrawFn) -> list[SessionState]:
    names = draw(st.sets(st.tuples(st.sampled_from(FAMILIES), st.integers(1, 3)), max_size=10))
    found = []
    for family, generation in sorted(names):
        state = SessionState(
            Session(family, generation), draw(numbers()), draw(numbers()), draw(st.booleans())
        )
        if draw(st.integers(0, 4)) == 0:
            state.held = [
                Held(n, 1, draw(numbers()), "1" * 56, draw(st.binary(max_size=40)))
                for n in range(draw(st.integers(0, 2)))
            ]
            state.given_up = draw(st.lists(st.tuples(numbers(), numbers()), max_size=2))
            if draw(st.booleans()):
                state.waits_for = Predecessor(generation, draw(numbers()), draw(numbers()))
        found.append(state)
    return found


@st.composite
def states(draw: st.DrawFn) -> bytes:
    """Encoded states of a few families: nothing in them need fit together."""
    known = draw(sessions())
    closed = [
        Closed(s.session.family, s.session.generation, s.born_ms + LIFE_MS)
        for s in {s.session.family: s for s in known}.values()
        if s.born_ms < NOW_MS and draw(st.integers(0, 4))
    ]
    others = draw(st.sets(st.sampled_from(FAMILIES), max_size=2)) - {c.family for c in closed}
    closed += [Closed(family, draw(numbers()), draw(numbers())) for family in others]
    first = draw(st.integers(0, 6))
    ids = [
        (bytes((n % 256,)) * 16, bytes(16)) for n in range(first, first + draw(st.integers(0, 8)))
    ]
    return SequencerState(
        offset=draw(numbers()),
        mark=draw(numbers()),
        digest=draw(st.binary(min_size=32, max_size=32)),
        begun=draw(st.booleans()),
        hold_factor=draw(st.integers(1, 4)),
        changes=draw(st.dictionaries(st.sampled_from(["id_window", "rules"]), st.integers(1, 9))),
        sessions=known,
        closed=sorted(closed, key=lambda c: c.family),
        window=ids + draw(st.sampled_from([[], ids[:1]])),
        place=draw(st.binary(max_size=9)),
    ).encode()


def crowd(random: Random, count: int) -> SequencerState:
    """A state that so many producers have left, a third of them in their second session."""
    found = SequencerState(offset=9, mark=NOW_MS, digest=random.randbytes(32), begun=True)
    for family in sorted(random.randbytes(16) for _ in range(count)):
        generation = random.choice([1, 1, 2])
        born_ms = NOW_MS - random.randrange(900_000)
        session = Session(family, generation)
        found.sessions.append(SessionState(session, born_ms, random.randrange(1, 300), True))
        if generation > 1:
            found.closed.append(Closed(family, generation, born_ms + LIFE_MS))
    return found


def step(random: Random, state: SequencerState, changed: int) -> None:
    """A commit later: that many sessions have moved on."""
    for session in random.sample(state.sessions, changed):
        session.next += random.randrange(1, 4)
        state.offset += 1
    state.mark += 1_000
