"""How a drill is declared, and how declared ones are found in files named ``drill_*.py``."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from binlog.drills.report_words import stem_of
from binlog.drills.result import Goals
from binlog.drills.target import Target
from binlog.errors import RefusedError

if TYPE_CHECKING:
    from binlog.drills.verbs import Drill

Script: TypeAlias = "Callable[[Drill], None]"
Make: TypeAlias = Callable[[Path], Target]
PATTERN = "drill_*.py"
PLACES = ("drills", "scripts/drills")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TWINS = "__binlog_drill_twins__"


class Twin(msgspec.Struct, frozen=True):
    """A recovery done wrong on purpose: commands as typed, and what is typed instead (``None``: nothing)."""

    what: str
    instead: Mapping[str, str | None]


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A drill."""

    name: str
    title: str
    script: Script
    story: str
    take_back: str
    looks: str  # how the disaster looks to who is called, for the runbook
    on: tuple[str, ...]
    goals: Goals
    twins: tuple[Twin, ...]
    goes_on: bool  # events are acknowledged after the recovery, too
    makes: Mapping[str, Make]  # of its own, by target; of all others the usual one
    file: str
    names: Mapping[str, str] = {}  # what its own names stand for, for the runbook
    rto_s_on: Mapping[str, float] = {}  # where it may take another time than ``goals`` say

    def at(self, on: str) -> Declared:
        """As it is to be judged on that target."""
        rto_s = self.rto_s_on.get(on, self.goals.rto_s)
        return msgspec.structs.replace(
            self, goals=msgspec.structs.replace(self.goals, rto_s=rto_s), rto_s_on={}
        )


def drill(
    name: str,
    *,
    title: str,
    looks: str,
    take_back: str,
    on: Sequence[str] = ("embedded",),
    rpo_events: int = 0,
    rpo_age_s: float | None = None,
    rto_s: float = 30.0,
    rto_s_on: Mapping[str, float] | None = None,
    goes_on: bool = True,
    embedded: Make | None = None,
    stack: Make | None = None,
    names: Mapping[str, str] | None = None,
) -> Callable[[Script], Declared]:
    """Declare the decorated function a drill; its docstring is the story that reports begin with.

    ``rpo_events`` is how many acknowledged events may be missing after the recovery, ``rto_s`` how
    long it may take from the disaster to the end of the last phase, and ``rpo_age_s`` how old the
    newest event that is left may be at the disaster. ``rto_s_on`` is another time for targets that need
    one: ``{"stack": 120.0}``. ``goes_on``: the log outlives the disaster, and
    events have to be acknowledged after the recovery, too. ``embedded`` makes the embedded target
    of a drill that needs more than a directory, ``stack`` that on the stack of one that needs more
    than its services. ``names`` tells, for the runbook, where whoever types it finds what `Drill.name`
    names: ``{"session": "what step 1 prints as session"}``.

    Raises:
        ValueError: a name that is not like ``table-dropped``; no docstring; no twin.
    """

    def declare(script: Script) -> Declared:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a drill: write it like table-dropped")
        if not script.__doc__:
            raise ValueError(f"the drill {name} has no docstring: reports begin with it")
        twins: tuple[Twin, ...] = tuple(reversed(vars(script).pop(_TWINS, [])))
        if not twins:
            what = f"the drill {name} has no @twin"
            raise ValueError(f"{what}: nobody would know whether its judge can say no")
        if len({stem_of(name, each.what) for each in twins}) < len(twins):
            what = f"two twins of the drill {name} are called alike"
            raise ValueError(f"{what}, and so would be their reports: change the first eight words")
        return Declared(
            name=name,
            title=title,
            script=script,
            story=cleandoc(script.__doc__),
            take_back=take_back,
            looks=looks,
            on=tuple(on),
            goals=Goals(rpo_events=rpo_events, rpo_age_s=rpo_age_s, rto_s=rto_s),
            twins=twins,
            goes_on=goes_on,
            makes={n: m for n, m in (("embedded", embedded), ("stack", stack)) if m is not None},
            file=script.__code__.co_filename,
            names=dict(names or {}),
            rto_s_on=dict(rto_s_on or {}),
        )

    return declare


def twin(what: str, instead: Mapping[str, str | None]) -> Callable[[Script], Script]:
    """Below `drill`: a sabotage of its recovery that has to be reported as failed.

    ``instead`` maps commands as the drill types them to what is typed instead, ``None`` for nothing.
    """

    def add(script: Script) -> Script:
        found: list[Twin] = getattr(script, _TWINS, [])
        setattr(script, _TWINS, [*found, Twin(what, dict(instead))])
        return script

    return add


def places(given: Iterable[str]) -> list[Path]:
    """Folders and files with drills: those given, else those of `PLACES` that are there."""
    named = [Path(each) for each in given]
    for path in named:
        if not path.exists():
            raise RefusedError("there is no such file or folder", str(path), "see --drills")
    return named or [Path(each) for each in PLACES if Path(each).is_dir()]


def load_drills(where: Iterable[Path]) -> dict[str, Declared]:
    """By name, in the order of names, those of all files ``drill_*.py`` in folders, and of files.

    Raises:
        RefusedError: a file that cannot be imported; two drills of one name.
    """
    found: dict[str, Declared] = {}
    for place in where:
        for path in sorted(place.glob(PATTERN)) if place.is_dir() else [place]:
            for each in declared_in(load_file(path)):
                if each.name in found:
                    names = f"{found[each.name].file}, {each.file}"
                    raise RefusedError(f"two drills are named {each.name}", names, "rename one")
                found[each.name] = each
    return dict(sorted(found.items()))


def declared_in(module: ModuleType) -> list[Declared]:
    """The drills that a module declares itself."""
    return [each for each in vars(module).values() if isinstance(each, Declared)]


def load_file(path: Path) -> ModuleType:
    """Import a file by its path; it may import what lies beside it.

    Raises:
        RefusedError: it cannot be imported.
    """
    path = path.resolve()
    name = f"binlog_drills_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RefusedError("no Python file", str(path), "name a drill_*.py")
    module = importlib.util.module_from_spec(spec)
    beside = str(path.parent)
    sys.modules[name] = module  # msgspec looks annotations up there
    sys.path.insert(0, beside)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        what = f"it cannot be imported: {type(error).__name__}: {error}"
        raise RefusedError(what, str(path), "mend the file") from error
    finally:
        sys.path.remove(beside)
    return module
