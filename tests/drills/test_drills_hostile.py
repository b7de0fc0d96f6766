"""Drills that should fail, each for one reason: what a drill may not be called passed with."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from binlog.drills import Action, Drill, drill, twin
from binlog.drills.background import Background
from binlog.drills.declared import Declared
from binlog.drills.harm import harm, never_so, parts_of_files
from binlog.drills.interrupts import Interrupts
from binlog.drills.ledger import Book, Entry, Told
from binlog.drills.result import DrillResult
from binlog.drills.runbook_page import runbook
from binlog.drills.runner import run_drill
from binlog.drills.waiting import Waiting

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

PUTS = [Action(type="PutItem", key=f"k{n}", data={"n": n}) for n in range(5)]
REBUILD = "binlog rebuild {log} {live}"
NOTHING = {REBUILD: None}


def made(script: Callable[[Drill], None], *, goes_on: bool = False) -> Declared:
    """A drill of these tests; its twin leaves the rebuild out."""
    script.__doc__ = "A story."
    marked = twin("nothing is rebuilt", NOTHING)(script)
    return drill("a-test", title="A test", looks="-", take_back="-", goes_on=goes_on)(marked)


def begin(d: Drill) -> None:
    d.init(partitions=1)
    d.append(PUTS)
    with d.disaster("the store is not there", changes="live"):
        d.target.path("live").write_bytes(b"")


def recover(d: Drill) -> None:
    with d.phase("restore"):
        d.run(REBUILD)


def ran(script: Callable[[Drill], None], *, is_twin: bool = False) -> DrillResult:
    declared = made(script)
    return run_drill(declared, twin=declared.twins[0] if is_twin else None)


def why(script: Callable[[Drill], None]) -> str:
    """Why it failed; the reference is that all of it but one thing is right."""
    result = ran(script)
    assert not result.passed
    return result.failure or ""


def test_what_is_acknowledged_after_the_judgement_is_not_passed_over() -> None:
    """A load that goes on after the last look: nobody knows what became of it."""

    def early(d: Drill) -> None:
        begin(d)
        recover(d)
        d.holds("live")
        d.append([Action(type="PutItem", key="late", data={"n": 1})])

    assert "5 when it was judged, 1 since" in why(early)


def test_the_worst_of_what_is_measured_is_what_is_lost() -> None:
    """A second table, which is whole, must not paint over the one that is not."""

    def both(d: Drill) -> None:
        begin(d)
        d.run("binlog rebuild {log} {aside}")
        with d.phase("restore"):
            d.run("binlog rebuild {log} {live} --until 2")
        d.run("binlog rebuild {log} {live} --until '{{\"0\": 2}}'")
        d.holds("live")
        d.holds("aside")

    assert ran(both).measured.rpo_events == 3


def test_a_verdict_without_evidence_is_none() -> None:
    """ "It is all right" is what every report says that nobody believes."""

    def trusting(d: Drill) -> None:
        begin(d)
        recover(d)
        d.holds("live")
        d.expect("all is well", True, " ")

    assert "there is no evidence" in why(trusting)


def test_a_recovery_is_timed_from_the_disaster_on() -> None:
    """Phases before it: the time until recovery would be less than nothing, and below any goal."""

    def before(d: Drill) -> None:
        d.init(partitions=1)
        d.append(PUTS)
        recover(d)
        with d.disaster("too late", changes="live"):
            d.target.path("live").write_bytes(b"")
        d.run(REBUILD)
        d.holds("live")

    assert "begins before there is a disaster" in why(before)


def test_who_only_detects_has_not_recovered_in_time() -> None:
    """The rebuild that stands outside of all phases took as long as it liked."""

    def untimed(d: Drill) -> None:
        begin(d)
        with d.phase("detect"):
            d.note("nobody answers")
        d.run(REBUILD)
        d.holds("live")

    assert "none of them is one of restore, switch, verify" in why(untimed)


def test_a_consumer_that_ended_by_itself_is_told_at_the_end_at_the_latest() -> None:
    """Nobody waited for it, or asked it anything: it has died unheard."""

    def unheard(d: Drill) -> None:
        begin(d)
        recover(d)
        d.start("binlog replicate {copy} {aside}")
        d.wait("it to end", lambda: "ended" in d.processes.last_words()[0], alone=False)
        d.holds("live")

    def ended(d: Drill) -> None:
        begin(d)
        recover(d)
        died = d.start("binlog replicate {copy} {aside}")
        while died.state == "running":
            pass
        died.end()
        d.holds("live")

    for script in (unheard, ended):
        assert "by itself" in why(script)


def test_a_command_that_is_ended_and_says_so_by_its_status_is_told() -> None:
    """What an operator stops has to stop well: a trace at its end is a finding."""

    def badly(d: Drill) -> None:
        begin(d)
        recover(d)
        started = d.start(
            "sh -c 'trap \"echo no; exit 7\" TERM; echo up; while :; do sleep 0.1; done'"
        )
        d.wait("it to be there", started.said)
        started.end()
        d.holds("live")

    assert "ended with 7 on SIGTERM: no" in why(badly)


def test_a_producer_that_failed_unseen_fails_the_drill() -> None:
    """The end of a drill ends its load, and asks what became of it."""

    def broken(d: Drill) -> None:
        begin(d)
        recover(d)

        def source(random: object, name: str) -> object:
            raise ZeroDivisionError("no more orders")

        load = d.load(source=source)  # type: ignore[arg-type]
        while not load.failed:
            pass
        d.holds("live")

    assert "no more orders" in why(broken)


# -- disasters ------------------------------------------------------------------------------------


def test_what_a_consumer_did_meanwhile_is_no_disaster() -> None:
    """The table was another one afterwards, as it is at any time under load: nothing was done to it."""

    def harmless(d: Drill) -> None:
        d.init(partitions=1)
        d.load(100)
        d.replicate("live")
        d.flow(20)
        d.caught_up("live")
        with d.disaster("nothing is done", changes=("live", "log")):
            d.flow(50)
            d.caught_up("live")
        with d.phase("restore"):
            d.run(REBUILD + " --dry-run", exit=(0, 1, 2, 3))
        d.settle("live")
        d.holds("live")

    assert why(harmless).startswith("it happened: nothing is done: nothing is changed by it")


def test_what_was_done_is_told_from_what_went_on() -> None:
    """Five rows by hand, under load; and that they were put right again, so that nothing is left of it."""
    undone: list[bool] = []

    def by_hand(d: Drill) -> None:
        d.init(partitions=1)
        d.load(100)
        consumer = d.replicate("live")
        d.flow(100)
        d.caught_up("live")
        before = d.target.path("live").with_suffix(".kept")
        with d.disaster("rows by hand", changes="live"):
            consumer.end()
            shutil.copy(d.target.path("live"), before)
            d.target.corrupt("live", "orders", 5)
            if undone:
                shutil.copy(before, d.target.path("live"))
        recover(d)
        d.stop_load()
        d.run(REBUILD)
        d.holds("live")

    declared = made(by_hand)
    result = run_drill(declared)
    assert (result.passed, result.failure) == (True, None)
    said = result.verdicts[0].evidence
    assert "is another one" in said or "no event has made" in said
    undone.append(True)
    failure = run_drill(declared).failure or ""
    assert failure.startswith("it happened: rows by hand: nothing is changed by it")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"a": (2, "x"), "b": (3, "y"), "c": (1, "z")}, ""),
        ({"a": (2, "x")}, "b is gone"),
        ({"a": (1, "w"), "b": (2, "q")}, "a has gone back from 2 to 1"),
        ({"a": (2, "X"), "b": (2, "q")}, "a is another one"),
        ({}, "a is gone, b is gone"),
    ],
)
def test_what_only_moves_forward_is_harmed_by_nobody(
    after: dict[str, tuple[int, str]], said: str
) -> None:
    """A higher version is an event's, or a file that grew; anything else is somebody's hand."""
    assert harm({"a": (2, "x"), "b": (2, "q")}, after) == said


def test_what_is_just_being_written_does_not_stand_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archiver is at work when a disaster looks at its folder: what it had seen was gone when it read."""
    (tmp_path / "a.seg").write_bytes(b"whole")
    (tmp_path / ".new-1").write_bytes(b"ha")
    before = list(parts_of_files(tmp_path))
    assert [name for name, _ in before] == ["a.seg"]
    gone = [tmp_path / "a.seg", tmp_path / ".new-2", tmp_path / "b.seg"]
    monkeypatch.setattr(Path, "rglob", lambda *_: iter(gone))
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    assert list(parts_of_files(tmp_path)) == before


def test_an_item_that_no_event_has_made_is_somebodys_hand() -> None:
    """Its version tells nothing: a consumer was there, too, before or after."""
    rows: list[tuple[str, Told]] = [
        ("a", "acknowledged"),
        ("a", "open"),
        ("b", "unknown"),
        ("c", "acknowledged"),
    ]
    entries = [
        Entry(id=f"e{n}", action=Action(type="PutItem", key=key, data={"n": n}), tag="", told=told)
        for n, (key, told) in enumerate(rows)
    ]
    right = {"a": {"id": "a", "n": 1}, "b": {"id": "b", "n": 2}, "c": {"id": "c", "n": 3}}
    assert never_so(entries, right, {}) == ""
    assert never_so(entries, {**right, "a": {"id": "a", "n": 0}}, {}) == ""  # not yet applied
    by_hand = {**right, "b": {"id": "b", "n": 7}}
    assert never_so(entries, by_hand, {}) == "no event has made b what it is"
    assert never_so(entries, {**right, "d": {"id": "d"}}, {}) == "no event has made d what it is"
    assert never_so(entries, {key: {"id": "?"} for key in right}, {}) == ""  # another view of them


def test_who_is_only_slow_has_its_time_before_it_is_judged() -> None:
    """A twin's wait is short; what its consumer had not yet applied then was called lost, and it caught."""

    def still(applied: Iterator[int], acknowledged: int, *, command_s: float = 0.0) -> int:
        seen = [0]

        def count(_: object) -> int:
            seen.append(next(applied, seen[-1]))
            return seen[-1]

        book = Book()
        book._acknowledged = acknowledged
        waiting = object.__new__(Waiting)
        for name, value in {
            "target": SimpleNamespace(wait_s=60.0, twin_wait_s=0.2),
            "_record": SimpleNamespace(commands=[SimpleNamespace(seconds=command_s)]),
            "processes": SimpleNamespace(go_on=True, interrupts=Interrupts()),
            "book": book,
            "_applied": count,
        }.items():
            setattr(waiting, name, value)
        waiting.stand_still("live")
        return seen[-1]

    assert still(iter(range(1, 12)), 10) == 10
    assert still(iter([1, 2, 2, 2]), 10) == 2  # it has stopped: that is to be judged
    slowly = [0] * 10 + [10]
    assert still(iter(slowly), 10) == 0
    assert (
        still(iter(slowly), 10, command_s=60.0) == 10
    )  # it has not begun, where a command takes a minute


def test_who_may_have_ended_by_itself_is_ended_whatever_its_status_is() -> None:
    """What gives up in an outage does so at any moment: also between the look and the signal."""

    def gone(d: Drill) -> None:
        begin(d)
        recover(d)
        script = 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
        stays, goes = d.start(f"sh -c '{script}'"), d.start("sh -c 'exit 3'")
        d.wait("it to be there", stays.said, alone=True)
        while not goes.has_ended:
            pass
        assert (stays.end(or_ended=True), goes.end(or_ended=True)) == (3, 3)
        d.holds("live")

    result = ran(gone)
    assert (result.passed, result.failure) == (True, None)


# -- twins ---------------------------------------------------------------------------------------


def test_two_twins_of_one_name_are_refused() -> None:
    """The report of the second would be written over the first's."""

    def either(d: Drill) -> None:
        """A story."""
        begin(d)

    words = "one two three four five six seven eight"
    twins = twin(f"{words} nine", NOTHING)(twin(f"{words} ten", NOTHING)(either))
    with pytest.raises(ValueError, match="called alike"):
        drill("x", title="", looks="", take_back="")(twins)


def test_a_twin_that_nobody_judged_is_not_caught() -> None:
    """It failed since nothing was measured: that would fail whatever was rebuilt."""

    def blind(d: Drill) -> None:
        begin(d)
        recover(d)

    result = ran(blind, is_twin=True)
    assert (result.passed, result.caught) == (False, False)


def test_a_twin_is_not_caught_by_what_was_wrong_before() -> None:
    """The drill itself is broken there; the sabotage may have done no harm at all."""

    def wrong_before(d: Drill) -> None:
        begin(d)
        d.run("binlog rebuild {log} {live} --until '{{\"0\": 2}}'")
        d.run("binlog verify {live} {log}")
        d.run("binlog rebuild {log} {aside}")
        d.holds("live")
        recover(d)
        d.holds("aside")

    result = ran(wrong_before, is_twin=True)
    assert (result.passed, result.caught_by) == (False, ())
    assert result.sabotaged is not None


def test_a_twin_is_not_caught_by_a_comparison_that_could_not_be_made() -> None:
    """That verify was refused is no finding of verify's."""

    def refused(d: Drill) -> None:
        begin(d)
        recover(d)
        d.run("binlog verify {copy} {log}")
        d.run("binlog rebuild {log} {live} --anew")
        with contextlib.suppress(Exception):
            d.run("binlog rebuild {log} {aside}")
        d.holds("aside")

    result = ran(refused, is_twin=True)
    assert (result.passed, result.caught) == (False, False)


def test_a_sabotage_of_which_only_a_part_was_done_is_not_caught() -> None:
    """Another command was renamed in the drill: what its name says is not what was tested."""

    def partly(d: Drill) -> None:
        begin(d)
        recover(d)
        d.holds("live")

    declared = made(partly)
    both = msgspec.structs.replace(declared.twins[0], instead={**NOTHING, "binlog gone": None})
    result = run_drill(declared, twin=both)
    assert (result.passed, result.caught, result.sabotaged) == (False, False, None)
    assert run_drill(declared, twin=declared.twins[0]).caught


def test_who_is_started_again_by_what_watches_over_it_is_no_step() -> None:
    """Whether it gave up in the outage or not depends on the moment: the runbook must not."""

    def watched(d: Drill) -> None:
        begin(d)
        recover(d)
        kept: list[Background] = []

        def watch() -> None:
            if kept[-1].has_ended:
                kept[-1].forgive()
                kept.append(d.replicate("live", again=True))

        with d.phase("switch"):
            kept.append(d.start("sh -c 'exit 3'"))
            while not kept[0].has_ended:
                pass
            d.append([Action(type="PutItem", key="late", data={"n": 1})])
            d.caught_up("live", watch=watch)
        d.holds("live")

    declared = made(watched)
    result = run_drill(declared)
    assert (result.passed, result.failure) == (True, None)
    page = runbook(declared, result)
    assert "exit 3" in page
    assert 'binlog replicate "$LOG" "$LIVE" &' not in page
