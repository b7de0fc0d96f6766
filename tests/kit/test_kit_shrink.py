"""The shortest failing steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.testing.shrink import shortest, simpler

Step = tuple[str, int]


def holds_all(*wanted: int) -> Callable[[list[int]], bool]:
    """In this order, with anything between."""

    def fails(steps: list[int]) -> bool:
        rest = iter(steps)
        return all(any(step == one for step in rest) for one in wanted)

    return fails


@given(st.lists(st.integers(0, 5), max_size=40), st.data())
def test_nothing_but_the_cause_is_left_and_in_its_order(
    noise: list[int], data: st.DataObject
) -> None:
    wanted = data.draw(st.lists(st.integers(10, 12), min_size=1, max_size=4))
    places = sorted(data.draw(st.integers(0, len(noise))) for _ in wanted)
    steps = list(noise)
    for place, one in reversed(list(zip(places, wanted, strict=True))):
        steps.insert(place, one)
    found = shortest(steps, holds_all(*wanted), simplify=lambda _step: iter(()))
    assert found == wanted


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 2**12 - 1))
def test_no_step_of_the_result_can_be_left_out(steps: list[int], table: int) -> None:
    """Whatever fails: here anything at all, by a table of bits."""

    def fails(tried: list[int]) -> bool:
        return tried == steps or bool(table >> (sum(tried) * 5 + len(tried)) % 12 & 1)

    found = shortest(steps, fails, simplify=lambda _step: iter(()), calls_max=100_000)
    assert fails(found)
    assert not any(fails(found[:i] + found[i + 1 :]) for i in range(len(found)))


def test_arguments_become_as_simple_as_the_failure_allows() -> None:
    def fails(steps: list[Step]) -> bool:
        return any(name == "tick" and ms >= 37 for name, ms in steps)

    assert shortest([("call", 3), ("tick", 999), ("tick", 2)], fails) == [("tick", 37)]


def test_a_step_that_a_simpler_one_makes_needless_goes() -> None:
    def fails(steps: list[Step]) -> bool:
        room = sum(n for name, n in steps if name == "room")
        return any(name == "fill" and n >= room for name, n in steps)

    assert shortest([("room", 5), ("room", 3), ("fill", 9)], fails) == [("fill", 0)]


def test_the_number_of_calls_is_bounded_and_the_best_so_far_comes_back() -> None:
    calls = []

    def fails(steps: list[int]) -> bool:
        calls.append(list(steps))
        return 7 in steps

    steps = [*range(100)]
    found = shortest(steps, fails, calls_max=5)
    assert len(calls) == 5
    assert 7 in found
    assert len(found) < len(steps)


def test_it_is_the_same_every_time() -> None:
    def fails(steps: list[int]) -> bool:
        return sum(steps) > 50 and len(steps) > 2

    runs = {tuple(shortest(list(range(30)), fails)) for _ in range(3)}
    assert len(runs) == 1


def test_steps_that_do_not_fail_are_refused() -> None:
    """A shrinker that returns its input in silence hides a run that cannot be repeated."""
    with pytest.raises(ValueError, match="these 2 steps do not fail"):
        shortest([1, 2], lambda _steps: False)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (0, []),
        (9, [0, 4, 8]),
        (-9, [0, 4, 8]),
        (1, [0]),
        (True, [False]),
        ("land", []),
        ([1, 0], [[1], [0], [0, 0]]),
        (("tick", 2), [("tick", 0), ("tick", 1)]),
        (("publish", [(1, 0)]), [("publish", []), ("publish", [(0, 0)])]),
    ],
)
def test_simpler_values(value: object, found: list[object]) -> None:
    assert list(simpler(value)) == found
