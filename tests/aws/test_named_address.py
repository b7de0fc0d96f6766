"""What is missing of an account is said of the stream or store that was named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliers.address import open_store
from binlog.address import open_log
from binlog.aws.account import Account
from binlog.aws.identity import place_of
from binlog.errors import BinlogError, RefusedError

OPENED: dict[str, Callable[[str], object]] = {
    "kinesis://orders": open_log,
    "dynamodb://shop": lambda address: open_store(address, must_exist=True),
}


@pytest.mark.parametrize("address", OPENED)
def test_a_profile_that_is_not_there_names_the_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(BinlogError) as caught:
        OPENED[address](f"{address}?profile=nobodys")
    assert caught.value.where == address
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("service", ["kinesis", "dynamodb"])
def test_AWS_is_not_asked_for_the_account_of_a_stand_in(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be asked with credentials that are made up, about a stream that it does not have."""
    monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service.upper()}", "http://127.0.0.1:9")
    account = Account(region="us-east-1")
    with pytest.raises(RefusedError, match="a stand-in is in no account") as caught:
        place_of(account, service, f"{service}://orders")
    assert "--account" in (caught.value.do or "")
    assert place_of(account, service, "x", account_id="1" * 12).account_id == "1" * 12
