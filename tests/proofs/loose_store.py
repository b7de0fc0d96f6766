"""A store that gives no more than the port promises, and does it step by step.

Without a lock, so that zombies can write; a commit is write after write, each on its own condition,
and then the checkpoints: it can end after any of these steps, with or without the caller hearing
of it, and `between` may run anything, another consumer say, before each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from appliers.item import Rejection, Write
from appliers.store import Checkpoint
from appliers.stores.memory import MemoryStore
from binlog.errors import StorageError


class Crashed(Exception):  # noqa: N818  (what happens to a consumer, not an error of it)
    """The consumer's process ends here."""


class LooseStore(MemoryStore):
    """See the module. ``crash_after`` counts steps of commits: at zero `Crashed` is raised."""

    def __init__(self) -> None:
        super().__init__(name="memory:loose")
        self.between: Callable[[], object] | None = None
        self.crash_after: int | None = None
        self.time_out = False  # the crash is a time-out: the caller lives, and hears of it
        self.failed = 0  # conditions that did not hold

    def lock(self, *, wait_s: float = 5.0) -> None:
        """There is none."""

    def _step(self) -> None:
        if self.crash_after is not None:
            if self.crash_after == 0:
                self.crash_after = None
                if self.time_out:
                    raise StorageError("no answer in time", self.name, "look what was done")
                raise Crashed
            self.crash_after -= 1
        run, self.between = self.between, None
        if run is not None:
            run()

    def commit(
        self,
        generation: str,
        writes: Sequence[Write],
        checkpoints: Sequence[Checkpoint],
        *,
        rejections: Sequence[Rejection] = (),
        tables: Iterable[str] = (),
    ) -> list[Write]:
        self._step()
        # Rejections first: a rejected event lies below its item's version afterwards.
        if rejections:
            super().commit(generation, [], [], rejections=rejections, tables=tables)
            self._step()
        failed = []
        for write in writes:
            if super().commit(generation, [write], []):
                failed.append(write)
                self.failed += 1
            self._step()
        if failed:
            return failed
        for checkpoint in checkpoints:
            super().commit(generation, [], [checkpoint], tables=tables)
            self._step()
        super().commit(generation, [], [], tables=tables)
        return []
