"""Stands between clients and services, and lets happen what a schedule says."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from scripts.standins.proxy_effects import EFFECTS, skewed
from scripts.standins.proxy_faults import Fault, Forward, Reply, Request

# Codes that come as they do from the services; all others are 400.
_STATUS = {
    "InternalFailure": 500,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "RequestTimeTooSkewed": 403,
    "InvalidSignatureException": 400,
}


class Intruder:
    """Stands between clients and services. Any thread may call.

    ``actions`` are what "act" may do, by name; each is given ``of``. ``skew_ms``: how far ahead of
    this machine's clock the service's is, in every time that it tells. ``now`` is the Date of
    replies that no service gave.
    """

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        *,
        actions: Mapping[str, Callable[[tuple[int, ...]], object]] | None = None,
        skew_ms: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.met: Counter[tuple[str, ...]] = Counter()
        self.calls: Counter[str] = Counter()
        self.actions = dict(actions or {})
        self.skew_ms = skew_ms
        self.active = True
        self._now = now
        self._lock = threading.Lock()
        self._faults: dict[str, dict[int, list[Fault]]] = defaultdict(dict)
        self._late: list[tuple[str, int, Callable[[], object]]] = []  # due behind that many calls
        self.add(faults)

    def add(self, faults: Iterable[Fault]) -> None:
        """More of them; ``at`` counts from the beginning all the same."""
        for fault in faults:
            if fault.kind not in EFFECTS:
                raise ValueError(f"no such kind of fault: {fault!r}")
            for at in range(fault.at, fault.at + fault.times):
                self._faults[fault.operation].setdefault(at, []).append(fault)

    def handle(self, operation: str, request: Request, forward: Forward) -> Reply:
        """One call of a client: its reply.

        Raises:
            Broken: it gets none.
        """
        with self._lock:
            self.calls[operation] += 1
            number = self.calls[operation]
            faults = self._faults[operation].pop(number, []) if self.active else []
        go_on = forward
        for fault in reversed(faults):
            go_on = self._nested(fault, go_on)
        try:
            reply = go_on(request)
        finally:
            self._land(operation, number)
        return skewed(reply, self.skew_ms) if self.skew_ms else reply

    def _nested(self, fault: Fault, inner: Forward) -> Forward:
        effect = EFFECTS[fault.kind]
        return lambda request: effect(self, fault, request, inner)

    def land_all(self) -> int:
        """Let everything that is late land now; how many did."""
        with self._lock:
            due, self._late = self._late, []
        for _, _, land in due:
            land()
        return len(due)

    def quiet(self) -> None:
        """No more faults, and nothing is on its way any more."""
        self.active = False
        self.land_all()

    @property
    def held_back(self) -> int:
        """Calls that are late, and have not landed."""
        with self._lock:
            return len(self._late)

    @property
    def left(self) -> list[Fault]:
        """Faults whose call never came."""
        with self._lock:
            return [f for by in self._faults.values() for found in by.values() for f in found]

    def count(self, fault: Fault, *more: str) -> None:
        with self._lock:
            self.met[(fault.kind, fault.operation, *more)] += 1

    def reply(self, body: dict[str, Any], status: int = 200, **headers: str) -> Reply:
        """One that no service gave."""
        date = format_datetime(self._now(), usegmt=True)
        return Reply(status, {"date": date, "x-amzn-requestid": "0", **headers}, body)

    def refusal(self, code: str) -> Reply:
        """An error as both services send it."""
        body = {"__type": code, "message": "by schedule"}
        return self.reply(body, _STATUS.get(code, 400), **{"x-amzn-errortype": code})

    def again(self, fault: Fault) -> None:
        """It did not fit this call: let it happen to the next one that meets nothing else."""
        with self._lock:
            placed = self._faults[fault.operation]
            at = self.calls[fault.operation] + 1
            while placed.get(at):
                at += 1
            placed[at] = [fault]

    def delay(self, fault: Fault, land: Callable[[], object]) -> None:
        """Let it land behind ``fault.number`` more calls of the operation."""
        with self._lock:
            behind = self.calls[fault.operation] + fault.number
            self._late.append((fault.operation, behind, land))

    def _land(self, operation: str, number: int) -> None:
        with self._lock:
            due = [each for each in self._late if each[0] == operation and each[1] <= number]
            self._late = [each for each in self._late if each not in due]
        for _, _, land in due:
            land()
