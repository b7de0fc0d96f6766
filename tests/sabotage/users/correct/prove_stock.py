# As a user writes it: it imports its sibling, and is not annotated.
# mypy: ignore-errors
# ruff: noqa: ANN201
from stock import stock

from binlog.testing import check_applier


def test_replays_alike():
    check_applier(stock, key="warehouse")
