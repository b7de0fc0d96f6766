"""What a drill found: the one source of its reports, its runbook and its exit status.

Times named ``..._s`` are seconds on a monotonic clock since the drill began; only `started_at` is
of the wall. ``None`` in a figure means that it was not measured; the verdict that needs it has
failed then. Lists are in the order of time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = 2  # 1 had what was spent in one piece, and never measured

PhaseName = Literal["detect", "decide", "restore", "verify", "switch"]
JUDGES = frozenset({"ledger", "model", "verify", "check", "digest"})
PHASES: tuple[PhaseName, ...] = ("detect", "decide", "restore", "verify", "switch")


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, written and asked of services. ``None``: it was not measured, or is not there.

    Bytes are those of files, from disk or memory alike, and of the bodies of requests and replies.
    """

    read_bytes: int | None = None
    written_bytes: int | None = None
    requests: dict[str, int] = {}  # by service and operation, as "kinesis GetRecords"; each try
    unanswered: int = 0  # of them: whether they consumed anything nobody knows
    read_units: float | None = None  # of DynamoDB, as are write units
    write_units: float | None = None
    put_units: int | None = None  # of Kinesis, 25 KiB of one record each
    dollars: float | None = None  # at list price; None where no service was asked


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the recovery. One name may come several times: its times add up."""

    name: PhaseName
    begin_s: float
    end_s: float


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done or happened, apart from commands; ``end_s`` equals ``begin_s`` for a moment.

    ``given``: what runs before; ``load``: events being appended; ``disaster``: what was done to it;
    ``note``: anything else worth a word on the timeline.
    """

    kind: Literal["given", "load", "disaster", "note"]
    text: str
    begin_s: float
    end_s: float


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was typed, in a process of its own."""

    typed: str  # as in the runbook, with names in braces: "binlog rebuild {log} {live}"
    shown: str  # with addresses filled in, quoted for a shell
    phase: PhaseName | None  # None: part of what is given, not of the recovery
    begin_s: float
    seconds: float
    status: int  # exit status; negative: the signal that ended it
    expected: tuple[int, ...]  # exit statuses that are right there
    output: tuple[str, ...]  # the last lines of standard output and error, paths shortened
    twin: bool = False  # the sabotaged twin's, in the place of the runbook's own
    spent: Spent = Spent()

    @property
    def ok(self) -> bool:
        """Whether it ended as it should."""
        return self.status in self.expected


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that has to hold, and what says whether it does."""

    claim: str
    ok: bool
    evidence: str  # figures, never only "ok"
    by: Literal["ledger", "model", "verify", "check", "digest", "clock", "command", "drill"]
    lines: tuple[str, ...] = ()  # more evidence: which events, which items; bounded


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the curves."""

    t_s: float
    events_s: float  # acknowledged a second since the sample before
    applied_s: float | None  # applied to the table a second; None: there was no table to ask
    lag_events: int | None  # acknowledged less applied; None: there was no table to ask


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What producers were told, of all events that they were given."""

    acknowledged: int
    failed: int  # certainly not in the log
    unknown: int
    sha256: str  # of the acknowledged events, in the order of acknowledgement


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The figures. ``rto`` has seconds by phase, of those that there were."""

    rpo_events: int | None = None  # acknowledged events that are missing after recovery
    rpo_age_s: float | None = None  # age, at the disaster, of the newest acknowledged event present
    rto_s: float | None = None  # from the disaster to the end of the last phase
    rto: dict[str, float] = {}
    events: int = 0  # in the log at the end
    items: int = 0  # in the recovered table
    recovery: Spent = (
        Spent()
    )  # by what was typed and started in its phases, until the last one's end
    run: Spent = Spent()  # by all of the drill
    counted: tuple[str, ...] = ()  # what the two count, what they do not, and why; a sentence each


class Goals(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    rpo_events: int
    rpo_age_s: float | None
    rto_s: float


class DrillResult(msgspec.Struct, frozen=True, kw_only=True):
    """A drill that was run. `passed` says what the exit status says."""

    schema: int = SCHEMA
    name: str
    title: str
    story: str  # the drill's docstring: how it looks and what is done, in prose
    take_back: str  # how to undo the recovery
    on: str  # "embedded", "stack", or a target's name
    seed: int
    repeat: str  # the command line that runs it again
    started_at: str  # UTC, RFC 3339
    seconds: float
    twin: str | None = None  # the sabotage, in words; None: the drill itself
    sabotaged: int | None = None  # verdicts before it began; None: not all of it was done
    passed: bool
    failure: str | None  # the first reason why not, one line
    interrupted: bool = False
    goals: Goals
    measured: Measured
    ledger: Ledger
    phases: tuple[Phase, ...]
    marks: tuple[Mark, ...]
    commands: tuple[Command, ...]
    verdicts: tuple[Verdict, ...]
    samples: tuple[Sample, ...]
    versions: dict[str, str]  # of binlog, Python, the system, and of the services' stand-ins
    addresses: dict[str, str]  # "log" -> "file:.../log"
    left: tuple[str, ...] = ()  # what it made and did not remove

    @property
    def caught(self) -> bool:
        """Of a twin: what came of its sabotage was judged to be wrong.

        That a command was refused, that something took too long or was not measured, or that the
        drill broke down, proves nothing about the judge; nor does what was wrong before.
        """
        return (
            self.twin is not None
            and not self.passed
            and not self.interrupted
            and bool(self.caught_by)
        )

    @property
    def caught_by(self) -> tuple[Verdict, ...]:
        """What the judge said against a sabotage, once all of it was done or begun."""
        if self.sabotaged is None:
            return ()
        after = self.verdicts[self.sabotaged :]
        return tuple(verdict for verdict in after if not verdict.ok and verdict.by in JUDGES)


def encode_result(result: DrillResult) -> bytes:
    """``result.json``: sorted, indented, ends with a newline."""
    return msgspec.json.format(msgspec.json.encode(result, order="sorted"), indent=2) + b"\n"


def decode_result(data: bytes) -> DrillResult:
    """The result that ``data`` holds.

    Raises:
        ValueError: no result, or of a newer schema; says which.
    """
    try:
        result = msgspec.json.decode(data, type=DrillResult)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no result of a drill: {error}") from error
    if result.schema > SCHEMA:
        raise ValueError(f"a result of schema {result.schema}, and this reads up to {SCHEMA}")
    return result
