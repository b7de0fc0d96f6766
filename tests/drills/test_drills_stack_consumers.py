"""A drill's consumer, as an operator types it on the stack."""

from __future__ import annotations

import pytest

from binlog.drills.targets.stack_consumers import by_consumers

FOLLOW = "binlog replicate {log} {live}"


def test_the_live_store_is_a_functions_and_the_lazy_one_the_kcls() -> None:
    assert by_consumers(FOLLOW) == "scripts/stack lambda {log} {live}"
    lazy = by_consumers("binlog replicate {log} {lazy}")
    assert lazy == "binlog kcl run {log} {lazy} --worker w1 --profile test"


def test_appliers_and_parking_are_said_as_each_of_them_takes_them() -> None:
    """`replicate` stops at poison unless it is told to park; the others are told by a word."""
    more = " --park --appliers shop:shop"
    live = "scripts/stack lambda {log} {live} --poison park --appliers shop:shop"
    assert by_consumers(FOLLOW + more) == live
    assert by_consumers("binlog replicate {log} {lazy}" + more).endswith(
        " --profile test --poison park --appliers shop:shop"
    )


@pytest.mark.parametrize(
    "command",
    [
        f"{FOLLOW} --once",  # it comes to an end, which the others do not
        f"{FOLLOW} --rate 100",  # an option that they have not
        f"{FOLLOW} --appliers",
        "binlog replicate {log} {aside}",
        "binlog replicate {copy} {live}",
        "binlog rebuild {log} {live}",
        "binlog verify {live} {log}",
    ],
)
def test_whatever_is_no_consumer_of_the_stack_stays_as_it_is(command: str) -> None:
    assert by_consumers(command) == command
