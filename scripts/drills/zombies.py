"""Consumers that stand still in the midst of a write, are taken for dead, and come back.

That one stands still is not enough: it has to hold something that it will write when it goes on.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from stack_here import Gate, StackHere, keep

from binlog.drills import Drill
from binlog.drills.background import Background

BEHIND = 100  # events that it knows nothing of when it goes on


class Zombie:
    """Of one store. In order: `stand_still`, `take_over`, `come_back`, and `says` what came of it."""

    consumer: Background

    def __init__(self, d: Drill, name: str) -> None:
        self.d, self.name = d, name

    def stand_still(self) -> str:
        """On return it does, whatever happens around it; how that is known."""
        raise NotImplementedError

    def take_over(self) -> Background:
        """Start another one, as whoever believes that this one is dead."""
        raise NotImplementedError

    def come_back(self) -> str:
        """It goes on. On return what it had in hand was written or refused; which of it, in figures."""
        raise NotImplementedError


class LocalZombie(Zombie):
    """`binlog replicate` and SQLite. Whoever takes over removes the lock file, which nothing says to do."""

    def __init__(self, d: Drill, name: str) -> None:
        super().__init__(d, name)
        self.consumer = keep(d, name)

    def stand_still(self) -> str:
        store = self.d.target.path(self.name)
        tries = 0
        while True:
            self.consumer.freeze()
            tries += 1
            if _may_write(store):
                break
            # Between BEGIN and COMMIT it would keep everybody out: that one is no zombie yet.
            self.consumer.thaw()
            self.d.flow(self.d.random.randint(1, 20))
        self.d.flow(BEHIND)
        times = f", the {tries} times that it was tried" if tries > 1 else ""
        return f"process {self.consumer.pid} stands still between two transactions{times}"

    def take_over(self) -> Background:
        lock = self.d.target.path(self.name).with_name(f"{self.name}.db.lock")
        self.d.run(f"rm {lock.name}")
        successor: Background = keep(self.d, self.name)
        return successor

    def come_back(self) -> str:
        self.consumer.thaw()
        self.d.wait("that its transaction is refused", self._refusals)
        first, *more = self._refusals()
        count = f"{1 + len(more)} of its transactions refused, none made"
        return f"process {self.consumer.pid}: {count}: {first}"

    def _refusals(self) -> list[str]:
        return [line for line in self.consumer.said().splitlines() if "checkpoint.lost" in line]


class StackZombie(Zombie):
    """A function with its mapping, or a worker of the KCL: its machine is paused, its writes are on their way."""

    def __init__(self, d: Drill, name: str, target: StackHere) -> None:
        super().__init__(d, name)
        self.gate, variables = target.gate(name)
        self.consumer = keep(d, name, variables)

    def stand_still(self) -> str:
        self.gate.shut()
        self.d.wait("a write on its way", lambda: self.gate.held["items"])
        self.consumer.freeze()
        held, count = self.gate.held["items"], len(self.consumer.members())
        self.d.flow(BEHIND)
        return f"{count} processes of {self.name} stand still, {held} writes are on their way"

    def take_over(self) -> Background:
        # The KCL's folder is a machine's own: there the name of a worker is locked, elsewhere not.
        elsewhere = str(self.d.target.folder / "another-machine")
        successor: Background = keep(self.d, self.name, {"XDG_STATE_HOME": elsewhere})
        return successor

    def come_back(self) -> str:
        held = self.gate.held.total()
        self.gate.open()
        self.consumer.thaw()
        self.d.wait("what was on its way", lambda: _settled(self.gate, held))
        return self.says

    @property
    def says(self) -> str:
        """What came of what was late."""
        told = [
            f"{count} {'writes of items' if kind == 'items' else 'writes of checkpoints'} {outcome}"
            for (kind, outcome), count in sorted(self.gate.late.items())
        ]
        return f"{self.name}: {', '.join(told)}"

    @property
    def is_harmless(self) -> bool:
        """Whether items were among what was late, and none of them was written."""
        late = self.gate.late
        return bool(late["items", "refused"] and not late["items", "done"])


def _settled(gate: Gate, held: int) -> bool:
    return bool(sum(gate.late.values()) >= held)


def _may_write(store: Path) -> bool:
    """Whether nobody is between BEGIN and COMMIT."""
    with closing(sqlite3.connect(store, timeout=0, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        database.execute("ROLLBACK")
        return True


def zombie(d: Drill, name: str) -> Zombie:
    """One to be, of a store."""
    if isinstance(d.target, StackHere):
        return StackZombie(d, name, d.target)
    return LocalZombie(d, name)
