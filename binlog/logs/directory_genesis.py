"""Making a directory log, and recognising one.

A log appears in one step: everything is built in a directory beside it and made durable, then that
directory gets its name. So a log is whole or absent, whatever happens, and of two that make it at
once one finds the other's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Literal

from binlog.clock import Clock, SystemClock
from binlog.control import genesis_frame
from binlog.errors import ConflictError, DamageError, NoLogError, RefusedError, StorageError
from binlog.frame import HEADER_BYTES, stamp_born
from binlog.log import Put
from binlog.logs.append_lock import LOCK_NAME, TURN_NAME
from binlog.logs.block import (
    BLOCK_BYTES_MAX,
    ENTRY_BYTES,
    HEAD_BYTES,
    Bad,
    Block,
    encode_block,
    parse_block,
    signature,
    unpack_head,
)
from binlog.logs.directory_aside import Aside, clean_up
from binlog.logs.filesystem import (
    REAL,
    FileSystem,
    read_all,
    sync_ancestors,
    sync_directory,
    write_file,
)
from binlog.logs.note import NOTE_BYTES, Note, encode_note
from binlog.logs.segment import damage, segment_name, segment_path
from binlog.logs.tail import NOTE_NAME
from binlog.params import Params, decode_genesis, differences, encode_genesis

GENESIS_NAME = "GENESIS"
_GENESIS_BYTES_MAX = 64 * 1024
_MADE = (GENESIS_NAME, segment_name(0), NOTE_NAME, LOCK_NAME, TURN_NAME)


def create_directory_log(
    path: str | os.PathLike[str],
    params: Params,
    *,
    fs: FileSystem = REAL,
    clock: Clock | None = None,
) -> Literal["created", "exists"]:
    """Make a log at ``path``, durable on return, or find that one with these parameters is there.

    The log's id is not compared: the one that is there keeps its own. Missing parent directories
    are made; an empty directory at ``path`` is taken. What killed ones left beside it is removed.

    Raises:
        ConflictError: there is a log with other parameters, or something that is no log.
        StorageError: the operating system refused; nothing is left at ``path``.
    """
    path = os.fspath(path)
    target = path.rstrip("/") or "/"
    clean_up(fs, target, _MADE)
    if _is_taken(fs, target):
        return _found(fs, target, params)
    aside: Aside | None = None
    try:
        _make_parents(fs, os.path.split(target)[0] or ".")
        aside = Aside(fs, target)
        _build(fs, aside.path, params, (clock or SystemClock()).now_ms())
        fs.rename(aside.path, target)
        sync_ancestors(fs, target)
    except OSError as error:
        if aside is not None:
            aside.remove()
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST} and _is_taken(fs, target):
            return _found(fs, target, params)
        raise StorageError(
            f"the log cannot be made, {os.strerror(error.errno or 0)}",
            target,
            "mend that and try again",
            errno=error.errno,
        ) from error
    finally:
        if aside is not None:
            aside.close()
    return "created"


def _is_taken(fs: FileSystem, path: str) -> bool:
    """Whether something is at ``path`` that a new log may not replace."""
    try:
        found = fs.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not stat.S_ISDIR(found.st_mode) or bool(fs.listdir(path))


def _found(fs: FileSystem, path: str, params: Params) -> Literal["exists"]:
    try:
        _, found = read_genesis(fs, path)
    except NoLogError as error:
        raise ConflictError(error.what, path, "choose another place for the log") from error
    if unlike := differences(found, params):
        raise ConflictError(
            f"a log with other parameters is there ({'; '.join(unlike)})",
            path,
            "give these, or choose another place",
            differences=unlike,
        )
    try:
        sync_ancestors(fs, path)  # who made it may have died before that
    except OSError as error:
        raise StorageError(
            os.strerror(error.errno or 0), path, "try again", errno=error.errno
        ) from error
    return "exists"


def _make_parents(fs: FileSystem, path: str) -> None:
    missing = []
    while path:
        try:
            fs.stat(path)
            break
        except FileNotFoundError:
            missing.append(path)
            path = os.path.split(path)[0] or "."
    for made in reversed(missing):
        with contextlib.suppress(FileExistsError):
            fs.mkdir(made)


def _build(fs: FileSystem, path: str, params: Params, now_ms: int) -> None:
    genesis = encode_genesis(params)
    log_id = bytes.fromhex(params.log_id)
    frames = [
        stamp_born(genesis_frame(params, genesis, partition), now_ms)
        for partition in range(params.partitions)
    ]
    puts = [Put(partition, frame) for partition, frame in enumerate(frames)]
    block = encode_block(signature(log_id, 0), 0, now_ms, puts, frames)
    slot, at = encode_note(Note(1, 0, len(block), now_ms), log_id)
    write_file(fs, f"{path}/{GENESIS_NAME}", genesis + b"\n")
    write_file(fs, segment_path(path, 0), block)
    write_file(fs, f"{path}/{NOTE_NAME}", (bytes(at) + slot).ljust(NOTE_BYTES, b"\0"))
    write_file(fs, f"{path}/{LOCK_NAME}", b"")
    write_file(fs, f"{path}/{TURN_NAME}", b"")
    sync_directory(fs, path)


# -- recognising one -----------------------------------------------------------------------------


def read_genesis(fs: FileSystem, path: str) -> tuple[bytes, Params]:
    """The genesis record of the log at ``path``, checked against its first block.

    Raises:
        RefusedError: nothing is there.
        NoLogError: what is there is no log.
        DamageError: GENESIS or the first block is not what it was; they are of different logs.
        UpgradeError: a newer version made it.
        StorageError: the operating system refused.
    """
    try:
        data = _read_file(fs, f"{path}/{GENESIS_NAME}")
    except (FileNotFoundError, NotADirectoryError):
        raise _no_genesis(fs, path) from None
    except OSError as error:
        raise StorageError(
            os.strerror(error.errno or 0), path, "is it readable for you?", errno=error.errno
        ) from error
    genesis = data.removesuffix(b"\n")
    params = decode_genesis(genesis, f"{path}/{GENESIS_NAME}")
    _check_first_block(fs, path, genesis, params)
    return genesis, params


def _no_genesis(fs: FileSystem, path: str) -> NoLogError | RefusedError | DamageError:
    try:
        names = fs.listdir(path)
    except FileNotFoundError:
        return RefusedError("no log there", path, f"binlog init file:{path}")
    except NotADirectoryError:
        return NoLogError("a file, not the directory of a log", path, "give a log's directory")
    if segment_name(0) in names:
        return DamageError(
            f"{GENESIS_NAME} is missing",
            path,
            "restore it; the first segment's first frame holds its bytes",
        )
    return NoLogError("a directory, but not a log's", path, f"binlog init file:{path}/log")


def _check_first_block(fs: FileSystem, path: str, genesis: bytes, params: Params) -> None:
    try:
        fd = fs.open(segment_path(path, 0), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise damage(path, 0, Bad(0, "the first segment is missing")) from None
    try:
        head = fs.pread(fd, HEAD_BYTES, 0)
        _, _, _, size, frames = unpack_head(head.ljust(HEAD_BYTES, b"\0"))
        at = HEAD_BYTES + ENTRY_BYTES * frames + HEADER_BYTES
        found = read_all(fs, fd, len(genesis), at)
        ours = bytes.fromhex(params.log_id)
        if head[4:36] == signature(ours, 0) and found == genesis:
            return
        block = read_all(fs, fd, min(size, BLOCK_BYTES_MAX), 0)
    finally:
        fs.close(fd)
    theirs = head[12:28]
    parsed = parse_block(block, 0, signature(theirs, 0), 0)
    if not isinstance(parsed, Block):
        raise damage(path, 0, Bad(0, "no genesis records"), fs)
    whose = "has other parameters" if theirs == ours else f"is of log {theirs.hex()}"
    raise DamageError(
        f"{GENESIS_NAME} is of log {params.log_id}, but the first segment {whose}",
        path,
        "restore it; the first frame of the first segment holds its bytes",
    )


def _read_file(fs: FileSystem, path: str) -> bytes:
    fd = fs.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return fs.pread(fd, _GENESIS_BYTES_MAX, 0)
    finally:
        fs.close(fd)
