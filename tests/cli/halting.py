"""Logs in a directory whose only partition halts, by each of the rules that can be resolved."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from binlog.clock import ManualClock
from binlog.columns import columns_of, encode_body
from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Header, Session, encode_frame
from binlog.log import Appended, Put
from binlog.logs import DirectoryLog, create_directory_log
from binlog.logs.block import encode_block, signature
from binlog.logs.note import NOTE_BYTES, Note, decode_note, encode_note
from binlog.params import Params, encode_genesis, genesis_hash
from binlog.values import encode_item, encode_value

PARAMS = Params(log_id="3c" * 16, partitions=1, hold_frames_max=2)
START_MS = 1_800_000_000_000


class HaltingLog:
    """A log at ``path`` and the means to halt it. Time stands at its clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.address = f"file:{path}"
        self.clock = ManualClock(START_MS)
        create_directory_log(path, PARAMS, clock=self.clock)

    def send(self, numbers: Iterable[int], *, session: int = 1, born_ms: int = START_MS) -> None:
        """Append a frame of one event for each of these numbers of a session, in that order."""
        with closing(DirectoryLog(self.path, clock=self.clock)) as log:
            for number in numbers:
                [reply] = log.append([Put(0, self._frame(number, session, born_ms))])
                assert isinstance(reply, Appended), reply

    def _frame(self, number: int, session: int, born_ms: int) -> bytes:
        item = {"id": f"s{session}-{number}", "n": number}
        key = encode_value({"id": item["id"]})
        envelope = Envelope(f"e{session}.{number}", PUT_ITEM, 1, "users", key, encode_item(item))
        header = Header(
            session=Session(session.to_bytes(16, "big"), 1),
            born_ms=born_ms,
            partition=0,
            first=number,
            count=1,
            log_id=bytes.fromhex(PARAMS.log_id),
            genesis_hash=genesis_hash(encode_genesis(PARAMS)),
        )
        return encode_frame(header, encode_body(columns_of([envelope])))

    def write_rubbish(self, data: bytes = b"not a frame") -> None:
        """Put a block in place that is sound and holds no frame: no producer of ours writes one."""
        log_id = bytes.fromhex(PARAMS.log_id)
        note_path = self.path / "note"
        note = decode_note(note_path.read_bytes(), log_id)
        offset = note.end - note.segment
        block = encode_block(
            signature(log_id, note.segment), offset, note.arrival_ms, [Put(0, data)], [data]
        )
        segment = self.path / f"{note.segment:020d}.seg"
        with segment.open("r+b") as file:
            file.seek(offset)
            file.write(block)
        moved = Note(note.counter + 1, note.segment, note.end + len(block), note.arrival_ms)
        slot, at = encode_note(moved, log_id)
        descriptor = os.open(note_path, os.O_RDWR)
        os.pwrite(descriptor, slot, at)
        os.close(descriptor)
        assert len(note_path.read_bytes()) == NOTE_BYTES
