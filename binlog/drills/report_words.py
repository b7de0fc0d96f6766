"""The words of a report: figures with their units, and what came of a drill in a sentence.

Every report says the same in the same words, whether it is a page, a terminal or a runbook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from binlog.drills.result import PHASES, DrillResult

UNKNOWN = "not measured"
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


class Outcome(msgspec.Struct, frozen=True):
    """What came of it: a word, and how it is to be taken. The word says it without the colour."""

    word: str
    tone: Literal["good", "bad", "warn"]
    sign: str


def outcome(result: DrillResult) -> Outcome:
    """What came of a drill; of a twin: whether its sabotage was caught."""
    if result.interrupted:
        return Outcome("Interrupted", "warn", "!")
    if result.twin is not None:
        if result.caught:
            return Outcome("Sabotage caught", "good", "✓")
        return Outcome("Sabotage missed", "bad", "✗")
    return Outcome("Passed", "good", "✓") if result.passed else Outcome("Failed", "bad", "✗")


def is_good(result: DrillResult) -> bool:
    """Whether it came out as it has to: the drill passed, or its sabotage was caught."""
    return outcome(result).tone == "good"


# -- figures ---------------------------------------------------------------------------------


def seconds(value: float | None) -> str:
    """``0.042 s``, ``30 s``, ``2.41 s``, ``15.2 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if value is None:
        return UNKNOWN
    if value < 0:
        return f"-{seconds(-value)}"
    if value < 120 and float(value).is_integer():  # a target
        return f"{value:.0f} s"
    for below, digits in ((0.0995, 3), (9.995, 2), (99.95, 1)):
        if value < below:
            return f"{value:.{digits}f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def count(value: float | None) -> str:
    """A whole number with separators; what is not whole with one decimal."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.1f}"


def size(value: float | None) -> str:
    """Bytes in binary units."""
    if value is None:
        return UNKNOWN
    unit = 0
    while value >= 1023.95 and unit + 1 < len(_BYTES):
        value, unit = value / 1024, unit + 1
    return f"{value:,.0f} B" if unit == 0 else f"{value:,.1f} {_BYTES[unit]}"


def events(number: int) -> str:
    """``1 event``, ``2 events``."""
    return f"{number:,} event{_s(number)}"


def visible(text: str) -> str:
    """``text`` with all that could steer a terminal, or is no character, made visible; line ends stay."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


def _s(number: int) -> str:
    return "" if number == 1 else "s"


# -- sentences -------------------------------------------------------------------------------


def lost(result: DrillResult) -> str:
    """What became of the acknowledged events."""
    missing, told = result.measured.rpo_events, result.ledger.acknowledged
    if missing is None:
        return "How many acknowledged events are missing was not measured."
    if missing == 0:
        return f"None of {told:,} acknowledged events is missing."
    verb = "is" if missing == 1 else "are"
    return (
        f"{missing:,} of {told:,} acknowledged events {verb} missing, "
        f"where at most {result.goals.rpo_events:,} may be."
    )


def recovered(result: DrillResult) -> str:
    """How long the recovery took, against what was asked for."""
    took, goal = result.measured.rto_s, result.goals.rto_s
    if took is None:
        return "How long the recovery takes was not measured."
    if took <= goal:
        return f"Recovery took {seconds(took)}, of {seconds(goal)} allowed."
    return f"Recovery took {seconds(took)}, more than the {seconds(goal)} allowed."


def proved(result: DrillResult) -> str:
    """How many of the verdicts hold."""
    held = sum(verdict.ok for verdict in result.verdicts)
    if not result.verdicts:
        return "Nothing was judged."
    if held == len(result.verdicts):
        return f"All {held} checks hold." if held > 1 else "The one check holds."
    failed = len(result.verdicts) - held
    return f"{failed} of {len(result.verdicts)} checks do{'es' if failed == 1 else ''} not hold."


def sentences(result: DrillResult) -> list[tuple[str, bool]]:
    """Each sentence on a drill, and whether it is what matters: what is wrong, else the time."""
    held = bool(result.verdicts) and all(verdict.ok for verdict in result.verdicts)
    said = [
        (recovered(result), not meets_rto(result)),
        (lost(result), not meets_rpo(result)),
        (proved(result), not held),
    ]
    if not any(wrong for _, wrong in said):
        said[0] = (said[0][0], True)
    return said


def phases(rto: Mapping[str, float]) -> list[tuple[str, float]]:
    """Name and seconds of each phase that there was, in the order of a recovery."""
    known = [(name, rto[name]) for name in PHASES if name in rto]
    return known + [(name, took) for name, took in rto.items() if name not in PHASES]


def meets_rpo(result: DrillResult) -> bool:
    """Whether what is missing was measured, and is within its goals."""
    measured, goals = result.measured, result.goals
    if measured.rpo_events is None or measured.rpo_events > goals.rpo_events:
        return False
    return goals.rpo_age_s is None or (
        measured.rpo_age_s is not None and measured.rpo_age_s <= goals.rpo_age_s
    )


def meets_rto(result: DrillResult) -> bool:
    """Whether the time of recovery was measured, and is within its goal."""
    return result.measured.rto_s is not None and result.measured.rto_s <= result.goals.rto_s


def run_summary(results: Sequence[DrillResult]) -> str:
    """One sentence about many: drills that passed, twins that were caught."""
    drills = [result for result in results if result.twin is None]
    twins = [result for result in results if result.twin is not None]
    said = []
    if drills:
        passed = sum(map(is_good, drills))
        said.append(f"{passed} of {len(drills)} drill{_s(len(drills))} passed")
    if twins:
        caught = sum(map(is_good, twins))
        said.append(f"{caught} of {len(twins)} sabotaged twin{_s(len(twins))} caught")
    return ", ".join(said) if said else "no drill was run"


def file_stem(result: DrillResult) -> str:
    """The name of a result's files, without suffix: of the drill, or of the drill and its twin."""
    return stem_of(result.name, result.twin)


def stem_of(name: str, twin: str | None) -> str:
    """That of a drill that has yet to be run."""
    words = [name]
    if twin is not None:
        plain = "".join(c if c.isascii() and c.isalnum() else " " for c in twin.lower())
        words += ["twin", *plain.split()[:8]]
    safe = "-".join(words)
    return "".join(c if (c.isascii() and c.isalnum()) or c in "-_" else "-" for c in safe)
