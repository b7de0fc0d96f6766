"""Exclusions that match nothing are found, and told with what comes nearest."""

from __future__ import annotations

import pytest

from appliers.exclusion_matching import Met, WatchedExclusions, check_matched, watch_exclusions
from binlog.errors import RefusedError
from tests.appliers_core.fold_support import SESSION, delete, envelope, put, run_of

FAMILY = SESSION.family.hex()


def told(*rules: str, known: tuple[str, ...] = ()) -> str | None:
    """What is said of ``rules`` over a partition of a few events; ``None``: all of them match."""
    watched = WatchedExclusions(rules)
    for run in (
        run_of([put("a"), put("7"), delete("b", table="others")], partition=0),
        run_of([envelope("OrderPlaced", {"id": "c"}, {"n": 1})], partition=0, first=4),
        run_of([envelope("binlog.noop", {"id": "x"}, None)], partition=0, first=5),
    ):
        watched.matches(run)
    try:
        check_matched([watched.met()], {0: 5}, known=known, where="the log")
    except RefusedError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "rule",
    [
        'key=things:{"id": "a"}',
        "type=OrderPlaced",
        "type=PutItem",
        f"session={FAMILY}",
        f"session={SESSION}",
        "offsets=0:2-9",
        "offsets=0:4-4",
    ],
)
def test_a_rule_that_an_event_met_is_none_of_them(rule: str) -> None:
    """Whichever form it has; else a rebuild that leaves out what it should is refused."""
    assert told(rule) is None


@pytest.mark.parametrize(
    ("rule", "near"),
    [
        ("type=orderplaced", "'OrderPlaced' is there"),
        ("type=Nothing", "there are the types 'DeleteItem', 'OrderPlaced', 'PutItem'"),
        ('key=thing:{"id": "z"}', "'things' is there"),
        ('key=others:{"id": "a"}', 'key=things:{"id":"a"} is there'),
        ('key=things:{"id": 7}', 'key=things:{"id":"7"} is there'),
        ('key=things:{"id": "z"}', "table things has no event of that key"),
        (f"session={FAMILY}.9", "generation 1 of that family is there"),
        ("offsets=0:6-9", "partition 0 ends at offset 5"),
        ("offsets=0:5-5", "offsets 5 to 5 of partition 0 are control events"),
        ("offsets=3:1-5", "partition 3 ends at offset 0"),
        ("id=nobody", "an id is compared whole"),
    ],
)
def test_a_rule_that_nothing_met_is_told_with_what_is_nearest(rule: str, near: str) -> None:
    """A slip in a rule is the usual reason, and who made it should see it."""
    text = told(rule, "type=PutItem")
    assert text is not None
    assert near in text
    assert "matches no event" in text


def test_a_control_event_is_no_event_that_a_rule_met() -> None:
    """It is never left out, so a rule that names nothing else leaves nothing out."""
    assert told(f"session={FAMILY}", "offsets=0:5-5") is not None


def test_what_one_of_several_folds_met_is_met() -> None:
    """Partitions are folded in groups, and an event is in one of them."""
    met = [Met(frozenset({"id=a", "id=b"})), Met(frozenset({"id=b"}))]
    with pytest.raises(RefusedError, match="'id=b' matches no event") as caught:
        check_matched(met, {}, where="the log")
    assert caught.value.details["rules"] == ("id=b",)


def test_what_the_base_was_made_under_is_not_asked_for_again() -> None:
    """The events that it left out lie before it, and are not read."""
    assert told("id=nobody", known=("id=nobody",)) is None


def test_no_rules_are_none() -> None:
    assert watch_exclusions([]) is None
