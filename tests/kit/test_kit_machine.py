"""`ReplayMachine`: what it finds, how it tells it, and that it finds nothing where nothing is."""

from __future__ import annotations

import time
import unittest
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from appliers.applier import ApplierError, Appliers
from binlog.changes import event
from binlog.envelope import Envelope, Event
from binlog.errors import RefusedError
from binlog.testing import machine_run
from binlog.testing.invariants import of_each_item, of_each_replica
from binlog.testing.machine import ReplayMachine
from binlog.testing.violation import Violation

Item = dict[str, Any]


def sent(name: str, **data: Any) -> st.SearchStrategy[Envelope]:
    """Events of few orders, so that they meet."""
    return st.builds(
        lambda n, values: event(name, {"id": f"o{n}"}, values, table="orders", now_ms=0),
        st.integers(0, 5),
        st.fixed_dictionaries(data),
    )


EVENTS = st.one_of(
    sent("Placed", total=st.integers(0, 100)),
    sent("Paid", sum=st.integers(0, 100)),
    sent("Cancelled"),
)


def shop(*, check_sum: bool = True) -> Appliers:
    """A shop that refuses what makes no sense; without ``check_sum`` it takes any payment."""
    made = Appliers()

    @made.on("Placed", table="orders")
    def placed(item: Item | None, placed: Event) -> Item:
        if item is not None:
            raise ApplierError("placed before")
        return {**placed.key, "open": placed.data["total"]}

    @made.on("Paid", table="orders")
    def paid(item: Item | None, paid: Event) -> Item:
        if item is None:
            raise ApplierError("never placed")
        if check_sum and paid.data["sum"] > item["open"]:
            raise ApplierError("more than is open")
        return {**item, "open": item["open"] - paid.data["sum"]}

    @made.on("Cancelled", table="orders")
    def cancelled(item: Item | None, cancelled: Event) -> None:
        return None

    return made


class Shop(ReplayMachine):
    applier = shop()
    events = EVENTS

    def item_invariant(self, _table: str, _key: Item, item: Item | None, /) -> None:
        assert item is None or item["open"] >= 0, "more was paid than is due"

    def replica_invariant(self, tables: Mapping[str, Sequence[Item]], /) -> None:
        ids = [item["id"] for item in tables.get("orders", ())]
        assert len(ids) == len(set(ids))


class Careless(Shop):
    applier = shop(check_sum=False)


def found_by(machine: type[ReplayMachine], examples: int = 100) -> Violation:
    with pytest.raises(Violation) as caught:
        machine.check(examples)
    return caught.value


def run_pasted(violation: Violation, *machines: type[ReplayMachine], **names: object) -> None:
    """The test of a report, as if it stood below the machine."""
    space: dict[str, Any] = {**names, **{machine.__name__: machine for machine in machines}}
    exec(compile(violation.test, "pasted", "exec"), space)
    [test] = [value for name, value in space.items() if name.startswith("test_")]
    test()


def test_a_right_applier_passes_and_the_rare_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 24: a default run counts what it met, and all of it was there."""
    met: Counter[str] = Counter()
    judge = machine_run._missing
    rounds = 0

    def listen(found: Counter[str]) -> list[str]:
        nonlocal rounds
        rounds += 1
        met.update(found)
        return judge(found)

    monkeypatch.setattr(machine_run, "_missing", listen)
    Shop.check()
    assert rounds == 1, "it had to go on to meet them all"
    assert [name for name in machine_run.RARE if not met[name]] == []
    assert met["poison"], "the appliers never refused an event"


def test_a_broken_invariant_is_told_in_the_fewest_steps() -> None:
    violation = found_by(Careless)
    assert violation.law == "your invariant"
    publishes = [line for line in violation.story if "publishes" in line]
    assert len(publishes) == 2
    assert "Placed of orders {id: o0}: {open: 0}" not in publishes[0]
    assert publishes[0].endswith("#1: Placed of orders {id: o0}: {total: 0}")
    assert publishes[1].endswith("#2: Paid of orders {id: o0}: {sum: 1}")
    assert any("more was paid than is due" in line for line in violation.differences)


def test_the_test_of_a_report_fails_until_the_applier_is_mended() -> None:
    violation = found_by(Careless)
    with pytest.raises(Violation, match="does not hold at version"):
        run_pasted(violation, Careless)

    class Mended(Careless):
        applier = shop()

    run_pasted(violation, Careless=Mended)


def test_the_story_is_the_same_for_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = found_by(Careless), found_by(Careless)
    assert first.story == second.story
    assert str(first).partition("event_id")[0] == str(second).partition("event_id")[0]
    monkeypatch.setenv("BINLOG_SEED", "77")
    other = found_by(Careless)
    assert "--binlog-seed=77" in other.repeat


def test_an_invariant_of_a_whole_replica_is_asked_at_its_vectors() -> None:
    class Crowded(Shop):
        @of_each_replica
        def few_orders(self, tables: Mapping[str, Sequence[Item]], /) -> None:
            assert len(tables.get("orders", ())) < 3

    violation = found_by(Crowded)
    assert violation.law == "your invariant"
    assert len([line for line in violation.story if "publishes" in line]) == 3


def test_marked_invariants_are_asked_beside_the_others() -> None:
    class Twice(Shop):
        @of_each_item
        def is_cheap(self, _table: str, _key: Item, item: Item | None, /) -> None:
            assert item is None or item["open"] < 50, "an expensive order"

    violation = found_by(Twice)
    assert "an expensive order" in "\n".join(violation.differences)
    assert [line for line in violation.story if "publishes" in line] == [
        "process 0 publishes #1: Placed of orders {id: o0}: {total: 50}"
    ]


def test_an_exception_that_is_not_declared_is_told() -> None:
    class Fails(Shop):
        applier = Appliers()
        item_invariant = ReplayMachine.item_invariant

    @Fails.applier.on("Paid", table="orders")
    def paid(item: Item | None, paid: Event) -> Item:
        return {**paid.key, "ratio": 100 // paid.data["sum"]}

    violation = found_by(Fails)
    assert "ZeroDivisionError" in str(violation)
    assert [line for line in violation.story if "publishes" in line] == [
        "process 0 publishes #1: Paid of orders {id: o0}: {sum: 0}"
    ]


def test_an_invariant_that_cannot_be_computed_does_not_hold() -> None:
    class Misspelt(Shop):
        def item_invariant(self, _table: str, _key: Item, item: Item | None, /) -> None:
            assert item is None or item["opne"] >= 0

    violation = found_by(Misspelt)
    assert violation.law == "your invariant"
    assert "KeyError: 'opne'" in "\n".join(violation.differences)


def test_an_applier_that_reads_a_clock_is_found() -> None:
    class Stamps(Shop):
        applier = Appliers()
        item_invariant = ReplayMachine.item_invariant

    @Stamps.applier.on("Placed", table="orders")
    def placed(item: Item | None, placed: Event) -> Item:
        return {**placed.key, "at": time.perf_counter_ns()}

    violation = found_by(Stamps)
    assert "at: expected" in "\n".join(violation.differences)


def test_an_applier_that_counts_what_it_is_called_is_found() -> None:
    calls = Counter[str]()

    class Counts(Shop):
        applier = Appliers()
        item_invariant = ReplayMachine.item_invariant

    @Counts.applier.on("Placed", table="orders")
    def placed(item: Item | None, placed: Event) -> Item:
        calls["placed"] += 1
        return {**placed.key, "n": calls["placed"]}

    assert "n: expected" in "\n".join(found_by(Counts).differences)


def test_a_run_that_never_met_the_rare_says_so() -> None:
    """A proof that never met a zombie proves nothing of zombies."""
    with pytest.raises(Violation, match=r"never happened in 300 examples: .*zombie write"):
        Shop.check(steps=1)
    Shop.check(5, steps=1)  # nobody expects it of five examples


def test_as_a_test_case_it_runs_and_takes_settings() -> None:
    case = Careless.TestCase
    assert issubclass(case, unittest.TestCase)
    assert Careless.TestCase is case
    result = unittest.TestResult()
    case("runTest").run(result)
    assert len(result.failures) == 1
    assert "does not hold at version" in result.failures[0][1]

    class Quick(Shop):
        pass

    Quick.TestCase.settings = settings(max_examples=2, stateful_step_count=3)
    quick = unittest.TestResult()
    Quick.TestCase("runTest").run(quick)
    assert quick.testsRun == 1
    assert quick.wasSuccessful()


def test_a_rule_of_the_users_own_is_part_of_the_story() -> None:
    class Own(Careless):
        @rule(amount=st.integers(1, 9))
        def pay_twice(self, amount: int) -> None:
            paid = event("Paid", {"id": "vip"}, {"sum": amount}, table="orders", now_ms=0)
            placed = event("Placed", {"id": "vip"}, {"total": 1}, table="orders", now_ms=0)
            self.world.publish(0, [placed, paid, paid])

        @classmethod
        def events_to_publish(cls) -> st.SearchStrategy[Envelope]:
            return sent("Cancelled")

    assert any("{id: vip}" in line for line in found_by(Own).story)


def test_what_a_users_own_rule_asserts_is_a_failure_as_any() -> None:
    class Own(Shop):
        @rule()
        def nothing_is_published(self) -> None:
            assert self.world.met["ACKNOWLEDGED"] < 3, "too busy"

    with pytest.raises(AssertionError, match="too busy"):
        Own.check(30)


def test_appliers_that_are_none_are_refused_before_anything_runs() -> None:
    class Nothing(ReplayMachine):
        applier = 7  # type: ignore[assignment]

    with pytest.raises(RefusedError, match="a int is no set of appliers"):
        Nothing.check()


def test_what_is_misspelled_is_refused() -> None:
    class Without(ReplayMachine):
        appliers = shop()

    class Plural(Shop):
        def item_invariants(self, _table: str, _key: Item, _item: Item | None) -> None:
            raise AssertionError

    class Heir(Plural):
        pass

    class Singular(Shop):
        event: ClassVar[Any] = None

    for machine, message in (
        (Without, "Without has no applier"),
        (Plural, "Plural has 'item_invariants'.*did you mean 'item_invariant'"),
        (Heir, "Heir has 'item_invariants'"),
        (Singular, "Singular has 'event'.*did you mean 'events'"),
    ):
        with pytest.raises(RefusedError, match=message):
            machine.check()


def test_what_has_a_name_of_its_own_is_not() -> None:
    class Own(Shop):
        limit = 3

        @of_each_item
        def item_invariant_of_sums(self, _table: str, _key: Item, _item: Item | None) -> None:
            self.helper()

        def helper(self) -> None:
            assert self.limit == 3

    Own.check(2, steps=5)


@pytest.mark.parametrize("kind", ["Refused", "Unrouted"])
def test_what_cannot_happen_where_nothing_is_written_is_not_asked_for(kind: str) -> None:
    """An applier that refuses all, or that nothing is for, fails no condition: that is no fault."""
    made = Appliers()

    @made.on("Refused", table="orders")
    def refused(_item: Item | None, _event: Event) -> Item:
        raise ApplierError("never")

    class Nothing(ReplayMachine):
        applier = made
        events = sent(kind)

    Nothing.check()
    assert machine_run._missing(Counter({"version of an item": 1})) == list(machine_run.RARE)
