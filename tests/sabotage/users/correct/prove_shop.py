# As a user writes it: it imports its sibling, and is not annotated.
# mypy: ignore-errors
# ruff: noqa: ANN201
from shop import shop

from binlog.testing import check_applier


def test_replays_alike():
    check_applier(shop, key="order")
