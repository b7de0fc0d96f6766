"""What an applier reaches for outside of item and event: the network, processes, files.

Python reports all of it to audit hooks, whichever library asks. A hook cannot be taken away again,
so there is one, which looks at a flag and returns when no applier is running.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from types import FrameType
from typing import Any

import msgspec

from binlog.testing.laws.places import say_line, users_frame

_NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg",
            "socket.getaddrinfo", "socket.gethostby", "socket.getnameinfo")  # fmt: skip
_PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
_FILES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
          "os.truncate", "shutil.", "sqlite3.connect")  # fmt: skip
# Reading the code and the tables of Python itself is no input of an applier.
_IMPORTING = frozenset({"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"})
_PYTHONS = (sys.prefix, sys.base_prefix, "/usr/share/zoneinfo", "/usr/lib/locale", "/etc/localtime")


class Reached(Exception):  # noqa: N818  (raised into the user's code, never seen outside)
    """An applier reached for what is not there when it runs."""


class Reach(msgspec.Struct, frozen=True):
    """One attempt."""

    index: int  # of the event
    who: Any
    what: str  # "the network", "another process", "a file"
    detail: str
    line: str  # of the user's code; "" if there is none


class Guard:
    """Refuses what the functions called under it reach for, and remembers the first of each."""

    def __init__(self) -> None:
        self.reached: list[Reach] = []

    @contextmanager
    def of(self, index: int, who: Any) -> Iterator[None]:
        """One call of ``who``, for the event ``index``."""
        _install()
        global _running  # noqa: PLW0603  (the hook is one for the whole process)
        before, _running = _running, (get_ident(), self, index, who)
        try:
            yield
        finally:
            _running = before


_running: tuple[int, Guard, int, Any] | None = None
_installed = False


def _install() -> None:
    global _installed  # noqa: PLW0603
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    global _running  # noqa: PLW0603
    if _running is None or _running[0] != get_ident():
        return
    what = _what(event, args)
    if what is None:
        return
    thread, guard, index, who = _running
    # What is looked up from here on, source lines for one, is ours.
    _running = None
    try:
        frame = users_frame(sys._getframe(1))  # noqa: SLF001  (an audit hook has no other way)
        line = say_line(frame, frame.f_lineno) if frame is not None else ""
        detail = f"{event}({', '.join(map(repr, args[-1:] if 'socket' in event else args[:1]))})"
        guard.reached.append(Reach(index, who, what, detail, line))
    finally:
        _running = (thread, guard, index, who)
    raise Reached(f"an applier is a function of item and event: it has no {what.split()[-1]}")


def _what(event: str, args: tuple[Any, ...]) -> str | None:
    if event == "open":
        return _opened(args)
    if event.startswith(_NETWORK):
        return "the network"
    if event.startswith(_PROCESSES):
        return "another process"
    return "a file" if event.startswith(_FILES) else None


def _opened(args: tuple[Any, ...]) -> str | None:
    path = args[0]
    if not isinstance(path, str | bytes):
        return None
    text = path if isinstance(path, str) else path.decode(errors="replace")
    if text.startswith(_PYTHONS) or text.endswith((".py", ".pyc", ".so")):
        return None
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001
    while frame is not None:
        if frame.f_code.co_filename in _IMPORTING:
            return None
        frame = frame.f_back
    return "a file"
