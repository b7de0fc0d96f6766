"""The command: which sizes, which figures, where the answer goes."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from scripts.benchmarks.bench import LONG, NORMAL, SMALL, Bench, Sizes
from scripts.benchmarks.figures import Contest, contests
from scripts.benchmarks.figures_archive import archive_contests
from scripts.benchmarks.figures_kcl import kcl_contests
from scripts.benchmarks.figures_kinesis import kinesis_contests
from scripts.benchmarks.figures_lambda import lambda_contests
from scripts.benchmarks.figures_pace import pace_contests
from scripts.benchmarks.figures_recovery import recovery_contests
from scripts.benchmarks.measure import ROUNDS_MIN, WrongResultError, contest
from scripts.benchmarks.report import Line, document, lines_of, machine, markdown, print_table

KEYS = (
    "replay",
    "rebuild",
    "append",
    "append-one",
    "workers",
    "memory",
    "help",
    "kinesis-put",
    "kinesis-replay",
    "lambda",
    "lambda-cold",
    "lambda-zip",
    "kcl-pipe",
    "kcl",
    "rate",
    "max-behind",
    "max-behind-peak",
    "snapshot",
    "snapshot-wide",
    "archive-bytes",
    "archive",
    "archive-workers",
    "memory-archive",
    "memory-from-archive",
    "memory-snapshot",
    "memory-from-snapshot",
)

DESCRIPTION = """\
Measures ratios against floors and peers, interleaved on the same events in the same run, and
checks every result by digest. Takes about five minutes.

  scripts/bench                           the table of the README
  scripts/bench --small                   a minute, for CI: numbers mean little, results are checked
  scripts/bench --long                    a million events, and MariaDB where it is installed
  scripts/bench --only replay --rounds 9  one group of figures
  scripts/bench --cost                    what the services bill, counted; --cost --help

Exit status: 0 every result is right (goals may be missed), 1 a result is wrong, 2 usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--cost" in given:
        # Imported only here: it needs the services' doubles of the tests, and boto3.
        from scripts.benchmarks import cost

        given.remove("--cost")
        return cost.main(given)
    options = _parse(given)
    sizes = _sizes(options)
    errors = Console(stderr=True)
    facts = machine()  # the load before we make it ourselves
    scratch = Path(tempfile.mkdtemp(prefix="binlog-bench-", dir=options.directory))
    bench = Bench(sizes, scratch)
    lines: list[Line] = []
    try:
        services = [*kinesis_contests(bench), *lambda_contests(bench), *kcl_contests(bench)]
        for one in [
            *contests(bench),
            *services,
            *pace_contests(bench),
            *archive_contests(bench),
            *recovery_contests(bench),
        ]:
            if not options.only or one.key in options.only:
                lines += _measure(one, sizes, errors)
    except WrongResultError as error:
        errors.print(f"bench: wrong result: {error}", style="red")
        return 1
    finally:
        bench.close()
        shutil.rmtree(scratch, ignore_errors=True)
    if options.markdown:
        sys.stdout.write(markdown(sizes, facts, lines))
    else:
        print_table(Console(width=None if sys.stdout.isatty() else 120), sizes, facts, lines)
    if options.json:
        Path(options.json).write_bytes(document(sizes, facts, lines))
    return 0


def _measure(one: Contest, sizes: Sizes, errors: Console) -> list[Line]:
    # Nothing of rich that moves by itself: it would be a thread, and with one about `rebuild` does
    # not fork.
    def progress(text: str) -> None:
        if errors.is_terminal:
            errors.print(f"\r{one.title}: {text}", end="\x1b[K")

    errors.print(one.title, end="" if errors.is_terminal else "\n")
    measured = contest(
        [one.ours, *(rival.contender for rival in one.rivals)],
        rounds=sizes.rounds,
        expected=None if one.expected is None else one.expected(),
        progress=progress,
    )
    errors.print("\r\x1b[K" if errors.is_terminal else "", end="")
    return lines_of(one, measured)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="for CI: 20,000 events")
    size.add_argument("--long", action="store_true", help="a million events, MariaDB too")
    parser.add_argument("--only", action="append", choices=KEYS, help="these figures (repeatable)")
    parser.add_argument("--events", type=int, metavar="N", help="events of all figures")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"at least {ROUNDS_MIN}")
    parser.add_argument("--seed", type=int, metavar="N", help="of the history")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--directory", metavar="DIR", help="where the data goes while it runs")
    options = parser.parse_args(arguments)
    if options.events is not None and options.events < 1_000:
        parser.error(f"--events {options.events}: at least 1000")
    if options.rounds is not None and options.rounds < ROUNDS_MIN:
        parser.error(f"--rounds {options.rounds}: at least {ROUNDS_MIN}")
    return options


def _sizes(options: argparse.Namespace) -> Sizes:
    sizes = SMALL if options.small else LONG if options.long else NORMAL
    if options.events is not None:
        count = options.events
        sizes = msgspec.structs.replace(sizes, events=count, workers=count, puts=count)
    if options.rounds is not None:
        sizes = msgspec.structs.replace(sizes, rounds=options.rounds)
    if options.seed is not None:
        sizes = msgspec.structs.replace(sizes, seed=options.seed)
    return sizes
