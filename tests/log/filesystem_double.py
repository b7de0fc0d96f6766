"""A file system in memory that fails, tears writes, kills processes and loses power on request.

It knows what a real one promises and nothing more. Every file has the bytes that processes see (the
page cache) and those on the disk; every directory the names that are seen and those on the disk.
``fsync`` copies the one to the other. What was not synced when the power goes is decided by a
`Loss`: any of the pages written since may have reached the disk, in any order, torn or not, the size
without the bytes, a name without the file's content, or nothing.

A failed ``fsync`` behaves as Linux does: the error is reported once, the pages are *clean*
afterwards although they never reached the disk, and they may be gone from the cache as well.

Every call that changes or syncs something is a step; `Machine.plan` says at which step what fault
happens. Pages are small, so that small blocks tear in many ways.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

PAGE = 64


class PowerLost(BaseException):
    """Everything stops here."""


class Killed(BaseException):
    """The calling process stops here; what it did is seen by the others."""


@dataclass
class Found:
    """What `stat` tells."""

    st_mode: int
    st_size: int
    st_nlink: int
    st_mtime_ns: int


@dataclass(eq=False)
class File:
    cache: bytearray = field(default_factory=bytearray)
    disk: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)  # pages that an fsync would write
    resized: bool = False  # the size, too
    links: int = 1
    changed: int = 0

    def write(self, data: bytes, offset: int) -> None:
        if len(self.cache) < offset + len(data):
            self.cache.extend(bytes(offset + len(data) - len(self.cache)))
            self.resized = True
        self.cache[offset : offset + len(data)] = data
        if data:
            self.dirty.update(range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1))

    def resize(self, size: int) -> None:
        self.resized = True
        if size < len(self.cache):
            del self.cache[size:]
            self.dirty = {page for page in self.dirty if page * PAGE < size}
        else:
            self.cache.extend(bytes(size - len(self.cache)))

    def flush(self, pages: list[int], *, torn: int | None = None) -> None:
        """Write pages and the size to the disk; of the page ``torn`` only the first half."""
        # A page that is written out beyond the size on the disk takes the size along: that a failed
        # fsync has forgotten the new size does not matter once the bytes are written again.
        reach = min(max([*pages, -1]) * PAGE + PAGE, len(self.cache))
        size = len(self.cache) if self.resized else max(len(self.disk), reach)
        del self.disk[size:]
        self.disk.extend(bytes(size - len(self.disk)))
        for page in pages:
            end = min((page + 1) * PAGE, size)
            if page == torn:
                end = min(end, page * PAGE + PAGE // 2)
            self.disk[page * PAGE : end] = self.cache[page * PAGE : end]

    def forget(self) -> None:
        self.dirty.clear()
        self.resized = False


@dataclass(eq=False)
class Directory:
    names: dict[str, File | Directory] = field(default_factory=dict)
    disk: dict[str, File | Directory] = field(default_factory=dict)
    # What happened to names since the last sync, each a set of changes that is atomic.
    changes: list[dict[str, File | Directory | None]] = field(default_factory=list)
    changed: int = 0

    def apply(self, change: dict[str, File | Directory | None]) -> None:
        self.changes.append(change)
        _change(self.names, change)


def _change(names: dict[str, File | Directory], change: dict[str, File | Directory | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


# What of the unsynced pages of each file is on the disk after a power failure, and whether the new
# size is: (pages kept, torn page, size kept).
def _none(_: list[int]) -> tuple[list[int], int | None, bool]:
    return [], None, False


def _all(pages: list[int]) -> tuple[list[int], int | None, bool]:
    return pages, None, True


def _zeros(_: list[int]) -> tuple[list[int], int | None, bool]:
    return [], None, True


def _first_half(pages: list[int]) -> tuple[list[int], int | None, bool]:
    return pages[: (len(pages) + 1) // 2], None, True


def _second_half(pages: list[int]) -> tuple[list[int], int | None, bool]:
    return pages[len(pages) // 2 :], None, True


def _every_second(pages: list[int]) -> tuple[list[int], int | None, bool]:
    return pages[::2], None, True


def _last_torn(pages: list[int]) -> tuple[list[int], int | None, bool]:
    return pages, pages[-1] if pages else None, True


def _first_torn(pages: list[int]) -> tuple[list[int], int | None, bool]:
    return pages, pages[0] if pages else None, True


PAGES_KEPT: dict[str, Callable[[list[int]], tuple[list[int], int | None, bool]]] = {
    "none": _none,
    "all": _all,
    "zeros": _zeros,
    "first half": _first_half,
    "second half": _second_half,
    "every second": _every_second,
    "last torn": _last_torn,
    "first torn": _first_torn,
}
NAMES_KEPT: dict[str, Callable[[int, int], bool]] = {
    "none": lambda _index, _count: False,
    "all": lambda _index, _count: True,
    "last": lambda index, count: index == count - 1,
}


@dataclass(frozen=True)
class Loss:
    """What a power failure leaves of what was not synced."""

    pages: str = "none"
    names: str = "none"


LOSSES = [Loss(pages, names) for pages in PAGES_KEPT for names in NAMES_KEPT]

# Faults by the kind of step. "power" and "kill" happen after a change took effect in the cache and
# before a sync did anything; the rest is an error that the caller sees.
WRITE_FAULTS = ("power", "kill", "kill half-way", "full", "full half-way", "broken", "broken late")
SYNC_FAULTS = ("power", "kill", "dropped", "evicted", "half written")
NAME_FAULTS = ("power", "kill", "full")
FAULTS = {
    "pwrite": WRITE_FAULTS,
    "fsync": SYNC_FAULTS,
    "fdatasync": SYNC_FAULTS,
    "ftruncate": ("power", "kill", "broken"),
    "create": NAME_FAULTS,
    "mkdir": NAME_FAULTS,
    "rename": NAME_FAULTS,
    "link": NAME_FAULTS,
    "unlink": ("power", "kill", "broken"),
    "rmdir": ("power", "kill", "broken"),
}


class Machine:
    """Disk, page cache and the processes on them."""

    def __init__(self) -> None:
        self.root = Directory()
        self.steps: list[str] = []  # what kind each step was
        self.plan: dict[int, str] = {}  # step -> fault
        self.locks: dict[File | Directory, object] = {}
        self.processes: list[Process] = []

    def process(self) -> Process:
        process = Process(self)
        self.processes.append(process)
        return process

    def step(self, kind: str) -> str | None:
        """Count a step; the fault that is planned for it."""
        self.steps.append(kind)
        return self.plan.get(len(self.steps) - 1)

    def lose_power(self, loss: Loss) -> None:
        for process in self.processes:
            process.die()
        self.processes.clear()
        self._lose(self.root, loss)

    def _lose(self, directory: Directory, loss: Loss) -> None:
        keep = NAMES_KEPT[loss.names]
        for index, change in enumerate(directory.changes):
            if keep(index, len(directory.changes)):
                _change(directory.disk, change)
        directory.changes.clear()
        directory.names = dict(directory.disk)
        for node in directory.names.values():
            if isinstance(node, Directory):
                self._lose(node, loss)
                continue
            pages, torn, sized = PAGES_KEPT[loss.pages](sorted(node.dirty))
            node.resized = node.resized and sized
            node.flush(pages, torn=torn)
            node.forget()
            node.cache = bytearray(node.disk)


@dataclass(eq=False)
class _Open:
    node: File | Directory
    writable: bool


class Process:
    """One process' view: a `binlog.logs.filesystem.FileSystem`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._open: dict[int, _Open] = {}
        self._next_fd = 3
        self._full_next = False
        self.read_only = False
        self.armed: tuple[str, str] | None = None  # a fault at the next step of that kind

    def die(self) -> None:
        for fd in list(self._open):
            self.close(fd)

    # -- helpers ---------------------------------------------------------------------------------

    def _walk(self, path: str) -> tuple[Directory, str]:
        """The directory that holds the last name of ``path``, and that name."""
        node: File | Directory = self._machine.root
        *folders, name = [part for part in path.split("/") if part not in {"", "."}] or [""]
        for folder in folders:
            node = self._enter(node, folder, path)
        if not isinstance(node, Directory):
            raise OSError(errno.ENOTDIR, "not a directory", path)
        return node, name

    def _enter(self, node: File | Directory, name: str, path: str) -> File | Directory:
        if not isinstance(node, Directory):
            raise OSError(errno.ENOTDIR, "not a directory", path)
        if name not in node.names:
            raise OSError(errno.ENOENT, "no such file", path)
        return node.names[name]

    def _node(self, path: str) -> File | Directory:
        parent, name = self._walk(path)
        return self._enter(parent, name, path) if name else parent

    def _file(self, fd: int) -> File:
        node = self._open[fd].node
        assert isinstance(node, File)
        return node

    def _changed(self, *nodes: File | Directory) -> None:
        for node in nodes:
            node.changed += 1

    def _step(self, kind: str) -> str | None:
        if self.read_only and kind not in {"fsync", "fdatasync"}:
            raise OSError(errno.EROFS, "read-only")
        fault = self._machine.step(kind)
        if fault is None and self.armed and self.armed[0] == kind:
            fault, self.armed = self.armed[1], None
        if fault == "full":
            raise OSError(errno.ENOSPC, "full")
        if fault == "broken":
            raise OSError(errno.EIO, "broken")
        return fault

    @staticmethod
    def _stop(fault: str | None) -> None:
        if fault == "power":
            raise PowerLost
        if fault in {"kill", "kill half-way"}:
            raise Killed

    # -- names -----------------------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o666, /) -> int:  # noqa: ARG002
        parent, name = self._walk(path)
        node = parent.names.get(name) if name else parent
        fault = None
        if node is None:
            if not flags & os.O_CREAT:
                raise OSError(errno.ENOENT, "no such file", path)
            fault = self._step("create")
            node = File()
            parent.apply({name: node})
            self._changed(parent)
        elif flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, "exists", path)
        writable = bool(flags & (os.O_RDWR | os.O_WRONLY))
        if writable and self.read_only:
            raise OSError(errno.EROFS, "read-only", path)
        self._stop(fault)
        fd = self._next_fd
        self._next_fd += 1
        self._open[fd] = _Open(node, writable)
        return fd

    def mkdir(self, path: str, mode: int = 0o777, /) -> None:  # noqa: ARG002
        parent, name = self._walk(path)
        if name in parent.names:
            raise OSError(errno.EEXIST, "exists", path)
        fault = self._step("mkdir")
        parent.apply({name: Directory()})
        self._changed(parent)
        self._stop(fault)

    def rename(self, source: str, target: str, /) -> None:
        parent, name = self._walk(source)
        other, new = self._walk(target)
        assert parent is other, "only within a directory, which is atomic on the disk, too"
        node = self._enter(parent, name, source)
        old = parent.names.get(new)
        if isinstance(old, Directory) and old.names:
            raise OSError(errno.ENOTEMPTY, "not empty", target)
        fault = self._step("rename")
        if isinstance(old, File):
            old.links -= 1
        parent.apply({name: None, new: node})
        self._changed(parent)
        self._stop(fault)

    def link(self, source: str, target: str, /) -> None:
        node = self._node(source)
        assert isinstance(node, File)
        parent, new = self._walk(target)
        if new in parent.names:
            raise OSError(errno.EEXIST, "exists", target)
        fault = self._step("link")
        node.links += 1
        parent.apply({new: node})
        self._changed(parent)
        self._stop(fault)

    def unlink(self, path: str, /) -> None:
        parent, name = self._walk(path)
        node = self._enter(parent, name, path)
        assert isinstance(node, File)
        fault = self._step("unlink")
        node.links -= 1
        parent.apply({name: None})
        self._changed(parent)
        self._stop(fault)

    def rmdir(self, path: str, /) -> None:
        parent, name = self._walk(path)
        node = self._enter(parent, name, path)
        if isinstance(node, Directory) and node.names:
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        fault = self._step("rmdir")
        parent.apply({name: None})
        self._changed(parent)
        self._stop(fault)

    def listdir(self, path: str, /) -> list[str]:
        node = self._node(path)
        if not isinstance(node, Directory):
            raise OSError(errno.ENOTDIR, "not a directory", path)
        return list(node.names)

    # -- contents --------------------------------------------------------------------------------

    def close(self, fd: int, /) -> None:
        opened = self._open.pop(fd)
        if self._machine.locks.get(opened.node) is opened:
            del self._machine.locks[opened.node]

    def pread(self, fd: int, size: int, offset: int, /) -> bytes:
        return bytes(self._file(fd).cache[offset : offset + size])

    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int:
        if not self._open[fd].writable:
            raise OSError(errno.EBADF, "not writable")
        if self._full_next:
            self._full_next = False
            raise OSError(errno.ENOSPC, "full")
        fault = self._step("pwrite")
        half = fault in {"kill half-way", "full half-way"}
        if half:
            data = data[: len(data) // 2]
        node = self._file(fd)
        node.write(data, offset)
        self._changed(node)
        self._stop(fault)
        if fault == "broken late":
            raise OSError(errno.EIO, "broken")
        self._full_next = fault == "full half-way"
        return len(data)

    def ftruncate(self, fd: int, size: int, /) -> None:
        fault = self._step("ftruncate")
        node = self._file(fd)
        node.resize(size)
        self._changed(node)
        self._stop(fault)

    def fdatasync(self, fd: int, /) -> None:
        self._sync(fd, "fdatasync")

    def fsync(self, fd: int, /) -> None:
        self._sync(fd, "fsync")

    def _sync(self, fd: int, kind: str) -> None:
        fault = self._step(kind)
        self._stop(fault)
        node = self._open[fd].node
        if isinstance(node, Directory):
            if fault:
                node.changes.clear()  # never written, and never tried again
                if fault == "evicted":
                    node.names = dict(node.disk)
                raise OSError(errno.EIO, "broken")
            node.disk = dict(node.names)
            node.changes.clear()
            return
        pages = sorted(node.dirty)
        if fault == "half written":
            node.flush(pages[::2])
        elif not fault:
            node.flush(pages)
        node.forget()
        if fault == "evicted":
            for page in pages:
                old = node.disk[page * PAGE : (page + 1) * PAGE]
                end = min((page + 1) * PAGE, len(node.cache))
                node.cache[page * PAGE : end] = old.ljust(end - page * PAGE, b"\0")[
                    : end - page * PAGE
                ]
        if fault:
            raise OSError(errno.EIO, "broken")

    def fstat(self, fd: int, /) -> Found:
        return self._found(self._open[fd].node)

    def stat(self, path: str, /) -> Found:
        return self._found(self._node(path))

    @staticmethod
    def _found(node: File | Directory) -> Found:
        if isinstance(node, Directory):
            return Found(stat.S_IFDIR | 0o777, 0, 2, node.changed)
        return Found(stat.S_IFREG | 0o666, len(node.cache), node.links, node.changed)

    def flock(self, fd: int, operation: int, /) -> None:
        opened = self._open[fd]
        holder = self._machine.locks.get(opened.node)
        if operation & fcntl.LOCK_UN:
            if holder is opened:
                del self._machine.locks[opened.node]
        elif holder is None:
            self._machine.locks[opened.node] = opened
        elif holder is not opened:
            assert operation & fcntl.LOCK_NB, "a wait that nothing here could end"
            raise BlockingIOError(errno.EAGAIN, "locked")
