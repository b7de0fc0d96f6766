"""A bar on standard error, with rate and time left, while something long runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Advance: TypeAlias = Callable[[int], None]


@contextmanager
def progress(what: str, *, total: int | None, unit: str = "events") -> Iterator[Advance]:
    """Show how far it is; the block calls the result with how many more are done.

    Nothing is shown, and rich not imported, unless standard error is a terminal. ``total`` is
    ``None`` where the end is not known.
    """
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f}/s" if speed else "", style="dim")

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}} {unit}"),
        Rate(""),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,  # what is done is said in the answer
    ) as bar:
        task = bar.add_task(what, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance
