"""The runbooks as they are read at night: each line goes into a shell, and does what the page says."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.running import COMMAND, append, binlog

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs/runbooks").glob("*.md") if path.name != "README.md")
VARIABLE = re.compile(r"\$([A-Z_]+)")


def section(page: Path, title: str) -> str:
    return page.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_shell_takes_each_line_and_each_variable_is_set_first(page: Path) -> None:
    """Whoever copies a page does not learn at its third step that a name is missing."""
    steps = lines(section(page, "What to type"))
    subprocess.run(["bash", "-n"], input="\n".join(steps), text=True, check=True, timeout=20)
    known: set[str] = set()
    for step in steps:
        if assigned := re.match(r"([A-Z_]+)=", step):
            known.add(assigned[1])
            continue
        typed = step.partition("    #")[0]
        assert set(VARIABLE.findall(typed)) <= known, step
        for name in VARIABLE.findall(typed):
            assert f'"${name}"' in typed, (
                f"two words for a shell, if there is a blank in it: {step}"
            )


def test_a_table_that_was_dropped_is_back_after_the_page_was_typed(tmp_path: Path) -> None:
    """By bash, line for line, with addresses that have a blank in them."""
    log, live = f"file:{tmp_path}/the log", f"sqlite:{tmp_path}/live table.db"
    assert binlog("init", log, "--partitions", "2").status == 0
    append(log, *({"id": f"u{n}", "n": n} for n in range(20)))
    assert binlog("rebuild", log, live).status == 0
    before = binlog("dump", live, "--table", "users").lines
    assert len(before) == 20
    with closing(sqlite3.connect(live.removeprefix("sqlite:"))) as database:
        database.execute("DROP TABLE users")
    shell = {
        **{name: text for name, text in os.environ.items() if not name.startswith("BINLOG")},
        "PYTHONPATH": str(ROOT),
        "LOG": log,
        "LIVE": live,
    }
    shell.pop("COVERAGE_PROCESS_START", None)
    run = f'binlog() {{ "{sys.executable}" -m binlog.cli "$@"; }}; '
    typed = 0
    for line in lines(section(ROOT / "docs/runbooks/table-dropped.md", "What to type")):
        if line.startswith(("#", "LOG=", "LIVE=", "SNAPSHOTS=")):
            continue
        typed += 1
        command, _, remark = line.partition("    # ")
        if command.endswith(" &"):
            _follows_until_killed(command.removesuffix(" &"), shell, log, live)
            continue
        statuses = {int(status) for status in re.findall(r"\d", remark)} or {0}
        ran = subprocess.run(
            ["bash", "-c", run + command], env=shell, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        assert ran.returncode in statuses, (line, ran)
    assert typed == 5
    after = binlog("dump", live, "--table", "users").lines
    assert [item for item in after if item["id"] != "u99"] == before
    assert len(after) == 21


def _follows_until_killed(command: str, shell: dict[str, str], log: str, live: str) -> None:
    """What goes on does: an event that comes now is applied."""
    words = command.replace('"$LOG"', log.replace(" ", "\0")).replace(
        '"$LIVE"', live.replace(" ", "\0")
    )
    argv = [word.replace("\0", " ") for word in words.split()]
    with subprocess.Popen([*COMMAND, *argv[1:]], env=shell, stderr=subprocess.DEVNULL) as consumer:
        try:
            append(log, {"id": "u99", "n": 99})
            end = time.monotonic() + 90
            while "the store has all" not in (told := binlog("status", log, live)).out:
                assert time.monotonic() < end, told
                assert consumer.poll() is None, told
                time.sleep(0.1)
        finally:
            consumer.send_signal(signal.SIGTERM)
