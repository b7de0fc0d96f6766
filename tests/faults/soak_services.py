"""``scripts/soak-services``: what it takes, what it prints, and how it exits."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from scripts.standins.install import CANNOT_RUN, CannotRunError
from scripts.standins.server import Server
from scripts.standins.services import KINESALITE, KINESIS_LOCAL, MINISTACK, Service
from tests.faults.aws_place import Killable, hasten, play_on
from tests.faults.fault_story import Story
from tests.faults.fault_strategies import (
    LARGE,
    OUTAGES,
    PUTS,
    READS,
    TABLES,
    acts,
    large_stories,
    names_of,
    small_stories,
)
from tests.faults.kinesis_double_place import SQLiteReplica, play_on_the_double
from tests.faults.patience import give_up_in_silence

USAGE = """\
Producers, a stream, consumers into memory, SQLite and DynamoDB, and faults between all of them by
schedules that Hypothesis makes; the ledger and the reference judge. Stops at the first finding.

  scripts/soak-services --minutes 10            all places, in turns
  scripts/soak-services --place double          only the double in this process: fast
  scripts/soak-services --first 17 --batches 1  one batch again
  scripts/soak-services --minutes 60 --report faults.md

Places: double; kinesis-local and kinesalite, through the proxy, with tables on ministack; killed, a
kinesalite that is killed with SIGKILL and started again.

Exit status: 0 all held, 1 something did not (a test to paste is printed) or a kind of fault was never
met, 2 bad input, 77 a stand-in cannot run here, 130 interrupted.
"""
DONE, BROKEN, INTERRUPTED = 0, 1, 130
KIND_MET_AFTER = (
    20  # batches of a place, by which each kind of its faults was met, or it is a finding
)
SMALL = [*PUTS, *READS, *OUTAGES[:2], *acts("split", "merge"), *TABLES]
KILLS = [*PUTS, *READS, *acts("kill"), *acts("kill")]
Play = Callable[[Story], Counter[str]]


class Place:
    """Where stories are played: how many a batch, which faults, how."""

    def __init__(
        self, name: str, play: Play, stories: SearchStrategy[Story], examples: int, kinds: list[str]
    ) -> None:
        self.name = name
        self.play = play
        self.stories = stories
        self.examples = examples
        self.kinds = kinds
        self.met: Counter[str] = Counter()
        self.batches = 0
        self.seconds = 0.0

    def batch(self, number: int) -> None:
        """So many stories by one seed; raises what fails, with the story."""

        @seed(number)
        @settings(
            max_examples=self.examples,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if self.name == "double" else [Phase.generate],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(self.stories)
        def told(story: Story) -> None:
            self.met.update(self.play(story))
            self.met["stories"] += 1

        began = time.monotonic()
        try:
            told()
        finally:
            self.seconds += time.monotonic() - began
        self.batches += 1

    @property
    def missing(self) -> list[str]:
        return [
            kind for kind in self.kinds if self.batches >= KIND_MET_AFTER and not self.met[kind]
        ]


@contextmanager
def places_of(names: Sequence[str]) -> Iterator[list[Place]]:
    """The places of those names, their stand-ins started."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        replicas = count()

        def start(service: Service, name: str) -> Server:
            server = Server(service, folder / name)
            stack.callback(server.kill)
            return server

        def fresh() -> SQLiteReplica:
            return SQLiteReplica(folder / f"{next(replicas)}.db")

        tables = start(MINISTACK, "tables").url if set(names) - {"double"} else ""

        def killed() -> Place:
            killable = Killable(lambda port: Server(KINESALITE, folder / "killed", port=port))
            stack.callback(killable.close)

            def play(story: Story) -> Counter[str]:
                url = killable.server.url
                return play_on(url, story, replicas=[fresh()], killable=killable)

            return Place("killed", play, small_stories(KILLS, replicas=2), 8, names_of(KILLS))

        def running(name: str, service: Service) -> Place:
            url = start(service, name).url

            def play(story: Story) -> Counter[str]:
                return play_on(url, story, replicas=[fresh()], dynamodb_url=tables)

            return Place(name, play, small_stories(SMALL, replicas=3), 8, names_of(SMALL))

        def double() -> Place:
            return Place("double", play_on_the_double, large_stories(), 100, names_of(LARGE))

        made: dict[str, Callable[[], Place]] = {
            "double": double,
            "kinesis-local": lambda: running("kinesis-local", KINESIS_LOCAL),
            "kinesalite": lambda: running("kinesalite", KINESALITE),
            "killed": killed,
        }
        yield [made[name]() for name in names]


ALL = ("double", "kinesis-local", "kinesalite", "killed")


def main(arguments: Sequence[str], out: TextIO, err: TextIO) -> int:
    """The exit status."""
    options = _parser().parse_args(arguments)
    _nobody_s_environment()
    hasten()
    give_up_in_silence()
    until = time.monotonic() + 60 * (options.minutes or 10**6)
    began = datetime.now(UTC)
    try:
        with places_of(options.place or ALL) as places:
            status = _run(places, options, until, err)
            text = report(places, arguments, began)
            out.write(text)
            if options.report:
                options.report.write_text(text, encoding="utf-8")
            if any(place.missing for place in places):
                status = status or BROKEN
    except CannotRunError as error:
        err.write(f"cannot run: {error}\n")
        return CANNOT_RUN
    return status


def _run(places: Sequence[Place], options: argparse.Namespace, until: float, err: TextIO) -> int:
    number, place = options.first, places[0]
    try:
        while time.monotonic() < until and number - options.first != options.batches:
            place = places[number % len(places)]
            err.write(f"batch {number}: {place.name}\n")
            place.batch(number)
            number += 1
    except KeyboardInterrupt:
        err.write("soak-services: interrupted; this is what was done\n")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        err.write(f"soak-services: batch {number} of {place.name} found this\n")
        sys.excepthook(type(error), error, error.__traceback__)
        return BROKEN
    return DONE


def report(places: Sequence[Place], arguments: Sequence[str], began: datetime) -> str:
    """As Markdown: what was run, and how often each thing occurred in each place."""
    told = [place for place in places if place.met]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        f"`scripts/soak-services {' '.join(arguments)}`, {began:%Y-%m-%d %H:%M} UTC,",
        f"commit {commit}, Python {platform.python_version()}.",
        "",
        "| met | " + " | ".join(place.name for place in told) + " |",
        "|---" * (len(told) + 1) + "|",
        "| seconds | " + " | ".join(f"{place.seconds:,.0f}" for place in told) + " |",
    ]
    names = sorted({name for place in told for name, number in place.met.items() if number})
    for name in sorted(names, key=lambda each: (each != "stories", each)):
        numbers = (place.met[name] for place in told)
        lines.append(f"| {name} | " + " | ".join(f"{n:,}" if n else "" for n in numbers) + " |")
    for place in told:
        if place.missing:
            lines += ["", f"Never met on {place.name}: {', '.join(place.missing)}."]
    return "\n".join(lines) + "\n"


def _nobody_s_environment() -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/soak-services",
        description=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, metavar="N", help="so long (1)")
    length.add_argument("--batches", type=int, default=None, metavar="N", help="so many batches")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="batch to begin with")
    parser.add_argument("--place", action="append", choices=ALL, help="only there; may be repeated")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write it there, too")
    return parser
