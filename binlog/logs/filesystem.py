"""The few calls to the operating system that the directory log is made of.

A port, so that the tests run the real log on a file system that fails, tears writes and loses
power at every step (`tests/log/filesystem_double.py`). Everything raises `OSError` as `os` does.
The real one is `os` itself: the same functions, nothing in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Protocol


class Stat(Protocol):
    """What is looked at of `os.stat_result`."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...


class FileSystem(Protocol):
    """`os` as far as it is needed. Descriptors are integers; paths are text."""

    def open(self, path: str, flags: int, mode: int = 0o666, /) -> int: ...
    def close(self, fd: int, /) -> None: ...
    def pread(self, fd: int, size: int, offset: int, /) -> bytes:
        """Up to ``size`` bytes; fewer only at the end of the file."""

    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int:
        """How many bytes were written; may be fewer than given."""

    def fdatasync(self, fd: int, /) -> None:
        """On return the file's bytes and size are durable."""

    def fsync(self, fd: int, /) -> None:
        """On return a file, or the names in a directory, are durable."""

    def ftruncate(self, fd: int, size: int, /) -> None: ...
    def fstat(self, fd: int, /) -> Stat: ...
    def stat(self, path: str, /) -> Stat: ...
    def listdir(self, path: str, /) -> list[str]: ...
    def mkdir(self, path: str, mode: int = 0o777, /) -> None: ...
    def rename(self, source: str, target: str, /) -> None: ...
    def link(self, source: str, target: str, /) -> None:
        """Another name for a file; `FileExistsError` where the name is taken. Atomic."""

    def unlink(self, path: str, /) -> None: ...
    def rmdir(self, path: str, /) -> None: ...
    def flock(self, fd: int, operation: int, /) -> None: ...


class RealFileSystem:
    """The machine's own. On macOS fsync only hands bytes to the drive: not for production there."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    ftruncate = staticmethod(os.ftruncate)
    fstat = staticmethod(os.fstat)
    stat = staticmethod(os.stat)
    listdir = staticmethod(os.listdir)
    mkdir = staticmethod(os.mkdir)
    rename = staticmethod(os.rename)
    link = staticmethod(os.link)
    unlink = staticmethod(os.unlink)
    rmdir = staticmethod(os.rmdir)
    flock = staticmethod(fcntl.flock)

    fsync = staticmethod(os.fsync)
    fdatasync = staticmethod(os.fdatasync if hasattr(os, "fdatasync") else os.fsync)


REAL: FileSystem = RealFileSystem()


def write_all(fs: FileSystem, fd: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` at ``offset``, however many calls it takes."""
    written = fs.pwrite(fd, data, offset)
    while written < len(data):  # a full disk writes what still fits, then raises
        written += fs.pwrite(fd, data[written:], offset + written)


def read_all(fs: FileSystem, fd: int, size: int, offset: int) -> bytes:
    """``size`` bytes from ``offset``; fewer only when the file ends there."""
    data = fs.pread(fd, size, offset)
    if len(data) == size:
        return data
    parts = [data]
    while data and size > sum(map(len, parts)):  # Linux gives at most 2 GiB - 4 KiB a call
        data = fs.pread(fd, size - sum(map(len, parts)), offset + sum(map(len, parts)))
        parts.append(data)
    return b"".join(parts)


def sync_directory(fs: FileSystem, path: str) -> None:
    """Make the names in a directory durable."""
    fd = fs.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fs.fsync(fd)
    finally:
        fs.close(fd)


def sync_ancestors(fs: FileSystem, path: str) -> None:
    """Make the name of ``path`` durable, and those of all directories above it.

    Names that are seen need not be durable: who made them may have died before the sync.
    """
    while path not in {".", "/"}:
        path = os.path.split(path)[0] or "."
        with contextlib.suppress(PermissionError):  # not ours to read, so not ours to have made
            sync_directory(fs, path)


def write_file(fs: FileSystem, path: str, data: bytes) -> None:
    """Make a new file with ``data``, durable on return except for its name.

    Raises:
        FileExistsError: there is one; nothing was changed.
    """
    fd = fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(fs, fd, data, 0)
        fs.fsync(fd)
    finally:
        fs.close(fd)
