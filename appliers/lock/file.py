"""Reading and writing the lock file; a write is seen whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from appliers.lock.document import Lock, decode_lock, encode_lock
from binlog.errors import RefusedError, StorageError


def read_lock(path: Path) -> Lock | None:
    """The lock in the file; ``None`` if there is no such file.

    Raises:
        RefusedError, UpgradeError: see `decode_lock`; or no file, or one that cannot be read.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RefusedError(
            "no UTF-8", f"{path}, line {line}", "restore it from version control", line=line
        ) from error
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}", str(path)) from error
    return decode_lock(text, str(path))


def write_lock(path: Path, lock: Lock) -> None:
    """Put the lock in the file's place in one step.

    Raises:
        StorageError: the system refuses; the file is what it was.
    """
    try:
        # A name of its own: several may lock at once, and the last one counts.
        with NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=path.name, delete=False
        ) as file:
            try:
                file.write(encode_lock(lock))
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StorageError(
            f"the lock file cannot be written: {error.strerror}", str(path), "nothing was changed"
        ) from error
