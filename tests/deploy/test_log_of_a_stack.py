"""A log in a stream that others have made: `binlog init` takes it as it is, and mends its tags."""

from __future__ import annotations

import pytest

from binlog.errors import MismatchError
from binlog.logs.kinesis_genesis import StreamOptions
from tests.log.test_kinesis_genesis import Account


@pytest.fixture
def account() -> Account:
    """With a stream, as CloudFormation makes it."""
    made = Account()
    made.service().call("create_stream", StreamName="s", ShardCount=2)
    made.service().wait(lambda _: True)
    return made


def test_a_stream_that_is_there_becomes_a_log(account: Account) -> None:
    """Without a word on shards, retention or keys: those are the template's."""
    assert account.init(options=StreamOptions())[0] == "created"
    assert account.init(options=StreamOptions())[0] == "exists"
    account.check()


def test_tags_that_were_lost_are_written_again(account: Account) -> None:
    """Also when the stream has forgotten its genesis: who owns a stream may set its tags anew."""
    _, params = account.init(options=StreamOptions())
    account.clock.advance(30 * 3_600_000)  # beyond its retention
    account.double.streams["s"].tags.clear()
    with pytest.raises(MismatchError, match="no log"):
        account.open()
    assert account.init(options=StreamOptions()) == ("created", params)
    assert account.open().params == params
