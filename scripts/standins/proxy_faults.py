"""Faults between a client and a service, by a schedule: what becomes of which call.

A schedule is plain data, a list of `Fault`: the n-th call of an operation, counted from 1, and what
happens to it. `Intruder.handle` is the one place where it happens, whoever carries the calls: the
HTTP proxy (`scripts.standins.proxy`), botocore's hooks, or a double in this process. It knows no
sockets and no clock; what a connection does to a client, it raises as `Broken`.

===============  ====================================================================  ============
kind             what happens                                                          parameters
===============  ====================================================================  ============
unreached        the service is not reached
lose request     the connection breaks before the service got the call
stall            the service never gets it, and the client waits for nothing
late             so, and it lands behind ``number`` later calls of the operation       number (1)
error            5xx, and nothing was done                                             code
refuse           4xx, and nothing was done: throttled, expired, skewed                 code
lose reply       it is done, and the connection breaks before the reply
cut reply        it is done, and the connection breaks in the middle of the reply
time out         it is done, and the client waits for nothing
error after      5xx, although it was done                                             code
partial          the entries ``of`` of a PutRecords fail, the others are put           of, code
partial lie      all are put, and of the entries ``of`` it is said that they failed    of, code
unprocessed      the entries ``of`` of a batch come back undone (BatchGetItem, ...)    of
empty page       GetRecords gives nothing, although there is something
short page       GetRecords gives at most ``number`` records                           number (1)
date             the reply's Date is off by ``number`` ms                              number
no date          the reply has no Date
act              something is done by the test before the service gets the call        code, of
act after        the same after the service answered, before the client hears it       code, of
===============  ====================================================================  ============

Several faults of one call are nested, the first one nearest to the client. Each is counted in
``met`` when it has had its effect, never before: by (kind, operation), a refusal or an action by
(kind, operation, code).
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Literal, NamedTuple

How = Literal["unreached", "reset", "cut", "silence"]
Request = dict[str, Any]

# Codes that come as they do from the services; all others are 400.
_STATUS = {
    "InternalFailure": 500,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "RequestTimeTooSkewed": 403,
    "InvalidSignatureException": 400,
}
_TIMES = ("ApproximateArrivalTimestamp", "StreamCreationTimestamp")


class Fault(NamedTuple):
    """What becomes of calls ``at`` to ``at + times - 1`` of an operation."""

    operation: str
    at: int
    kind: str
    of: tuple[int, ...] = ()
    code: str = ""
    number: int = 1
    times: int = 1

    def __repr__(self) -> str:
        """As it is written by hand: only what differs from the defaults."""
        options = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._field_defaults.items()
            if getattr(self, name) != default
        ]
        return (
            f"Fault({', '.join([repr(self.operation), str(self.at), repr(self.kind), *options])})"
        )


class Reply(NamedTuple):
    """A service's reply. Times in ``body`` are as the carrier has them: numbers, or datetimes."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: dict[str, Any]


class Broken(Exception):  # noqa: N818 - an event, not a mistake
    """The client gets no reply, or (``cut``) a part of one."""

    def __init__(self, how: How, reply: Reply | None = None) -> None:
        super().__init__(how)
        self.how = how
        self.reply = reply


Forward = Callable[[Request], Reply]
Effect = Callable[["Intruder", Fault, Request, Forward], Reply]


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


# -- what happens --------------------------------------------------------------------------------


def skewed(reply: Reply, ms: int) -> Reply:
    """The reply of a service whose clock is ahead by ``ms``."""
    return Reply(reply.status, _dated(reply.headers, ms), _moved(reply.body, ms))


def _dated(headers: Mapping[str, str], ms: int) -> dict[str, str]:
    if "date" not in headers:
        return dict(headers)
    date = parsedate_to_datetime(headers["date"]).timestamp() + ms / 1000
    return {**headers, "date": format_datetime(datetime.fromtimestamp(date, UTC), usegmt=True)}


def _moved(value: Any, ms: int) -> Any:
    if isinstance(value, list):
        return [_moved(each, ms) for each in value]
    if not isinstance(value, dict):
        return value
    moved = {name: _moved(each, ms) for name, each in value.items()}
    for name in _TIMES:
        if isinstance(time := moved.get(name), datetime):
            moved[name] = datetime.fromtimestamp(time.timestamp() + ms / 1000, UTC)
        elif isinstance(time, int | float):
            moved[name] = round(time + ms / 1000, 3)
    return moved


def _breaks(how: How) -> Effect:
    def effect(intruder: Intruder, fault: Fault, _: Request, __: Forward) -> Reply:
        intruder.count(fault)
        raise Broken(how)

    return effect


def _breaks_after(how: How) -> Effect:
    def effect(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
        reply = go_on(request)
        if reply.status == 200:
            intruder.count(fault)
        raise Broken(how, reply)

    return effect


def _late(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    def land() -> None:
        try:
            if go_on(request).status == 200:
                intruder.count(fault)
        except Broken:
            pass  # it met something else on its way, which was counted

    intruder.delay(fault, land)
    raise Broken("silence")


def _refuse(intruder: Intruder, fault: Fault, _: Request, __: Forward) -> Reply:
    intruder.count(fault, fault.code)
    return intruder.refusal(fault.code)


def _error(intruder: Intruder, fault: Fault, _: Request, __: Forward) -> Reply:
    intruder.count(fault)
    return intruder.refusal(fault.code or "InternalFailure")


def _error_after(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    if go_on(request).status == 200:
        intruder.count(fault)
    return intruder.refusal(fault.code or "InternalFailure")


def _partial(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    """Some entries never reach the service; a call of one entry does not reach it at all."""
    records = request["Records"]
    withheld = {index % len(records) for index in fault.of or (0,)}
    passed = [record for index, record in enumerate(records) if index not in withheld]
    if passed:
        reply = go_on({**request, "Records": passed})
        if reply.status != 200:
            return reply
    else:
        reply = intruder.reply({"Records": []})
    done = iter(reply.body["Records"])
    code = fault.code or "ProvisionedThroughputExceededException"
    failed = {"ErrorCode": code, "ErrorMessage": "by schedule"}
    entries = [failed if index in withheld else next(done) for index in range(len(records))]
    intruder.count(fault, code)
    return _with_entries(reply, entries)


def _partial_lie(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on(request)
    if reply.status != 200:
        return reply
    entries = list(reply.body["Records"])
    failed = {"ErrorCode": fault.code or "InternalFailure", "ErrorMessage": "by schedule"}
    for index in {index % len(entries) for index in fault.of or (0,)}:
        entries[index] = failed
    intruder.count(fault)
    return _with_entries(reply, entries)


def _with_entries(reply: Reply, entries: Sequence[Mapping[str, Any]]) -> Reply:
    failed = sum("ErrorCode" in entry for entry in entries)
    body = {**reply.body, "Records": list(entries), "FailedRecordCount": failed}
    return Reply(200, reply.headers, body)


def _unprocessed(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    """Entries of the batch, counted over all its tables, come back as they were sent."""
    is_get = fault.operation == "BatchGetItem"
    kept: Request = {}
    left: Request = {}
    place = 0
    count = sum(len(_entries(content, is_get)) for content in request["RequestItems"].values())
    withheld = {index % count for index in fault.of or (0,)}
    for table, content in request["RequestItems"].items():
        split: tuple[list[Any], list[Any]] = [], []
        for entry in _entries(content, is_get):
            split[place in withheld].append(entry)
            place += 1
        for into, entries in zip((kept, left), split, strict=True):
            if entries:
                into[table] = {**content, "Keys": entries} if is_get else entries
    reply = (
        go_on({**request, "RequestItems": kept})
        if kept
        else intruder.reply({"Responses": {}} if is_get else {})
    )
    if reply.status != 200:
        return reply
    name = "UnprocessedKeys" if is_get else "UnprocessedItems"
    intruder.count(fault)
    body = {**reply.body, name: {**reply.body.get(name, {}), **left}}
    return Reply(200, reply.headers, body)


def _entries(content: Any, is_get: bool) -> list[Any]:  # noqa: FBT001
    found: list[Any] = content["Keys"] if is_get else content
    return found


def _empty_page(intruder: Intruder, fault: Fault, request: Request, _: Forward) -> Reply:
    intruder.count(fault)
    body = {
        "Records": [],
        "NextShardIterator": request["ShardIterator"],
        "MillisBehindLatest": 1_000,
    }
    return intruder.reply(body)


def _short_page(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on({**request, "Limit": fault.number})
    if len(reply.body.get("Records", ())) == fault.number:
        intruder.count(fault)
        # A stand-in may say that nothing is behind it; the service would not.
        return Reply(
            reply.status,
            reply.headers,
            {**reply.body, "MillisBehindLatest": max(1, reply.body.get("MillisBehindLatest", 0))},
        )
    return reply


def _date(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on(request)
    intruder.count(fault)
    return Reply(reply.status, _dated(reply.headers, fault.number), reply.body)


def _no_date(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on(request)
    intruder.count(fault)
    headers = {name: value for name, value in reply.headers.items() if name != "date"}
    return Reply(reply.status, headers, reply.body)


def _act(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    intruder.actions[fault.code](fault.of)
    intruder.count(fault, fault.code)
    return go_on(request)


def _act_after(intruder: Intruder, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on(request)
    intruder.actions[fault.code](fault.of)
    intruder.count(fault, fault.code)
    return reply


EFFECTS: dict[str, Effect] = {
    "unreached": _breaks("unreached"),
    "lose request": _breaks("reset"),
    "stall": _breaks("silence"),
    "late": _late,
    "error": _error,
    "refuse": _refuse,
    "lose reply": _breaks_after("reset"),
    "cut reply": _breaks_after("cut"),
    "time out": _breaks_after("silence"),
    "error after": _error_after,
    "partial": _partial,
    "partial lie": _partial_lie,
    "unprocessed": _unprocessed,
    "empty page": _empty_page,
    "short page": _short_page,
    "date": _date,
    "no date": _no_date,
    "act": _act,
    "act after": _act_after,
}


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as it travels."""
    return json.dumps(body, separators=(",", ":")).encode()
