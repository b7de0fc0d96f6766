"""A bar on standard error, with rate and time left, while something long runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text

_REFRESH_S = 0.1


class Show(Protocol):
    """What the block calls, as often as it likes."""

    def __call__(
        self, done: int, *, fraction: float | None = None, what: str | None = None
    ) -> None:
        """``done`` of it so far; ``fraction`` of the whole, where that is known: it gives the time
        left. ``what`` changes the words in front; counting then begins anew."""  # noqa: D205, D209


@contextmanager
def progress(what: str, *, unit: str = "events") -> Iterator[Show]:
    """Show how far it is; nothing, and rich not imported, unless standard error is a terminal.

    Drawn within the calls and not by a thread of its own: a process with a second thread cannot
    fork workers.
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Done(TextColumn):
        def render(self, task: Task) -> Text:
            done, seconds = task.fields["done"], task.elapsed or 0
            rate = f"  {done / seconds:,.0f}/s" if seconds > 1 else ""
            return Text(f"{done:,.0f} {unit}{rate}")

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        Done(""),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,  # what is done is said in the answer
        auto_refresh=False,
    ) as bar:
        task = bar.add_task(what, total=None, done=0)
        drawn = -_REFRESH_S

        def show(done: int, *, fraction: float | None = None, what: str | None = None) -> None:
            nonlocal drawn, task
            if what is not None and what != bar.tasks[0].description:
                bar.remove_task(task)
                task = bar.add_task(what, total=None, done=0)
            now = time.monotonic()
            if now - drawn < _REFRESH_S:
                return
            drawn = now
            if fraction is None:
                bar.update(task, done=done)
            else:
                bar.update(task, done=done, total=1.0, completed=min(fraction, 1.0))
            bar.refresh()

        yield show


def _nothing(done: int, *, fraction: float | None = None, what: str | None = None) -> None:
    pass
