"""Where a rebuild begins follows from the catalogue, the question and the log, and is told."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.applier import NO_RULES, Appliers, Rules
from appliers.fingerprint import fingerprint
from appliers.store import Generation
from binlog.errors import ConflictError, TrimmedError
from binlog.params import Params, encode_genesis
from binlog.target import Target
from snapshots.planner import BEGINNING, Plan, Question, choose, out_of_reach
from snapshots.snapshot_manifest import Manifest, TableCount

GENESIS = encode_genesis(Params(log_id="7e" * 16, partitions=4))
OTHER = encode_genesis(Params(log_id="8e" * 16, partitions=4))


class Facts:
    """A log that has all of it, but for what is listed."""

    def __init__(self, *, forgotten: tuple[str, ...] = (), late: tuple[str, ...] = ()) -> None:
        self.forgotten = forgotten
        self.late = late
        self.asked: list[str] = []

    def beyond(self, manifest: Manifest, time_ms: int) -> str | None:
        return f"after {time_ms}" if manifest.id in self.late else None

    def unfollowed(self, manifest: Manifest) -> str | None:
        self.asked.append(manifest.id)
        return "forgotten" if manifest.id in self.forgotten else None


def rules(version: int = 1, *, types: tuple[str, ...] = ("Renamed",)) -> Rules:
    appliers = Appliers()
    for event_type in types:

        @appliers.on(event_type, table="users", version=version)
        def rename(item: Any, event: Any) -> Any:
            return {**(item or event.key), "name": event.data["name"]}

    return appliers.build()


def manifest(
    id_: str,
    vector: dict[int, int],
    *,
    exact: dict[int, int] | None = None,
    genesis: bytes = GENESIS,
    tables: tuple[str, ...] = ("orders", "users"),
    is_open: bool = True,
    made_by: Rules = NO_RULES,
    excluded: tuple[str, ...] = (),
    types: tuple[str, ...] = (),
    parked: int = 0,
    letters: int = 0,
    adopted: str | None = None,
    without: tuple[str, ...] = (),
) -> Manifest:
    return Manifest(
        format=1,
        id=id_,
        began_ms=1,
        taken_ms=1_700_000_000_000,
        store="sqlite:x",
        genesis=genesis,
        generation=Generation("0" * 32, tables, is_open, fingerprint(made_by), excluded, types),
        vector=vector,
        exact=exact or vector,
        begun_sha256="",
        tables={table: TableCount(1, 0, parked, "") for table in tables},
        parts=(),
        letters=letters,
        adopted=adopted,
        without=without,
    )


def question(by: Rules = NO_RULES, **more: Any) -> Question:
    return Question(genesis=GENESIS, fingerprint=fingerprint(by), **more)


def reason(candidate: Manifest, asked: Question, facts: Facts | None = None) -> str | None:
    """Why it is not taken; ``None``: it is."""
    plan = choose([candidate], asked, facts or Facts())
    if plan.start is not None:
        assert plan.start is candidate
        assert not plan.not_taken
        return None
    [told] = plan.not_taken
    assert (told.id, told.taken_ms) == (candidate.id, candidate.taken_ms)
    return told.reason


EARLY, MIDDLE, LATE = (
    manifest("early", {0: 5}),
    manifest("middle", {0: 9, 1: 4}),
    manifest("late", {0: 12, 1: 9}),
)


def test_the_nearest_that_fits_is_taken_and_each_other_one_has_its_reason() -> None:
    """The most events are in it; the log is asked only about those that could be taken."""
    facts = Facts(forgotten=("late",))
    plan = choose([MIDDLE, LATE, EARLY], question(), facts)
    assert plan.start is MIDDLE
    assert [(n.id, n.reason) for n in plan.not_taken] == [
        ("late", "forgotten"),
        ("early", "further from the target than middle"),
    ]
    assert facts.asked == ["late", "middle"]


def test_nothing_that_reaches_beyond_the_target_is_taken() -> None:
    """N2: what counts is the highest version in any row, not where the checkpoints stand."""
    target = Target(vector={0: 9, 1: 9})
    assert choose([EARLY, MIDDLE, LATE], question(target=target), Facts()).start is MIDDLE
    assert reason(LATE, question(target=target)) == (
        "it reaches offset 12 of partition 0, the target is 9"
    )
    ahead = manifest("ahead", {0: 9}, exact={0: 9, 3: 1})
    assert reason(ahead, question(target=target)) == (
        "it reaches offset 1 of partition 3, the target is 0"
    )
    assert reason(manifest("at", {0: 9, 1: 9}), question(target=target)) is None
    late = question(target=Target(time_ms=7))
    assert reason(LATE, late, Facts(late=("late",))) == "after 7"
    assert reason(LATE, late) is None


@pytest.mark.parametrize(
    ("candidate", "asked", "told"),
    [
        (manifest("x", {0: 1}, genesis=OTHER), question(), f"of another log, {'8e' * 16}"),
        (manifest("x", {0: 1}, adopted="users"), question(), "what table users held before"),
        (manifest("x", {0: 1}, is_open=False), question(), "only of the tables orders, users"),
        (
            manifest("x", {0: 1}, is_open=False),
            question(tables=("users", "visits")),
            "without table visits",
        ),
        (manifest("x", {0: 1}, is_open=False), question(tables=("users",)), None),
        (manifest("x", {0: 1}), question(tables=("visits",)), None),
        (manifest("x", {0: 1}, without=("visits",)), question(), "without table visits"),
        (
            manifest("x", {0: 1}, without=("visits",)),
            question(tables=("users", "visits")),
            "without table visits",
        ),
        (manifest("x", {0: 1}, without=("visits",)), question(tables=("users", "more")), None),
        (manifest("x", {0: 1}, without=("visits",)), question(without=("visits",)), None),
        (manifest("x", {0: 1}, parked=1), question(), "without --park they stop"),
        (manifest("x", {0: 1}, letters=1), question(), "without --park they stop"),
        (manifest("x", {0: 1}, parked=1, letters=1), question(parks=True), None),
    ],
)
def test_what_does_not_fit_says_why(candidate: Manifest, asked: Question, told: str | None) -> None:
    found = reason(candidate, asked)
    assert found == told if told is None else told in str(found)


def test_rules_that_changed_for_a_type_that_was_met() -> None:
    """Its items hold what the old rules made. Types that were never met may have any rules; of a
    snapshot of no one moment nobody knows which were."""
    met = manifest("x", {0: 1}, made_by=rules(1), types=("Renamed",))
    assert "the applier of Renamed" in str(reason(met, question(rules(2))))
    assert reason(met, question(rules(1))) is None
    unmet = manifest("x", {0: 1}, made_by=rules(1))
    assert reason(unmet, question(rules(2))) is None
    torn = manifest("x", {0: 1}, exact={0: 2}, made_by=rules(1))
    assert "the applier of Renamed" in str(reason(torn, question(rules(2))))


@pytest.mark.parametrize(
    ("made", "asked", "told"),
    [
        ((), ("id=e7",), "what id=e7 names may be in it"),
        ((), ("session=" + "0" * 32,), "may be in it"),
        ((), ('key=users:{"id":"ann"}',), "may be in it"),
        ((), ("type=PutItem",), "may be in it"),
        ((), ("type=Renamed",), "what type=Renamed names may be in it"),
        ((), ("type=Unheard",), None),
        ((), ("offsets=0:8-9",), "may be in it"),
        ((), ("offsets=0:9-9",), "may be in it"),
        ((), ("offsets=0:10-12",), None),
        ((), ("offsets=3:1-2",), None),
        (("id=e7",), (), "made without what id=e7 names"),
        (("type=Unheard",), (), "made without what type=Unheard names"),
        (("offsets=0:4-4",), (), "made without"),
        (("offsets=0:10-10",), (), None),
        (("id=e7",), ("id=e7",), None),
        (("id=e7", "id=e8"), ("id=e7",), "made without what id=e8 names"),
    ],
)
def test_exclusions_that_reach_into_it(
    made: tuple[str, ...], asked: tuple[str, ...], told: str | None
) -> None:
    """What is to be left out may be in it; what was left out of it may be wanted."""
    candidate = manifest("x", {0: 9, 1: 4}, excluded=made, types=("Renamed",))
    found = reason(candidate, question(excluded=asked))
    assert found == told if told is None else told in str(found)


def test_an_exclusion_of_a_type_reaches_into_what_nobody_knows_of() -> None:
    """Rows ahead of the checkpoints, or transforms, under which types have other names."""
    asked = question(excluded=("type=Unheard",))
    torn = manifest("x", {0: 9}, exact={0: 10})
    assert "may be in it" in str(reason(torn, asked))
    asked = question(excluded=("type=Unheard",), transforms=True)
    assert "may be in it" in str(reason(manifest("x", {0: 9}), asked))


def test_a_start_that_is_asked_for_is_taken_or_is_an_error() -> None:
    """Not another one behind one's back."""
    every = [EARLY, MIDDLE, LATE]
    assert choose(every, question(start="early"), Facts()).start is EARLY
    plan = choose(every, question(start=BEGINNING), Facts())
    assert plan.start is None
    assert {n.reason for n in plan.not_taken} == {"the log's beginning is asked for"}
    with pytest.raises(ConflictError, match="late is no start of this rebuild: it reaches"):
        choose(every, question(start="late", target=Target(vector={0: 9})), Facts())
    with pytest.raises(ConflictError, match="there is no snapshot none"):
        choose(every, question(start="none"), Facts())


def test_a_target_before_all_that_is_kept_names_the_nearest_possible() -> None:
    """The earliest snapshot which only the target keeps from being taken, by its exact vector."""
    torn = manifest("torn", {0: 5}, exact={0: 6})
    other = manifest("other", {0: 1}, genesis=OTHER)
    catalogue = [LATE, torn, other, MIDDLE]
    asked = question(target=Target(vector={0: 3}))
    plan = choose(catalogue, asked, Facts())
    assert plan.start is None
    error = out_of_reach(TrimmedError("gone", "log"), plan, catalogue)
    assert "the nearest possible is snapshot torn, taken 2023-11-14T22:13:20Z" in str(error)
    assert error.vector == {0: 6}
    nothing = out_of_reach(TrimmedError("gone", "log"), Plan(None), [])
    assert "there is no snapshot" in str(nothing)
