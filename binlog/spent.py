"""What a process spends, written down while it does so, for who started it and wants to know.

Where the environment names a file, `VARIABLE`, each process appends lines of JSON to it: each request
to a service before it is sent, and what came back. A line that is written outlives the process, however
that ends: one that is killed has written down everything but the answer that it waited for. Beside it,
in a file of the same name and ``.own``, stands how many bytes Python has read of itself and written for
itself: two times eight bytes, little-endian, mapped, so that it costs nothing to keep them. Without the variable nothing is written,
and nothing is hooked in.

Not for bookkeeping of a service that runs for months: the file grows with every call.

    {"pid":7,"sent":1,"call":"kinesis PutRecords","bytes":512}
    {"pid":7,"got":1,"status":200,"bytes":64,"put_units":1}
"""

from __future__ import annotations

import contextlib
import hashlib  # noqa: F401  OpenSSL reads its 12 KB of configuration now, and not among the data
import mmap
import os
import site
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

VARIABLE = "DRILL_SPENT_FILE"  # not BINLOG_..: a function refuses those that it does not know
OWN = ".own"
_OWN = struct.Struct("<QQ")
_EVENTS = frozenset({"import", "open", "os.rename"})
_HEADER_BYTES = 832  # that the loader of glibc reads of a library; the rest it maps
_LIBRARIES = (".pyc", ".py", ".json", ".gz", ".typed", "METADATA", "entry_points.txt")


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line. ``sent`` and ``got`` number the requests of a process, each try apart."""

    pid: int
    sent: int | None = None
    got: int | None = None
    call: str = ""  # service and operation, as "dynamodb PutItem"
    aws: bool = False  # the endpoint is the service's own, and no stand-in
    bytes: int = 0  # of the body, sent or got
    status: int = 0  # of HTTP; 0: no reply
    read_units: float = 0.0
    write_units: float = 0.0
    put_units: int = 0
    shard_hours: int = 0  # begun


class Book:
    """A file that lines are appended to, each whole, by any thread and any process."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lock = threading.Lock()
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._count = 0

    def next(self) -> int:
        """A number for a request."""
        with self._lock:
            self._count += 1
            return self._count

    def write(self, **what: Any) -> None:
        """Append a line; after `close`, nothing. Raises OSError where it cannot: figures would lie."""
        file = self._file
        if file is not None:
            os.write(file, msgspec.json.encode(Line(pid=os.getpid(), **what)) + b"\n")

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            file, self._file = self._file, None
        if file is not None:
            os.close(file)


_books: dict[str, Book] = {}
_here: list[Book] = []


def book() -> Book | None:
    """What this process writes to; usually nothing."""
    if _here:
        return _here[-1]
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    if path not in _books:
        _books[path] = Book(path)
    return _books[path]


@contextlib.contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Clients that this process makes meanwhile are counted in ``path``, until the block ends."""
    made = Book(path)
    _here.append(made)
    try:
        yield
    finally:
        _here.remove(made)
        made.close()


def read_lines(data: bytes) -> list[Line]:
    """Those that are whole.

    Raises:
        ValueError: one is not of this form.
    """
    whole = data[: data.rfind(b"\n") + 1]
    try:
        return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
    except msgspec.MsgspecError as error:
        raise ValueError(f"no line of what was spent: {error}") from error


# -- files of this machine -----------------------------------------------------------------------


class Own:
    """What Python has read and written of itself, in a file that others read; one that is killed leaves it."""

    def __init__(self, path: str) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if is_new := os.fstat(file).st_size < _OWN.size:
                os.write(file, bytes(_OWN.size))  # now, as a mapping of a full disk ends a process
            self._map = mmap.mmap(file, _OWN.size)
        finally:
            os.close(file)
        self.add(0, _OWN.size * is_new)

    def add(self, read: int, written: int = 0) -> None:
        """Some more."""
        before = _OWN.unpack(self._map)
        self._map[:] = _OWN.pack(before[0] + read, before[1] + written)


def own_of(path: Path) -> tuple[int, int] | None:
    """What the process of that file has read and written of Python; ``None``: it has not begun to work.

    Raises:
        ValueError: it has, and could not say so.
    """
    try:
        read, written = _OWN.unpack(Path(f"{path}{OWN}").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, struct.error) as error:
        raise ValueError(f"{path}{OWN}: {error}") from error
    if not read:
        raise ValueError(f"{path}{OWN}: it was about to")
    return read, written


def begin() -> None:
    """From here on it works: keep what Python has read up to now, and what it reads of itself later.

    The system counts what a process reads (``/proc/PID/io``), and of a short command most of that is
    Python's modules: who started it takes them off.
    """
    path, before = os.environ.get(VARIABLE), io_of("self")
    if not path or before is None:
        return
    try:
        own = Own(f"{path}{OWN}")
    except OSError:  # a full disk: who counts finds a file without figures
        return
    places = tuple({each for place in _installation() for each in (place, os.path.realpath(place))})
    seen: set[str] = set()

    def is_ours(file: object) -> bool:
        """The first time that it is opened."""
        if not (isinstance(file, str) and file.endswith(_LIBRARIES) and file.startswith(places)):
            return False
        is_first = file not in seen
        seen.add(file)
        return is_first

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS:
            return
        with contextlib.suppress(FileNotFoundError):
            if event == "import" and arguments[1] is not None:  # a shared library
                own.add(_HEADER_BYTES)
            elif event == "os.rename" and str(arguments[1]).endswith(".pyc"):  # compiled, and kept
                own.add(0, os.stat(arguments[0]).st_size)  # noqa: PTH116
            elif event == "open" and is_ours(arguments[0]):
                own.add(os.stat(arguments[0]).st_size)  # noqa: PTH116  for each module

    own.add(*before)
    sys.addaudithook(heard)


def _installation() -> list[str]:
    beside = Path(__file__).resolve().parents[1]  # of a checkout, which holds other things, too
    return [
        sys.prefix,
        sys.base_prefix,
        *site.getsitepackages(),
        *(f"{beside}/{package}/" for package in ("binlog", "appliers", "snapshots", "consumers")),
    ]


def io_of(pid: int | str) -> tuple[int, int] | None:
    """Bytes that a process has read and written by calls, its children that ended included.

    From the disk or from memory alike; sockets are not in it. One that has ended tells until it is
    waited for. ``None``: this system does not tell.
    """
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        found = {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}
        return found["rchar"], found["wchar"]
    except (OSError, KeyError, ValueError):
        return None
