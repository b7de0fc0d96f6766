"""The folder in which a log is made before it gets its name, and those that killed ones left.

It is called ``.NAME.init-`` and 16 random hex digits, beside NAME. Who makes it holds a lock on the
folder itself (`flock`), which ends with the process, however that ends. Invariants:

* what is locked is never removed, and what is removed was locked by whoever removes it: so no living
  maker loses its folder, and two that clean up do not meet;
* a name is never used twice, so a folder that is gone stays gone: a maker that got its lock only
  after somebody had cleaned up finds that, and makes another;
* where folders have no locks (NFS locks only what is open for writing) they are made without, and
  nobody removes any;
* only folders of such a name are touched, and only if they hold nothing but what a maker writes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Collection
from fcntl import LOCK_EX, LOCK_NB

from binlog.logs.filesystem import FileSystem

_TRIES = 100
_NO_LOCKS = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Aside:
    """A folder beside ``target``, locked until `close`, which is after its renaming, too."""

    def __init__(self, fs: FileSystem, target: str) -> None:
        """Make it.

        Raises:
            OSError: as the system refuses.
        """
        parent, name = os.path.split(target)
        self._fs = fs
        self._descriptor: int | None = None  # of what is locked
        for _ in range(_TRIES):
            self.path = f"{parent or '.'}/.{name}.init-{secrets.token_hex(8)}"
            fs.mkdir(self.path)
            try:
                self._descriptor = _locked(fs, self.path)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return
            if self._descriptor is not None:
                return
        raise BlockingIOError(f"somebody removes {self.path} and its like as they are made")

    def close(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            self._fs.close(self._descriptor)

    def remove(self) -> None:
        """Remove it and what is in it, as far as the system lets us."""
        _remove(self._fs, self.path)


def clean_up(fs: FileSystem, target: str, files: Collection[str]) -> int:
    """Remove what killed processes left that made ``target``; how many folders there were.

    ``files`` are the names that a maker gives. What cannot be removed stays, in nobody's way.
    """
    parent, name = os.path.split(target)
    parent = parent or "."
    # Also of an older version, which counted, and had no lock.
    ours = re.compile(rf"\.{re.escape(name)}\.init-([0-9a-f]{{16}}|\d{{1,6}})")
    removed = 0
    with contextlib.suppress(OSError):
        for found in fs.listdir(parent):
            if ours.fullmatch(found):
                removed += _clean(fs, f"{parent}/{found}", files)
    return removed


def _clean(fs: FileSystem, path: str, files: Collection[str]) -> bool:
    with contextlib.suppress(OSError):
        descriptor = _locked(fs, path)
        if descriptor is None:
            return False
        try:
            if set(fs.listdir(path)) <= set(files):
                return _remove(fs, path)
        finally:
            fs.close(descriptor)
    return False


def _locked(fs: FileSystem, path: str) -> int | None:
    """A descriptor of the folder with its lock; ``None`` if somebody else has that, or removed it."""
    try:
        descriptor = fs.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fs.flock(descriptor, LOCK_EX | LOCK_NB)
        fs.stat(path)  # it may have been removed while we were opening it
    except (BlockingIOError, FileNotFoundError):
        fs.close(descriptor)
        return None
    except BaseException:
        fs.close(descriptor)
        raise
    return descriptor


def _remove(fs: FileSystem, path: str) -> bool:
    with contextlib.suppress(OSError):
        for name in fs.listdir(path):
            fs.unlink(f"{path}/{name}")
        fs.rmdir(path)
        return True
    return False
