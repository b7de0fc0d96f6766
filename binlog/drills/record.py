"""What is written down while a drill runs: marks, phases, commands, verdicts and figures."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from binlog.drills.result import PHASES, Command, Mark, Measured, Phase, PhaseName, Verdict

Kind = Literal["given", "load", "disaster", "note"]
By = Literal["ledger", "model", "verify", "check", "digest", "clock", "command", "drill"]


class Record:
    """Of one drill. Times are seconds since it began."""

    def __init__(self, tell: Callable[[str], object] = lambda _: None) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._tell = tell
        self.phase: PhaseName | None = None
        self.marks: list[Mark] = []
        self.phases: list[Phase] = []
        self.commands: list[Command] = []
        self.verdicts: list[Verdict] = []
        self.measured = Measured()
        self.proved = 0  # disasters of which it was shown that they changed something
        self.judged: int | None = None  # events were acknowledged when the loss was measured last
        # Verdicts that there were when ..
        self.lost = 0  # .. the loss that counts was measured
        self.sabotaged: int | None = None  # .. a twin's first command was typed, or left out
        self.phase_ended: Callable[[], object] = lambda: None  # called when one has

    def now_s(self) -> float:
        """Of this drill's clock."""
        return time.monotonic() - self._began

    def mark(self, kind: Kind, text: str, begin_s: float, end_s: float | None = None) -> None:
        """Something that has happened, from then to now."""
        end_s = self.now_s() if end_s is None else end_s
        made = Mark(kind=kind, text=text, begin_s=round(begin_s, 6), end_s=round(end_s, 6))
        with self._lock:
            self.marks.append(made)
            self.marks.sort(key=lambda each: each.begin_s)

    @contextlib.contextmanager
    def during(self, kind: Kind, text: str) -> Iterator[None]:
        """Mark what happens in the block."""
        begin_s = self.now_s()
        self._tell(f"{kind}: {text}")
        try:
            yield
        finally:
            self.mark(kind, text, begin_s)

    @contextlib.contextmanager
    def in_phase(self, name: PhaseName) -> Iterator[None]:
        """A phase of the recovery, which comes after a disaster; phases do not overlap."""
        if name not in PHASES:
            raise ValueError(f"there is no phase {name!r}: {', '.join(PHASES)}")
        if self.phase is not None:
            raise ValueError(f"the phase {name} begins within {self.phase}")
        if self.disaster_s() is None:
            raise ValueError(f"the phase {name} begins before there is a disaster")
        begin_s = self.now_s()
        self.phase = name
        try:
            yield
        finally:
            self.phase = None
            end_s = self.now_s()
            self.phase_ended()
            self.phases.append(Phase(name=name, begin_s=round(begin_s, 6), end_s=round(end_s, 6)))

    def command(self, command: Command) -> None:
        """One that has ended."""
        self._tell(f"{command.shown}  ({command.seconds:.2f} s, status {command.status})")
        self.commands.append(command)

    def say(
        self, claim: str, *, ok: bool, evidence: str, by: By, lines: tuple[str, ...] = ()
    ) -> bool:
        """A verdict; one without evidence is none."""
        if not evidence.strip():
            ok, evidence = False, "there is no evidence"
        self._tell(f"{'ok' if ok else 'FAILED'}: {claim}: {evidence}")
        self.verdicts.append(
            Verdict(claim=claim, ok=ok, evidence=evidence, by=by, lines=tuple(lines))
        )
        return ok

    def measure(self, **figures: object) -> None:
        """Figures, by the names of `Measured`."""
        self.measured = msgspec.structs.replace(self.measured, **figures)

    # -- what follows from it --------------------------------------------------------------------

    def disaster_s(self) -> float | None:
        """When the first disaster began."""
        return next((mark.begin_s for mark in self.marks if mark.kind == "disaster"), None)

    def recovered_s(self) -> float | None:
        """When the last phase ended."""
        return max((phase.end_s for phase in self.phases), default=None)

    def measure_rto(self) -> None:
        """From the disaster to the end of the last phase, and by phase."""
        disaster_s, recovered_s = self.disaster_s(), self.recovered_s()
        if disaster_s is None or recovered_s is None:
            return
        by_phase: dict[str, float] = {}
        for phase in self.phases:
            taken = by_phase.get(phase.name, 0.0) + phase.end_s - phase.begin_s
            by_phase[phase.name] = round(taken, 3)
        self.measure(rto_s=round(recovered_s - disaster_s, 3), rto=by_phase)
