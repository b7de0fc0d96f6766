"""Run all drills on the local stack, and all their twins, and write the page of it; see `drills-stack`.

    scripts/drills-stack [--report DIR] [--seed N] [--resume] [--no-twins] [NAME...]

The stack is brought up unless it is, and put down if it was brought up here. What came of each drill is
in DIR (`.standins/drills`), DIR/index.html first; that of the twins in DIR/twins. Where no drills are
named and all of them were run to their end, docs/drills-stack.json and .md say what came of it,
whatever that is. With --resume what has come out as it has to is not run again: after Ctrl-C, or when
something was mended; the page then says in how many goes it was done, and how long all of them took.
With --no-twins the twins are left out, and the page says so.
Exit status 1 if a drill failed, or a twin was not caught.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from binlog.drills.declared import Declared, load_drills
from binlog.drills.report_words import is_good
from binlog.drills.result import DrillResult
from binlog.drills.runbooks import read_results
from scripts.standins.drills_page import DATA, PAGE, SECONDS_MAX, Run, encode_run, line_of, page
from scripts.standins.install import CANNOT_RUN, HOME, PINS, ROOT, CannotRunError
from scripts.standins.server import NotStartedError
from scripts.standins.services import KINESIS_LOCAL, MINISTACK
from scripts.standins.stack import Stack, environment

DRILLS = Path("scripts/drills")
OURS = ("binlog", "python", "system")  # of a result's versions


@contextmanager
def stack_is_up(stack: Stack) -> Iterator[Mapping[str, str]]:
    """The variables by which it is found; it is put down if it was brought up here.

    Raises:
        CannotRunError, NotStartedError: see `Stack.up`.
    """
    with stack.locked():
        before = stack.running()
        was_up = bool(before) and all(row.answers for row in before)
        rows = stack.up([KINESIS_LOCAL, MINISTACK])
    try:
        yield environment(rows)
    finally:
        if not was_up:
            with stack.locked():
                stack.down()


def run_all(
    chosen: Iterable[Declared],
    report: Path,
    seed: int,
    variables: Mapping[str, str],
    *,
    twins: bool = True,
) -> bool:
    """Whether every drill and every twin was run that has no good result there yet."""
    good = {(each.name, each.twin) for each in results_of(report) if is_good(each)}
    kinds: tuple[tuple[Path, list[str], Callable[[Declared], list[str | None]]], ...] = (
        (report, [], lambda _: [None]),
        (report / "twins", ["--twin"], lambda each: [twin.what for twin in each.twins]),
    )
    whole = True
    for folder, more, runs in kinds:
        names = [
            each.name for each in chosen if any((each.name, r) not in good for r in runs(each))
        ]
        if not names or (more and not twins):
            continue
        command = [sys.executable, "-m", "binlog.cli", "drill", "run", *names]
        command += ["--drills", str(DRILLS), "--on", "stack", "--seed", str(seed)]
        command += ["--report", str(folder), *more]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=False)
        whole = whole and done.returncode in (0, 1)
    return whole


def chosen_of(names: Sequence[str]) -> list[Declared]:
    """Those for the stack, or of them those that are named."""
    found = load_drills([ROOT / DRILLS]).values()
    return [each for each in found if "stack" in each.on and (not names or each.name in names)]


def results_of(report: Path) -> list[DrillResult]:
    """Of drills and twins, as the folders have them now."""
    folders = [report, report / "twins"]
    return [result for folder in folders if folder.is_dir() for result in read_results(folder)]


def missing(
    results: Sequence[DrillResult], names: Sequence[str], *, twins: bool = True
) -> list[str]:
    """Drills and twins for the stack of which there is no result."""
    found = {(result.name, result.twin) for result in results}
    return [
        each.name if twin is None else f"{each.name}: {twin}"
        for each in chosen_of(names)
        for twin in (None, *(twin.what for twin in each.twins if twins))
        if (each.name, twin) not in found
    ]


def versions_of(results: Sequence[DrillResult]) -> dict[str, str]:
    """Of what it ran on."""
    node = json.loads((PINS / "package.json").read_text())["dependencies"]
    pins = (PINS / "requirements.txt").read_text()
    found = {name: results[0].versions[name] for name in OURS if name in results[0].versions}
    found |= {name: pinned for name, pinned in node.items() if not name.startswith("@")}
    if pinned := re.search(r"^ministack==(\S+)", pins, re.MULTILINE):
        found["ministack"] = pinned[1]
    for package in ("amazon_kclpy", "awslambdaric", "boto3"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    java = _said("java", "-version")
    return {**found, "java": java.partition("\n")[0].replace('"', "") or "none"}


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()


def main(arguments: Sequence[str], stack: Stack | None = None) -> int:
    """The command; the exit status."""
    options = _parse(arguments)
    began, at = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    busy = os.getloadavg()[0]
    commit = _said("git", "rev-parse", "--short=10", "HEAD") + ("+" if _changed() else "")
    goes = options.report / "goes"  # how long each took and of which commit it was, a line each
    if not options.resume:
        shutil.rmtree(options.report, ignore_errors=True)
    options.report.mkdir(parents=True, exist_ok=True)
    is_whole = False
    try:
        with stack_is_up(stack or Stack()) as variables:
            chosen = chosen_of(options.names)
            is_whole = run_all(chosen, options.report, options.seed, variables, twins=options.twins)
    except CannotRunError as error:
        print(f"cannot run: {error}")
        return CANNOT_RUN
    except NotStartedError as error:
        print(f"drills-stack: {error}", file=sys.stderr)
        return 3
    finally:
        with goes.open("a") as file:
            file.write(f"{time.monotonic() - began:.1f} {commit}\n")
    results = results_of(options.report)
    if not options.twins:
        results = [each for each in results if each.twin is None]
    left_out = missing(results, options.names, twins=options.twins)
    if not is_whole or left_out or not results:
        print(f"not all of it was run: {', '.join(left_out)}; no page", file=sys.stderr)
        return 3
    took = [line.split() for line in goes.read_text().splitlines()]
    run = Run(
        at=at,
        commits=tuple(dict.fromkeys(each[1] for each in took)),
        seconds=round(sum(float(each[0]) for each in took), 1),
        goes=len(took),
        busy=round(busy, 1),
        versions=versions_of(results),
        lines=tuple(sorted(map(line_of, results), key=lambda line: (line.name, line.twin or ""))),
    )
    if not options.names:
        (ROOT / DATA).write_bytes(encode_run(run))
        (ROOT / PAGE).write_text(page(run), encoding="utf-8")
        print(f"written: {PAGE}, {DATA}")
    if run.seconds > SECONDS_MAX:
        print(f"it took {run.seconds:.0f} s, more than {SECONDS_MAX:.0f} s", file=sys.stderr)
    return 0 if run.is_good else 1


def _changed() -> bool:
    """Whether files differ from the commit, apart from what this writes."""
    lines = _said("git", "status", "--porcelain").splitlines()
    return any(line.split(maxsplit=1)[-1] not in (str(DATA), str(PAGE)) for line in lines)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="drills-stack", description=(__doc__ or "").strip())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--report", type=Path, default=HOME / "drills", metavar="DIR")
    parser.add_argument("--resume", action="store_true", help="leave out what is good already")
    parser.add_argument(
        "--no-twins", dest="twins", action="store_false", help="leave out all twins"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
