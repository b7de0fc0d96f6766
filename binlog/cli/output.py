"""What goes where: the answer to standard output, everything else to standard error.

With ``--json`` standard output holds one JSON document, or JSON Lines, and nothing else, in UTF-8
whatever the locale. Without it, text for people; a table is drawn by rich only on a terminal, and
is plain aligned text in a pipe.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, TypeVar

import click

from binlog.cli.errors import one_line

_F = TypeVar("_F", bound=Callable[..., Any])
_LINE_ENDS = tuple((char.encode(), f"\\u{ord(char):04x}".encode()) for char in "\u2028\u2029\x85")


def json_option(function: _F) -> _F:
    """The option ``--json``, passed as ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON and nothing else on standard output."
    )(function)


def stdout() -> BinaryIO:
    """Standard output for bytes. Whoever streams flushes it before waiting for more."""
    sys.stdout.flush()
    return sys.stdout.buffer


def json_lines(data: bytes) -> bytes:
    """JSON Lines in which nothing but a line feed ends a line, whoever reads them.

    JSON may hold U+2028, U+2029 and U+0085 as they are, at which `str.splitlines` and its like
    end a line, too: they are escaped.
    """
    for raw, escaped in _LINE_ENDS:
        if raw in data:
            data = data.replace(raw, escaped)
    return data


def write_json(document: object) -> None:
    """One document on one line, of what `binlog.json_values.plain` or `typed` built."""
    from binlog.json_values import encode_json

    stdout().write(json_lines(encode_json(document) + b"\n"))


def write_text(*lines: str) -> None:
    """Lines for people; control characters in them are made visible."""
    text = "".join(f"{one_line(line)}\n" for line in lines)
    stdout().write(text.encode(errors="backslashreplace"))


def note(text: str) -> None:
    """A line on standard error, for people; scripts have the answer and the exit status."""
    click.echo(one_line(text), err=True)


_NAMES = ("id", "digest", "key")  # no numbers, even where they are of digits alone


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """A table for people. Columns whose cells are all numbers are set to the right."""
    cells = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    right = [
        bool(cells) and column not in _NAMES and all(_is_number(row[place]) for row in cells)
        for place, column in enumerate(columns)
    ]
    if sys.stdout.isatty():
        _draw_table(columns, cells, right, title)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [title] if title else []
    for row in [list(columns), *cells]:
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    write_text(*lines)


def _is_number(cell: str) -> bool:
    return cell in {"", "-"} or cell.replace(",", "").replace(".", "", 1).lstrip("-").isdigit()


def _draw_table(
    columns: Sequence[str], cells: list[list[str]], right: list[bool], title: str | None
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for place, (name, to_right) in enumerate(zip(columns, right, strict=True)):
        # What one copies into the next command stays in one piece; of the rest, too, nothing is left
        # out on a narrow terminal.
        is_whole = name in ("id", "drill")
        table.add_column(
            name,
            justify="right" if to_right else "left",
            overflow="fold",
            no_wrap=is_whole,
            min_width=max(len(row[place]) for row in cells) if is_whole and cells else None,
        )
    for row in cells:
        table.add_row(*map(Text, row))
    stdout().flush()
    Console().print(table)
