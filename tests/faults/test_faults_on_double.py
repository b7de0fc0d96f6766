"""Stories of faults on the double, many of them: producers, log, consumers, and two judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import example, given, settings

from appliers.item import Row
from appliers.store import Store
from binlog.values import decode_value, encode_value
from scripts.standins.proxy_faults import Fault
from tests.faults.fault_story import (
    Ask,
    Follow,
    Land,
    Publish,
    Restart,
    Run,
    Step,
    Story,
    as_test,
    check_met,
)
from tests.faults.fault_strategies import EXPIRED, GHOSTS, LARGE, large_stories, names_of
from tests.faults.kinesis_double_place import DoublePlace, MemoryReplica, play_on_the_double

CASES = (
    "acknowledged",
    "failed",
    "unknown, there",
    "unknown, not there",
    "copies (model)",  # by retries and by what landed late
    "closed (model)",  # landed when a later generation had begun
    "expired (model)",  # landed when the session's life was over
    "resolved: acknowledged",
    "resolved: never",
    "resolved: undecided",
    "consumer killed before commit",
    "consumer killed between commit",
    "consumer killed after commit",
    "consumer stopped",
    "could not begin",
    "producer died with events on their way",
    "act PutRecords split",
    "act GetRecords merge",
)
_TWO: list[Step] = [Publish(0, 9), Publish(1, 9)]
_ONE_CALL: list[Step] = [Publish(0, 9, 1), Publish(1, 9, 1)]
_FOLLOW: list[Step] = [Follow(0), Follow(1)]
_END: list[Step] = [Land(), Ask(), Publish(0, 9), Restart(1), Publish(1, 9)]
STEPS = [*_TWO, *_FOLLOW, *_ONE_CALL, Follow(0), Follow(1, "between"), *_TWO, *_END, *_FOLLOW]


def test_nothing_acknowledged_is_lost_and_nothing_is_applied_twice() -> None:
    """Whatever faults meet, in whatever order; and what is meant to occur in the runs does."""
    met: Counter[str] = Counter()

    def tell(examples: int) -> None:
        @settings(max_examples=examples)
        @example(GHOSTS)
        @example(EXPIRED)
        @given(large_stories())
        def told(story: Story) -> None:
            met.update(play_on_the_double(story))

        told()

    # What is drawn changes with every constant in the code: more of it where a case did not occur.
    for times in (2, 4, 8):
        tell(times * settings().max_examples)
        if all(met[case] for case in CASES):
            break
    check_met(met, CASES)


@pytest.mark.parametrize("name", names_of(LARGE))
def test_each_kind_of_fault_happens_and_does_no_harm(name: str) -> None:
    """One kind in one story, at every second call: else a kind might never be met at all."""
    kinds = [kind for kind in dict.fromkeys(LARGE) if name in names_of([kind])]
    faults = [
        kind._replace(at=at, of=(at, at + 1) if "partial" in kind.kind else (at,))
        for at in range(1, 40, 2)
        for kind in kinds
        if kind.times == 1
    ]
    met = play_on_the_double(Story(STEPS, faults, shards=2))
    check_met(met, [name, "acknowledged", "consumer killed between commit"])


OUTAGE = 200  # calls: longer than anybody tries
IN_DOUBT = ("lose reply", "cut reply", "time out", "error after", "partial lie")


@pytest.mark.parametrize("kind", IN_DOUBT)
def test_what_was_done_is_never_reported_as_not_sent(kind: str) -> None:
    """Its frames are given up as unknown, and are there; nobody may be told that they failed."""
    fault = Fault("PutRecords", 3, kind, of=(0, 1, 2, 3), times=OUTAGE)
    met = play_on_the_double(Story([*_TWO, *_TWO, *_TWO, Ask(), *_FOLLOW], [fault]))
    check_met(met, [f"{kind} PutRecords", "unknown, there", "resolved: acknowledged"])
    assert not met["failed"]
    assert not met["unknown, not there"]


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "ExpiredTokenException"]
)
def test_what_was_refused_at_the_door_has_failed_and_is_not_in_doubt(code: str) -> None:
    """So it may be published again at once: throttled, or with credentials that have expired."""
    fault = Fault("PutRecords", 3, "refuse", code=code, times=200)
    met = play_on_the_double(Story([*_TWO, *_TWO, *_TWO, *_FOLLOW], [fault]))
    check_met(met, [f"refuse PutRecords {code}", "failed", "acknowledged"])
    assert not met["unknown, there"] + met["unknown, not there"]


@pytest.mark.parametrize("hours", [-26, -2, 2, 26])
def test_the_service_s_clock_alone_counts(hours: int) -> None:
    """However far from it the machines' clocks are: no session expires, nothing is in doubt."""
    met = play_on_the_double(Story(STEPS, skew_ms=hours * 3_600_000))
    assert met["acknowledged"] == met["accepted"] == 72
    assert not met["expired (model)"]


@pytest.mark.parametrize("ms", [7_200_000, -7_200_000, 90_000])
def test_one_reply_with_a_wrong_date_halts_nobody(ms: int) -> None:
    """A session that is born in the future by more than the tolerance would halt every reader.

    So no single reply is believed about a birth: this one is the last before it.
    """
    tags = Fault("ListTagsForStream", 3, "date", number=ms)  # of a stream that has three of them
    met = play_on_the_double(Story([*_TWO, *_FOLLOW], [tags]))
    check_met(met, ["date ListTagsForStream"])
    # Born too early is harmless: what cannot count is told so, and may be published again.
    assert met["acknowledged"] == (18 if ms > 0 else 9)
    assert met["unknown, there"] == 0


def test_a_failure_carries_its_story_as_a_test_that_can_be_pasted() -> None:
    """Else nobody can run it again once the strategies have changed."""
    steps: list[Step] = [Publish(1, 3), Follow(0, "between"), Ask()]
    story = Story(
        steps,
        [Fault("PutRecords", 2, "partial", of=(0,), code="InternalFailure")],
        skew_ms=-5,
    )
    told: list[Story] = []
    names = {**globals(), "play_on_the_double": told.append}
    exec(as_test(story, "play_on_the_double(STORY)"), names)
    names["test_what_was_found"]()
    assert told == [story]


# -- the judges can fail -------------------------------------------------------------------------


def test_a_failing_story_says_how_to_run_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a place that loses what it acknowledged, every judge of the story is awake."""
    kept = DoublePlace.open

    def open_and_lose(self: DoublePlace, *, faults: bool) -> object:
        if not faults:
            for shard in self.double.streams["s"].shards.values():
                shard.records = [r for r in shard.records if r.sequence != lost]
        return kept(self, faults=faults)

    story = Story([Publish(0, 3), Follow(0)], shards=1)
    place = DoublePlace(story, [])
    place.double.page_records = 10_000
    lost = (
        place.double.streams["s"].shards["shardId-000000000000"].records[-1].sequence + 10**20 + 1
    )
    monkeypatch.setattr(DoublePlace, "open", open_and_lose)
    with pytest.raises(AssertionError, match="lost") as failed:
        play_on_the_double(story)
    [note] = failed.value.__notes__
    assert "Publish(by=0, events=3, calls=99)" in note


class Tampered(MemoryReplica):
    """Every item counts one event more than it should."""

    def open(self) -> Store:
        store = super().open()
        scan = store.scan

        def scan_tampered(table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]:
            for key, row in scan(table, after=after):
                item = decode_value(row.data or b"")
                more = encode_value({**item, "applied": item["applied"] + 1})
                yield key, msgspec.structs.replace(row, data=more)

        store.scan = scan_tampered  # type: ignore[method-assign]
        return store


def test_the_judge_sees_that_events_were_applied_twice() -> None:
    """In all replicas alike: comparing them with each other would not show it."""
    story = Story([Publish(0, 3)], shards=1)
    with pytest.raises(AssertionError, match="differs from the fold"):
        Run(DoublePlace(story, [Tampered()]), story).play()


def test_what_was_never_met_is_named() -> None:
    with pytest.raises(AssertionError, match="never met: late PutRecords\n"):
        check_met(Counter({"acknowledged": 3}), ["acknowledged", "late PutRecords"])
