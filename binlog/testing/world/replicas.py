"""Replicas that follow the log: a store, the consumer that carries it forward, and its zombies.

Of two kinds. A consumer with memory keeps its engine from turn to turn. One without makes a new
engine at each turn, from the store's checkpoint rows as it finds them, and forgets it afterwards,
as an invocation of a Lambda does. A zombie is a second consumer of the same store, which goes on
from where it stood when everybody thought it dead.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Literal, TypeVar

from appliers.adoption import Bases
from appliers.applier import Rules
from appliers.store import Generation, Store
from binlog.errors import HaltedError, LostError, PoisonError, StorageError
from binlog.halt import Halt
from binlog.log import Log
from binlog.testing.world.store import Crashed, WorldStore
from consumers.engine import Engine
from snapshots.rebuild import Wanted, rebuild

RECORDS = 1_000
"""Of a page, unless somebody says less."""

_Store = TypeVar("_Store", bound=Store)


@contextmanager
def _quiet() -> Iterator[None]:
    """What a consumer reports when it loses a race is wanted here, and no news to the user."""
    logger = logging.getLogger("consumers.engine")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class Replica(Generic[_Store]):
    """One store, and whoever writes to it.

    The store may be of any kind; only a `WorldStore` can be crashed in and be overtaken in.
    """

    def __init__(
        self,
        number: int,
        log: Log,
        store: _Store,
        rules: Rules,
        *,
        fingerprint: str,
        remembers: bool,
        met: Counter[str],
        poison: Literal["stop", "park"] = "stop",
        generation: Generation | None = None,
        bases: Bases | None = None,
    ) -> None:
        """``generation``: that of a store which has one already, as a restored one has."""
        self.number = number
        self.remembers = remembers
        self.met = met
        self.store = store
        self.store.bind(log.genesis)
        if generation is None:
            generation = self.store.create(tables=None, fingerprint=fingerprint, excluded=())
        self.generation = generation
        self.engine: Engine | None = None
        self.zombie: Engine | None = None
        self.zombie_has_lost = False  # what it writes is of a generation that was replaced
        self.halts: list[Halt] = []  # as its last consumer met them
        self._poison = poison
        self._bases = bases
        self._log = log
        self._rules = rules
        self._zombie_is_busy = False

    @property
    def excluded(self) -> tuple[str, ...]:
        return self.generation.excluded

    # -- the consumer ----------------------------------------------------------------------------

    def consume(self, pages: int, records: int) -> str:
        """Some pages; how it ended: "caught up", "paused", "crashed", "timed out" or "lost".

        What breaks a consumer breaks it here, and the next one starts over.

        Raises:
            PoisonError: an event that cannot be applied; all before its record is.
        """
        engine = self.engine
        if engine is None or not self.remembers:
            try:
                engine = self.engine = self.new_engine(records)
            except StorageError:
                return "timed out"
        try:
            if engine.reader.halts:
                engine.reader.retry_halted()
            with _quiet():
                for _ in range(pages):
                    if engine.step() is None:
                        return "caught up"
            return "paused"
        except Crashed:
            self.met["consumer crashed"] += 1
            self.engine = None
            return "crashed"
        except LostError:
            self.engine = None
            return "lost"
        except StorageError:  # the same consumer may try again
            self.met["commit timed out"] += 1
            return "timed out"
        finally:
            self.halts = list(engine.reader.halts.values())
            self.met["halted"] += bool(self.halts)
            if not self.remembers:
                self.engine = None

    def new_engine(self, records: int) -> Engine:
        """A consumer that begins at the store's checkpoints."""
        # As it stands in the store by now: with the event types met.
        [generation] = self.store.generations()
        return Engine(
            self._log,
            self.store,
            generation,
            self._rules,
            page_bytes=max(1, records),
            tell_halts=False,
            poison=self._poison,
            bases=self._bases,
        )

    def crash(self, after: int, records: int, *, heard: bool) -> str:
        """How the turn ended in whose commit it breaks."""
        store = self._loose()
        store.crash_after, store.time_out = after, heard
        try:
            return self.consume(3, records)
        finally:
            store.crash_after = None

    def _loose(self) -> WorldStore:
        if not isinstance(self.store, WorldStore):
            raise TypeError(f"{self.store.name} keeps more than the port promises")
        return self.store

    def _written(self) -> int:
        """Durable steps so far, where they are counted."""
        return len(self.store.journal) if isinstance(self.store, WorldStore) else 0

    # -- zombies ---------------------------------------------------------------------------------

    def start_zombie(self, records: int) -> None:
        self.zombie = self.new_engine(records)
        self.zombie_has_lost = False

    def wake(self, pages: int) -> bool:
        """The zombie goes on; whether there was one to do so."""
        zombie = self.zombie
        if zombie is None or self._zombie_is_busy:
            return False
        self._zombie_is_busy = True
        self.met["zombie stepped"] += 1
        before = self._written()
        try:
            with _quiet():
                for _ in range(pages):
                    if zombie.step() is None:
                        break
        except Crashed:
            self.zombie = None
        except LostError:
            self.met["rebuilt generation lost by the old consumer"] += self.zombie_has_lost
            self.zombie = None
        except PoisonError:
            pass  # whoever watches the consumer will see to it
        except StorageError:
            self.met["commit timed out"] += 1
        finally:
            self._zombie_is_busy = False
            self.met["zombie write"] += self._written() > before
        return True

    def overtake(self, pages: int, *, by_zombie: bool, at_read: bool) -> None:
        """One of the two goes on in the middle of what the other one does.

        Raises:
            PoisonError: as `consume`.
        """
        poison: list[PoisonError] = []

        def consume_within() -> None:
            # It is not for the zombie, in whose midst it is raised.
            try:
                self.consume(pages, RECORDS)
            except PoisonError as error:
                poison.append(error)

        inner = (lambda: self.wake(pages)) if by_zombie else consume_within
        self._in_the_middle(inner, at_read=at_read)
        try:
            if by_zombie:
                self.consume(pages, RECORDS)
            else:
                self.wake(pages)
        finally:
            self._in_the_middle(None, at_read=at_read)
        if poison:
            raise poison[0]

    def _in_the_middle(self, run: Callable[[], object] | None, *, at_read: bool) -> None:
        if at_read:
            self._loose().on_read = run
        else:
            self._loose().between = run

    # -- the operator ----------------------------------------------------------------------------

    def rebuild(self, excluded: tuple[str, ...]) -> bool:
        """Into a new generation, which is live if it succeeds; else all stays as it was.

        The consumer there is goes on with the old generation, as a zombie.

        Raises:
            PoisonError: another event cannot be applied.
        """
        old = self.engine or self.new_engine(RECORDS)
        try:
            wanted = Wanted(
                rules=self._rules, excluded=excluded, idle_exclusions="allow", poison=self._poison
            )
            rebuild(self._log, self.store, wanted)
        except HaltedError as error:
            halt = error.details["halt"]
            assert isinstance(halt, Halt)
            self.halts = [halt]
            self.met["rebuild halted"] += 1
            return False
        [self.generation] = self.store.generations()
        self.zombie, self.zombie_has_lost = old, True
        self.engine = None
        self.met["rebuilt"] += 1
        return True
