"""The verbs of a drill that wait: until events flow, until a store has them, until anything is so."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from statistics import median

from binlog.drills.action import TABLE
from binlog.drills.declared import Declared, Twin
from binlog.drills.filled import Filled
from binlog.drills.judge import Wanted, applied_of
from binlog.drills.load import Load
from binlog.drills.processes import Processes
from binlog.drills.reference import Event, event_of, tallies
from binlog.errors import BinlogError, NotSentError

PAUSE_S, PAUSE_MOST_S = 0.02, 1.0
PATIENCE = 8.0  # times what a command takes: a consumer has to be started, too


class Waiting(Filled):
    """Between what is done and what it comes to."""

    served: str
    processes: Processes
    unused: dict[str, str | None]
    _declared: Declared
    _twin: Twin | None
    _loads: list[tuple[Load, float, str]]

    def wait(
        self,
        what: str,
        until: Callable[[], object],
        *,
        seconds: float | None = None,
        alone: bool = False,
    ) -> None:
        """Until it is so; after a twin's sabotage not for long, since it may never be.

        ``seconds`` at most, else what is usual there. ``alone``: a process that ends by itself
        meanwhile is no failure.

        Raises:
            BinlogError: it is not in time, a producer failed, or a process ended by itself.
        """
        seconds = self.target.wait_s if seconds is None else seconds
        if self._twin is not None and not self.unused:
            seconds = min(seconds, self.patience_s)
        seconds += self.more_s
        end = time.monotonic() + seconds
        while True:
            asked = time.monotonic()
            if until():
                break
            self.processes.interrupts.look()
            for load, _, _ in self._loads:
                load.check()
            if not alone:
                self.processes.check()
            now = time.monotonic()
            if now > end:
                raise NotSentError(f"not in {seconds:.0f} s: {what}", self._declared.name)
            # Who asks takes time from those that are waited for: a third of it at most.
            time.sleep(min(PAUSE_MOST_S, max(PAUSE_S, 2 * (now - asked))))
        if alone:
            self.processes.forgive()

    @property
    def patience_s(self) -> float:
        """For how long a twin waits for what may never be: by the pace of this machine, now.

        Where a command takes seconds, a consumer that is only slow would be taken for one that does wrong.
        """
        # Not by the slowest: some commands wait, by what they do.
        took_s = [command.seconds for command in self._record.commands]
        return max(self.target.twin_wait_s, PATIENCE * median(took_s or [0.0]))

    def flow(self, events: int, *, alone: bool = False) -> None:
        """Let the load go on until so many more are acknowledged; ``alone`` as in `wait`."""
        goal = self.book.acknowledged + events
        self.wait(f"{events} more events", lambda: self.book.acknowledged >= goal, alone=alone)

    def caught_up(
        self,
        name: str = "live",
        *,
        wanted: Wanted = lambda _: True,
        watch: Callable[[], object] | None = None,
    ) -> None:
        """Wait until a store has applied all that is acknowledged up to now, of what is ``wanted``.

        ``watch`` is called again and again, and sees to it if a process ends by itself meanwhile.
        """
        goal = self.book.acknowledged
        if self.target.tells_applied:
            until: Callable[[], bool] = lambda: (self._applied(name) or 0) >= goal  # noqa: E731
        else:
            found: dict[str, int] = Counter(key for key, *_ in self._events(wanted))
            until = lambda: self._shows(name, found, wanted)  # noqa: E731

        def watched() -> bool:
            if watch is not None:
                watch()
            return until()

        self.wait(f"{name} with {goal:,} events", watched, alone=watch is not None)

    def stand_still(self, name: str) -> None:
        """Until a store has all that is acknowledged, or has not moved on for a while.

        A consumer that is only slow is not to be taken for one that does wrong.
        """
        most = time.monotonic() + self.target.wait_s + self.more_s
        before, since = self._applied(name), time.monotonic()
        while self.processes.go_on and (before or 0) < self.book.acknowledged:
            self.processes.interrupts.look()
            time.sleep(PAUSE_S)
            now, at = self._applied(name), time.monotonic()
            if now != before:
                before, since = now, at
            if at > min(most, since + self.patience_s / 2):
                return

    def applies(self, name: str = "live") -> Callable[[], bool]:
        """For `wait`: whether a store has moved on since this was called."""
        before = self._applied(name) or 0
        return lambda: (self._applied(name) or 0) > before

    def _shows(self, name: str, found: Mapping[str, int], wanted: Wanted) -> bool:
        """Whether the items of a store show so many first events of these keys."""
        try:
            items = self.items(name)
        except (BinlogError, OSError):
            return False
        now = tallies(self._events(wanted), items, self.judge.folds)
        return all(now[key].has >= count for key, count in found.items())

    def _events(self, wanted: Wanted) -> Iterator[Event]:
        for entry in self.book.entries(told="acknowledged"):
            if entry.action.table == TABLE and wanted(entry):
                yield event_of(entry)

    def _applied(self, name: str | None = None) -> int | None:
        try:
            with contextlib.closing(self.target.open_store(name or self.served)) as store:
                return applied_of(store)
        except (BinlogError, OSError):
            return None
