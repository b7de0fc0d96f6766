"""A directory log on a machine that fails, with a ledger of what its users were told.

The workload meets every path of the code: making the log, two appenders by turns, a reader, a torn
tail, whole blocks that nobody noted, a new segment, close. `World.verify` then compares what the
log gives with the ledger.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

from binlog.clock import ManualClock
from binlog.errors import RefusedError, StorageError
from binlog.frame import decode_header
from binlog.log import Appended, Failed, Position, Put, Record, Reply
from binlog.logs.admission import born_of, is_same_frame
from binlog.logs.directory import DirectoryLog
from binlog.logs.directory_check import check_directory_log
from binlog.logs.directory_genesis import create_directory_log
from binlog.params import Params
from tests.log.filesystem_double import Killed, Loss, Machine, PowerLost, Process
from tests.log.log_frames import put

PARAMS = Params(log_id="2e" * 16, partitions=2)
DIRECTORY = "data/log"
SEGMENT_BYTES = 3_925
START = Position("0", -1)


class World:
    """Machine, processes by name, and the ledger."""

    def __init__(self, plan: dict[int, str] | None = None) -> None:
        self.machine = Machine()
        self.machine.plan = plan or {}
        self.clock = ManualClock()
        self.logs: dict[str, tuple[Process, DirectoryLog]] = {}
        self.made = False  # somebody was told that the log exists
        self.acknowledged: list[tuple[Put, Appended]] = []
        self.unknown: list[Put] = []  # once for each try that may have landed
        self.delivered: list[Record] = []
        self.next_number = 1

    # -- what processes do -----------------------------------------------------------------------

    def run(self, name: str, action: Callable[[DirectoryLog], None]) -> bool:
        """Let a process do something; it opens the log if it has not. False if it did not end."""
        try:
            if name not in self.logs:
                process = self.machine.process()
                self.logs[name] = process, self.open(process)
            action(self.logs[name][1])
        except Killed:
            self.kill(name)
            return False
        except StorageError:
            return False
        except RefusedError:
            # Its name was seen and is gone again: nobody may have been told of anything in it.
            assert not self.made
            assert not self.acknowledged
            return False
        return True

    def open(self, process: Process) -> DirectoryLog:
        return DirectoryLog(
            DIRECTORY,
            fs=process,
            clock=self.clock,
            segment_bytes=SEGMENT_BYTES,
            lock_wait_s=0,
            pause=lambda _: None,
        )

    def kill(self, name: str) -> None:
        if name in self.logs:
            process, _ = self.logs.pop(name)
            process.die()

    def make(self) -> None:
        """Until somebody is told that it is there, or sees it."""
        for _ in range(3):
            process = self.machine.process()
            try:
                create_directory_log(DIRECTORY, PARAMS, fs=process, clock=self.clock)
                self.made = True
            except (Killed, StorageError):
                pass
            process.die()
            if self.is_seen():
                return

    def is_seen(self) -> bool:
        try:
            self.open(self.machine.process()).close()
        except RefusedError:
            return False
        return True

    def append(self, name: str, count: int = 1, *, size: int = 1, tries: int = 2) -> None:
        """A commit of ``count`` frames, sent again if it failed."""
        puts = []
        for index in range(count):
            number, self.next_number = self.next_number, self.next_number + 1
            # Every second session has its `born` already.
            born = self.clock.now_ms() if number % 2 else 0
            puts.append(
                put(
                    partition=index % 2,
                    session=number,
                    born_ms=born,
                    data=b"\xc4" + bytes([size]) + bytes(size),
                    params=PARAMS,
                )
            )
        for _ in range(tries):
            self.clock.advance(10)
            puts = self._try(name, puts)
            if not puts:
                return

    def _try(self, name: str, puts: list[Put]) -> list[Put]:
        """Those that are to be sent again."""
        replies: list[Reply] = []
        begun = False

        def send(log: DirectoryLog) -> None:
            nonlocal begun
            begun = True
            replies.extend(log.append(puts))

        try:
            ended = self.run(name, send)
        except PowerLost:
            self.unknown.extend(puts)
            raise
        if not ended:
            self.unknown.extend(puts * begun)
            return [Put(p.partition, p.data, tried=True) for p in puts]
        again = []
        for sent, reply in zip(puts, replies, strict=True):
            if isinstance(reply, Appended):
                self.acknowledged.append((sent, reply))
                continue
            assert isinstance(reply, Failed), "nothing here is old enough to expire"
            if not reply.untouched:
                self.unknown.append(sent)
            again.append(Put(sent.partition, sent.data, sent.tried or not reply.untouched))
        return again

    def die_in(self, kind: str, fault: str, *, size: int = 1) -> None:
        """A process of its own appends, and dies at its first step of that kind."""
        if self.run("victim", lambda _: None):
            self.logs["victim"][0].armed = (kind, fault)
            self.append("victim", size=size, tries=1)
            if "victim" in self.logs:
                self.kill("victim")

    def read(self, name: str) -> None:
        """A follower goes on from where it was."""
        after = Position("0", self.delivered[-1].sequence) if self.delivered else START

        def follow(log: DirectoryLog) -> None:
            nonlocal after
            while True:
                page = log.read(after)
                self.delivered.extend(page.records)
                after = page.next
                if page.caught_up:
                    return

        self.run(name, follow)

    def close(self, name: str) -> None:
        if name in self.logs:
            self.run(name, lambda log: log.close())
            self.kill(name)

    def workload(self) -> None:
        self.make()
        self.append("one")
        self.append("two", 2)
        self.read("reader")
        self.append("one")
        self.die_in("pwrite", "kill half-way")  # leaves a torn tail
        self.read("reader")
        self.append("two", 2)  # cuts it
        self.die_in("fdatasync", "kill")  # leaves a whole block
        self.read("reader")  # proves it
        self.die_in("fdatasync", "kill")
        self.append("one")  # proves it
        self.append("two", size=250)
        self.append("one")
        self.die_in("create", "kill", size=250)  # begins a segment, and that is all
        self.append("one")  # would have had room in the one before
        self.append("two", size=250)
        self.read("reader")
        self.close("one")
        self.append("two", 2)
        self.close("two")
        self.read("reader")

    # -- what must be true -----------------------------------------------------------------------

    def copy(self) -> World:
        """The same world, its processes dead."""
        for name in list(self.logs):
            self.kill(name)
        twin = World()
        twin.machine.root = copy.deepcopy(self.machine.root)
        twin.clock = copy.copy(self.clock)
        twin.made = self.made
        twin.acknowledged = list(self.acknowledged)
        twin.unknown = list(self.unknown)
        twin.delivered = list(self.delivered)
        twin.next_number = self.next_number
        return twin

    def verify(self, *losses: Loss) -> None:
        """After each power failure: what was acknowledged is there, nothing else than may be."""
        for loss in losses:
            self.machine.lose_power(loss)
        if not self.made and not self.acknowledged and not self.delivered and not self.is_seen():
            self.make()
            assert self.made
        found = self.read_all()
        self.check_ledger(found)
        assert self.read_all() == found, "a second reader sees something else"
        self.machine.lose_power(Loss())
        assert self.read_all() == found, "what was read is gone after a power failure"
        self.delivered = found
        self.append("after", 2)
        again = self.read_all()
        assert again[: len(found)] == found
        assert len(again) == len(found) + 2
        self.check_ledger(again)
        broken = [f for f in check_directory_log(DIRECTORY, fs=self.machine.process()) if f.broken]
        assert not broken

    def read_all(self) -> list[Record]:
        log = self.open(self.machine.process())
        records: list[Record] = []
        after = START
        while True:
            page = log.read(after, bytes_max=1_000)
            records += page.records
            after = page.next
            if page.caught_up:
                log.close()
                return records

    def check_ledger(self, records: list[Record]) -> None:
        assert records[: len(self.delivered)] == self.delivered, "a reader had seen something else"
        assert [r.partition for r in records[:2]] == [0, 1]
        assert all(decode_header(r.data).genesis for r in records[:2])
        at = {record.sequence: record for record in records}
        assert len(at) == len(records)
        assert list(at) == sorted(at)
        arrivals = [record.arrival_ms for record in records]
        assert arrivals == sorted(arrivals)
        for sent, reply in self.acknowledged:
            record = at.get(reply.position.sequence)
            assert record is not None, "an acknowledged frame is gone"
            assert is_same_frame(record.data, sent.data)
            assert record.partition == sent.partition
            assert (record.arrival_ms, born_of(record.data)) == (reply.arrival_ms, reply.born_ms)
            del at[reply.position.sequence]
        allowed = Counter(self._name(sent.data) for sent in self.unknown)
        for record in list(at.values())[2:]:
            name = self._name(record.data)
            assert allowed[name], "a frame is in the log that was never tried, or once too often"
            allowed[name] -= 1

    @staticmethod
    def _name(data: bytes) -> tuple[object, ...]:
        header = decode_header(data)
        return header.session, header.partition, header.first
