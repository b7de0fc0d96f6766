"""``binlog verify``: two replicas, compared item by item."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Any

import click

from appliers.address import open_store
from appliers.item import Row
from appliers.store import Store
from binlog.address import LOG_SCHEMES, parse_address
from binlog.cli.announced import open_with_archive
from binlog.cli.options import archive_option, format_option, snapshots_option, store_argument
from binlog.cli.output import json_lines, json_option, stdout, write_text
from binlog.cli.progress import progress
from binlog.cli.rebuild import processors
from binlog.cli.replay import load_rules, open_bases, rules_option
from binlog.cli.verb import Verb
from binlog.errors import BinlogError
from binlog.json_values import encode_json, plain, typed_item
from binlog.values import decode_value
from snapshots.counterpart import verify_against_log
from snapshots.rebuild import Progress
from snapshots.verify import Difference, Side, Verification, verify

_FORMATS: dict[str, Callable[[dict[str, Any]], Any]] = {"plain": plain, "dynamodb": typed_item}
_MEMORY_BYTES = 8 * 1024 * 1024  # of a document; what is longer waits on the disk


@click.command(
    cls=Verb,
    examples="""
    binlog verify sqlite:one.db sqlite:two.db
    binlog verify sqlite:one.db sqlite:two.db --json --format dynamodb
    binlog verify sqlite:replica.db file:log
    """,
)
@store_argument()
@store_argument("other")
@archive_option
@snapshots_option
@rules_option
@format_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    store: str,
    other: str,
    archive: str | None,
    snapshots: str | None,
    appliers: str | None,
    output_format: str,
    as_json: bool,
) -> None:
    """Compare STORE with OTHER, table by table and item by item, deleted ones included.

    OTHER is a store, or a log: then what it should hold is rebuilt into a temporary file, up to
    the vectors and without the events that STORE names, and is the right side.

    Everything is recomputed from the rows. Both must be of the same log, at the same vector, made
    by the same rules and with the same exclusions; else exit status 2. Where they differ, every
    differing key is printed and the exit status is 1.
    """
    form = _FORMATS[output_format]
    with _compared(store, other, archive, snapshots, appliers) as verification:
        equal = _write_json(verification, form) if as_json else _write_text(verification, form)
    if not equal:
        context.exit(1)


@contextlib.contextmanager
def _compared(
    store: str, other: str, archive: str | None, snapshots: str | None, appliers: str | None
) -> Iterator[Verification]:
    with _opened(store) as left:
        if parse_address(other).scheme not in LOG_SCHEMES:
            with _opened(other) as right, verify(left, right) as verification:
                yield verification
            return
        rules = load_rules(appliers)
        with (
            contextlib.closing(open_with_archive(other, archive)) as log,
            contextlib.ExitStack() as stack,
        ):
            with progress("rebuilding to compare") as show:  # gone before the answer is written
                whole = log.size_bytes()

                def advance(now: Progress) -> None:
                    show(now.events, fraction=now.log_bytes / whole if whole else None)

                verification = stack.enter_context(
                    verify_against_log(
                        left,
                        log,
                        rules=rules,
                        bases=open_bases(log, snapshots, stack),
                        workers=processors(),
                        progress=advance,
                    )
                )
            yield verification


@contextlib.contextmanager
def _opened(address: str) -> Iterator[Store]:
    with contextlib.closing(open_store(address, must_exist=True)) as store:
        yield store


def difference_document(
    difference: Difference, form: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """One entry of ``differing``. Version 0: nothing stands under the key."""
    left, right = difference.left, difference.right
    document = {
        "key": form(_map(difference.key)),
        "left": _item(left, form),
        "right": _item(right, form),
        "left_version": _mark(left, "version"),
        "right_version": _mark(right, "version"),
    }
    for mark in ("parked", "tail"):
        if _mark(left, mark) != _mark(right, mark):
            document[f"left_{mark}"] = _mark(left, mark)
            document[f"right_{mark}"] = _mark(right, mark)
    for name, side in (("left", left), ("right", right)):
        if isinstance(side, BinlogError):
            document[f"{name}_damage"] = side.what
    return document


def _map(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = decode_value(data)
    return value


def _item(side: Side, form: Callable[[dict[str, Any]], Any]) -> Any:
    return form(_map(side.data)) if isinstance(side, Row) and side.data is not None else None


def _mark(side: Side, name: str) -> int:
    return int(getattr(side, name)) if isinstance(side, Row) else 0


def _write_json(verification: Verification, form: Callable[[dict[str, Any]], Any]) -> bool:
    """Write the document, known to be whole before its first byte; whether it says equal."""
    equal = True
    with SpooledTemporaryFile(_MEMORY_BYTES) as body:
        for number, table in enumerate(verification.tables):
            body.write(b"," if number else b"")
            body.write(encode_json(table) + b':{"differing":[')
            for place, difference in enumerate(verification.differences(table)):
                body.write(b"," if place else b"")
                body.write(json_lines(encode_json(difference_document(difference, form))))
                equal = False
            body.write(b"]")
            lacking = verification.lacking(table)
            if lacking is not None:
                body.write(b',"lacking":' + encode_json(lacking))
                equal = False
            body.write(b"}")
        out = stdout()
        out.write(b'{"equal":' + encode_json(equal) + b',"tables":{')
        body.seek(0)
        shutil.copyfileobj(body, out)
        out.write(b"}}\n")
    return equal


def _write_text(verification: Verification, form: Callable[[dict[str, Any]], Any]) -> bool:
    lacking_any = False
    for table in verification.tables:
        lacking = verification.lacking(table)
        if lacking is not None:
            lacking_any = True
            write_text(f"table {table}: the {lacking} store does not have it")
        for difference in verification.differences(table):
            document = difference_document(difference, form)
            write_text(
                f"table {table}, key {_shown(document['key'])}",
                *(f"  {_side_line(document, name)}" for name in ("left", "right")),
            )
    tables = len(verification.tables)
    summary = f"{verification.rows:,} keys in {tables:,} table{'s' * (tables != 1)}"
    if verification.differing or lacking_any:
        write_text(f"different: {verification.differing:,} of {summary}")
        return False
    write_text(f"equal: {summary}")
    return True


def _side_line(document: dict[str, Any], name: str) -> str:
    if f"{name}_damage" in document:
        return f"{name:5}  damaged: {document[f'{name}_damage']}"
    version = document[f"{name}_version"]
    if not version:
        return f"{name:5}  nothing"
    item = document[name]
    marks = [f"version {version}", *(["deleted"] if item is None else [])]
    marks += [
        f"{m} {document[f'{name}_{m}']}" for m in ("parked", "tail") if f"{name}_{m}" in document
    ]
    return f"{name:5}  {', '.join(marks)}" + ("" if item is None else f"  {_shown(item)}")


def _shown(value: object) -> str:
    return encode_json(value).decode()
