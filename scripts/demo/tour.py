"""The project's main job, on a year of a web shop: replicas that are identical, and how one knows.

Every step is a `binlog` command that you can type yourself; it is shown before it runs. What the
tour says about the outcome it has checked, and it ends with status 1 where that does not hold.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from scripts.demo.places import PRODUCT, Files, Places, Services, Whole, stack_environment
from scripts.demo.shop import history

BINLOG = Path(sys.executable).with_name("binlog")
APPLIERS = ("--appliers", "scripts.demo.shop:appliers")
MARK = ".binlog-quickstart"  # in a directory that an earlier tour made, and that we may empty
KILLED_AT = 0.3  # of it done
BEGUN_S = 600.0  # so much is done by then, or it hangs
TRIES_MORE = 5

console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
Document = dict[str, Any]


def main(arguments: Sequence[str]) -> None:
    """Take the tour in the directory given; with ``--stack`` on the services of `scripts/stack`."""
    names = [each for each in arguments if each != "--stack"]
    data = prepare(Path(names[0] if names else "quickstart-data"))
    places = on_the_stack() if len(names) < len(arguments) else Files(data)
    log, one, three = places.log, places.one, places.three

    step("A year of a small web shop, appended to a log")
    lines = write_history(data / "changes.jsonl", places.orders)
    binlog("init", log, *places.init)
    took, acknowledged = append(log, data / "changes.jsonl")
    claim(
        f"{acknowledged:,} events from {lines:,} lines are durable: {acknowledged / took:,.0f} a second",
        acknowledged >= places.events_min,
    )

    step("A replica, rebuilt by one process from the beginning")
    first = binlog_json("rebuild", log, one, "--workers", "1", *APPLIERS)
    claim(
        f"{first['events']:,} events became {first['items']:,} items",
        first["events"] == acknowledged,
    )
    claim(
        f"{first['rejected']} sign-ups were rejected: that customer was there already",
        first["rejected"] > 0,
    )

    step("A second one, by another way: batch by batch, killed in the middle, resumed")
    share = replicate_and_kill(places, Whole(acknowledged, first["items"]))
    killed_at, two = places.applied(), places.two
    claim(
        f"killed with {share:.0%} of it done, its checkpoints {killed_at:,} events on",
        0 < share < 1 and killed_at < acknowledged,
    )
    second = binlog_json("replicate", log, two, "--once", *APPLIERS)
    claim(
        f"resumed where it was, with the {second['events']:,} that were left",
        killed_at + second["events"] == acknowledged,
    )

    step("A third, in parallel, with everything in one step")
    third = binlog_json("rebuild", log, three, "--workers", "2", *APPLIERS)
    claim(f"{third['events']:,} events became {third['items']:,} items", third["items"] > 0)

    step("All three are the same, byte for byte")
    digests = {
        name: binlog_json("digest", store)
        for name, store in (("one", one), ("two", two), ("three", three))
    }
    claim("equal digests, table by table", digests["one"] == digests["two"] == digests["three"])
    claim("equal, item by item", binlog("verify", one, two) == 0)
    claim("equal to what the log says", binlog("verify", three, log, *APPLIERS) == 0)
    claim("no invariant is broken, in log or store", binlog("check", log, two, *APPLIERS) == 0)

    step("Somebody changes one value of one item, in a copy")
    tampered = ("products", {"id": PRODUCT})
    found = binlog_json("verify", places.tamper(show_line), one, status=1)
    differing = {table: content["differing"] for table, content in found["tables"].items()}
    keys = [(table, entry["key"]) for table, entries in differing.items() for entry in entries]
    claim(f"found, and nothing else: {keys[0][0]} {json.dumps(keys[0][1])}", keys == [tampered])
    [entry] = differing["products"]
    console.print(
        f"    stock {entry['left']['stock']} in the copy, {entry['right']['stock']} in the original"
    )

    show_replicas(digests["one"], {"one": first, "two": second, "three": third}, share)
    table, key = tampered
    what_next = ["cat", log, "--table", table, "--key", json.dumps(key), *APPLIERS]
    console.print("Type this next, to see how that item came to be:", style="bold")
    console.print(f"  {command_line(what_next)}", soft_wrap=True)
    console.print("And this, to lose a table and get it back, in files of its own:", style="bold")
    console.print(f"  {command_line(['drill', 'run', 'table-dropped'])}", soft_wrap=True)


# -- steps ---------------------------------------------------------------------------------------


def prepare(data: Path) -> Path:
    """An empty directory; one that an earlier tour left is emptied, any other is left alone."""
    if data.exists() and any(data.iterdir()) and not (data / MARK).exists():
        fail(f"{data} holds other things: name a directory that is empty, or not there yet", 2)
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    (data / MARK).touch()
    return data


def on_the_stack() -> Places:
    """The stand-ins, running, and where to find them in the environment of all that we start."""
    step("Kinesis and DynamoDB on this machine: stand-ins on loopback ports")
    show_line("scripts/stack up")
    try:
        os.environ.update(stack_environment(sys.executable))
    except RuntimeError as error:
        fail(str(error), 3)
    console.print("    (they go on running: scripts/stack down)", style="dim")
    return Services()


def write_history(path: Path, orders: int) -> int:
    """Write the input; the number of its lines."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, action in enumerate(history(orders=orders), 1):  # noqa: B007 - the last one counts
            file.write(json.dumps(action, ensure_ascii=False) + "\n")
    return count


def append(log: str, path: Path) -> tuple[float, int]:
    """Append the file; how long it took, and how many events were acknowledged."""
    command = ["append", log, str(path), "--key", "id"]
    show_command(command)
    began = time.perf_counter()
    done = subprocess.run([BINLOG, *command], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        fail("append failed")
    return time.perf_counter() - began, done.stdout.count(b"\n")


def replicate_and_kill(places: Places, whole: Whole) -> float:
    """Start a replication, kill it without warning in its midst, and say how much of it was done.

    On a machine with much else to do one may look when all of it is done: then another one, more
    slowly.
    """
    share = _replicate_and_kill(places, whole)
    for _ in range(TRIES_MORE):
        if share < 1 and places.applied() < whole.events:
            break
        console.print("    (killed too late: all of it was done; a slower one)", style="dim")
        places.begin_again()
        share = _replicate_and_kill(places, whole)
    return share


def _replicate_and_kill(places: Places, whole: Whole) -> float:
    command = ["replicate", places.log, places.two, "--rate", str(places.rate), *APPLIERS]
    show_command([*command, "&"])
    # No terminal for it: killed, it could not take its progress bar away.
    running = subprocess.Popen(
        [BINLOG, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + BEGUN_S
    while places.share(whole) < KILLED_AT:
        if running.poll() is not None or time.monotonic() > deadline:
            running.kill()
            said = running.communicate()[1]
            fail(f"the replication did not get to where it was to be killed {said}")
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    console.print(f"  [dim]$[/] kill -9 {running.pid}")
    return places.share(whole)


# -- what one sees -------------------------------------------------------------------------------


def show_replicas(digest: Document, reports: dict[str, Document], share: float) -> None:
    """The table at the end."""
    table = Table(title="\nThree ways to one replica", title_justify="left", title_style="bold")
    table.add_column("table")
    for name in ("items", "deleted"):
        table.add_column(name, justify="right")
    table.add_column("digest of all three")
    for name, content in digest["tables"].items():
        table.add_row(
            name,
            f"{content['items']:,}",
            f"{content['tombstones']:,}",
            f"{content['digest'][:40]}..",
        )
    console.print(table)
    how = {
        "one": "rebuild, 1 process",
        "two": f"replicate, killed at {share:.0%}",
        "three": "rebuild, 2 processes",
    }
    ways = Table(box=None, padding=(0, 2))
    for name in ("replica", "made by", "events", "seconds"):
        ways.add_column(name, justify="left" if name in ("replica", "made by") else "right")
    for name, report in reports.items():
        ways.add_row(name, how[name], f"{report['events']:,}", f"{report['seconds']:.2f}")
    console.print(ways)
    console.print()


def step(title: str) -> None:
    """A headline."""
    console.print(f"\n[bold]{title}[/]")


def claim(what: str, holds: bool) -> None:  # noqa: FBT001 - it reads as a sentence
    """Say it if it holds, else end."""
    if not holds:
        fail(f"this should hold and does not: {what}")
    console.print(f"  [green]✓[/] {what}")


def fail(why: str, status: int = 1) -> NoReturn:
    """End the tour."""
    Console(stderr=True).print(f"quickstart: {why}", style="red", soft_wrap=True)
    sys.exit(status)


def command_line(arguments: Sequence[str]) -> str:
    """The command as one types it in the checkout."""
    quoted = [part if part == "&" else shlex.quote(part) for part in arguments]
    return " ".join([os.path.relpath(BINLOG), *quoted])


def show_command(arguments: Sequence[str]) -> None:
    """The command, before it runs."""
    show_line(command_line(arguments))


def show_line(text: str) -> None:
    """What is typed."""
    console.print("  [dim]$[/]", end=" ")
    console.print(text, markup=False, soft_wrap=True)


def binlog(*arguments: str) -> int:
    """Run a command; what it says is indented below it. Gives its status."""
    show_command(arguments)
    done = subprocess.run([BINLOG, *arguments], text=True, stdout=subprocess.PIPE, check=False)
    for line in done.stdout.splitlines():
        console.print(f"    {line}", style="dim", markup=False)
    return done.returncode


def binlog_json(*arguments: str, status: int = 0) -> Document:
    """Run a command that is to end with ``status``; the document that it prints."""
    show_command(arguments)
    done = subprocess.run(
        [BINLOG, *arguments, "--json"], text=True, stdout=subprocess.PIPE, check=False
    )
    if done.returncode != status:
        fail(f"{command_line(arguments)} ended with status {done.returncode}, not {status}")
    document: Document = json.loads(done.stdout)
    return document
