"""The sessions of one partition: which are known, closed or waiting, and when the next one expires.

Pure bookkeeping for the sequencer, which decides; every change here is one that it asked for.

A partition knows every session of the last L, ten thousands where processes come and go, and one
of them ends with nearly every record. So what ends next is kept in heaps, and those that hold
frames, few by the bound on them, by themselves: nothing that a record asks for looks at all
sessions, but `states` for a checkpoint. What was forgotten otherwise stays in a heap until its time
comes, and counts for nothing there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

from binlog.frame import Session
from binlog.sequencer_state import Closed, Held, SessionState

_NEVER = 1 << 62


class Sessions:
    """``life_ms`` is L. ``deadline`` is the mark above which something here expires."""

    def __init__(
        self, life_ms: int, sessions: Iterable[SessionState], closed: Iterable[Closed]
    ) -> None:
        self._life_ms = life_ms
        self._known = {s.session: s for s in sessions}
        self._closed = {c.family: c for c in closed}
        self._holding = {s.session: s for s in self._known.values() if s.held}
        self._generations: dict[bytes, list[int]] = {}  # known ones, by family
        for family, generation in self._known:
            self._generations.setdefault(family, []).append(generation)
        self._births = [(s.born_ms, s.session) for s in self._known.values()]
        self._closing_ends = [(c.until_ms, c.family) for c in self._closed.values()]
        heapify(self._births)
        heapify(self._closing_ends)
        self.held_frames = sum(len(s.held) for s in self._holding.values())
        self.held_bytes = sum(len(h.data) for s in self._holding.values() for h in s.held)
        self.deadline = _NEVER
        self.set_deadline()

    def states(self) -> list[SessionState]:
        """All known sessions, by (family, generation)."""
        return [self._known[session] for session in sorted(self._known)]

    def closings(self) -> list[Closed]:
        """What closed older generations, by family."""
        return [self._closed[family] for family in sorted(self._closed)]

    def get(self, session: Session) -> SessionState | None:
        """The session's state, if it is known."""
        return self._known.get(session)

    def is_closed(self, session: Session) -> bool:
        """Whether a later generation of the family was accepted."""
        closed = self._closed.get(session.family)
        return closed is not None and session.generation < closed.generation

    def is_expired(self, born_ms: int, mark: int) -> bool:
        """Whether what was born then has expired at ``mark`` (S1)."""
        return born_ms + self._life_ms < mark

    def waits(self, state: SessionState, mark: int) -> bool:
        """Whether the session's first frame still waits for the predecessor it names (P7)."""
        predecessor = state.waits_for
        if predecessor is None or state.started:
            return False
        if self.is_expired(predecessor.born_ms, mark):
            return False
        earlier = Session(state.session.family, predecessor.generation)
        if self.is_closed(earlier):
            return False
        known = self._known.get(earlier)
        return known is None or known.next <= predecessor.number

    def held_detail(self, state: SessionState) -> str:
        """What is held, for the operator who decides about ``state``."""
        detail = f"{self.held_frames} frames, {self.held_bytes} bytes held"
        if state.started or state.session.generation == 1:
            return detail
        # What still comes of them would be dropped, and no number of this session tells.
        return f"{detail}; a gap also closes the generations before {state.session}"

    def with_held(self, family: bytes | None = None) -> Iterator[SessionState]:
        """Sessions (of ``family``) that hold frames, by (family, generation).

        Those that go while one iterates are left out.
        """
        if self._holding:
            for session in sorted(self._holding):
                state = self._holding.get(session)
                if state is not None and family in (None, session.family):
                    yield state

    def ending(self, mark: int) -> list[SessionState]:
        """All that ``mark`` may end or set free, by (family, generation).

        Those that have expired, which the caller has to forget, and those that hold frames.
        """
        found = dict(self._holding)
        while self._births and self.is_expired(self._births[0][0], mark):
            born_ms, session = heappop(self._births)
            if self._is_known(born_ms, session):
                found[session] = self._known[session]
        return [found[session] for session in sorted(found)]

    def remember(self, state: SessionState) -> None:
        """Know a session from now on; nothing if it is known."""
        if state.session not in self._known:
            self._known[state.session] = state
            self._generations.setdefault(state.session.family, []).append(state.session.generation)
            heappush(self._births, (state.born_ms, state.session))
            self.deadline = min(self.deadline, *self._deadlines(state))

    def forget(self, state: SessionState) -> int:
        """Drop a session; returns how many held frames went with it."""
        family, generation = state.session
        held = self._known.pop(state.session).held
        self._holding.pop(state.session, None)
        generations = self._generations[family]
        generations.remove(generation)
        if not generations:
            del self._generations[family]
        self.held_frames -= len(held)
        self.held_bytes -= sum(len(h.data) for h in held)
        return len(held)

    def close_older(self, state: SessionState) -> int:
        """Close the generations before that of ``state``, until its own L is over (P7).

        Returns how many held frames went with them.
        """
        family, generation = state.session
        if generation == 1:
            return 0
        older = [g for g in self._generations.get(family, ()) if g < generation]
        dropped = sum(self.forget(self._known[Session(family, g)]) for g in older)
        until = state.born_ms + self._life_ms
        self._closed[family] = Closed(family, generation, until)
        heappush(self._closing_ends, (until, family))
        self.deadline = min(self.deadline, until)
        return dropped

    def hold(self, state: SessionState, held: Held) -> None:
        """Keep a frame until its turn comes."""
        state.held.append(held)
        self._holding[state.session] = state
        # The predecessor may have been named only now, by a frame that came behind others.
        self.deadline = min(self.deadline, *self._deadlines(state))
        self.held_frames += 1
        self.held_bytes += len(held.data)

    def take_ready(self, state: SessionState) -> Held | None:
        """The earliest held record that carries the number which comes next, or an older one."""
        ready = next((h for h in state.held if h.first <= state.next), None)
        if ready is not None:
            state.held.remove(ready)
            if not state.held:
                del self._holding[state.session]
            self.held_frames -= 1
            self.held_bytes -= len(ready.data)
        return ready

    def end_waits_and_memories(self, mark: int) -> None:
        """Forget what the mark has ended, apart from sessions: those the sequencer ends."""
        while self._closing_ends and self._closing_ends[0][0] < mark:
            until_ms, family = heappop(self._closing_ends)
            if self._is_closing(until_ms, family):
                del self._closed[family]
        for state in self._holding.values():  # who waits holds the frame that said so
            if state.waits_for is not None and not self.waits(state, mark):
                state.waits_for = None
        self.set_deadline()

    def set_deadline(self) -> None:
        """Recompute the deadline from what is known."""
        births, ends = self._births, self._closing_ends
        while births and not self._is_known(*births[0]):
            heappop(births)
        while ends and not self._is_closing(*ends[0]):
            heappop(ends)
        self.deadline = min(
            _NEVER,
            births[0][0] + self._life_ms if births else _NEVER,
            ends[0][0] if ends else _NEVER,
            *(d for state in self._holding.values() for d in self._deadlines(state)),
        )

    def _is_known(self, born_ms: int, session: Session) -> bool:
        state = self._known.get(session)
        return state is not None and state.born_ms == born_ms

    def _is_closing(self, until_ms: int, family: bytes) -> bool:
        closed = self._closed.get(family)
        return closed is not None and closed.until_ms == until_ms

    def _deadlines(self, state: SessionState) -> list[int]:
        own = state.born_ms + self._life_ms
        waits = state.waits_for
        return [own] if waits is None else [own, waits.born_ms + self._life_ms]
