"""`halted` and `resolve`: what stopped a partition, what may be decided, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from binlog.clock import SystemClock
from tests.cli.halting import PARAMS, HaltingLog
from tests.cli.running import binlog


@pytest.fixture
def log(tmp_path: Path) -> HaltingLog:
    return HaltingLog(tmp_path / "log")


@pytest.fixture
def bound(log: HaltingLog) -> HaltingLog:
    """Number 1 never came: the third frame to wait is one too many."""
    log.send([2, 3, 4])
    return log


@pytest.fixture
def expired(log: HaltingLog) -> HaltingLog:
    """Number 1 never came, and the time for it is over."""
    log.send([2, 3])
    log.clock.advance(PARAMS.session_life_ms + 1)
    log.send([1], session=2, born_ms=log.clock.now_ms())
    return log


def halts(log: HaltingLog) -> list[dict[str, Any]]:
    ran = binlog("halted", log.address, "--json")
    [found] = ran.lines
    assert ran.status == (1 if found["halts"] else 0)
    return list(found["halts"])


def resolve(log: HaltingLog, decision: str, *more: str) -> dict[str, Any]:
    [halt] = halts(log)
    ran = binlog("resolve", log.address, "0", halt["position"], decision, "--json", *more)
    assert ran.status == 0, ran.err
    [document] = ran.lines
    return document


def items(log: HaltingLog) -> set[str]:
    store = f"sqlite:{log.path.parent / 'replica.db'}"
    ran = binlog("rebuild", log.address, store)
    assert ran.status == 0, ran.err
    return {line["id"] for line in binlog("dump", store, "--table", "users").lines}


def decisions(halt: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each.pop("decision"): each for each in halt["decisions"]}


# -- halted --------------------------------------------------------------------------------------


def test_a_log_that_runs_has_no_halts(log: HaltingLog) -> None:
    """Status 0 and an empty list; frames that merely wait are no halt."""
    log.send([1, 3, 4])
    assert halts(log) == []
    assert binlog("halted", log.address).out == "no partition is halted\n"


def test_a_halt_is_named_with_all_that_decides_it(bound: HaltingLog) -> None:
    """Position, place, rule, session, what is missing, and what each decision would do."""
    [halt] = halts(bound)
    assert halt["partition"] == 0
    assert halt["rule"] == "hold-bound"
    assert halt["session"] == f"{1:032x}.1"
    assert halt["numbers"] == [1, 1]
    assert halt["offset"] == 0
    assert len(halt["digest"]) == 64
    assert " byte " in halt["where"]
    assert set(decisions(halt)) == {"hold", "gap", "skip"}
    text = binlog("halted", bound.address)
    assert text.status == 1
    assert f"binlog resolve {bound.address} 0 {halt['position']} hold" in text.out
    assert "the missing frame is not in the log so far" in text.out


@pytest.mark.parametrize("verb", [("rebuild", "memory:"), ("replicate", "memory:", "--once")])
def test_a_halt_stops_every_reader_with_what_to_do(
    bound: HaltingLog, verb: tuple[str, ...]
) -> None:
    """Status 3; `status` and `check` say no."""
    ran = binlog(verb[0], bound.address, *verb[1:])
    assert ran.status == 3
    assert "binlog halted" in ran.err
    assert halts(bound)[0]["position"] in ran.err
    assert binlog("check", bound.address).status == 1
    ran = binlog("status", bound.address)
    assert ran.status == 1
    assert "halted: hold-bound" in ran.out


def test_hold_comes_first_and_loses_nothing_where_the_frame_lies_ahead(bound: HaltingLog) -> None:
    """Also where the bound is reached again before it."""
    for numbers in ([5, 6], [7, 8, 9, 1]):
        bound.send(numbers)
    [halt] = halts(bound)
    assert halt["decisions"][0]["decision"] == "hold"
    tried = decisions(halt)
    assert tried["hold"]["loses_nothing"] is True
    assert tried["hold"]["next_halt"] is not None
    assert not any(tried[other]["loses_nothing"] for other in ("gap", "skip"))
    assert tried["gap"]["late"] == 1
    assert "loses nothing" in binlog("halted", bound.address).out


def test_an_undecodable_record_can_only_be_skipped(log: HaltingLog) -> None:
    """What it held cannot be known, and that is said."""
    log.send([1])
    log.write_rubbish()
    log.send([2])
    [halt] = halts(log)
    assert (halt["rule"], halt["session"], halt["numbers"]) == ("undecodable", None, None)
    assert decisions(halt) == {
        "skip": {
            "accepted": 1,
            "dropped": None,
            "given_up": None,
            "late": 0,
            "closed": 0,
            "loses_nothing": False,
            "next_halt": None,
        }
    }
    resolve(log, "skip")
    assert items(log) == {"s1-1", "s1-2"}


# -- what the decisions do -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "accepted", "dropped", "given_up"),
    [("gap", 3, 0, [1, 1]), ("hold", 0, 0, None), ("skip", 0, 1, None)],
)
def test_the_prospect_of_a_full_hold(
    bound: HaltingLog, decision: str, accepted: int, dropped: int, given_up: object
) -> None:
    """Nothing missing lies ahead: hold waits, gap gives up the number, skip drops the frame."""
    found = decisions(halts(bound)[0])[decision]
    assert (found["accepted"], found["dropped"], found["given_up"]) == (accepted, dropped, given_up)


@pytest.mark.parametrize(
    ("decision", "left"),
    [("accept", {"s1-2", "s1-3", "s2-1"}), ("drop", {"s2-1"})],
)
def test_frames_of_an_expired_session_are_accepted_or_dropped(
    expired: HaltingLog, decision: str, left: set[str]
) -> None:
    """What was foretold is what a rebuild then does."""
    [halt] = halts(expired)
    assert halt["rule"] == "expired-held"
    found = decisions(halt)[decision]
    assert found["accepted"] == len(left)
    assert found["dropped"] == 3 - len(left)
    resolve(expired, decision)
    assert halts(expired) == []
    assert items(expired) == left


@pytest.mark.parametrize(
    ("decision", "then", "left"),
    [
        ("gap", [1], {"s1-2", "s1-3", "s1-4"}),
        ("hold", [1], {"s1-1", "s1-2", "s1-3", "s1-4"}),
    ],
)
def test_what_was_decided_holds_for_what_comes_later(
    bound: HaltingLog, decision: str, then: list[int], left: set[str]
) -> None:
    """The frame that was missing comes after all: too late for a gap, in time for a hold."""
    resolve(bound, decision)
    bound.send(then)
    assert items(bound) == left


# -- resolve -------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing(bound: HaltingLog) -> None:
    """It shows the record and its effect."""
    before = sum(path.stat().st_size for path in bound.path.glob("*.seg"))
    document = resolve(bound, "gap", "--dry-run")
    assert document["written"] is None
    assert document["resolve"]["decision"] == "gap"
    assert document["resolve"]["position"] == halts(bound)[0]["position"]
    assert document["effect"]["accepted"] == 3
    assert sum(path.stat().st_size for path in bound.path.glob("*.seg")) == before
    assert len(halts(bound)) == 1
    ran = binlog("resolve", bound.address, "0", halts(bound)[0]["position"], "gap", "--dry-run")
    assert "gives up the numbers 1 to 1" in ran.out
    assert ran.out.endswith("nothing written (dry run)\n")


def test_it_reads_back_which_one_counts(bound: HaltingLog) -> None:
    """Ours, where nobody was before us; a control record that takes an offset of its own."""
    [halt] = halts(bound)
    ran = binlog("resolve", bound.address, "0", halt["position"], "gap")
    assert ran.status == 0
    assert "it counts" in ran.out
    ran = binlog("cat", bound.address, "--control", "--type", "binlog.resolve", "--json")
    [control] = ran.lines
    assert control["offset"] == 4
    assert control["data"]["decision"] == "gap"


def test_the_first_decision_counts_and_a_second_is_refused(bound: HaltingLog) -> None:
    """After it there is no such halt any more."""
    [halt] = halts(bound)
    resolve(bound, "gap")
    ran = binlog("resolve", bound.address, "0", halt["position"], "skip")
    assert ran.status == 2
    assert "not halted" in ran.err


def test_a_race_is_lost_with_status_1(bound: HaltingLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people decide at once: the first record counts, and the second is told."""
    import binlog.cli.resolve as module

    [halt] = halts(bound)
    find = module._find
    raced = False

    def find_and_lose(*args: Any) -> Any:
        nonlocal raced
        found = find(*args)
        if not raced:
            raced = True
            assert binlog("resolve", bound.address, "0", halt["position"], "skip").status == 0
        return found

    monkeypatch.setattr(module, "_find", find_and_lose)
    ran = binlog("resolve", bound.address, "0", halt["position"], "gap", "--json")
    assert ran.status == 1
    [document] = ran.lines
    assert document["decision"] == "skip"
    assert document["counts"] != document["written"]


@pytest.mark.parametrize(
    ("partition", "position", "decision"),
    [
        ("1", "", "gap"),  # no such partition
        ("-1", "", "gap"),
        ("0", "0:1", "gap"),  # no such halt
        ("0", "nonsense", "gap"),
        ("0", "", "accept"),  # not a decision of this rule
        ("0", "", "perhaps"),
        ("zero", "", "gap"),
    ],
)
def test_what_does_not_name_a_halt_and_its_decision_is_refused(
    bound: HaltingLog, partition: str, position: str, decision: str
) -> None:
    """Status 2, and nothing is written."""
    where = position or halts(bound)[0]["position"]
    ran = binlog("resolve", bound.address, "--", partition, where, decision)
    assert (ran.status, ran.out) == (2, "")
    assert len(halts(bound)) == 1


def test_a_resolve_written_now_is_not_expired(bound: HaltingLog) -> None:
    """It is stamped by the log as it is written, however old the halt."""
    assert SystemClock().now_ms() > 0
    bound.clock.advance(10 * PARAMS.session_life_ms)
    bound.send([1], session=9, born_ms=bound.clock.now_ms())
    [halt] = halts(bound)
    assert halt["rule"] == "hold-bound"
    resolve(bound, "gap")
    assert items(bound) == {"s1-2", "s1-3", "s1-4", "s9-1"}
