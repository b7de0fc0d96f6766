"""A reply that ends in its middle is none, whatever the SDK makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import IncompleteReadError

from binlog.aws.account import Account, connector

WHOLE = b'{"Item":{"id":{"S":"a"}}}'
ACCOUNT = Account(region="us-east-1", endpoint="http://127.0.0.1:9")


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data


def answering(*bodies: bytes, length: Callable[[bytes], int] = lambda _: len(WHOLE)) -> Any:
    """What answers each call in place of the network, one body after the other."""
    left = list(bodies)

    def answer(request: Any, **_: Any) -> AWSResponse:
        body = left.pop(0)
        headers = {
            "content-length": str(length(body)),
            "content-type": "application/x-amz-json-1.0",
        }
        return AWSResponse(request.url, 200, headers, _Body(body))

    return answer


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    def make(answer: Any, *, attempts: int) -> Any:
        made = connector(ACCOUNT, "dynamodb", "here", total_max_attempts=attempts)()
        made.meta.events.register("before-send.dynamodb", answer)
        return made

    return make


def read(client: Any) -> Any:
    return client.get_item(TableName="table", Key={"id": {"S": "a"}}).get("Item")


def test_a_cut_reply_is_not_an_item_that_is_not_there(client: Callable[..., Any]) -> None:
    """Who asked once is told; nobody may take it for an answer."""
    with pytest.raises(IncompleteReadError):
        read(client(answering(WHOLE[:12]), attempts=1))


def test_a_cut_reply_is_asked_for_again(client: Callable[..., Any]) -> None:
    found = read(client(answering(WHOLE[:12], WHOLE[:3], WHOLE), attempts=3))
    assert found == {"id": {"S": "a"}}


def test_a_reply_that_is_always_cut_ends_in_an_error(client: Callable[..., Any]) -> None:
    with pytest.raises(IncompleteReadError):
        read(client(answering(WHOLE[:12], WHOLE[:12]), attempts=2))


def test_a_whole_reply_is_taken(client: Callable[..., Any]) -> None:
    assert read(client(answering(WHOLE), attempts=1)) == {"id": {"S": "a"}}
    assert read(client(answering(b"{}", length=len), attempts=1)) is None
