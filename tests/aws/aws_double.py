"""AWS at the wire: botocore's own requests, answered before they are sent. No network.

A `Wire` is laid under all clients of an account's session: an operation is answered by what was
given for it, and refused in IAM's words where it was denied. What was asked is in ``calls``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.loaders import Loader

from binlog.aws import account as account_module
from binlog.aws.account import Account

_LOADER = Loader()  # one for all: it remembers the services' descriptions, which take long to read
ACCOUNT_ID = "123456789012"
USER = f"arn:aws:iam::{ACCOUNT_ID}:user/ann"
Answer = Mapping[str, Any] | Exception | Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Refusal(Exception):  # noqa: N818 - a reply, which a double raises to give it
    """What a service says instead."""

    def __init__(self, code: str, message: str = "no", status: int = 400) -> None:
        self.code, self.message, self.status = code, message, status
        super().__init__(code)


def denial(action: str, resource: str, *, user: str = USER, because: str = "") -> Refusal:
    """A denial as IAM words it."""
    because = because or f"because no identity-based policy allows the {action} action"
    said = f"User: {user} is not authorized to perform: {action} on resource: {resource} {because}"
    return Refusal("AccessDeniedException", said)


class _Raw:
    """The body of a reply, as urllib3 gives it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


class Wire:
    """Answers by ``service.Operation``; what nobody gave an answer for fails the test."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.answers: dict[str, Answer] = {}
        self.denied: dict[str, Refusal] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str] = []  # the access key that signed each call
        self.hosts: list[str] = []
        self._now = now

    def deny(self, action: str, resource: str = "*", **how: str) -> None:
        self.denied[action.replace(":", ".")] = denial(action, resource, **how)

    def asked(self) -> Counter[str]:
        return Counter(name for name, _ in self.calls)

    # -- botocore's side -------------------------------------------------------------------------

    def lay_under(self, session: Any) -> None:
        """All clients that a boto3 session makes from now on."""
        session._session.register_component("data_loader", _LOADER)
        session.events.register("before-parameter-build", self._note)
        session.events.register("before-send", self._answer)

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        name = f"{model.service_model.service_name}.{model.name}"
        self.calls.append((name, dict(params)))

    def _answer(self, request: AWSRequest, event_name: str, **_: Any) -> AWSResponse:
        service, operation = event_name.split(".")[1:]
        name = f"{service}.{operation}"
        asked = next(params for called, params in reversed(self.calls) if called == name)
        self.hosts.append(request.url.split("/")[2])
        signed = request.headers.get("Authorization", b"").decode()
        self.keys.append(signed.partition("Credential=")[2].partition("/")[0])
        answer = self.denied.get(name, self.answers.get(name))
        assert answer is not None, f"nobody gave an answer for {name}"
        if callable(answer):
            try:
                answer = answer(asked)
            except Refusal as refusal:
                answer = refusal
        if isinstance(answer, Exception) and not isinstance(answer, Refusal):
            raise answer
        return self._reply(request.url, service, operation, answer)

    def _reply(
        self, url: str, service: str, operation: str, answer: Mapping[str, Any] | Refusal
    ) -> AWSResponse:
        status = answer.status if isinstance(answer, Refusal) else 200
        headers = {"Date": format_datetime(self._now(), usegmt=True)}
        if service in {"sts", "iam"}:
            body = _xml(operation, answer)
        elif isinstance(answer, Refusal):
            body = json.dumps({"__type": answer.code, "message": answer.message})
        else:
            body = json.dumps(answer, default=_as_json)
        return AWSResponse(url, status, _Headers(headers), _Raw(body.encode()))


class _Headers(dict[str, str]):
    def get(self, key: str, default: Any = None) -> Any:
        return next((v for k, v in self.items() if k.lower() == key.lower()), default)


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(value)


def _xml(operation: str, answer: Mapping[str, Any] | Refusal) -> str:
    if isinstance(answer, Refusal):
        said = f"<Code>{answer.code}</Code><Message>{answer.message}</Message>"
        return f"<ErrorResponse><Error>{said}</Error></ErrorResponse>"
    result = f"<{operation}Result>{_elements(answer)}</{operation}Result>"
    return f"<{operation}Response>{result}</{operation}Response>"


def _elements(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{_elements(each)}</{name}>" for name, each in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_elements(each)}</member>" for each in value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


@contextmanager
def wired(wire: Wire, patch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Every session that is made meanwhile, of whatever account, has the wire under it."""
    make = account_module._new_session

    def new_session(account: Account) -> Any:
        session = make(account)
        wire.lay_under(session)
        return session

    with patch.context() as during:
        during.setattr(account_module, "_new_session", new_session)
        account_module._sessions.forget()
        yield wire
    account_module._sessions.forget()
