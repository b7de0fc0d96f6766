"""``scripts/soak-history``: many stories of archive, snapshots and rebuilds, by seeds, on all cores."""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

from tests.proofs.history_stories import STORIES, tell

USAGE = """\
Tells stories of archives, snapshots and rebuilds, each by a seed of its own, and holds all that they
come to against the specification. Stops at the first that is not what it says.

  scripts/soak-history --minutes 10            as many as fit, of all kinds
  scripts/soak-history --story archive --seed 17    one again, with where it fails

Exit status: 0 all held, 1 one did not or something rare was never met, 2 bad input.
"""
CHUNK = 20  # stories of one kind that a process tells at a time


class Chunk(NamedTuple):
    """What some seeds of a story came to; ``failed`` says of the first that did not hold."""

    story: str
    told: int
    met: Counter[str]
    failed: str


def run(story: str, seeds: range) -> Chunk:
    """In a process of its own."""
    logging.disable(logging.CRITICAL)
    met: Counter[str] = Counter()
    for number, seed in enumerate(seeds):
        try:
            met.update(tell(story, seed))
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what was looked for)
            where = traceback.format_exc().strip().splitlines()[-1]
            return Chunk(story, number, met, f"--story {story} --seed {seed}: {where or error}")
    return Chunk(story, len(seeds), met, "")


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="soak-history", description=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--story", choices=sorted(STORIES))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--first", type=int, default=0, help="the first seed of many")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        if options.story is None:
            parser.error("--seed needs --story")
        logging.disable(logging.CRITICAL)
        print(_said(tell(options.story, options.seed)))
        return 0
    stories = [options.story] if options.story else sorted(STORIES)
    return _many(stories, options.minutes * 60, max(1, options.jobs), options.first)


def _many(stories: Sequence[str], seconds: float, jobs: int, first: int) -> int:
    started = time.monotonic()
    told: Counter[str] = Counter()
    met: dict[str, Counter[str]] = {story: Counter() for story in stories}
    failed: list[str] = []
    tasks = (
        (story, range(first + n * CHUNK, first + (n + 1) * CHUNK))
        for n in itertools.count()
        for story in stories
    )
    with ProcessPoolExecutor(jobs) as pool:
        under_way = {pool.submit(run, *next(tasks)) for _ in range(2 * jobs)}
        while under_way:
            done = next(as_completed(under_way))
            under_way.discard(done)
            chunk = done.result()
            told[chunk.story] += chunk.told
            met[chunk.story].update(chunk.met)
            failed += [chunk.failed] if chunk.failed else []
            if not failed and time.monotonic() - started < seconds:
                under_way.add(pool.submit(run, *next(tasks)))
    missing = [f"{s}: {name}" for s in stories for name in STORIES[s][1] if not met[s][name]]
    for story in stories:
        print(f"{story}: {told[story]:,} stories; {_said(met[story])}")
    print(
        f"{sum(told.values()):,} stories in {time.monotonic() - started:,.0f} s, {jobs} processes"
    )
    for line in failed:
        print(f"does not hold: {line}", file=sys.stderr)
    for line in missing:
        print(f"never happened: {line}", file=sys.stderr)
    return 1 if failed or missing else 0


def _said(met: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(met.items()) if count)
