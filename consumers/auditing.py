"""The shell around the audit: opens archive and stores, and tells what came of it as metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import cast

from msgspec.structs import replace

from appliers.address import open_store
from binlog.address import is_archive_address, open_log, parse_address
from binlog.archive.archive_log import ArchiveLog
from binlog.clock import Clock, SystemClock
from binlog.errors import RefusedError
from consumers.audit import Audited, audit
from consumers.aws_lambda_metrics import Metrics


def audit_stores(
    archive: str, stores: Sequence[str], *, full: bool = False, clock: Clock | None = None
) -> list[Audited]:
    """The audit of stores by their addresses, one after another.

    Raises:
        RefusedError: no archive; a store that is not there.
        ConflictError: a store of another log.
        StorageError, DamageError: the archive's root cannot be read.
    """
    if not is_archive_address(parse_address(archive)):
        raise RefusedError(
            f"{archive!r} is no archive", do="name the place that binlog archive fills"
        )
    found: list[Audited] = []
    with contextlib.closing(cast("ArchiveLog", open_log(archive, clock=clock))) as log:
        for address in stores:
            with (
                contextlib.closing(open_store(address, must_exist=True)) as store,
                store.view() as view,
            ):
                some = audit(log, [view], full=full)
            found += [replace(each, store=address) for each in some]
    return found


def tell(
    found: Sequence[Audited],
    stores: Sequence[str],
    *,
    log: str,
    namespace: str,
    write: Callable[[str], object],
    clock: Clock | None = None,
) -> None:
    """A line of metrics for each store, also where nothing is wrong: what is missing alarms, too."""
    now_ms = (clock or SystemClock()).now_ms()
    for address in stores:
        own = [each for each in found if each.store == address]
        Metrics(namespace, log=log, store=address, write=write).tell(
            {
                "Audited": len(own),
                "Differing": sum(each.outcome in ("differs", "unreadable") for each in own),
                "Unarchived": sum(each.outcome == "unarchived" for each in own),
                "ArchiveBehind": round(1000 * max([each.age_s or 0.0 for each in own], default=0)),
            },
            now_ms=now_ms,
            Differs=[each.where for each in own if each.outcome in ("differs", "unreadable")][:10],
        )
