"""Our side and the floors of an archive: how many bytes, and how fast they get there."""

from __future__ import annotations

import contextlib
import gzip
import os
import subprocess
import sys
from pathlib import Path

from binlog.address import open_log
from binlog.archive.archive import Archive
from binlog.archive.archiver import Archiving, archive
from binlog.objects import open_objects
from scripts.benchmarks import straight
from scripts.benchmarks.ours import BINLOG

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 1024 * 1024
GZIP_LEVEL = 6
"""gzip's own default."""


def into_archive(log: Path, folder: Path) -> None:
    """All of the log, durable on return, as `binlog archive --once` does it."""
    with (
        contextlib.closing(open_log(f"file:{log}")) as opened,
        contextlib.closing(open_objects(f"file:{folder}")) as objects,
    ):
        into = Archive.create(objects, opened.params, opened.genesis)
        archive(opened, into, Archiving(once=True))


def bytes_of(folder: Path) -> int:
    """Of everything that is in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def gzip_bytes(log: Path) -> int:
    """Of the log's events as one file of gzip: lines of JSON as `binlog cat --json` prints them.

    With all that an archive keeps of an event: its id, its place, when it was made and arrived.
    """
    printed = subprocess.run(
        [*BINLOG, "cat", f"file:{log}", "--json"], check=True, capture_output=True
    ).stdout
    return len(gzip.compress(printed, compresslevel=GZIP_LEVEL, mtime=0))


def write_raw(log: Path, file: Path) -> int:
    """What a log's frames hold, decompressed, as one file; its length in bytes."""
    with file.open("wb") as out:
        for frame in straight.stored_frames(log):
            out.write(straight.raw_body(frame))
    return file.stat().st_size


def copy_through_zstd(source: Path, target: Path, *, level: int) -> None:
    """Read a file, compress it chunk by chunk, write it, sync it."""
    compressor = zstd.ZstdCompressor(level=level)
    with source.open("rb") as given, target.open("xb") as out:
        while chunk := given.read(CHUNK_BYTES):
            out.write(compressor.compress(chunk, mode=compressor.FLUSH_FRAME))
        out.flush()
        os.fsync(out.fileno())
