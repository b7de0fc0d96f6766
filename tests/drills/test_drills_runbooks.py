"""Runbooks: what was typed, as it was typed; current apart from timings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from binlog.drills import Drill, drill, twin
from binlog.drills.declared import Declared, load_drills
from binlog.drills.report_html import write_reports
from binlog.drills.result import Command, DrillResult, Mark, Phase
from binlog.drills.runbooks import (
    INDEX,
    lasting,
    read_results,
    runbook,
    stale,
    stale_without_running,
    variables,
    write_runbooks,
)
from binlog.errors import RefusedError
from tests.cli.running import binlog
from tests.drills.sample import sample_failed, sample_result

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"


def declared() -> Declared:
    result = sample_result()

    def script(d: Drill) -> None:
        raise AssertionError("nobody runs it")

    script.__doc__ = result.story
    declare = drill(
        result.name, title=result.title, looks="Readers get errors.", take_back=result.take_back
    )
    return declare(twin("the tail is left out", {})(script))


def known() -> dict[str, Declared]:
    return {"table-dropped": declared()}


# -- those of this project -----------------------------------------------------------------------


def test_the_runbooks_are_those_of_the_drills_and_say_what_they_say() -> None:
    """What is not of a run: names, how it looks, how to take it back, targets, the index.

    The commands are compared where the drills run.
    """
    drills = {
        name: each
        for name, each in load_drills([ROOT / "scripts/drills"]).items()
        if "embedded" in each.on
    }
    found = stale_without_running(drills, RUNBOOKS)
    assert not found, "\n".join(
        [*found, "binlog drill run all --report DIR; binlog drill runbook DIR docs/runbooks"]
    )


def test_no_runbook_names_an_address_of_the_run() -> None:
    """Who copies a line types his own address, not the drill's."""
    for path in sorted(RUNBOOKS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        text = re.sub("^    [A-Z_]+='.*", "", text, flags=re.M)  # what an address looks like
        for word in ("sqlite:", "file:", "/tmp", "{log}", "{live}"):
            assert word not in text, (path.name, word)


# -- a page --------------------------------------------------------------------------------------


def test_a_page_has_the_recovery_in_order_with_variables_for_addresses() -> None:
    text = runbook(declared(), sample_result())
    steps = text.partition("## What to type")[2].partition("## How long")[0]
    assert [line for line in steps.splitlines() if line.startswith(("###", "    binlog"))] == [
        "### 1. detect: see that it is this",
        '    binlog status "$LOG" "$LIVE"    # ends with 1 or 3',
        "### 2. decide: see what the recovery would do",
        "### 3. restore: do it",
        '    binlog rebuild "$LOG" "$LIVE" --snapshots "$SNAPSHOTS"',
        "### 4. verify: see that it is right",
        '    binlog verify "$LIVE" "$LOG"',
        "### 5. switch: let readers and consumers have it",
    ]
    assert "    LOG='...'        # the log: kinesis://NAME?region=REGION, or file:DIR" in steps
    assert "Nothing to type." in steps
    assert "## What has to be there" in text
    looked = replace(sample_result().commands[0], typed="binlog status {log} --json")
    only = replace(sample_result(), commands=(looked,))
    assert "## What has to be there" not in runbook(declared(), only)
    before = text.partition("## What has to be there")[2].partition("##")[0]
    assert '    binlog snapshot "$LIVE" "$SNAPSHOTS"' in before


def test_a_page_says_what_the_recovery_moved_and_what_it_cost() -> None:
    """Between the marks: another figure tonight makes no page stale."""
    text = runbook(declared(), sample_result())
    spent = "The recovery read 403.2 KiB and wrote 96.0 KiB, by 58 requests, for $0.000258 at list"
    assert spent in text.partition("<!-- measured -->")[2].partition("<!-- /measured -->")[0]


def note(text: str, at_s: float) -> Mark:
    return Mark(kind="note", text=text, begin_s=at_s, end_s=at_s)


def test_what_goes_on_is_ended_or_is_done_by_hand_stands_where_it_was() -> None:
    """A recovery is more than commands that end; other remarks are of that run alone."""
    follow = "binlog replicate file:log sqlite:live.db"
    marks = (
        *sample_result().marks,
        note(f"started: {follow}", 1.0),
        note("by hand: mend what reads sqlite:live.db", 8.7),
        note("12 writers were told", 8.75),
        note(f"ended: {follow}", 8.825),
        note(f"started: {follow}", 10.3),
    )
    text = runbook(declared(), replace(sample_result(), marks=marks))
    before, _, after = text.partition("## What to type")
    line = '    binlog replicate "$LOG" "$LIVE" &    # goes on'
    assert line in before.partition("## What has to be there")[2]
    assert line in after.partition("### 5.")[2]
    decide = after.partition("### 2.")[2].partition("### 3.")[0]
    assert '    # by hand: mend what reads "$LIVE"\n    kill PID    # of binlog replicate' in decide
    assert "writers" not in text


def test_a_store_is_not_rebuilt_below_a_consumer_that_still_writes() -> None:
    """Unless the recovery has ended it, whoever types a rebuild is told to; a dry run is none."""
    remark = '    # end what still writes to "$LIVE", such as binlog replicate\n'
    rebuild = '    binlog rebuild "$LOG" "$LIVE" --snapshots "$SNAPSHOTS"'
    assert f"{remark}{rebuild}" in runbook(declared(), sample_result())
    ended = note("ended: binlog replicate file:log sqlite:live.db", 8.83)
    marks = (*sample_result().marks, ended)
    assert remark not in runbook(declared(), replace(sample_result(), marks=marks))
    for typed in ("binlog rebuild {log} {live} --dry-run", "binlog rebuild {log} {aside}"):
        other = replace(sample_result().commands[2], typed=typed)
        text = runbook(declared(), replace(sample_result(), commands=(other,)))
        assert remark not in text


def test_names_of_a_drills_own_are_told_with_where_they_are_found() -> None:
    """Not only that they are found somewhere on the way."""
    command = replace(
        sample_result().commands[2], typed="binlog rebuild {log} {live} --until {end}"
    )
    result = replace(sample_result(), commands=(command,))
    said = replace(declared(), names={"end": "as `binlog digest` prints it"})
    assert "    END='...'   # as `binlog digest` prints it\n" in runbook(said, result)
    assert "    END='...'   # as it is found on the way\n" in runbook(declared(), result)


def test_an_index_leads_only_to_pages_that_are_there(tmp_path: Path) -> None:
    """Who runs one drill of many has one page."""
    more = {**known(), "region-lost": replace(declared(), name="region-lost")}
    write_runbooks(more, [sample_result()], tmp_path)
    index = (tmp_path / INDEX).read_text()
    assert "(table-dropped.md)" in index
    assert "region-lost" not in index


def test_a_command_on_the_edge_of_two_phases_is_in_its_own() -> None:
    """Times are rounded, so that the last of one may begin where the next does."""
    phases = (
        Phase(name="restore", begin_s=8.0, end_s=9.0),
        Phase(name="verify", begin_s=9.0, end_s=10.0),
    )
    commands = tuple(
        replace(sample_result().commands[2], phase=phase, begin_s=begin_s, typed=f"binlog {phase}")
        for phase, begin_s in (("restore", 7.999), ("verify", 8.999))
    )
    text = runbook(declared(), replace(sample_result(), phases=phases, commands=commands))
    steps = text.partition("### 1.")[2]
    assert steps.index("binlog restore") < steps.index("### 2.") < steps.index("binlog verify")
    assert steps.count("    binlog ") == 2 + text.partition("## Rehearse")[2].count("    binlog ")


def test_a_command_that_is_repeated_until_it_says_so_stands_there_once() -> None:
    command = sample_result().commands[1]
    many: tuple[Command, ...] = tuple(
        replace(command, begin_s=command.begin_s + n / 100) for n in range(9)
    )
    text = runbook(declared(), replace(sample_result(), commands=many))
    assert text.count('    binlog status "$LOG"') == 1


def test_braces_of_a_command_are_variables_and_doubled_ones_are_braces() -> None:
    typed = """binlog blame {live} --log {log} --key '{{"id": "o1"}}'"""
    assert variables(typed) == """binlog blame "$LIVE" --log "$LOG" --key '{"id": "o1"}'"""


def test_a_copy_of_files_names_the_places_and_not_the_drills_folders() -> None:
    """``cp`` takes paths, where all other commands take addresses."""
    command = replace(sample_result().commands[2], typed="cp copy/{segment} archive/{segment}")
    addresses = {"copy": "file:copy", "archive": "file:archive"}
    text = runbook(declared(), replace(sample_result(), commands=(command,), addresses=addresses))
    assert '    cp "$COPY"/"$SEGMENT" "$ARCHIVE"/"$SEGMENT"    # paths of folders; ' in text
    assert "    COPY='...'     # the archive's copy in another region" in text


@pytest.mark.parametrize(
    "result",
    [sample_failed(), replace(sample_result(), passed=False), replace(sample_result(), name="x")],
)
def test_a_runbook_is_made_of_a_run_of_its_own_that_passed(result: DrillResult) -> None:
    """A page of what did not work is worse than none."""
    with pytest.raises(RefusedError, match=r"run that passed|a result of x"):
        runbook(declared(), result)


# -- stale ---------------------------------------------------------------------------------------


def test_timings_do_not_make_a_page_stale_and_everything_else_does(tmp_path: Path) -> None:
    result = sample_result()
    write_runbooks(known(), [result], tmp_path)
    later = replace(
        result,
        seed=8,
        started_at="2027-01-01T00:00:00Z",
        measured=replace(result.measured, rto_s=3.0, rto={"restore": 3.0}, events=9),
        versions={"binlog": "9"},
    )
    assert stale(known(), [later], tmp_path) == []
    other = replace(result.commands[2], typed="binlog rebuild {log} {live} --fresh")
    changed = replace(result, commands=(*result.commands[:2], other, result.commands[3]))
    [difference] = stale(known(), [changed], tmp_path)
    assert '-    binlog rebuild "$LOG" "$LIVE" --snapshots "$SNAPSHOTS"' in difference
    assert '+    binlog rebuild "$LOG" "$LIVE" --fresh' in difference


@pytest.mark.parametrize("field", ["title", "looks", "take_back", "story"])
def test_words_of_the_drill_are_compared_without_a_run(tmp_path: Path, field: str) -> None:
    write_runbooks(known(), [sample_result()], tmp_path)
    assert stale_without_running(known(), tmp_path) == []
    changed = {"table-dropped": replace(declared(), **{field: "something else"})}
    assert stale_without_running(changed, tmp_path) != []


def test_pages_that_lack_or_are_of_no_drill_are_found(tmp_path: Path) -> None:
    assert stale_without_running(known(), tmp_path) == [
        "table-dropped.md: is not there",
        f"{INDEX}: is not there",
    ]
    write_runbooks(known(), [sample_result()], tmp_path)
    (tmp_path / "old.md").write_text("old")
    assert stale_without_running(known(), tmp_path) == ["old.md: there is no such drill"]


def test_only_what_is_marked_is_left_out_of_the_comparison() -> None:
    text = runbook(declared(), sample_result())
    assert "| detect | 0.62 s |" in text
    assert "0.62 s" not in lasting(text)
    assert "At most 30 s by its target" in lasting(text)


# -- the command ---------------------------------------------------------------------------------


def test_the_command_makes_pages_of_a_folder_of_reports(tmp_path: Path) -> None:
    drills = ROOT / "scripts/drills/drill_table_dropped.py"
    real = load_drills([drills])["table-dropped"]
    result = replace(
        sample_result(),
        title=real.title,
        story=real.story,
        take_back=real.take_back,
        goals=real.goals,
    )
    write_reports([result, sample_failed()], tmp_path / "reports")
    arguments = ["drill", "runbook", str(tmp_path / "reports"), str(tmp_path / "books")]
    arguments += ["--drills", str(drills)]
    done = binlog(*arguments)
    assert (done.status, done.out.split()) == (
        0,
        [str(tmp_path / "books/table-dropped.md"), str(tmp_path / f"books/{INDEX}")],
    )
    assert binlog(*arguments, "--check").status == 0
    page = tmp_path / "books/table-dropped.md"
    page.write_text(page.read_text().replace("binlog verify", "binlog digest"))
    done = binlog(*arguments, "--check")
    assert done.status == 1
    assert '+    binlog verify "$LIVE" "$LOG"' in done.out


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    drills = str(ROOT / "scripts/drills/drill_table_dropped.py")
    done = binlog("drill", "runbook", str(tmp_path), str(tmp_path / "books"), "--drills", drills)
    assert done.status == 2
    assert "there are no results of drills" in done.err
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(RefusedError, match="no result of a drill"):
        read_results(tmp_path)


def test_of_a_drill_that_failed_there_is_no_page_and_the_others_have_theirs(tmp_path: Path) -> None:
    """One that fails does not keep all pages old, and none is made of what did not work."""
    failed = replace(sample_result(), name="region-lost", passed=False, failure="it fell over")
    write_reports([sample_result(), failed], tmp_path / "reports")
    drills = str(ROOT / "scripts/drills")
    books = tmp_path / "books"
    done = binlog("drill", "runbook", str(tmp_path / "reports"), str(books), "--drills", drills)
    assert done.status == 1
    assert "region-lost: no page, as it failed: it fell over" in done.err
    assert sorted(path.name for path in books.iterdir()) == [INDEX, "table-dropped.md"]
