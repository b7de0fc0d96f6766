"""What each kind of fault does; see the table in `proxy_faults`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Protocol

from scripts.standins.proxy_faults import Broken, Fault, Forward, How, Reply, Request

_TIMES = ("ApproximateArrivalTimestamp", "StreamCreationTimestamp")
_OK = 200


class Host(Protocol):
    """What an effect needs of the `Intruder`."""

    @property
    def actions(self) -> Mapping[str, Callable[[tuple[int, ...]], object]]: ...

    def count(self, fault: Fault, *more: str) -> None: ...

    def again(self, fault: Fault) -> None: ...

    def delay(self, fault: Fault, land: Callable[[], object]) -> None: ...

    def reply(self, body: dict[str, Any], status: int = 200, **headers: str) -> Reply: ...

    def refusal(self, code: str) -> Reply: ...


Effect = Callable[[Host, Fault, Request, Forward], Reply]


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
    def effect(host: Host, fault: Fault, _: Request, __: Forward) -> Reply:
        host.count(fault)
        raise Broken(how)

    return effect


def _done(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    """The reply of a call that is meant to be done; of one that is not, the fault waits on."""
    try:
        reply = go_on(request)
    except Broken:
        host.again(fault)
        raise
    if reply.status != _OK:
        host.again(fault)
    return reply


def _breaks_after(how: How) -> Effect:
    def effect(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
        reply = _done(host, fault, request, go_on)
        if reply.status == _OK:
            host.count(fault)
            raise Broken(how, reply)
        return reply

    return effect


def _late(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    def land() -> None:
        try:
            go_on(request)
        except Broken:
            return  # it met something else on its way, which was counted
        host.count(fault)  # whatever it came to: a condition that fails by now is as late

    host.delay(fault, land)
    raise Broken("silence")


def _refuse(host: Host, fault: Fault, _: Request, __: Forward) -> Reply:
    host.count(fault, fault.code)
    return host.refusal(fault.code)


def _error(host: Host, fault: Fault, _: Request, __: Forward) -> Reply:
    host.count(fault)
    return host.refusal(fault.code or "InternalFailure")


def _error_after(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = _done(host, fault, request, go_on)
    if reply.status != _OK:
        return reply
    host.count(fault)
    return host.refusal(fault.code or "InternalFailure")


def _partial(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    """Some entries never reach the service; a call of one entry does not reach it at all."""
    records = request["Records"]
    withheld = {index % len(records) for index in fault.of or (0,)}
    passed = [record for index, record in enumerate(records) if index not in withheld]
    if passed:
        reply = go_on({**request, "Records": passed})
        if reply.status != _OK:
            return reply
    else:
        reply = host.reply({"Records": []})
    done = iter(reply.body["Records"])
    code = fault.code or "ProvisionedThroughputExceededException"
    failed = {"ErrorCode": code, "ErrorMessage": "by schedule"}
    entries = [failed if index in withheld else next(done) for index in range(len(records))]
    host.count(fault, code)
    return _with_entries(reply, entries)


def _partial_lie(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = _done(host, fault, request, go_on)
    if reply.status != _OK:
        return reply
    entries = list(reply.body["Records"])
    failed = {"ErrorCode": fault.code or "InternalFailure", "ErrorMessage": "by schedule"}
    for index in {index % len(entries) for index in fault.of or (0,)}:
        entries[index] = failed
    host.count(fault)
    return _with_entries(reply, entries)


def _with_entries(reply: Reply, entries: Sequence[Mapping[str, Any]]) -> Reply:
    failed = sum("ErrorCode" in entry for entry in entries)
    body = {**reply.body, "Records": list(entries), "FailedRecordCount": failed}
    return Reply(200, reply.headers, body)


def _unprocessed(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    """Entries of the batch, counted over all its tables, come back as they were sent."""
    if fault.operation == "BatchExecuteStatement":
        return _throttled(host, fault, request, go_on)
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
        else host.reply({"Responses": {}} if is_get else {})
    )
    if reply.status != _OK:
        return reply
    name = "UnprocessedKeys" if is_get else "UnprocessedItems"
    host.count(fault)
    body = {**reply.body, name: {**reply.body.get(name, {}), **left}}
    return Reply(200, reply.headers, body)


def _throttled(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    """Statements of a batch never reach the service; what became of each is in the reply."""
    statements = request["Statements"]
    withheld = {index % len(statements) for index in fault.of or (0,)}
    passed = [each for index, each in enumerate(statements) if index not in withheld]
    reply = host.reply({"Responses": []})
    if passed:
        reply = go_on({**request, "Statements": passed})
        if reply.status != _OK:
            return reply
    done = iter(reply.body["Responses"])
    failed = {"Error": {"Code": fault.code or "ThrottlingError", "Message": "by schedule"}}
    said = [failed if index in withheld else next(done) for index in range(len(statements))]
    host.count(fault)
    return Reply(200, reply.headers, {**reply.body, "Responses": said})


def _entries(content: Any, is_get: bool) -> list[Any]:  # noqa: FBT001
    found: list[Any] = content["Keys"] if is_get else content
    return found


def _empty_page(host: Host, fault: Fault, request: Request, _: Forward) -> Reply:
    host.count(fault)
    body = {
        "Records": [],
        "NextShardIterator": request["ShardIterator"],
        "MillisBehindLatest": 1_000,
    }
    return host.reply(body)


def _short_page(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on({**request, "Limit": fault.number})
    if len(reply.body.get("Records", ())) == fault.number:
        host.count(fault)
        # A stand-in may say that nothing is behind it; the service would not.
        return Reply(
            reply.status,
            reply.headers,
            {**reply.body, "MillisBehindLatest": max(1, reply.body.get("MillisBehindLatest", 0))},
        )
    return reply


def _date(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on(request)
    host.count(fault)
    return Reply(reply.status, _dated(reply.headers, fault.number), reply.body)


def _no_date(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on(request)
    host.count(fault)
    headers = {name: value for name, value in reply.headers.items() if name != "date"}
    return Reply(reply.status, headers, reply.body)


def _act(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    host.actions[fault.code](fault.of)
    host.count(fault, fault.code)
    return go_on(request)


def _act_after(host: Host, fault: Fault, request: Request, go_on: Forward) -> Reply:
    reply = go_on(request)
    host.actions[fault.code](fault.of)
    host.count(fault, fault.code)
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
