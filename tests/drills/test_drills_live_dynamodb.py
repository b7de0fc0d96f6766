"""What a judge sees of a store in DynamoDB that has not all of its tables."""

from __future__ import annotations

from typing import Any

import pytest

from binlog.drills.targets.live_dynamodb import read_live


class GoneError(Exception):
    """The service's ResourceNotFoundException."""


class Client:
    """Of an account that has a store's control table, without an entry in its catalog, or has nothing."""

    class exceptions:  # noqa: N801  boto3's name
        ResourceNotFoundException = GoneError

    def __init__(self, *, has_control: bool) -> None:
        self._has_control = has_control

    def get_item(self, **_: Any) -> dict[str, Any]:
        if not self._has_control:
            raise GoneError
        return {}


@pytest.mark.parametrize("has_control", [True, False])
def test_a_table_that_is_not_there_is_empty_to_the_judge(*, has_control: bool) -> None:
    """It has to say what is missing then, of a table brought back to before its first event, too."""
    assert read_live(Client(has_control=has_control), "shop", "orders") == {}
