# As a user writes it: it imports its sibling, and is not annotated.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ARG002
from bank import bank

from binlog.testing import ReplayMachine, check_applier


def test_replays_alike():
    check_applier(bank, key="account")


class Accounts(ReplayMachine):
    applier = bank
    key = "account"

    def item_invariant(self, table, key, item):
        if item is not None:
            assert item["balance"] >= 0, "the balance is below zero"
            assert item["state"] == "open" or item["balance"] == 0, "closed, and money in it"


TestMachine = Accounts.TestCase
