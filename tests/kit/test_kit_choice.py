"""One seed, one factor, and what a search hands out."""

from __future__ import annotations

import shlex
from itertools import count

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from binlog.errors import RefusedError
from binlog.testing.choice import (
    examples,
    kit_settings,
    repeat_command,
    search,
    seed,
    shrinks,
    times,
)
from binlog.testing.violation import Violation

SEEDS = st.integers(0, 2**64 - 1)


def drawn() -> list[int]:
    """What a search draws under the seed of now."""
    found: list[int] = []

    @kit_settings(20)
    @given(st.integers(0, 10**9))
    def look(number: int) -> None:
        found.append(number)

    search(look)
    return found


def test_the_same_seed_draws_the_same_and_another_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINLOG_SEED", "1")
    one, again = drawn(), drawn()
    monkeypatch.setenv("BINLOG_SEED", "2")
    assert one == again
    assert one != drawn()


def test_a_profile_does_not_change_what_a_search_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the command that a violation prints finds it on one machine only."""
    monkeypatch.setenv("BINLOG_SEED", "1")
    before = drawn()
    profile = settings.get_current_profile_name()
    settings.register_profile("others", max_examples=3, derandomize=True, database=None)
    settings.load_profile("others")
    try:
        assert drawn() == before
    finally:
        settings.load_profile(profile)


def test_a_profile_may_say_that_failures_stay_as_they_are() -> None:
    profile = settings.get_current_profile_name()
    assert shrinks()
    settings.register_profile("unshrunk", phases=[Phase.generate])
    settings.load_profile("unshrunk")
    try:
        assert not shrinks()
        assert Phase.shrink not in kit_settings(5).phases
    finally:
        settings.load_profile(profile)


def test_examples_are_scaled_and_never_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINLOG_TIMES", "2.5")
    assert (times(), examples(10), kit_settings(10).max_examples) == (2.5, 25, 25)
    monkeypatch.setenv("BINLOG_TIMES", "0.001")
    assert examples(10) == 1


def test_random_is_one_seed_for_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no pytest has settled it."""
    monkeypatch.setenv("BINLOG_SEED", "random")
    chosen = seed()
    assert seed() == chosen
    monkeypatch.setenv("BINLOG_SEED", "random")
    assert seed() != chosen


@pytest.mark.parametrize(("name", "ask"), [("BINLOG_SEED", seed), ("BINLOG_TIMES", times)])
def test_a_bad_variable_is_refused_by_name(
    name: str, ask: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "much")
    assert callable(ask)
    with pytest.raises(RefusedError, match=rf"^'much' is no .*: {name}$"):
        ask()


def test_a_violation_comes_out_small_and_alone() -> None:
    @kit_settings(100)
    @given(st.integers(0, 1_000))
    def look(number: int) -> None:
        if number >= 10:
            raise Violation(f"{number}", law="small") from ZeroDivisionError("why")

    with pytest.raises(Violation) as caught:
        search(look)
    assert caught.value.what == "10"
    assert not hasattr(caught.value, "__notes__")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    modules = {entry.frame.f_globals["__name__"] for entry in caught.traceback}
    assert not {name for name in modules if name.startswith("hypothesis")}


def test_what_does_not_come_again_is_said_to_be_flaky() -> None:
    calls = count()

    @kit_settings(10)
    @given(st.integers(0, 9))
    def look(_number: int) -> None:
        if next(calls) == 3:
            raise Violation("once", law="pure")

    with pytest.raises(Violation, match="once") as caught:
        search(look)
    assert "gave another result when it was tried again" in caught.value.do


def test_another_failure_is_hypothesis_own() -> None:
    @kit_settings(10)
    @given(st.integers(0, 9))
    def look(number: int) -> None:
        assert number < 0

    with pytest.raises(AssertionError) as caught:
        search(look)
    assert not isinstance(caught.value, Violation)


@given(SEEDS)
def test_the_command_names_the_test_and_the_seed(number: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("BINLOG_SEED", str(number))
        monkeypatch.setenv("BINLOG_TIMES", "1")
        monkeypatch.setenv("PYTEST_CURRENT_TEST", "tests/test_a.py::test[a b (c)] (call)")
        assert shlex.split(repeat_command()) == [
            "pytest",
            "tests/test_a.py::test[a b (c)]",
            f"--binlog-seed={number}",
        ]
        monkeypatch.setenv("BINLOG_TIMES", "3")
        assert repeat_command().endswith(" --binlog-times=3")
        monkeypatch.delenv("PYTEST_CURRENT_TEST")
        assert repeat_command().startswith(f"BINLOG_SEED={number} BINLOG_TIMES=3 ")
