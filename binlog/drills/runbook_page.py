"""One page of a runbook: how a disaster looks, what to type, how long it takes, how to take it back.

Made of a drill and of a run of it that passed, so that a page says what was typed and worked, and nothing
else. What changes with every run stands between two marks.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from string import Formatter

from binlog.drills import report_words as words
from binlog.drills import runbook_words as says
from binlog.drills.declared import Declared
from binlog.drills.report_spent import lead
from binlog.drills.result import Command, DrillResult, Mark, PhaseName
from binlog.drills.steps import heard
from binlog.errors import RefusedError

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
FROM_RUN = (
    "What has to be there",
    "What to type",
    "If a step ends otherwise",
)  # only a run can say
_ROUNDED_S = 0.002  # by what a result may have rounded its times
_VARIABLE = re.compile(r'"\$([A-Z_]+)"')


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
    prepared, steps = _prepared(result), _steps(result)
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
            *prepared,
            "## What to type",
            "",
            *_addresses(declared, [*prepared, *steps]),
            *steps,
            "## If a step ends otherwise",
            "",
            *says.otherwise(_verbs(steps)),
            "",
            "## How long it takes",
            "",
            f"At most {words.seconds(declared.goals.rto_s)} by its target; {_allowed(declared)}",
            "",
            BEGIN,
            *_measured(result),
            END,
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


# -- what was done, in order ------------------------------------------------------------------------


def _prepared(result: DrillResult) -> list[str]:
    """What was typed before the disaster, and changed something: it has to be there already."""
    disaster_s = min(
        (mark.begin_s for mark in result.marks if mark.kind == "disaster"), default=float("inf")
    )
    before: list[Command | Mark] = [
        command
        for command in result.commands
        if command.phase is None
        and command.begin_s < disaster_s
        and not {"init", *says.READ}.intersection(_verbs([command.typed]))
    ]
    before += [
        mark
        for mark in result.marks
        if mark.begin_s < disaster_s and (step := heard(mark.text)) and step[0] == "started"
    ]
    if not before:
        return []
    lines = ["## What has to be there", "", "Before it happens, all the time or regularly:", ""]
    return [*lines, *dict.fromkeys(_block(before, result)), ""]


def _steps(result: DrillResult) -> list[str]:
    """What was done by phases, in order; then what was typed to be sure."""
    lines: list[str] = []
    notes = [mark for mark in result.marks if heard(mark.text)]
    for number, (name, begin_s, end_s) in enumerate(_stretches(result), 1):
        # A moment on the edge of two phases is of the one that begins.
        within: list[Command | Mark] = [note for note in notes if begin_s <= note.begin_s < end_s]
        within += [
            command
            for command in result.commands
            if command.phase == name and begin_s - _ROUNDED_S <= command.begin_s < end_s
        ]
        done = _block(within, result)
        nothing = says.NOTHING.get(name, "Nothing to type.")
        lines += [f"### {number}. {name}: {says.PHASES[name]}", "", *(done or [nothing]), ""]
    last_s = max((phase.end_s for phase in result.phases), default=0.0)
    after = [
        command
        for command in result.commands
        if command.phase is None and command.begin_s >= last_s and result.phases
    ]
    if after:
        lines += ["### Afterwards, to be sure", "", *_block(after, result), ""]
    return lines


def _stretches(result: DrillResult) -> list[tuple[PhaseName, float, float]]:
    """Phases in order, those of one name that follow each other as one."""
    found: list[tuple[PhaseName, float, float]] = []
    for phase in result.phases:
        if found and found[-1][0] == phase.name:
            found[-1] = (phase.name, found[-1][1], phase.end_s)
        else:
            found.append((phase.name, phase.begin_s, phase.end_s))
    return found


def _block(steps: Sequence[Command | Mark], result: DrillResult) -> list[str]:
    """Steps as lines of code, in the order of time; a repeat is shown once."""
    lines: list[str] = []
    for step in sorted(steps, key=lambda each: each.begin_s):
        said = _command(step, result) if isinstance(step, Command) else _note(step, result)
        line = f"    {said}"
        if not lines or lines[-1] != line:
            if (store := _replaced(step)) and not any("kill" in each for each in lines):
                lines.append(f"    # end what still writes to {store}, such as binlog replicate")
            lines.append(line)
    return lines


def _replaced(step: Command | Mark) -> str | None:
    """The store whose tables a command replaces, if production has consumers on it."""
    if not isinstance(step, Command) or "--dry-run" in step.typed:
        return None
    typed = step.typed.split()
    is_so = typed[:2] in (["binlog", "rebuild"], ["binlog", "restore"])
    return next((variables(w) for w in typed[2:] if is_so and w in ("{live}", "{lazy}")), None)


def _command(command: Command, result: DrillResult) -> str:
    typed, said = command.typed, []
    if typed.startswith("cp "):  # it takes paths, where everything else takes addresses
        for name, address in result.addresses.items():
            typed = typed.replace(f" {address.removeprefix('file:')}/", f" {{{name}}}/")
        said.append("paths of folders; of S3: aws s3 cp")
    if command.expected != (0,):
        said.append(f"ends with {' or '.join(map(str, command.expected))}")
    if "--appliers " in command.typed:
        said.append("with appliers of your own")
    line = variables(typed)
    return f"{line}    # {'; '.join(said)}" if said else line


def _note(note: Mark, result: DrillResult) -> str:
    match heard(_with_names(note.text, result)):
        case ("started", what):
            return f"{what} &    # goes on"
        case ("ended", what):
            return f"kill PID    # of {what}; wait until it has ended"
        case ("killed", what):
            return f"kill -9 PID    # of {what}"
        case ("by hand", what):
            return f"# by hand: {what}"
    raise ValueError(f"no step of a recovery: {note.text}")


def _verbs(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        words_ = line.split()
        if len(words_) > 1 and words_[0] == "binlog":
            yield words_[1]


# -- names in the place of addresses ----------------------------------------------------------------


def variables(typed: str) -> str:
    """A command as a shell takes it: ``{log}`` is ``"$LOG"``, one word whatever is in it."""
    return "".join(
        text + ("" if name is None else _variable(name))
        for text, name, _, _ in Formatter().parse(typed)
    )


def _variable(name: str) -> str:
    return f'"${name.upper()}"'


def _with_names(text: str, result: DrillResult) -> str:
    """A text with variables in the place of the run's own addresses."""
    for name, address in sorted(
        result.addresses.items(), key=lambda each: (-len(each[1]), each[0])
    ):
        for form in (shlex.quote(address), address) if address else ():
            text = text.replace(form, _variable(name))
    return text


def _addresses(declared: Declared, lines: Sequence[str]) -> list[str]:
    """What the variables stand for, of those that are used."""
    used = dict.fromkeys(name.lower() for line in lines for name in _VARIABLE.findall(line))
    if not used:
        return []
    order = [name for name in says.ADDRESSES if name in used]
    order += [name for name in used if name not in says.ADDRESSES]
    width = max(map(len, order))
    return [
        "With the addresses of what is broken:",
        "",
        *(
            f"    {name.upper()}='...'{' ' * (width - len(name))}  # {_stands_for(declared, name)}"
            for name in order
        ),
        "",
    ]


def _stands_for(declared: Declared, name: str) -> str:
    if name in says.ADDRESSES:
        what, like = says.ADDRESSES[name]
        return f"{what}: {like}" if like else what
    return declared.names.get(name, "as it is found on the way")


# -- what was measured ------------------------------------------------------------------------------


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
        " ".join(
            filter(
                None,
                (
                    words.lost(result),
                    words.proved(result),
                    lead(result.measured.recovery, "The recovery"),
                ),
            )
        ),
        (
            f"On {result.on}, {result.started_at[:10]}, binlog {result.versions.get('binlog', '')}, "
            f"{system}: {words.events(result.ledger.acknowledged)}, "
            f"{words.count(result.measured.items)} items. What reads the log or the table takes longer "
            "as they grow."
        ),
    ]
