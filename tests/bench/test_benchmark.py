"""The benchmark cannot rot, and cannot report the time of a wrong result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("eventsourcing", reason="the peer of the benchmark (extra: bench)")

from appliers.store import Reader
from scripts.benchmarks import kinesis, ours, straight
from scripts.benchmarks.main import main
from scripts.benchmarks.measure import Contender, Outcome, WrongResultError, contest
from scripts.benchmarks.workload import PARTITIONS, Items, digest_items, final_items, history
from scripts.standins.install import CannotRunError

EVENTS = 1_000
# The timer of pytest-timeout is a thread, and started workers are forked all the same.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_a_contender_with_another_table_than_the_oracle_ends_the_run() -> None:
    """Its time would mean nothing."""
    right, wrong = (
        Contender("right", lambda: Outcome(1.0, "a")),
        Contender("wrong", lambda: Outcome(9.0, "b")),
    )
    assert [m.amounts for m in contest([right, right], rounds=3, expected="a")] == [[1.0] * 3] * 2
    with pytest.raises(WrongResultError, match="wrong: table b, expected a"):
        contest([right, wrong], rounds=3, expected="a")


def test_the_command_fails_when_ours_loses_an_item(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One item missing, of all: exit 1 and no table."""
    original = ours.items_of

    def without_one(store: Reader) -> Items:
        items = original(store)
        items.popitem()
        return items

    monkeypatch.setattr(ours, "items_of", without_one)
    options = ["--small", "--only", "append", "--events", str(EVENTS), "--rounds", "3"]
    assert main([*options, "--directory", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "wrong result: binlog" in captured.err
    assert not captured.out
    assert not list(tmp_path.iterdir())


def test_a_run_prints_its_figures_and_writes_them_down(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Ratios with their goals, as Markdown and as JSON; nothing is left in the directory."""
    file = tmp_path / "figures.json"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = ["--small", "--only", "append-one", "--only", "workers", "--events", str(EVENTS)]
    options += ["--rounds", "3", "--markdown", "--json", str(file), "--directory", str(scratch)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert "| vs fdatasync of one line each |" in printed
    assert "| vs 1 worker |" in printed
    figures = json.loads(file.read_bytes())["figures"]
    assert [figure["contest"] for figure in figures] == ["append-one", "workers"]
    assert all(len(figure["ours"]["amounts"]) == 3 for figure in figures)
    assert not list(scratch.iterdir())


def test_all_ways_of_ours_and_both_straight_loops_arrive_at_the_oracles_table(
    tmp_path: Path,
) -> None:
    """What is compared has to be the same work: also where frames are full, and not."""
    spec = history(EVENTS)
    expected = digest_items(final_items(spec))
    full, small = tmp_path / "full", tmp_path / "small"
    ours.write_log(full, spec)
    ours.init(small)
    ours.publish(small, list(spec.batches(50)))
    for log in (full, small):
        ours.rebuild(log, tmp_path / f"{log.name}.sqlite")
        with ours.started_workers(log, 3) as workers:
            workers.replay()
            shared = workers.items()
        tables = [
            ours.items_of(ours.replay(log)),
            ours.items_in(tmp_path / f"{log.name}.sqlite"),
            shared,
            straight.items_of(straight.fold(log)),
            straight.items_of(straight.fold_lazily(log)),
        ]
        assert {digest_items(items) for items in tables} == {expected}
    frames = len(list(straight.stored_frames(full)))
    assert frames <= PARTITIONS + 1
    assert len(list(straight.stored_frames(small))) > 4 * frames


@pytest.mark.parametrize("key", ["kinesis-put", "kinesis-replay"])
def test_without_a_stand_in_its_figures_say_so_and_the_run_goes_on(
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """On a machine that has no Node.js and no index: a reason in their lines, no failure."""

    def no_server(*_: object) -> None:
        raise CannotRunError("no node here")

    monkeypatch.setattr(kinesis, "Server", no_server)
    options = ["--small", "--only", key, "--events", str(EVENTS), "--markdown"]
    assert main([*options, "--directory", str(tmp_path)]) == 0
    assert "no node here" in capsys.readouterr().out
