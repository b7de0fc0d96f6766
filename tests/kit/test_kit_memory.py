"""check_applier on appliers that remember: what it takes to see it is found and told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from appliers.applier import Appliers
from binlog.changes import event
from binlog.testing.check_applier import check_applier
from binlog.testing.violation import Violation

ONE_KEY = st.builds(
    lambda n: event("Placed", {"id": "a"}, {"n": n}, table="orders", event_id=f"e{n}", now_ms=0),
    st.integers(1, 9),
)
flags: list[int] = []
plans: dict[str, int] = {}
calls: list[int] = []


def appliers_of(apply: Any) -> Appliers:
    appliers = Appliers()
    appliers.on("Placed", table="orders")(apply)
    return appliers


def violation_of(apply: Any, **options: Any) -> Violation:
    with pytest.raises(Violation) as caught:
        check_applier(appliers_of(apply), ONE_KEY, **options)
    return caught.value


def flagging(item: Any, event: Any) -> Any:
    """Seen only where another list came before: within one list the second event has an item."""
    if item is not None:
        return item
    if event.data["n"] == 1:
        flags.append(1)
    return {**event.key, "flag": bool(flags)}


def test_what_only_another_list_before_shows_is_found_and_told_with_it() -> None:
    flags.clear()
    violation = violation_of(flagging)
    assert violation.law == "pure"
    assert "called again" in violation.what
    [before, line] = violation.story
    assert before.startswith("before, onto items of its own: Placed")
    assert "n: 1" in before
    assert "flag: False" in line
    assert violation.differences[-1].strip() == "flag: expected False, found True"


def test_the_test_of_it_fails_again_with_both_lists() -> None:
    flags.clear()
    violation = violation_of(flagging)
    flags.clear()
    scope: dict[str, Any] = {"appliers": appliers_of(flagging)}
    exec(violation.test, scope)  # what the kit prints, to be pasted
    [test] = [value for name, value in scope.items() if name.startswith("test_")]
    with pytest.raises(Violation, match="called again"):
        test()


def test_what_is_shared_by_items_is_told_as_one_list() -> None:
    def sharing(item: Any, event: Any) -> Any:
        plans[event.id] = event.data["n"]
        return {**event.key, "host": plans.get("e1", 0)}

    plans.clear()
    violation = violation_of(sharing)
    assert violation.law == "pure"
    assert len(violation.story) == 2
    assert not any(line.startswith("before") for line in violation.story)


def failing_once(item: Any, event: Any) -> Any:
    calls.append(1)
    if len(calls) == 300:
        raise KeyError("once")
    return event.key


def test_what_fails_once_and_not_again_is_told_as_that() -> None:
    """And is no error of the kit's own."""
    calls.clear()
    violation = violation_of(failing_once)
    assert "something remembers" in violation.do


PROGRAM = """
from appliers.applier import Appliers
from binlog.testing import Violation, check_applier
from typing import Annotated
from msgspec import Meta, Struct

class Placed(Struct):
    tags: Annotated[frozenset[str], Meta(min_length=2)]

shop = Appliers()

@shop.on(Placed, table="orders")
def placed(item, event):
    return {**event.key, "first": next(iter(event.data["tags"])), "h": hash(event.id) % 3}

try:
    check_applier(shop)
except Violation as found:
    print(found)
"""


def test_what_is_found_and_told_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    """A colleague sees the same story, though the applier does something else in his process."""
    script = tmp_path / "shop.py"
    script.write_text(PROGRAM, encoding="utf-8")
    told = []
    for seed in ("0", "1", "3"):
        done = subprocess.run(
            [sys.executable, str(script)],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        told.append(done.stdout)
    assert "in another process" in told[0]
    assert told[0] == told[1] == told[2]
