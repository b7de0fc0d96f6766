"""The sessions of one partition: which are known, closed or waiting, and when the next one expires.

Pure bookkeeping for the sequencer, which decides; every change here is one that it asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
        self.held_frames = sum(len(s.held) for s in self._known.values())
        self.held_bytes = sum(len(h.data) for s in self._known.values() for h in s.held)
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

    def with_held(self, family: bytes | None = None) -> Iterator[SessionState]:
        """Sessions (of ``family``) that hold frames, by (family, generation).

        Those that go while one iterates are left out.
        """
        if self.held_frames:
            for session in sorted(self._known):
                state = self._known.get(session)
                if state is not None and state.held and family in (None, session.family):
                    yield state

    def remember(self, state: SessionState) -> None:
        """Know a session from now on; nothing if it is known."""
        if state.session not in self._known:
            self._known[state.session] = state
            self.deadline = min(self.deadline, *self._deadlines(state))

    def forget(self, state: SessionState) -> int:
        """Drop a session; returns how many held frames went with it."""
        held = self._known.pop(state.session).held
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
        older = [s for s in self._known if s.family == family and s.generation < generation]
        dropped = sum(self.forget(self._known[session]) for session in older)
        until = state.born_ms + self._life_ms
        self._closed[family] = Closed(family, generation, until)
        self.deadline = min(self.deadline, until)
        return dropped

    def hold(self, state: SessionState, held: Held) -> None:
        """Keep a frame until its turn comes."""
        state.held.append(held)
        # The predecessor may have been named only now, by a frame that came behind others.
        self.deadline = min(self.deadline, *self._deadlines(state))
        self.held_frames += 1
        self.held_bytes += len(held.data)

    def take_ready(self, state: SessionState) -> Held | None:
        """The earliest held record that carries the number which comes next, or an older one."""
        ready = next((h for h in state.held if h.first <= state.next), None)
        if ready is not None:
            state.held.remove(ready)
            self.held_frames -= 1
            self.held_bytes -= len(ready.data)
        return ready

    def end_waits_and_memories(self, mark: int) -> None:
        """Forget what the mark has ended, apart from sessions: those the sequencer ends."""
        for family, closed in list(self._closed.items()):
            if closed.until_ms < mark:
                del self._closed[family]
        for state in self._known.values():
            if state.waits_for is not None and not self.waits(state, mark):
                state.waits_for = None
        self.set_deadline()

    def set_deadline(self) -> None:
        """Recompute the deadline from what is known."""
        self.deadline = min(
            (
                _NEVER,
                *(d for s in self._known.values() for d in self._deadlines(s)),
                *(c.until_ms for c in self._closed.values()),
            )
        )

    def _deadlines(self, state: SessionState) -> list[int]:
        own = state.born_ms + self._life_ms
        waits = state.waits_for
        return [own] if waits is None else [own, waits.born_ms + self._life_ms]
