"""The drills that a command line means: where they are looked for, and which of them are named."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from binlog.errors import BinlogError, RefusedError

if TYPE_CHECKING:
    from binlog.drills.declared import Declared

EMBEDDED = "embedded"
PLACES = (EMBEDDED, "stack")  # of --on; real services are named by --target
REAL = "real"

drills_option = click.option(
    "--drills",
    "where",
    multiple=True,
    metavar="PATH",
    envvar="BINLOG_DRILLS",
    help="A folder with files drill_*.py, or such a file; may be repeated.  [default: drills and "
    "scripts/drills, where they are]",
)


def load(where: tuple[str, ...]) -> dict[str, Declared]:
    """All drills of these places, or of the usual ones, by name.

    Raises:
        RefusedError: there are none, or a file cannot be imported.
    """
    from binlog.drills.declared import load_drills, places

    found = load_drills(places(where))
    if not found:
        what = "there are no drills, files drill_*.py"
        raise RefusedError(
            what, ", ".join(where) or "drills, scripts/drills", "name them: --drills"
        )
    return found


def chosen_drills(found: dict[str, Declared], names: tuple[str, ...], on: str) -> list[Declared]:
    """Those of the names; ``all`` are those for that place.

    Raises:
        RefusedError: there is no such drill.
    """
    if "all" in names and "all" not in found:
        if len(names) > 1:
            raise RefusedError(
                "all of them, and some by name", " ".join(names), "write one or other"
            )
        return [each for each in found.values() if on in each.on]
    for name in names:
        if name not in found:
            near = get_close_matches(name, found, n=1)
            do = " ".join([*(f"did you mean {each}?" for each in near), "see binlog drill list"])
            raise RefusedError(f"there is no drill {name!r}", "binlog drill run", do)
    return [found[name] for name in names]


def refuse_elsewhere(chosen: Sequence[Declared], on: str) -> None:
    """Of drills that are to take place there.

    Raises:
        RefusedError: there is none, or one is not for that place.
    """
    if not chosen:
        raise RefusedError(f"no drill is for {on}", "binlog drill run", "see binlog drill list")
    for each in chosen:
        if on not in each.on:
            where = " or ".join(each.on)
            raise RefusedError(f"it is not for {on}", each.name, f"it is for {where}")


def names_that_begin(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """For the shell: drills whose names begin so; none if they cannot be loaded."""
    from binlog.drills.declared import load_drills, places

    with contextlib.suppress(BinlogError, OSError):
        found = load_drills(places(context.params.get("where") or ()))
        return [name for name in (*found, "all") if name.startswith(begun)]
    return []
