"""What the code asks of AWS, as IAM names it: every call of every client, and on what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import pytest

from binlog.aws import account as account_module
from binlog.aws.account import Account, _Locked

# Whoever has credentials may ask whose they are; a role's own trust policy decides who assumes it.
FREE = frozenset({"sts:GetCallerIdentity", "sts:AssumeRole"})
# Operations whose permission has another name: the Service Authorization Reference.
ALSO_CALLED = {
    "dynamodb:TransactWriteItems": ("dynamodb:PutItem", "dynamodb:UpdateItem"),
    "s3:DeleteObjects": ("s3:DeleteObject",),
    "s3:GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration",),
    "s3:GetObjectLockConfiguration": ("s3:GetBucketObjectLockConfiguration",),
    "s3:ListObjectsV2": ("s3:ListBucket",),
}

_STATEMENT = re.compile(r'(INSERT|UPDATE|DELETE|SELECT)\b[^"]*"([^"]+)"')


class Calls:
    """``asked``: IAM action and the name of the stream or table that it was asked on."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str]] = set()
        self.also: list[Callable[[Any], None]] = []  # what else is to be told of new sessions

    @property
    def actions(self) -> set[str]:
        return {action for action, _ in self.asked} - FREE

    def watch(self, session: Any) -> None:
        session.events.register("before-parameter-build", self._note)
        for tell in self.also:
            tell(session)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is asked meanwhile is another role's."""
        asked = set(self.asked)
        yield
        self.asked = asked

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        operation = f"{model.service_model.service_name}:{model.name}"
        names = [
            str(params[name]) for name in ("StreamName", "TableName", "Bucket") if name in params
        ]
        names += [str(name) for name in params.get("RequestItems", ())]
        for statement in params.get("Statements", ()):
            self._note_statement(statement["Statement"])
        if "Statements" in params:
            return
        names += [str(params["ResourceArn"]).rpartition("/")[2]] if "ResourceArn" in params else []
        for action in ALSO_CALLED.get(operation, (operation,)):
            self.asked |= {(action, name) for name in names or [""]}
            if operation == "dynamodb:CreateTable" and params.get("Tags"):
                self.asked |= {("dynamodb:TagResource", name) for name in names}

    def _note_statement(self, text: str) -> None:
        """Of PartiQL the permission is the statement's."""
        found = _STATEMENT.match(text)
        assert found, text
        self.asked.add((f"dynamodb:PartiQL{found[1].capitalize()}", found[2]))


@contextmanager
def recording(patch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """All clients that are made meanwhile; all are made by `binlog.aws.account`."""
    make, calls = account_module._new_session, Calls()

    def new_session(account: Account) -> Any:
        session = make(account)
        calls.watch(session)
        return session

    with patch.context() as during:
        during.setattr(
            account_module._sessions, "get", lambda account: _Locked(new_session(account))
        )
        yield calls


def is_allowed(document: dict[str, Any], action: str, name: str) -> bool:
    """As IAM decides, for statements of exact actions and resources with ``*``."""
    allowed = False
    for each in document["Statement"]:
        resources = [each["Resource"]] if isinstance(each["Resource"], str) else each["Resource"]
        if action in each["Action"] and any(
            fnmatchcase(name, resource.rpartition("/")[2]) for resource in resources
        ):
            if each["Effect"] == "Deny":
                return False
            allowed = True
    return allowed
