"""Runbooks: a page a disaster, an index of them, and whether those in a folder are current.

A page is current if all that does not change with every run is what a run of today would write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import unified_diff
from pathlib import Path

from binlog.drills.declared import Declared
from binlog.drills.kept import check_folder, keep
from binlog.drills.result import DrillResult, Ledger, Measured, decode_result
from binlog.drills.runbook_page import BEGIN, END, FROM_RUN, runbook, variables
from binlog.errors import RefusedError

__all__ = ["INDEX", "runbook", "variables"]
INDEX = "README.md"
_MEASURED = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
_HOW_TO_USE = (
    "One page a disaster. Each is made of a drill (`binlog drill list`) that has just been run: what it "
    "says to type was typed, and worked. Set the variables, take the steps in their order, and do not go "
    "on to the next if one ends otherwise than the page says."
)
# For comparing a page with the drill alone.
_FROM_RUN = re.compile(rf"^## (?:{'|'.join(FROM_RUN)})\n.*?(?=^## )", re.DOTALL | re.M)


def index(declared: Mapping[str, Declared]) -> str:
    """The page that lists the others, by how a disaster looks."""
    rows = [
        f"| [{each.title}]({each.name}.md) | {' '.join(each.looks.split())} |"
        for each in declared.values()
    ]
    return "\n".join(
        [
            "# Runbooks",
            "",
            "<!-- Made by `binlog drill runbook`: change the drills. -->",
            "",
            _HOW_TO_USE,
            "",
            "| what happened | how it looks |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def write_runbooks(
    declared: Mapping[str, Declared], results: Iterable[DrillResult], folder: Path
) -> list[Path]:
    """Write the pages of results, and the index; the paths. Pages of other drills stay.

    Raises:
        RefusedError: see `runbook`; a result of no drill; a page is there that is not ours.
    """
    pages = {result.name: runbook(_of(declared, result), result) for result in results}
    check_folder(folder, [*(f"{name}.md" for name in pages), INDEX])
    written = [keep(folder / f"{name}.md", text.encode()) for name, text in pages.items()]
    return [*written, keep(folder / INDEX, index(_with_pages(declared, folder)).encode())]


def _with_pages(declared: Mapping[str, Declared], folder: Path) -> dict[str, Declared]:
    """Those that an index may lead to."""
    return {name: each for name, each in declared.items() if (folder / f"{name}.md").is_file()}


def read_results(folder: Path) -> list[DrillResult]:
    """Those of all ``.json`` files of a folder of reports, in the order of names.

    Raises:
        RefusedError: a file that holds none.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(decode_result(path.read_bytes()))
        except ValueError as error:
            raise RefusedError(str(error), str(path), "give a folder of --report") from error
    return found


def stale(
    declared: Mapping[str, Declared], results: Iterable[DrillResult], folder: Path
) -> list[str]:
    """What in the folder is not as a run of today writes it, timings aside: differences, a page each."""
    found = []
    for result in results:
        fresh = runbook(_of(declared, result), result)
        found += _difference(folder / f"{result.name}.md", fresh, lasting)
    return found


def stale_without_running(declared: Mapping[str, Declared], folder: Path) -> list[str]:
    """What can be said without a run: pages that lack or are too many, and words of the drills."""
    wanted = {f"{name}.md" for name in declared} | {INDEX}
    there = {path.name for path in folder.glob("*.md")}
    found = [f"{name}: there is no such drill" for name in sorted(there - wanted)]
    for each in declared.values():
        found += _difference(folder / f"{each.name}.md", runbook(each, _blank(each)), _of_drill)
    return found + _difference(folder / INDEX, index(_with_pages(declared, folder)), lasting)


def lasting(text: str) -> str:
    """A page without what changes with every run."""
    return _MEASURED.sub("", text)


def _of_drill(text: str) -> str:
    return _FROM_RUN.sub("", lasting(text))


def _blank(declared: Declared) -> DrillResult:
    """A run of the drill that says nothing."""
    return DrillResult(
        name=declared.name,
        title=declared.title,
        story=declared.story,
        take_back=declared.take_back,
        on="",
        seed=0,
        repeat="",
        started_at="",
        seconds=0.0,
        passed=True,
        failure=None,
        goals=declared.goals,
        measured=Measured(),
        ledger=Ledger(acknowledged=0, failed=0, unknown=0, sha256=""),
        phases=(),
        marks=(),
        commands=(),
        verdicts=(),
        samples=(),
        versions={},
        addresses={},
    )


def _difference(path: Path, fresh: str, of: Callable[[str], str]) -> list[str]:
    if not path.is_file():
        return [f"{path.name}: is not there"]
    old, new = of(path.read_text(encoding="utf-8")), of(fresh)
    if old == new:
        return []
    lines = unified_diff(
        old.splitlines(), new.splitlines(), path.name, "a run of today", lineterm="", n=1
    )
    return ["\n".join(lines)]


def _of(declared: Mapping[str, Declared], result: DrillResult) -> Declared:
    if result.name not in declared:
        known = ", ".join(declared)
        raise RefusedError(f"there is no drill {result.name}", do=f"drills are {known}")
    return declared[result.name]
