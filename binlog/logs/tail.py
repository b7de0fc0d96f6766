"""The end of a directory log, in the hands of whoever holds the append lock (rule D2).

Invariants, each with its reason:

* A commit is one block, written only when the block before it is durable. So an unharmed block
  proves that everything before it was durable: what is bad there is damage, not a torn write.
* The note never says more than what is durable. It moves after the fsync and before anybody is
  told, so what was acknowledged is before the note, or is an unharmed block after it.
* Nothing is remembered from one turn to the next: between them another process may have written,
  died half-way, or left an fsync that failed. Every turn reads the note and the sizes again.
* Unharmed blocks after the note are written *again* before they are synced and believed: after a
  failed fsync the pages look clean, and a second fsync succeeds without having done anything.
* Bad bytes after the note, with no unharmed block and no segment after them, were never
  acknowledged: a torn tail. The next append keeps them aside, cuts them off and syncs that before
  it writes, so that no later block can complete them.
* A segment is begun only right after a sync of the one before it and of a note that names it, so a
  later segment proves everything before it, too. Its first block is acknowledged only after the
  directory is synced: else the file, and not only a block, could be gone.
* The first commit of every open log is preceded by a sync of the log's own name and of all above
  it: a log that is seen need not be durable, if who made it died at once.
* A lost note counts as 0: then everything in the last segment is to be proved again. Not so in
  earlier ones: the segment after them is their proof.

What cannot be told from a torn tail is a flip in the last block of all that is newer than the
surviving note. It is assumed that a write never changes bytes outside its range.

Segments grow by appending. Preallocated ones (fallocate, or zeros written beforehand) were
measured, 336 B and fdatasync each: medians of 75 to 125 µs against 105 to 175 µs for growing, less
than the spread between runs. It was not worth that the size of a file no longer says where the
log ends, and that zeros at its end mean nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from itertools import count

from binlog.errors import MismatchError
from binlog.log import Put
from binlog.logs.block import (
    HEAD_BYTES,
    MAGIC,
    Bad,
    Block,
    block_bytes,
    encode_block,
    find_block,
    parse_block,
    signature,
)
from binlog.logs.filesystem import (
    FileSystem,
    read_all,
    sync_ancestors,
    sync_directory,
    write_all,
    write_file,
)
from binlog.logs.note import LOST, NOTE_BYTES, Note, decode_note, encode_note
from binlog.logs.segment import check_chain, damage, list_segments, segment_name, segment_path

NOTE_NAME = "note"
ASIDE_NAME = "aside"
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
# A write that fails for one of these has not written its last byte.
_INCOMPLETE = READ_ONLY | {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF}


class CommitError(Exception):
    """A commit that went wrong; ``untouched``: its block is not in the log and never will be."""

    def __init__(self, cause: OSError, *, untouched: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.untouched = untouched


class Tail:
    """Reads and moves the end of one log. All but `peek` need the append lock."""

    def __init__(
        self, fs: FileSystem, directory: str, log_id: bytes, *, segment_bytes: int
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._log_id = log_id
        self._segment_bytes = segment_bytes
        self.note = LOST
        self.recovered_blocks = 0
        self._seen: tuple[bytes, Note] = (b"", LOST)
        self._ours = LOST  # the last note that this instance wrote
        self._fd = -1
        self._base = -1
        self._sign = b""
        self._is_named = False
        self._note_fd = self._open_note()

    def _open_note(self) -> int:
        path = f"{self._directory}/{NOTE_NAME}"
        try:
            return self._fs.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1  # lost; recovery makes one
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
        return self._fs.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def peek(self) -> Note:
        """The note as it is now, read without the lock: a lower bound of what is durable."""
        if self._note_fd < 0:
            return LOST
        raw = self._fs.pread(self._note_fd, NOTE_BYTES, 0)
        seen = self._seen
        if raw != seen[0]:
            seen = self._seen = (raw, decode_note(raw, self._log_id))
        return seen[1]

    # -- every turn ------------------------------------------------------------------------------

    def refresh(self, *, cut: bool) -> None:
        """Find the end of the log as it is now; prove what lies after the note.

        ``cut`` removes a torn tail, as only an append does.

        Raises:
            DamageError: bytes that were durable are bad or gone.
            UpgradeError: a newer version wrote here.
        """
        note = self.peek()
        if note.counter and self._is_clean(note):
            self.note = note
        else:
            self._recover(note, cut=cut)

    def _is_clean(self, note: Note) -> bool:
        """Whether the log ends exactly at the note, and no later segment was begun."""
        fs = self._fs
        if note.segment != self._base and not self._open_segment(note.segment):
            return False
        found = fs.fstat(self._fd)
        if note.segment + found.st_size != note.end or not found.st_nlink:
            return False
        # A segment is begun only after a note that names it, so nobody has begun one if the note is
        # still ours. (Only a power failure can take the note back, and no process outlives that.)
        # An empty segment's next one would have its name.
        if note is self._ours or note.end == note.segment:
            return True
        try:
            fs.stat(segment_path(self._directory, note.end))
        except FileNotFoundError:
            return True
        return False

    def _open_segment(self, base: int) -> bool:
        self._close_segment()
        path = segment_path(self._directory, base)
        try:
            self._fd = self._fs.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._base = base
        self._sign = signature(self._log_id, base)
        return True

    def _close_segment(self) -> None:
        if self._fd >= 0:
            fd, self._fd, self._base = self._fd, -1, -1
            self._fs.close(fd)

    # -- recovery --------------------------------------------------------------------------------

    def _recover(self, note: Note, *, cut: bool) -> None:
        fs, directory = self._fs, self._directory
        bases = list_segments(fs, directory)
        size = check_chain(fs, directory, bases)
        self._check_log()
        base = bases[-1]
        start = max(note.end - base, 0)
        if start > size:
            raise damage(
                directory, base, Bad(size, f"ends at byte {size}, durable up to byte {start}")
            )
        if not self._open_segment(base):
            raise FileNotFoundError(errno.ENOENT, "gone", segment_path(directory, base))
        data = read_all(fs, self._fd, size - start, start)
        end, arrival, blocks = self._prove(data, start)
        if not end and not base:
            raise damage(directory, base, Bad(0, "no genesis records"))
        if not end and note.end < base:
            arrival = self._last_arrival(bases[-2])
        arrival = max(arrival, note.arrival_ms)
        if blocks or base != note.segment or not note.counter:
            write_all(fs, self._fd, data[: end - start], start)
            fs.fsync(self._fd)
            if self._note_fd < 0:
                path = f"{directory}/{NOTE_NAME}"
                self._note_fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            sync_directory(fs, directory)
            self._move(Note(note.counter + 1, base, base + end, arrival))
            fs.fsync(self._note_fd)
            self.recovered_blocks += blocks
        else:
            self.note = note
        if cut and end < size:
            self._keep_aside(data[end - start :], end)
            fs.ftruncate(self._fd, end)
            fs.fsync(self._fd)

    def _check_log(self) -> None:
        """Nothing, if the segments are still this log's: else its blocks would look like garbage.

        Raises:
            MismatchError: somebody put another log in its place.
        """
        fd = self._fs.open(segment_path(self._directory, 0), os.O_RDONLY | os.O_CLOEXEC)
        try:
            head = self._fs.pread(fd, HEAD_BYTES, 0)
        finally:
            self._fs.close(fd)
        if head[4:8] == MAGIC and head[12:28] != self._log_id:
            raise MismatchError(
                f"log {head[12:28].hex()} is where log {self._log_id.hex()} was opened",
                self._directory,
                "open it again",
            )

    def _prove(self, data: bytes, start: int) -> tuple[int, int, int]:
        """Of the bytes after the note: where the unharmed blocks end, their arrival, how many."""
        at = arrival = blocks = 0
        reason = ""
        while at < len(data):
            found = parse_block(data, at, self._sign, start + at)
            if not isinstance(found, Block):
                reason = found.reason if isinstance(found, Bad) else "a block cut short"
                break
            at = found.end - start
            arrival = max(arrival, found.arrival_ms)
            blocks += 1
        later = find_block(data[at + 1 :], self._sign, start + at + 1) if at < len(data) else None
        if later is not None:
            reason += f"; an unharmed block follows at byte {later.offset}"
            raise damage(self._directory, self._base, Bad(start + at, reason), self._fs)
        return start + at, arrival, blocks

    def _last_arrival(self, base: int) -> int:
        """Of a segment that another one follows: the arrival of its last block."""
        fd = self._fs.open(segment_path(self._directory, base), os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = read_all(self._fs, fd, self._fs.fstat(fd).st_size, 0)
        finally:
            self._fs.close(fd)
        sign = signature(self._log_id, base)
        at = arrival = 0
        while at < len(data):
            found = parse_block(data, at, sign, at)
            if not isinstance(found, Block):
                reason = found.reason if isinstance(found, Bad) else "a block cut short"
                raise damage(self._directory, base, Bad(at, reason), self._fs)
            at, arrival = found.end, found.arrival_ms
        return arrival

    def _keep_aside(self, data: bytes, end: int) -> None:
        aside = f"{self._directory}/{ASIDE_NAME}"
        with contextlib.suppress(FileExistsError):
            self._fs.mkdir(aside)
            sync_directory(self._fs, self._directory)
        for number in count():
            path = f"{aside}/{segment_name(self._base)}.{end}.{number}"
            try:
                write_file(self._fs, path, data)
            except FileExistsError:
                continue  # an earlier tail cut at the same place
            break
        sync_directory(self._fs, aside)

    # -- commit ----------------------------------------------------------------------------------

    def commit(self, puts: Sequence[Put], datas: Sequence[bytes], arrival_ms: int) -> int:
        """Make one block durable; the sequence number of its first frame.

        The lock is held, and `refresh` has been called in this turn.

        Raises:
            CommitError: it may or may not be durable, now or after the next recovery.
        """
        fs = self._fs
        offset = self.note.end - self.note.segment
        try:
            if not self._is_named:
                sync_ancestors(fs, self._directory)
                # An earlier sync that failed may have dropped the name, and this one not noticed.
                fs.stat(segment_path(self._directory, self._base))
                self._is_named = True
            if offset and offset + block_bytes(puts) > self._segment_bytes:
                self._begin_segment()
                offset = 0
        except OSError as error:
            raise CommitError(error, untouched=True) from error
        block = encode_block(self._sign, offset, arrival_ms, puts, datas)
        fd, note = self._fd, self.note
        try:
            write_all(fs, fd, block, offset)
        except OSError as error:
            with contextlib.suppress(OSError):  # the next turn does it otherwise
                fs.ftruncate(fd, offset)
            raise CommitError(error, untouched=error.errno in _INCOMPLETE) from error
        try:
            if offset:
                fs.fdatasync(fd)
            else:
                fs.fsync(fd)
                sync_directory(fs, self._directory)
            self._move(Note(note.counter + 1, self._base, note.end + len(block), arrival_ms))
        except OSError as error:
            raise CommitError(error, untouched=False) from error
        return note.end + HEAD_BYTES

    def _begin_segment(self) -> None:
        fs, note = self._fs, self.note
        self._check_log()
        fs.fsync(self._fd)
        self._move(Note(note.counter + 1, note.end, note.end, note.arrival_ms))
        fs.fsync(self._note_fd)
        self._close_segment()
        path = segment_path(self._directory, note.end)
        self._fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._base = note.end
        self._sign = signature(self._log_id, note.end)

    def _move(self, note: Note) -> None:
        slot, at = encode_note(note, self._log_id)
        write_all(self._fs, self._note_fd, slot, at)
        raw = self._seen[0]
        if len(raw) == NOTE_BYTES:
            self._seen = (raw[:at] + slot + raw[at + len(slot) :], note)
        self.note = self._ours = note

    # -- the end ---------------------------------------------------------------------------------

    def sync_note(self) -> None:
        """Make the note durable, at close."""
        if self.note.counter:
            self._fs.fsync(self._note_fd)

    def close(self) -> None:
        self._close_segment()
        if self._note_fd >= 0:
            fd, self._note_fd = self._note_fd, -1
            self._fs.close(fd)
