"""What is missing of an account is said of the stream or store that was named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliers.address import open_store
from binlog.address import open_log
from binlog.errors import BinlogError

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
