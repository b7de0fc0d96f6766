"""``scripts/converge``: what it takes, what it prints, and how it exits."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from typing import TextIO

from binlog.errors import RefusedError
from consumers.kcl_java import find_java, jars_folder
from scripts.standins.install import CANNOT_RUN, CannotRunError
from tests.converge import converge_double
from tests.converge.converge_stage import NotConvergedError, Options, nobody_s_environment
from tests.converge.converge_story import KINDS, Story

USAGE = """\
Lambda, the KCL and a local replica follow one log on running stand-ins, under load, while
invocations time out and overlap, daemons and their children are killed, machines stand still and go
on as zombies, shards split and merge, replies are lost, and an applier cannot apply one key's events
until it is mended. At the end all three are what the reference makes of the log, to the byte, and
every acknowledged event is there once; or the first difference is named.

  scripts/converge --small            one round, as in CI
  scripts/converge --minutes 10       rounds, for about so long
  scripts/converge --minutes 10 --report docs/converge.md
  scripts/converge --double --minutes 5         the drivers in this process, schedule by schedule
  scripts/converge --double --seed 17 --schedules 1         one schedule again

The seed decides what is published and what is done, the machine when: a repeated run is alike, not
the same.

Exit status: 0 all is the same; 1 it is not, or a kind of trouble never occurred; 2 usage; 77 a
stand-in, Java or the KCL cannot run here; 130 interrupted.
"""
ROUNDS_MAX = 100
ALL_MET_AFTER = 150  # schedules on the double, by which each kind of trouble was met


def main(arguments: Sequence[str], out: TextIO, err: TextIO) -> int:
    """The exit status."""
    given = _parser().parse_args(arguments)
    nobody_s_environment()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left running
    if given.double:
        return on_the_double(given, arguments, out, err)
    seed = SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    options = Options(
        seed=seed,
        rounds=ROUNDS_MAX if given.minutes else 1,
        seconds=60 * (given.minutes or 0),
        rate=given.rate,
        events_max=given.events,
    )
    err.write(f"converge: {options}\n")
    began, clock = datetime.now(UTC), time.monotonic()
    try:
        find_java(os.environ)
        jars_folder()
    except RefusedError as error:
        err.write(f"cannot run: {error}\n")
        out.write(f"cannot run: {error}\n")
        return CANNOT_RUN
    with TemporaryDirectory(prefix="converge-", ignore_cleanup_errors=True) as folder:
        story = Story(Path(folder), options, lambda line: err.write(f"converge: {line}\n"))
        problem = ""
        try:
            story.play()
        except CannotRunError as error:
            out.write(f"cannot run: {error}\n")
            return CANNOT_RUN
        except KeyboardInterrupt:
            err.write(f"converge: interrupted; {options}\n")
            return 130
        except (NotConvergedError, AssertionError) as error:
            problem = str(error) or repr(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            sys.excepthook(type(error), error, error.__traceback__)
            problem = repr(error)
        if problem and given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-r", folder, str(given.keep)], check=False)
    never = [] if problem else story.never_met()
    if never:
        problem = f"never occurred: {', '.join(never)}"
    text = report(story, arguments, began, time.monotonic() - clock)
    out.write(text)
    if given.report and not problem:
        given.report.write_text(f"{_HEAD}{text}", encoding="utf-8")
    if problem:
        err.write(f"converge: {problem}\nconverge: again: --seed {seed}\n")
        return 1
    out.write("\nThe three are what the reference makes of the log.\n")
    return 0


def on_the_double(
    given: argparse.Namespace, arguments: Sequence[str], out: TextIO, err: TextIO
) -> int:
    """Schedules of `tests.converge.converge_double`, from a seed on."""
    logging.disable(logging.CRITICAL)  # what is survived would be told each time
    first, met = given.seed or 0, Counter[str]()
    clock = time.monotonic()
    seconds = 60 * given.minutes if given.minutes else float("inf")
    count = given.schedules or (10**9 if given.minutes else 300)
    number = first
    try:
        while number < first + count and time.monotonic() - clock < seconds:
            met.update(converge_double.run_seeds([number]))
            number += 1
            if number % 100 == 0:
                err.write(f"converge: {number - first} schedules\n")
    except KeyboardInterrupt:
        err.write(f"converge: interrupted after {number - first} schedules\n")
        return 130
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        sys.excepthook(type(error), error, error.__traceback__)
        err.write(f"converge: again: --double --seed {number} --schedules 1\n")
        return 1
    lines = [
        (
            f"`scripts/converge {' '.join(arguments)}`: seeds {first} to {number - 1},"
            f" {time.monotonic() - clock:.0f} s."
        ),
        "",
        "| survived | times |",
        "|---|--:|",
    ]
    lines += [f"| {name} | {times:,} |" for name, times in sorted(met.items()) if times]
    out.write("\n".join(lines) + "\n")
    never = [kind for kind in converge_double.KINDS if not met[kind]]
    if never and number - first >= ALL_MET_AFTER:
        err.write(f"converge: never occurred: {', '.join(never)}\n")
        return 1
    return 0


_HEAD = """\
# Three consumers of one log, and what they survived

A Lambda function, a KCL application of two workers and a local replica follow a log on this
machine's stand-ins, as `scripts/converge --help` describes. At the end of the run below all three
had the vector and the digests that the reference works out of the stream's raw records, and every
acknowledged event was there once. A run in which one of these kinds did not occur fails.

"""


def report(story: Story, arguments: Sequence[str], began: datetime, seconds: float) -> str:
    """As Markdown: what was run, and how often each thing occurred."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    given = " ".join(_without_files(arguments))
    options = story.options
    lines = [
        f"`scripts/converge {given}`, {began:%Y-%m-%d %H:%M} UTC, commit {commit},",
        (
            f"Python {platform.python_version()}; {seconds:.0f} s,"
            f" {options.rate:g} events a second, seed {options.seed}."
        ),
        "",
        "| survived | times |",
        "|---|--:|",
    ]
    names = [*KINDS, *sorted(name for name in story.met if name not in KINDS)]
    lines += [f"| {name} | {story.met[name]:,} |" for name in names if story.met[name]]
    return "\n".join(lines) + "\n"


def _without_files(arguments: Sequence[str]) -> list[str]:
    """What says how it was run, without the places on this machine."""
    left, kept = iter(arguments), []
    for each in left:
        if each in {"--report", "--keep"}:
            next(left, None)
        elif not each.startswith(("--report=", "--keep=")):
            kept.append(each)
    return kept


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/converge",
        description=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--small", action="store_true", help="one round (as by default)")
    length.add_argument("--minutes", type=float, metavar="N", help="about so long")
    parser.add_argument("--double", action="store_true", help="in this process, without services")
    parser.add_argument("--schedules", type=int, metavar="N", help="on the double (300)")
    parser.add_argument("--seed", type=int, metavar="N", help="of an earlier run")
    parser.add_argument(
        "--rate", type=float, default=40.0, metavar="N", help="events a second (40)"
    )
    parser.add_argument("--events", type=int, default=30_000, metavar="N", help="at most (30000)")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write it there, if all is well"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy logs there, if it is not")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdout, sys.stderr))
