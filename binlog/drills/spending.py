"""What a drill spends: bytes, requests, units and dollars, the recovery's and the whole run's.

Invariants:

* Each process that a drill starts has a meter; what is not counted is said, and never taken for none.
* Bytes of files are the system's own figures of a process, read before it is waited for, so that one
  that is killed tells them, too. Python's own modules, what was printed, and what was written down
  for this are taken off.
* Requests are those that `binlog.spent` has written down before they were sent.
* The recovery's are those of commands that were typed in its phases, and of consumers that were
  started there, until the last phase ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from binlog.drills.prices import dollars_of
from binlog.drills.result import Spent
from binlog.spent import VARIABLE, Line, io_of, own_of, read_lines, written_to

FOLDER = ".spent"
_FILES = ("file:", "sqlite:")
_JAVA = "binlog kcl run"


class _At(msgspec.Struct, frozen=True):
    """How far a process and its file are at a moment."""

    io: tuple[int, int] | None = None  # read, written
    own: tuple[int, int] | None = None  # of that, Python's
    told: int = 0  # bytes of its file
    said: int = 0  # bytes that it printed


class Meter:
    """Of one process and what it starts. Nothing is spent before `began`."""

    def __init__(
        self, path: Path, said: Sequence[Path], *, is_recovery: bool, shown: str = ""
    ) -> None:
        self._path = path
        self._said = said
        self._pid: int | None = None
        self.is_recovery = is_recovery
        self.shown = shown
        # One of ours that has not told where it begins has ended before it came to that.
        self._tells_base = shown.partition(" ")[0] == "binlog"
        self._marked: _At | None = None
        self._last: _At | None = None

    @property
    def variables(self) -> dict[str, str]:
        """For its environment."""
        return {VARIABLE: str(self._path)}

    def began(self, pid: int) -> None:
        """It runs."""
        self._pid = pid

    def mark(self) -> None:
        """A phase has ended: up to here it was part of the recovery."""
        if self._pid is not None:
            self._marked = self._last or self._read(self._pid)

    def ended(self) -> None:
        """It has, or will within this moment, and nobody has waited for it yet; the last call counts."""
        if self._pid is not None:
            self._last = self._read(self._pid)

    def _read(self, pid: int) -> _At:
        io = io_of(pid)
        try:
            own = own_of(self._path)
        except ValueError:  # it could not say so: then nobody knows
            io = own = None
        return _At(io, own, _size(self._path), sum(map(_size, self._said)))

    def whole(self) -> _Count:
        """All of it."""
        return self._count(self._last)

    def recovery(self) -> _Count:
        """Up to the last mark."""
        return self._count(self._marked or self._last)

    def _count(self, at: _At | None) -> _Count:
        return (
            _Count(missing=1)
            if at is None
            else _Count.of(self._path, at, tells_base=self._tells_base)
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Count(msgspec.Struct, kw_only=True):
    """A sum of lines and figures."""

    files: tuple[int, int] = (0, 0)
    bodies: tuple[int, int] = (0, 0)
    requests: Counter[str] = msgspec.field(default_factory=Counter)
    unanswered: int = 0
    read_units: float = 0.0
    write_units: float = 0.0
    put_units: int = 0
    shard_hours: int = 0
    aws: bool = False
    missing: int = 0  # processes of which nothing is known
    unread: int = 0  # processes of whose files nothing is known

    @classmethod
    def of(cls, path: Path, at: _At, *, tells_base: bool = False) -> _Count:
        try:
            lines = read_lines(path.read_bytes()[: at.told] if at.told else b"")
        except (OSError, ValueError):
            return cls(missing=1)
        made = cls.of_lines(lines)
        if at.io is None:
            made.unread = 1
        elif not tells_base or at.own is not None:
            (read, written), own = at.io, at.own or (0, 0)
            made.files = max(0, read - own[0]), max(0, written - own[1] - at.told - at.said)
        return made

    @classmethod
    def of_lines(cls, lines: Sequence[Line]) -> _Count:
        sent = {(line.pid, line.sent): line for line in lines if line.sent is not None}
        got = {(line.pid, line.got): line for line in lines if line.got is not None}
        return cls(
            bodies=(sum(each.bytes for each in got.values()), sum(s.bytes for s in sent.values())),
            requests=Counter(line.call for line in sent.values()),
            unanswered=len(sent.keys() - got.keys()),
            read_units=sum(each.read_units for each in got.values()),
            write_units=sum(each.write_units for each in got.values()),
            put_units=sum(each.put_units for each in got.values()),
            shard_hours=sum(each.shard_hours for each in got.values()),
            aws=any(line.aws for line in sent.values()),
        )

    def spent(self, *, files: bool) -> Spent:
        """As a result has it; ``files``: there were some to read and write."""
        known = not files or not (self.missing or self.unread)
        services = {call.partition(" ")[0] for call in self.requests}
        return Spent(
            read_bytes=self.bodies[0] + files * self.files[0] if known else None,
            written_bytes=self.bodies[1] + files * self.files[1] if known else None,
            requests=dict(sorted(self.requests.items())),
            unanswered=self.unanswered,
            read_units=self.read_units if "dynamodb" in services else None,
            write_units=self.write_units if "dynamodb" in services else None,
            put_units=self.put_units if "kinesis" in services else None,
            dollars=dollars_of(
                self.requests,
                read_units=self.read_units,
                write_units=self.write_units,
                put_units=self.put_units,
                shard_hours=self.shard_hours,
            )
            if services
            else None,
        )


def _sum(counts: Iterable[_Count]) -> _Count:
    total = _Count()
    for each in counts:
        total.files = total.files[0] + each.files[0], total.files[1] + each.files[1]
        total.bodies = total.bodies[0] + each.bodies[0], total.bodies[1] + each.bodies[1]
        total.requests += each.requests
        total.aws = total.aws or each.aws
        for name in (
            "unanswered",
            "read_units",
            "write_units",
            "put_units",
            "shard_hours",
            "missing",
            "unread",
        ):
            setattr(total, name, getattr(total, name) + getattr(each, name))
    return total


class Spending:
    """Of one drill. ``recovering`` says whether a phase of the recovery is under way."""

    def __init__(self, folder: Path, *, recovering: Callable[[], bool] = lambda: False) -> None:
        self._folder = folder / FOLDER
        self._recovering = recovering
        self._meters: list[Meter] = []
        self.addresses: Mapping[str, str] = {}  # the target's, once it is there

    def counting(self) -> AbstractContextManager[None]:
        """Meanwhile what this process asks of services is counted: producers, disaster and judge."""
        self._folder.mkdir(exist_ok=True)
        return written_to(self._drill)

    def meter(self, words: Sequence[str], *said: Path) -> Meter:
        """For a process that is about to be started; what it prints goes to ``said``."""
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{len(self._meters) + 1}"
        made = Meter(path, said, is_recovery=self._recovering(), shown=" ".join(words))
        self._meters.append(made)
        return made

    def phase_ended(self) -> None:
        """What runs and was started by the recovery is its own up to here."""
        for each in self._meters:
            if each.is_recovery:
                each.mark()

    def of(self, meter: Meter) -> Spent:
        """One command's, which has ended."""
        return meter.whole().spent(files=self._files)

    def measured(self) -> dict[str, Any]:
        """Figures by the names of `Measured`, when all that was started has ended."""
        ours = [meter.whole() for meter in self._meters]
        # The drill's own process is not measured by its files: the judge reads more than all others.
        drills = replace(_Count.of(self._drill, _At(told=_size(self._drill))), unread=0)
        whole = _sum([*ours, drills])
        recovery = _sum(meter.recovery() for meter in self._meters if meter.is_recovery)
        return {
            "recovery": recovery.spent(files=self._files),
            "run": whole.spent(files=self._files),
            "counted": tuple(_sentences(whole, drills, files=self._files, meters=self._meters)),
        }

    @property
    def _drill(self) -> Path:
        return self._folder / "drill"

    @property
    def _files(self) -> bool:
        return any(address.startswith(_FILES) for address in self.addresses.values())


def _sentences(
    whole: _Count, drills: _Count, *, files: bool, meters: Sequence[Meter]
) -> Iterable[str]:
    if files:
        yield (
            "Bytes of files are what commands and consumers read and wrote by calls, from disk or "
            "memory alike, without Python's own modules (to some 20 KB a process; of other commands "
            "than binlog's, all that they read). Producers and judge, which are the drill's own "
            "process, are not in them."
        )
    if whole.requests:
        yield "Requests are all tries, their bytes those of bodies. " + (
            "The whole run has those of producers, disaster and judge, too."
            if drills.requests
            else "Producers and judge are not in them: here they ask the service without a network."
        )
        yield (
            "Units are as the services say them, of Kinesis by 25 KiB of a record; a write whose "
            "condition fails is taken as one."
        )
        where = "" if whole.aws else "A stand-in was asked, which costs nothing. "
        yield (
            f"{where}Dollars are list prices of us-east-1, DynamoDB on demand and Kinesis by the shard, "
            "which is paid for the hour that it begins in; without storage and traffic."
        )
    else:
        yield (
            "No requests, no units and no price: log, archive and stores are files of this machine."
        )
    if whole.unanswered:
        yield (
            f"Requests that were sent and not answered, as to who was killed: {whole.unanswered:,}. They "
            "are counted, what they consumed is not."
        )
    if not any(meter.is_recovery for meter in meters):
        yield "The recovery spent nothing of its own: nobody typed anything, what ran went on."
    if any(meter.shown.startswith(_JAVA) for meter in meters):
        yield (
            "Not counted: what the daemon of the Kinesis Client Library, a Java program, asks by "
            "itself (GetRecords, its table of leases). Its workers are."
        )
    if whole.missing:
        yield f"Not counted: {whole.missing} processes of which nothing is known."
    if files and whole.unread:
        yield (
            f"Not counted: bytes of {whole.unread} processes, of which this system does not tell "
            "them. So there is no sum."
        )
