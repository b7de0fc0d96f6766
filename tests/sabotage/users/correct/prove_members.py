# As a user writes it: it imports its sibling, and is not annotated.
# mypy: ignore-errors
# ruff: noqa: ANN201
from members import members

from binlog.testing import check_applier, check_schema


def test_replays_alike():
    check_applier(members, key="member")


def test_keeps_its_schema():
    check_schema(members, "members.lock.json")
