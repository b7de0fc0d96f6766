"""What a drill has spent, in words: for a manager what the recovery took, beside the whole run.

``none`` is what was counted and did not come; what was not counted is called so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from binlog.drills import report_words as words
from binlog.drills.result import Measured, Spent

NONE = "none"


class Row(NamedTuple):
    """One figure of the two."""

    what: str
    recovery: str
    run: str
    is_part: bool = False  # of the row above


def rows(measured: Measured) -> list[Row]:
    """The figures, each with its unit."""
    two = measured.recovery, measured.run
    if not measured.counted:
        return [Row("read, written, asked of services", words.UNKNOWN, words.UNKNOWN)]

    def row(what: str, of: Callable[[Spent], str], *, is_part: bool = False) -> Row:
        return Row(what, of(two[0]), of(two[1]), is_part)

    def calls(name: str) -> Row:
        return row(name, lambda each: _count(each.requests.get(name, 0)), is_part=True)

    found = [
        row("read", lambda each: words.size(each.read_bytes)),
        row("written", lambda each: words.size(each.written_bytes)),
        row("requests of services", lambda each: _count(sum(each.requests.values()))),
        *map(calls, sorted({call for each in two for call in each.requests})),
    ]
    if measured.run.unanswered:
        found.append(Row("without an answer", "", _count(measured.run.unanswered), is_part=True))
    if any(each.write_units is not None for each in two):
        found.append(row("read units of DynamoDB", lambda each: _count(each.read_units)))
        found.append(row("write units of DynamoDB", lambda each: _count(each.write_units)))
    if any(each.put_units is not None for each in two):
        found.append(row("PUT payload units of Kinesis", lambda each: _count(each.put_units)))
    return [*found, row("at list price", lambda each: price(each.dollars))]


def brief(spent: Spent) -> str:
    """The figures that there are, in one line; nothing if nothing was counted."""
    said = []
    if spent.read_bytes is not None:
        said.append(f"{words.size(spent.read_bytes)} read")
    if spent.written_bytes is not None:
        said.append(f"{words.size(spent.written_bytes)} written")
    if requests := sum(spent.requests.values()):
        said.append(f"{requests:,} request{'' if requests == 1 else 's'}")
    for figure, unit in ((spent.write_units, "write units"), (spent.read_units, "read units")):
        if figure:
            said.append(f"{words.count(figure)} {unit}")
    if spent.dollars is not None:
        said.append(price(spent.dollars))
    return ", ".join(said)


def sentence(measured: Measured) -> str:
    """What the recovery took, and the whole run."""
    if not measured.counted:
        return words.UNKNOWN
    two = [brief(each) or words.UNKNOWN for each in (measured.recovery, measured.run)]
    return f"recovery: {two[0]}; the whole run: {two[1]}"


def lead(spent: Spent, who: str) -> str:
    """A sentence for a manager; nothing if it was not counted, or nobody had anything to do."""
    if not spent.read_bytes or spent.written_bytes is None:
        return ""
    said = f"{who} read {words.size(spent.read_bytes)} and wrote {words.size(spent.written_bytes)}"
    if requests := sum(spent.requests.values()):
        said += f", by {requests:,} request{'' if requests == 1 else 's'}"
    if spent.dollars is not None:
        said += f", for {price(spent.dollars)} at list price"
    return f"{said}."


def price(dollars: float | None) -> str:
    """Small amounts with six places: what a drill costs is far below a cent."""
    if dollars is None:
        return NONE
    if dollars == 0:
        return "$0"
    return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.6f}"


def in_sum(all_of_it: Iterable[Measured]) -> Spent:
    """The recoveries of several drills together; what one of them did not count is not in it."""
    counted = [each.recovery for each in all_of_it if each.counted]
    requests = {f"{n}": sum(spent.requests.values()) for n, spent in enumerate(counted)}
    known = [each for each in counted if each.dollars is not None]
    return Spent(
        read_bytes=_sum(each.read_bytes for each in counted),
        written_bytes=_sum(each.written_bytes for each in counted),
        requests=requests,
        dollars=sum(each.dollars or 0.0 for each in known) if known else None,
    )


def _sum(figures: Iterable[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


def _count(figure: float | None) -> str:
    return words.count(figure) if figure else NONE
