"""Runbooks, one page a disaster: how it looks, what to type, how long it takes, how to take it back.

Made of the drill and of what its last run measured, so that a page says what was typed and worked, and
nothing else. What changes with every run stands between two marks; a page is current if all the rest
of it is what a run of today would write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from string import Formatter

from binlog.drills import report_words as words
from binlog.drills.declared import Declared
from binlog.drills.result import Command, DrillResult, Ledger, Mark, Measured, decode_result
from binlog.errors import RefusedError

INDEX = "README.md"
_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"
_MEASURED = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)
# What only a run can say: for comparing a page with the drill alone.
_FROM_RUN = re.compile(r"^## (?:What to type|What has to be there)\n.*?(?=^## )", re.DOTALL | re.M)
_STARTED = re.compile(r"started: (binlog .*)")  # `Drill.replicate` and `Drill.start` write it
_ROUNDED_S = 0.002  # times are rounded to milliseconds
_NAMES = {
    "log": "the log",
    "live": "the table that production reads",
    "lazy": "the replica that follows behind",
    "archive": "its archive",
    "copy": "the archive's copy in another region",
    "snapshots": "where snapshots are kept",
    "aside": "a table beside it, made for the recovery",
    "other": "a table in another environment",
}
_SAYS = {
    "detect": "see that it is this",
    "decide": "see what the recovery would do",
    "restore": "do it",
    "verify": "see that it is right",
    "switch": "let readers and consumers have it",
}


# -- one page --------------------------------------------------------------------------------


def runbook(declared: Declared, result: DrillResult) -> str:
    """The page of a drill, Markdown, from a run of it that passed.

    Raises:
        RefusedError: the result is of another drill, of a twin, or of a run that failed.
    """
    if result.name != declared.name:
        raise RefusedError(f"a result of {result.name}", declared.name, "give its own result")
    if result.twin is not None or not result.passed:
        what = "a runbook is made of a run that passed"
        raise RefusedError(what, declared.name, "run the drill itself, and mend what fails")
    return "\n".join(
        [
            f"# {declared.title}",
            "",
            f"<!-- Made by `binlog drill runbook` from the drill `{declared.name}`: change that. -->",
            "",
            declared.story,
            "",
            "## How it looks",
            "",
            declared.looks,
            "",
            *_prepared(result),
            *_typed(result),
            "## How long it takes",
            "",
            f"At most {words.seconds(declared.goals.rto_s)} by its target; {_allowed(declared)}",
            "",
            _BEGIN,
            *_measured(result),
            _END,
            "",
            "## How to take it back",
            "",
            declared.take_back,
            "",
            "## Rehearse it",
            "",
            f"    binlog drill run {declared.name}",
            f"    binlog drill run {declared.name} --twin",
            "",
            "The second line does it wrong on purpose, and has to be told:",
            *(
                f"{twin.what}." if len(declared.twins) == 1 else f"* {twin.what}"
                for twin in declared.twins
            ),
            "",
        ]
    )


def _prepared(result: DrillResult) -> list[str]:
    """What was typed before the disaster, apart from making the log: it has to be there already."""
    disaster_s = _disaster_s(result)
    before = [
        command
        for command in result.commands
        if command.phase is None
        and command.begin_s < disaster_s
        and not command.typed.startswith("binlog init ")
    ]
    if not before:
        return []
    lines = ["## What has to be there", "", "Before it happens, and regularly:", ""]
    return [*lines, *_block(before, result), ""]


def _typed(result: DrillResult) -> list[str]:
    """The commands by phases, in order; then what was typed to be sure."""
    lines = ["## What to type", "", *_addresses(result)]
    notes = [mark for mark in result.marks if mark.kind == "note"]
    for number, (name, begin_s, end_s) in enumerate(_stretches(result), 1):
        # A moment on the edge of two phases is of the one that begins.
        within: list[Command | Mark] = [note for note in notes if begin_s <= note.begin_s < end_s]
        within += [
            command
            for command in result.commands
            if command.phase == name and begin_s - _ROUNDED_S <= command.begin_s < end_s
        ]
        within.sort(key=lambda step: step.begin_s)
        lines += [f"### {number}. {name}: {_SAYS[name]}", "", *_block(within, result), ""]
    last_s = max((phase.end_s for phase in result.phases), default=0.0)
    after = [
        command
        for command in result.commands
        if command.phase is None and command.begin_s >= last_s and result.phases
    ]
    if after:
        lines += ["### Afterwards, to be sure", "", *_block(after, result), ""]
    return lines


def _stretches(result: DrillResult) -> list[tuple[str, float, float]]:
    """Phases in order, those of one name that follow each other as one."""
    found: list[tuple[str, float, float]] = []
    for phase in result.phases:
        if found and found[-1][0] == phase.name:
            found[-1] = (phase.name, found[-1][1], phase.end_s)
        else:
            found.append((phase.name, phase.begin_s, phase.end_s))
    return found


def _disaster_s(result: DrillResult) -> float:
    times = [mark.begin_s for mark in result.marks if mark.kind == "disaster"]
    return min(times, default=float("inf"))


def _block(steps: Sequence[Command | Mark], result: DrillResult) -> list[str]:
    """Steps as lines of code, with what is to be expected of each; a repeat is shown once."""
    lines: list[str] = []
    for step in steps:
        if isinstance(step, Command):
            line = f"    {variables(step.typed)}"
            if step.expected != (0,):
                line += f"    # ends with {' or '.join(map(str, step.expected))}"
        elif started := _STARTED.fullmatch(step.text):
            line = f"    {_with_names(started[1], result)} &    # goes on"
        else:
            # Its numbers are those of this run, and would be others tonight.
            line = f"    # {re.sub('[0-9]+', 'N', _with_names(step.text, result))}"
        if not lines or lines[-1] != line:
            lines.append(line)
    return lines or ["Nothing to type."]


def variables(typed: str) -> str:
    """A command as a shell takes it: ``{log}`` is ``$LOG``."""
    return "".join(
        text + ("" if name is None else _variable(name))
        for text, name, _, _ in Formatter().parse(typed)
    )


def _variable(name: str) -> str:
    return f"${name.upper()}"


def _with_names(text: str, result: DrillResult) -> str:
    """A text with variables in the place of the run's own addresses."""
    for name, address in sorted(
        result.addresses.items(), key=lambda each: (-len(each[1]), each[0])
    ):
        if address:
            text = text.replace(address, _variable(name))
    return text


def _addresses(result: DrillResult) -> list[str]:
    """What the variables stand for, of those that are used."""
    used: dict[str, None] = {}
    for command in result.commands:
        used |= dict.fromkeys(
            name for _, name, _, _ in Formatter().parse(command.typed) if name is not None
        )
    for mark in result.marks:
        if started := _STARTED.fullmatch(mark.text):
            found = re.findall(r"\$([A-Z_]+)", _with_names(started[1], result))
            used |= dict.fromkeys(name.lower() for name in found)
    if not used:
        return []
    order = [name for name in _NAMES if name in used] + [
        name for name in used if name not in _NAMES
    ]
    width = max(map(len, order))
    return [
        "With the addresses of what is broken:",
        "",
        *(
            f"    {name.upper()}=...{' ' * (width - len(name))}  # {_NAMES.get(name, 'as it is found on the way')}"
            for name in order
        ),
        "",
    ]


# -- what was measured -------------------------------------------------------------------------


def _allowed(declared: Declared) -> str:
    allowed, age_s = declared.goals.rpo_events, declared.goals.rpo_age_s
    if not allowed:
        return "no acknowledged event may be lost."
    of = "" if age_s is None else f", of the last {words.seconds(age_s)} before the disaster"
    return f"at most {words.events(allowed)} may be lost{of}."


def _measured(result: DrillResult) -> list[str]:
    rows = [
        f"| {name} | {words.seconds(took)} |" for name, took in words.phases(result.measured.rto)
    ]
    system = result.versions.get("system", "")
    return [
        "| phase | in the last drill |",
        "|---|---:|",
        *rows,
        f"| **from the disaster on** | **{words.seconds(result.measured.rto_s)}** |",
        "",
        f"{words.lost(result)} {words.proved(result)}",
        (
            f"On {result.on}, {result.started_at[:10]}, binlog {result.versions.get('binlog', '')}, {system}: "
            f"{words.events(result.measured.events)}, {words.count(result.measured.items)} items. A larger "
            "table takes longer to restore and to verify, not to detect."
        ),
    ]


# -- all pages ---------------------------------------------------------------------------------


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
            "One page a disaster. Each is made of a [drill](../drills.md) that has just been run.",
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
        RefusedError: see `runbook`; a result of no drill.
    """
    pages = {result.name: runbook(_of(declared, result), result) for result in results}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in [
        *((f"{name}.md", text) for name, text in pages.items()),
        (INDEX, index(declared)),
    ]:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


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
    return found + _difference(folder / INDEX, index(declared), lasting)


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
