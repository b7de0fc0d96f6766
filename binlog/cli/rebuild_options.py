"""Where a rebuild begins, what it keeps, and how it loads a paid store: options, and what they mean."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import click

from binlog.cli.options import RateType, format_time
from binlog.cli.output import note, write_json, write_text
from binlog.errors import RefusedError

if TYPE_CHECKING:
    from binlog.log import Log
    from snapshots.folding import Wanted
    from snapshots.kept import KeptWork
    from snapshots.rebuild import Report
    from snapshots.starting import Starting

_F = TypeVar("_F", bound=Callable[..., Any])
ASIDE_SUFFIX = ".rebuild"  # of a store's file: the folder in which its work is kept
_SHOWN_MAX = 10  # snapshots that are not taken, for people


def start_options(function: _F) -> _F:
    """``--snapshots``, ``--start``, ``--work``, ``--dry-run``."""
    snapshots = click.option(
        "--snapshots",
        metavar="URL",
        envvar="BINLOG_SNAPSHOTS",
        help="Begin at the nearest snapshot there: file:DIR or s3://BUCKET/PREFIX.",
    )
    start = click.option(
        "--start",
        metavar="ID|begin",
        help="Begin at this snapshot, or at the log's beginning, and at no other.",
    )
    work = click.option(
        "--work",
        metavar="URL|none",
        help="Keep there what is folded, in groups of partitions; the same command goes on with it if"
        " this one is killed. For sqlite: beside the store, unless it is small.",
    )
    dry_run = click.option(
        "--dry-run",
        is_flag=True,
        help="Tell where it would begin, and why at no other place; read no more than that needs.",
    )
    return snapshots(start(work(dry_run(function))))


def load_options(function: _F) -> _F:
    """``--rate`` and ``--import``: how a store is loaded that is paid by the unit."""
    rate = click.option(
        "--rate",
        type=RateType(),
        metavar="N",
        help="Load at most N write units a second into STORE (dynamodb:).",
    )
    imported = click.option(
        "--import",
        "import_from",
        metavar="URL",
        help="Load by ImportTable, which takes no write units, from a data set in s3://BUCKET/PREFIX"
        " (dynamodb:).",
    )
    return rate(imported(function))


# -- where it begins -----------------------------------------------------------------------------


def beginning(
    log: Log, url: str | None, wanted: Wanted, *, start: str | None, stack: contextlib.ExitStack
) -> Starting | None:
    """Where the rebuild begins; ``None``: nobody named a place for snapshots.

    Raises:
        RefusedError: ``start`` without such a place; BinlogError: see `snapshots.starting.starting`.
    """
    if url is None:
        if start not in (None, "begin"):
            raise RefusedError(f"--start {start}: where is it?", do="give --snapshots URL as well")
        return None
    from binlog.objects.address import open_objects
    from snapshots.starting import starting

    objects = stack.enter_context(contextlib.closing(open_objects(url)))
    found = starting(log, objects, wanted, start=start)
    if start is None and found.plan.start is None and not found.plan.not_taken:
        note(f"{objects.name}: no snapshot is finished there")  # perhaps a slip in its name
    return found


def start_document(begin: Starting | None, *, report: Report | None = None) -> dict[str, Any]:
    """``start`` is the snapshot's id, ``null`` for the log's beginning; why no other one.

    Where nobody named snapshots nothing is said of them; ``resumed`` are groups of an earlier run.
    """
    document: dict[str, Any] = {}
    if begin is not None:
        document["start"] = None if begin.plan.start is None else begin.plan.start.id
        document["not_taken"] = [
            {
                "id": each.id,
                "taken": None if each.taken_ms is None else format_time(each.taken_ms),
                "reason": each.reason,
            }
            for each in begin.plan.not_taken
        ]
    if report is not None and report.resumed:
        document["resumed"] = report.resumed
    return document


def write_plan(begin: Starting | None, *, as_json: bool) -> None:
    """What ``--dry-run`` prints."""
    manifest = None if begin is None else begin.plan.start
    if as_json:
        vector = {} if manifest is None else manifest.vector
        write_json({"start": None, "not_taken": [], **start_document(begin), "vector": vector})
        return
    _write_start("would begin", begin, shown_max=None)


def write_start(report: Report, begin: Starting | None) -> None:
    """The same of a rebuild that is done, for people."""
    if begin is not None:
        _write_start("began", begin, shown_max=_SHOWN_MAX)
    if report.resumed:
        groups = "1 group" if report.resumed == 1 else f"{report.resumed} groups"
        write_text(f"went on with {groups} of partitions that an earlier run had folded")


def _write_start(words: str, begin: Starting | None, *, shown_max: int | None) -> None:
    manifest = None if begin is None else begin.plan.start
    if manifest is None:
        write_text(f"{words} at the log's beginning")
    else:
        taken = format_time(manifest.taken_ms)
        write_text(f"{words} at snapshot {manifest.id}, taken {taken}, {manifest.rows:,} rows")
    not_taken = () if begin is None else begin.plan.not_taken
    write_text(*(f"  not at {each.id}: {each.reason}" for each in not_taken[:shown_max]))
    if shown_max is not None and len(not_taken) > shown_max:
        write_text(f"  nor at {len(not_taken) - shown_max} more; --dry-run shows them")


# -- what it keeps -------------------------------------------------------------------------------


def kept_work(
    url: str | None, store: str, plan: str, *, stack: contextlib.ExitStack
) -> KeptWork | None:
    """Where folded groups are kept; by itself beside an SQLite file.

    Raises:
        RefusedError: no address of objects.
    """
    from binlog.address import parse_address
    from binlog.objects.address import open_objects
    from snapshots.kept import KeptWork

    if url == "none":
        return None
    where = parse_address(store)
    optional = url is None
    if url is None:
        if where.scheme != "sqlite":
            return None
        url = f"file:{where.path}{ASIDE_SUFFIX}"
        stack.push(partial(_remove_folder, parse_address(url).path))
    elif url.startswith("file:"):
        stack.callback(_remove_empty, parse_address(url).path)
    objects = stack.enter_context(contextlib.closing(open_objects(url)))
    if where.scheme == "sqlite":
        store = str(Path(where.path).resolve())  # the same from whichever directory
    return KeptWork(objects, store=store, plan=plan, optional=optional)


def _remove_folder(folder: str, failed: object, *_: object) -> None:
    """Remove the folder beside a store when its rebuild is done."""
    if failed is None:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_empty(folder: str) -> None:
    """Remove the folders in which nothing is kept any more."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)  # noqa: PTH106 - not of a link


# -- how it loads --------------------------------------------------------------------------------


@runtime_checkable
class Loaded(Protocol):
    """A store that is loaded by writes that are paid for, or by its service's import."""

    load_rate: float
    importer: Any


def prepare_load(store: object, name: str, *, rate: float | None, import_from: str | None) -> None:
    """Have ``store`` load so many write units a second, or by way of a data set.

    Raises:
        RefusedError: it is not loaded like that; both, or no bucket.
    """
    if rate is None and import_from is None:
        return
    option = "--rate" if import_from is None else "--import"
    if not isinstance(store, Loaded):
        raise RefusedError(f"{option}: nothing is paid by the unit there", name, "leave it out")
    if rate is not None and import_from is not None:
        raise RefusedError(
            "--rate and --import", name, "an import takes no write units: one of them"
        )
    if rate is not None:
        store.load_rate = rate
    if import_from is not None:
        from appliers.stores.dynamodb_import import Importer
        from binlog.address import parse_address
        from binlog.objects.s3 import S3Objects

        where = parse_address(import_from)
        if where.scheme != "s3":
            raise RefusedError(
                f"--import {import_from}: the service reads from S3", do="write s3://BUCKET/PREFIX"
            )
        store.importer = Importer(S3Objects(where.path, account=where.account))
