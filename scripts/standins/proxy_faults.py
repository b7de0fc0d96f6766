"""Faults between a client and a service, by a schedule: what becomes of which call.

A schedule is plain data, a list of `Fault`: the n-th call of an operation, counted from 1, and what
happens to it. `Intruder.handle` (`scripts.standins.proxy_intruder`) is the one place where it
happens, whoever carries the calls: the HTTP proxy (`scripts.standins.proxy`), botocore's hooks, or a
double in this process. It knows no sockets and no clock; what a connection does to a client, it
raises as `Broken`.

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
unprocessed      the entries ``of`` of a batch come back undone (BatchGetItem, ...)    of, code
empty page       GetRecords gives nothing, although there is something
short page       GetRecords gives at most ``number`` records                           number (1)
date             the reply's Date is off by ``number`` ms                              number
no date          the reply has no Date
act              something is done by the test before the service gets the call        code, of
act after        the same after the service answered, before the client hears it       code, of
===============  ====================================================================  ============

What needs a call that was done waits for one: it passes calls that the service has refused.

Several faults of one call are nested, the first one nearest to the client. Each is counted in
``met`` when it has had its effect, never before: by (kind, operation), a refusal or an action by
(kind, operation, code).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

How = Literal["unreached", "reset", "cut", "silence"]
Request = dict[str, Any]


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


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as it travels."""
    return json.dumps(body, separators=(",", ":")).encode()
