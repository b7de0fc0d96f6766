"""Reports as pages: one file a drill, and one for a whole run, that need nothing beside them.

No script, no font, no picture from elsewhere: the page forbids itself all of them by a policy of its
own, so it can be mailed, archived, and opened in ten years. All text of a result is escaped by the
template engine; nothing here builds HTML from strings. Light and dark follow the reader's system,
paper is always light. A page holds the result that it was made from, with its hash, as a download.

Needs the extra ``report`` (jinja2).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from binlog.drills import report_words as words
from binlog.drills.kept import keep
from binlog.drills.report_spent import Row, brief, in_sum, lead, rows
from binlog.drills.report_timeline import Timeline, timeline
from binlog.drills.result import Command, DrillResult, encode_result
from binlog.errors import RefusedError

if TYPE_CHECKING:
    from jinja2 import Environment


class View(msgspec.Struct, frozen=True):
    """One result, and what is computed of it for the page."""

    result: DrillResult
    outcome: words.Outcome
    timeline: Timeline
    phases: tuple[tuple[str, float, float], ...]  # name, seconds, share of the longest
    held: int
    sha256: str
    data_url: str

    @property
    def stem(self) -> str:
        """The name of its files without suffix; its anchor in the page of a run."""
        return words.file_stem(self.result)

    @property
    def when(self) -> str:
        """The moment it began, for people."""
        return _when(self.result.started_at)

    @property
    def sentences(self) -> list[tuple[str, bool]]:
        """What is to be said first, and which of it matters."""
        said = words.sentences(self.result)
        if spent := lead(self.result.measured.recovery, "It"):
            said.insert(1, (spent, False))
        return said

    @property
    def story(self) -> str:
        """Its paragraphs, each in one line: where lines end in the source is not meant."""
        parts = self.result.story.split("\n\n")
        return "\n\n".join(" ".join(part.split()) for part in parts)

    @property
    def meets_rto(self) -> bool:
        """Whether it was quick enough, and measured."""
        return words.meets_rto(self.result)

    @property
    def rto_share(self) -> float:
        """Time of recovery over its target; 0 if not measured, above 1 if missed."""
        took, goal = self.result.measured.rto_s, self.result.goals.rto_s
        if took is None:
            return 0.0
        return took / goal if goal > 0 else 2.0

    @property
    def between_s(self) -> float:
        """What of the time to recover was in no phase; 0 if there is nothing to speak of."""
        took, within = self.result.measured.rto_s, sum(took for _, took, _ in self.phases)
        return took - within if took is not None and took - within >= 0.005 else 0.0

    @property
    def caught_by(self) -> str:
        """Of a twin: the first judgement on what came of it; else why it failed."""
        judged = self.result.caught_by
        if self.result.twin is not None and judged:
            return f"{judged[0].claim}: {judged[0].evidence} ({judged[0].by})"
        return self.result.failure or "nothing: it passed"

    @property
    def spent(self) -> list[Row]:
        """What the recovery and the whole run have spent, a figure a line."""
        return rows(self.result.measured)

    def spent_by(self, command: Command) -> str:
        """What one command did."""
        return brief(command.spent)

    def ended(self, command: Command) -> str:
        """How a command ended, and how it should have."""
        how = f"status {command.status}" if command.status >= 0 else f"signal {-command.status}"
        if command.ok and command.status == 0:
            return how
        expected = " or ".join(map(str, command.expected))
        return f"{how}, as expected" if command.ok else f"{how}, expected {expected}"


class Run(msgspec.Struct, frozen=True):
    """All results of one run, for its page."""

    views: tuple[View, ...]
    twins: tuple[View, ...]
    version: str

    @property
    def outcome(self) -> words.Outcome:
        """Good only if all of it is, and if there is something."""
        all_of_it = [view.outcome.tone for view in (*self.views, *self.twins)]
        if all_of_it and set(all_of_it) == {"good"}:
            return words.Outcome("All as they have to be", "good", "✓")
        if "bad" in all_of_it or not all_of_it:
            return words.Outcome("Not all held", "bad", "✗")
        return words.Outcome("Interrupted", "warn", "!")

    @property
    def headline(self) -> str:
        """The whole run in a line."""
        said = words.run_summary([view.result for view in (*self.views, *self.twins)])
        return said[:1].upper() + said[1:]

    @property
    def lead(self) -> str:
        """What a drill of this run is."""
        return (
            "Each drill breaks something while producers are at work, recovers it with the commands "
            "of its runbook, and is judged by what producers were told and by a model that shares "
            "no code with what was recovered. A drill that cannot prove its outcome fails."
        )

    @property
    def when(self) -> str:
        """When the first of them began."""
        began = [view.result.started_at for view in (*self.views, *self.twins)]
        return _when(min(began)) if began else ""

    @property
    def on(self) -> str:
        """What they ran on."""
        return ", ".join(sorted({view.result.on for view in (*self.views, *self.twins)}))

    @property
    def seconds(self) -> float:
        """The time of all of them; they may have run two at a time."""
        return sum(view.result.seconds for view in (*self.views, *self.twins))

    @property
    def passed(self) -> int:
        """Drills that passed."""
        return sum(view.outcome.tone == "good" for view in self.views)

    @property
    def caught(self) -> int:
        """Twins that were reported as failed."""
        return sum(view.outcome.tone == "good" for view in self.twins)

    @property
    def lost(self) -> int | None:
        """Acknowledged events missing after the drills, in sum; ``None`` if one does not know."""
        found = [view.result.measured.rpo_events for view in self.views]
        known = [number for number in found if number is not None]
        return sum(known) if len(known) == len(found) else None

    @property
    def acknowledged(self) -> int:
        """Events that were acknowledged, in sum."""
        return sum(view.result.ledger.acknowledged for view in self.views)

    @property
    def spent(self) -> str:
        """By the recoveries, in sum."""
        return lead(in_sum(view.result.measured for view in self.views), "Together the recoveries")

    @property
    def slowest(self) -> float | None:
        """The longest recovery."""
        return None if self._slowest is None else self._slowest.result.measured.rto_s

    @property
    def slowest_name(self) -> str:
        """Whose that is."""
        return "" if self._slowest is None else self._slowest.result.name

    @property
    def _slowest(self) -> View | None:
        timed = [view for view in self.views if view.result.measured.rto_s is not None]
        return max(timed, key=lambda view: view.result.measured.rto_s or 0.0, default=None)


def view_of(result: DrillResult) -> View:
    """A result with what its page shows of it."""
    phases = words.phases(result.measured.rto)
    longest = max((took for _, took in phases), default=0.0) or 1.0
    data = encode_result(result)
    return View(
        result,
        words.outcome(result),
        timeline(result),
        tuple((name, took, max(took, 0.0) / longest) for name, took in phases),
        sum(verdict.ok for verdict in result.verdicts),
        sha256(data).hexdigest(),
        f"data:application/json;base64,{base64.b64encode(data).decode()}",
    )


def drill_page(result: DrillResult) -> str:
    """The page of one drill or twin, HTML.

    Raises:
        RefusedError: the extra ``report`` is not installed.
    """
    view = view_of(result)
    title = f"{view.outcome.word}: {result.title}"
    return _environment().get_template("drill.html").render(title=title, view=view, style=_style())


def run_page(results: Sequence[DrillResult]) -> str:
    """The page of a whole run, HTML: all drills in full, and what caught each twin.

    Raises:
        RefusedError: the extra ``report`` is not installed.
    """
    run = Run(
        tuple(view_of(result) for result in results if result.twin is None),
        tuple(view_of(result) for result in results if result.twin is not None),
        next((result.versions.get("binlog", "") for result in results), ""),
    )
    return (
        _environment()
        .get_template("run.html")
        .render(title=f"Drills: {run.headline}", run=run, style=_style())
    )


def write_reports(results: Sequence[DrillResult], folder: Path) -> list[Path]:
    """Write ``NAME.json`` and ``NAME.html`` of each result, and ``index.html`` of all; their paths.

    The data is written before the pages, and first of all, so that a page that cannot be drawn loses
    nothing. Twins are named ``NAME-twin-WORDS``.

    Raises:
        RefusedError: the extra ``report`` is not installed; the data is there. Or a file of that name
            is there that is not ours.
        OSError: the folder cannot be written to.
    """
    written: list[Path] = []

    def write(name: str, data: bytes) -> None:
        written.append(keep(folder / name, data))

    for result in results:
        write(f"{words.file_stem(result)}.json", encode_result(result))
    for result in results:
        write(f"{words.file_stem(result)}.html", drill_page(result).encode())
    write("index.html", run_page(results).encode())
    return written


def _when(started_at: str) -> str:
    try:
        return f"{datetime.fromisoformat(started_at):%d %B %Y, %H:%M} UTC"
    except ValueError:
        return started_at


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise RefusedError(
            "pages need jinja2, which is not installed",
            do="pip install 'kinesis-binlog[report]'; the results are there as JSON",
        ) from error
    environment = Environment(
        loader=PackageLoader("binlog.drills"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": words.seconds, "count": words.count, "size": words.size}
    return environment


def _visible(value: object) -> object:
    """Text without what no page can hold (control characters)."""
    return words.visible(value) if type(value) is str else value


@cache
def _style() -> object:
    """The style sheet, as it is: it is ours, and no element ends within it."""
    from markupsafe import Markup

    text = resources.files("binlog.drills").joinpath("templates/style.css").read_text("utf-8")
    return Markup(text)  # noqa: S704  the package's own file, never a result's text
