"""Places in the user's own code, as a person would look them up."""

from __future__ import annotations

import linecache
import sysconfig
from collections.abc import Callable
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FrameType, TracebackType
from typing import Any

_OURS = tuple(
    f"{Path(__file__).parents[3] / name}/"
    for name in ("binlog", "appliers", "snapshots", "consumers")
)
_LIBRARIES = tuple(
    {f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def say_function(function: Callable[..., Any]) -> str:
    """Name and place of a function."""
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return name
    return f"{name}, {say_file(code.co_filename)}:{code.co_firstlineno}"


def say_file(filename: str) -> str:
    """A file as one would open it from here."""
    try:
        return str(Path(filename).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename


def is_users(filename: str) -> bool:
    """Whether a frame of this file is the user's own code: not ours, not a library's."""
    return not filename.startswith((*_OURS, *_LIBRARIES, "<frozen"))


def place_of(trace: TracebackType | None) -> str | None:
    """The innermost line of the user's own code that an exception went through."""
    frames = [(frame, line) for frame, line in walk_tb(trace)]
    users = [pair for pair in frames if is_users(pair[0].f_code.co_filename)]
    return say_line(*users[-1]) if users else None


def say_line(frame: FrameType, line: int) -> str:
    """``shop.py:31, in paid: return item["total"]``."""
    filename = frame.f_code.co_filename
    source = linecache.getline(filename, line).strip()
    place = f"{say_file(filename)}:{line}, in {frame.f_code.co_name}"
    return f"{place}: {source}" if source else place


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame from ``frame`` outwards that is the user's own code."""
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return frame
