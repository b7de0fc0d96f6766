"""The audit as a scheduled Lambda function: ``consumers.aws_audit.handler``.

=====================  ============================================================================
BINLOG_ARCHIVE         the archive, ``s3://BUCKET/PREFIX``
BINLOG_AUDIT           the stores, ``dynamodb://PREFIX``, one a line
BINLOG_AUDIT_FULL      ``yes``: from the first event on, which reads the whole archive
BINLOG_LOG             the log, as its consumers name it: only a dimension of the metrics
BINLOG_METRICS         the CloudWatch namespace, ``binlog`` by default
BINLOG_LOG_FORMAT,     what is logged, and how: see `binlog.logger`
BINLOG_LOG_LEVEL
=====================  ============================================================================

An invocation writes a line of metrics for each store, and one to the log for each checkpoint that
differs. It fails only where it could not be done: an alarm on ``Differing`` is for what it finds, one
on the lack of ``Audited`` for its not being done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from binlog.errors import BinlogError, RefusedError
from binlog.logger import get_logger
from consumers.auditing import audit_stores, tell
from consumers.environment import LOGGING, choice, nearest, show_lines

WHERE = "the function's environment"
NAMES = (
    "BINLOG_ARCHIVE",
    "BINLOG_AUDIT",
    "BINLOG_AUDIT_FULL",
    "BINLOG_LOG",
    "BINLOG_METRICS",
    *LOGGING,
)

_logger = get_logger(__name__)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one function."""

    archive: str
    stores: tuple[str, ...]
    log: str
    full: bool = False
    metrics: str = "binlog"


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that these variables are.

    Raises:
        RefusedError: something is missing, or unknown.
    """
    given = {n: v.strip() for n, v in environment.items() if n.startswith("BINLOG_")}
    for name in given:
        if name not in NAMES:
            near = nearest(name, NAMES)
            do = f"is {near} meant?" if near else f"known are {', '.join(NAMES)}"
            raise RefusedError(f"{name} is unknown", WHERE, do)
    for name, form in (
        ("BINLOG_ARCHIVE", "s3://BUCKET/PREFIX"),
        ("BINLOG_AUDIT", "dynamodb://PREFIX"),
    ):
        if not given.get(name):
            raise RefusedError(f"{name} is not set", WHERE, f"set it to {form}")
    return Settings(
        archive=given["BINLOG_ARCHIVE"],
        stores=tuple(line.strip() for line in given["BINLOG_AUDIT"].splitlines() if line.strip()),
        log=given.get("BINLOG_LOG") or given["BINLOG_ARCHIVE"],
        full=choice(given, "BINLOG_AUDIT_FULL", "no", "yes", where=WHERE) == "yes",
        metrics=given.get("BINLOG_METRICS") or "binlog",
    )


def run(settings: Settings, *, write: Callable[[str], object] = print) -> dict[str, Any]:
    """One audit; what came of it.

    Raises:
        BinlogError: it could not be done.
    """
    found = audit_stores(settings.archive, settings.stores, full=settings.full)
    tell(found, settings.stores, log=settings.log, namespace=settings.metrics, write=write)
    bad = [each for each in found if each.outcome in ("differs", "unreadable")]
    for each in bad:
        _logger.error(
            "audit.differed",
            where=each.where,
            offset=each.offset,
            outcome=each.outcome,
            detail=each.detail,
        )
    return {
        "ok": not bad,
        "checkpoints": len(found),
        "differing": [each.where for each in bad],
        "unarchived": sum(each.outcome == "unarchived" for each in found),
    }


def handler(event: object, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Audit, whatever the event is: a schedule's has nothing to say."""
    try:
        show_lines(os.environ)
        return run(settings_of(os.environ))
    except BinlogError as error:
        raise error.with_traceback(None) from None
