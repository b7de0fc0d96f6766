"""Objects as files of a directory, each key a path below it.

Invariants:

* A name that a key can have is only ever given to a file that was synced whole before (written
  under a hidden name, then linked: ``link`` is create-if-absent, and atomic).
* Before a name is answered for, present or not ours, it is durable: the directory is synced, and
  all directories above it that this process has not synced yet (whoever made them may have died
  before the sync).
* After a failed sync the file is given up and never linked: its pages look clean, and a second sync
  would prove nothing.

Hidden names (``.new-..``) are what was being written when somebody died; they go after a day.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator

from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError, RefusedError, StorageError
from binlog.logs.filesystem import (
    REAL,
    FileSystem,
    read_all,
    sync_ancestors,
    sync_directory,
    write_file,
)
from binlog.objects.objects import Entry, check_key, clamp

ASIDE = ".new-"
ASIDE_KEPT_MS = 24 * 3_600_000  # no write takes longer, and nobody else's may be removed
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


class DirectoryObjects:
    """A directory; the first write makes it. One that is not there holds nothing."""

    def __init__(self, path: str, *, fs: FileSystem = REAL, clock: Clock | None = None) -> None:
        self.name = f"file:{path}"
        self._path = os.path.normpath(path)
        self._fs = fs
        self._clock = clock or SystemClock()
        self._ready: set[str] = set()  # directories whose own names this process has made durable

    # -- writing -----------------------------------------------------------------------------------

    def put_new(self, key: str, data: bytes) -> bool:
        target = self._target(key)
        with self._translated(key):
            folder = self._prepare(target)
            if (found := self._read(target, 0, None)) is None:  # else there is no need to write it
                aside = self._write_aside(folder, data)
                try:
                    self._link(aside, target)
                    found = data
                except FileExistsError:
                    found = self._read(target, 0, None)
                finally:
                    self._remove(aside)
            sync_directory(self._fs, folder)  # of another's name, too: he may not have come to it
            if found is None:
                raise StorageError("deleted while it was being written", f"{self.name}/{key}")
            return found == data

    def put(self, key: str, data: bytes) -> None:
        target = self._target(key)
        with self._translated(key):
            folder = self._prepare(target)
            aside = self._write_aside(folder, data)
            try:
                self._fs.rename(aside, target)
            except OSError:
                self._remove(aside)
                raise
            sync_directory(self._fs, folder)

    def _write_aside(self, folder: str, data: bytes) -> str:
        aside = f"{folder}/{ASIDE}{secrets.token_hex(8)}"
        try:
            write_file(self._fs, aside, data)
        except OSError:
            self._remove(aside)
            raise
        return aside

    def _link(self, aside: str, target: str) -> None:
        try:
            self._fs.link(aside, target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise RefusedError(
                f"the file system makes no hard links ({os.strerror(error.errno or 0)})",
                self.name,
                "name a directory on another one: without them nobody can write without replacing",
            ) from error

    def _remove(self, aside: str) -> None:
        with contextlib.suppress(OSError):
            self._fs.unlink(aside)

    def _prepare(self, target: str) -> str:
        """The folder of a file, there and durable."""
        folder = _folder_of(target)
        if folder not in self._ready:
            self._make(folder)
            sync_ancestors(self._fs, folder)
            self._clean(folder)
            self._ready.add(folder)
        return folder

    def _make(self, folder: str) -> None:
        try:
            self._fs.mkdir(folder)
        except FileExistsError:
            pass
        except FileNotFoundError:
            self._make(_folder_of(folder))
            with contextlib.suppress(FileExistsError):
                self._fs.mkdir(folder)

    def _clean(self, folder: str) -> None:
        """Remove what somebody who died long ago was writing."""
        for name in self._fs.listdir(folder):
            if name.startswith(ASIDE):
                path = f"{folder}/{name}"
                with contextlib.suppress(OSError):
                    age_ms = self._clock.now_ms() - self._fs.stat(path).st_mtime_ns // 1_000_000
                    if age_ms > ASIDE_KEPT_MS:
                        self._fs.unlink(path)

    # -- reading -----------------------------------------------------------------------------------

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        target = self._target(key)
        clamp(0, start, length)
        with self._translated(key):
            return self._read(target, start, length)

    def _read(self, path: str, start: int, length: int | None) -> bytes | None:
        try:
            fd = self._fs.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        try:
            found = self._fs.fstat(fd)
            if stat.S_ISDIR(found.st_mode):
                return None
            begin, end = clamp(found.st_size, start, length)
            return read_all(self._fs, fd, end - begin, begin)
        finally:
            self._fs.close(fd)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        folder = prefix.rpartition("/")[0]
        with self._translated(prefix):
            yield from self._walk(f"{folder}/" if folder else "", prefix, after)

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[Entry]:
        """Of a folder (empty, or with its slash) what is wanted, in the order of the keys.

        A folder sorts by its name with the slash, as the keys in it do.
        """
        try:
            names = self._fs.listdir(f"{self._path}/{folder}")
        except OSError as error:
            if error.errno in _ABSENT:
                return
            raise
        found: list[tuple[str, Entry | None]] = []
        for name in names:
            key = folder + name
            if name.startswith(".") or not (key.startswith(prefix) or prefix.startswith(f"{key}/")):
                continue
            try:
                state = self._fs.stat(f"{self._path}/{key}")
            except OSError as error:
                if error.errno in _ABSENT:  # deleted since
                    continue
                raise
            if stat.S_ISDIR(state.st_mode):
                found.append((f"{key}/", None))
            elif key > after:
                found.append((key, Entry(key, state.st_size, state.st_mtime_ns // 1_000_000)))
        for key, entry in sorted(found):
            if entry is not None:
                yield entry
            elif key > after or after.startswith(key):
                yield from self._walk(key, prefix, after)

    # -- the rest ----------------------------------------------------------------------------------

    def delete(self, keys: Iterable[str]) -> None:
        """In their order; each is durable before the next one of another folder goes."""
        folder = ""
        for key in keys:
            target = self._target(key)
            with self._translated(key):
                if folder not in {"", _folder_of(target)}:
                    sync_directory(self._fs, folder)
                    folder = ""
                try:
                    self._fs.unlink(target)
                except OSError as error:
                    if error.errno not in _ABSENT:
                        raise
                else:
                    folder = _folder_of(target)
        if folder:
            with self._translated(""):
                sync_directory(self._fs, folder)

    def close(self) -> None:
        pass

    def _target(self, key: str) -> str:
        return f"{self._path}/{check_key(key)}"

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise trouble(error, f"{self.name}/{key}" if key else self.name) from error


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def trouble(error: OSError, where: str) -> BinlogError:
    """What the operating system refused, in our words."""
    number = error.errno or 0
    what = f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"
    if number in _FULL:
        return StorageError(what, where, "make room; what stands there is whole", errno=number)
    if number in _DENIED:
        do = "make the directory writable, and what is in it readable, for this user"
        # As of a log and of a store: the system's refusal is a failure, and no bad input.
        return StorageError(what, where, do, errno=number, retriable=False)
    if number in {errno.EISDIR, errno.ENOTDIR, errno.EEXIST}:
        do = "a file and a folder have one name: name a directory of its own"
        return RefusedError(what, where, do, errno=number)
    return StorageError(what, where, "look at the disk, and try again", errno=number)
