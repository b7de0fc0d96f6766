"""Every way a command can end: one line on standard error, and an exit status.

====  ==============================================================================
0     done
1     the answer is "no" (the verb says so by ``context.exit(1)``)
2     usage or bad input: `click.UsageError`, `binlog.errors.RefusedError`, `MismatchError`
3     failure: any other `BinlogError`, the operating system, a bug
130   interrupted (Ctrl-C)
141   nobody reads standard output any more, as in ``binlog cat LOG | head``
====  ==============================================================================

The line is ``binlog: WHAT: WHERE: WHAT TO DO``. A trace is shown only with ``--debug``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable

import click

from binlog.errors import BinlogError

USAGE = 2
FAILURE = 3
INTERRUPTED = 130
NO_READER = 141
_AGAIN = "mend that and run it again"


def run(command: Callable[[list[str]], object], argv: list[str]) -> int:
    """Call ``command`` with the arguments; return the exit status, having said why."""
    status = 0
    try:
        try:
            command(list(argv))  # click takes from the list what it has parsed
        except click.exceptions.Exit as end:
            status = end.exit_code
        # A full disk or a reader that left shows here, and not as a trace at the interpreter's end.
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        status = INTERRUPTED
    except BrokenPipeError:
        status = NO_READER
    except Exception as error:  # noqa: BLE001 (this is where every error ends)
        if "--debug" in argv:
            traceback.print_exc()
        status, line = describe(error, path=_path(argv))
        _say(line)
    if status in (FAILURE, INTERRUPTED, NO_READER):
        _flush_or_drop()
    return status


def describe(error: Exception, *, path: str = "binlog") -> tuple[int, str]:
    """The exit status for ``error``, and its line without ``binlog: ``: always three parts.

    ``path`` is the command that met it: the place of an error that names none.
    """
    if isinstance(error, BinlogError):
        do = error.do or (f"see {path} --help" if error.exit_status == USAGE else _AGAIN)
        return error.exit_status, f"{error.what}: {error.where or path}: {do}"
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else path
        return USAGE, f"{_inline(error.format_message())}: {path}: see {path} --help"
    if isinstance(error, click.ClickException):
        return USAGE, f"{_inline(error.format_message())}: {path}: see {path} --help"
    if isinstance(error, OSError) and error.strerror:
        # What a log or store meets is a StorageError; without a name it is our own reading or
        # writing.
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        where = ", ".join(names) or "standard input or output"
        if not names and error.errno == errno.ENOSPC:
            from tempfile import gettempdir  # not for `--help`

            where += f", or temporary files in {gettempdir()} (TMPDIR)"
        return FAILURE, f"{_inline(error.strerror)}: {where}: {_AGAIN}"
    kind = type(error).__name__
    what = f"{kind}: {error}" if str(error) else kind
    return (
        FAILURE,
        f"unexpected {what}: {path}: this is a bug, run it again with --debug and report it",
    )


def _path(argv: list[str]) -> str:
    """The command and its verb, as one types them."""
    verb = next((word for word in argv if not word.startswith("-")), "")
    return f"binlog {verb}".rstrip()


def _inline(text: str) -> str:
    """A sentence of click or the system as the first part of our line: no capital, no full stop."""
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def one_line(text: str) -> str:
    """``text`` with line ends and whatever else could steer a terminal made visible."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _say(line: str) -> None:
    # Nobody may be reading standard error either; then the status alone has to tell.
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"binlog: {one_line(line)}", err=True)


def _flush_or_drop() -> None:
    """Flush standard output; what cannot be written now must not fail again after `run`."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
