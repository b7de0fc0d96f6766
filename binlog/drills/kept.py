"""What is written into folders of the user's: never over something that is not ours, and whole or not at all.

``--report .`` in a folder with a web site would otherwise end it, and a page that was half written when
the disk was full, or somebody pressed Ctrl-C, would be taken for the last run's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

from binlog.drills.result import decode_result
from binlog.errors import RefusedError

PAGE = b'<meta name="generator" content="binlog drill">'
RUNBOOK = b"<!-- Made by `binlog drill runbook`"


def check_folder(folder: Path, names: Iterable[str]) -> None:
    """Make the folder, and see that all these files could be written into it.

    Raises:
        RefusedError: one of them is there, and not ours.
        OSError: the folder cannot be made, or nothing can be written into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        _check(folder / name)
    with NamedTemporaryFile(dir=folder, prefix=".binlog-drill-") as file:
        file.write(b"to see whether there is room")
        file.flush()


def keep(path: Path, data: bytes) -> Path:
    """Write a file in one step; the path.

    Raises:
        RefusedError: it is there, and not ours.
        OSError: it cannot be written; what was there before is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _check(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:  # of a full disk nobody says which file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)
    return path


def _check(path: Path) -> None:
    if path.is_symlink() or path.is_dir():
        raise RefusedError("it is there, and is no file of its own", str(path), _DO)
    if path.exists() and not _is_ours(path):
        raise RefusedError("it is there, and was not made by drills", str(path), _DO)


_DO = "give another folder, or move it away"


def _is_ours(path: Path) -> bool:
    data = path.read_bytes()
    if path.suffix == ".json":
        with contextlib.suppress(ValueError):
            decode_result(data)
            return True
        return False
    return PAGE in data if path.suffix == ".html" else RUNBOOK in data
