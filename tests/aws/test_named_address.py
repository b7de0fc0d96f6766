"""What is missing of an account is said of the stream or store that was named."""

from __future__ import annotations

import pytest

from appliers.address import open_store
from binlog.address import open_log
from binlog.errors import BinlogError

@pytest.mark.parametrize("address", ["kinesis://orders", "dynamodb://shop"])
def test_a_profile_that_is_not_there_names_the_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(BinlogError) as caught:
        if address.startswith("kinesis"):
            open_log(f"{address}?profile=nobodys")
        else:
            open_store(f"{address}?profile=nobodys", must_exist=True)
    assert caught.value.where == address
    assert caught.value.exit_status == 2
