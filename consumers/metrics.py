"""The figures of consumers: one table of names and units, whoever tells them and wherever they go.

=============  ============  =====  ================================================================
Events         Count         sum    applied
Writes         Count         sum    items written
Duplicates     Count         sum    events dropped as copies
Rejected       Count         sum    events whose expected version was another
Parked         Count         sum    events that went to the dead letters
Foreign        Count         sum    records that are none of ours, kept for `binlog relay`
Halted         Count         last   partitions that wait for `binlog resolve`: alarm above 0
Failed         Count         sum    records that are to be delivered again: alarm where it stays above 0
Behind         Milliseconds  last   how long what is applied next, or was last, has been in the log
Runway         Milliseconds  last   until it leaves the log, of one that forgets: alarm when it is short
Rested         Milliseconds  sum    held back by the pace
Duration       Milliseconds  sum    of the work
Audited        Count         last   checkpoints that an audit has compared (`consumers.audit`)
Differing      Count         last   of them those that are not what the archive gives: alarm above 0
Unarchived     Count         last   of them those beyond the archive's end
ArchiveBehind  Milliseconds  last   for how long at least what is not archived has been in the log
=============  ============  =====  ================================================================

A Lambda function writes them in CloudWatch's embedded metric format (`consumers.aws_lambda_metrics`),
an invocation a line; `binlog replicate --emf` does every few seconds (`consumers.metrics_lines`). A process that lives on keeps a file (`MetricsFile`; the KCL's have their health
files, `consumers.kcl_health`): sums are since it started, under the names that `field_of` makes.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from binlog.clock import Clock

_COUNTS = ("Events", "Writes", "Duplicates", "Rejected", "Parked", "Foreign", "Halted", "Failed")
_TIMES = ("Behind", "Runway", "Rested", "Duration", "ArchiveBehind")
_AUDITS = ("Audited", "Differing", "Unarchived")
UNITS: Mapping[str, str] = {
    **dict.fromkeys([*_COUNTS, *_AUDITS], "Count"),
    **dict.fromkeys(_TIMES, "Milliseconds"),
}
LAST = frozenset({"Halted", "Behind", "Runway", "ArchiveBehind", *_AUDITS})
"""Those that stand for a moment; of the others it is the sum that counts."""

SAVE_EVERY_S = 1.0


class Metrics(Protocol):
    """Where figures go."""

    def tell(self, values: Mapping[str, float], *, now_ms: int, **properties: object) -> None:
        """What has come since the last time, by the names above; those left out are not told.

        ``properties`` go along, and are no figures.

        Raises:
            KeyError: a name that the table has not.
        """


def field_of(name: str) -> str:
    """How a figure is called in a file: ``rested_ms`` for Rested."""
    word = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return f"{word}_ms" if UNITS[name] == "Milliseconds" else word


def write_json(path: Path, document: object) -> None:
    """Replace a file by a document; who reads sees the old one or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    aside.replace(path)


class MetricsFile:
    """Figures in a file of JSON, replaced as a whole at most once a second: `Metrics`.

    ``bound`` are words that stand in it from the first moment. A disk that is full stops nothing.
    """

    def __init__(self, path: Path, clock: Clock, **bound: object) -> None:
        self._path = path
        self._clock = clock
        self._saved_at: float | None = None
        sums = {field_of(name): 0 for name in UNITS if name not in LAST}
        self.now: dict[str, object] = {
            **bound,
            "state": "working",
            "pid": os.getpid(),
            "started_ms": clock.now_ms(),
            "at_ms": clock.now_ms(),
            **sums,
        }
        self.save()

    def tell(self, values: Mapping[str, float], *, now_ms: int, **properties: object) -> None:
        for name, value in values.items():
            field, whole = field_of(name), round(value)
            before = self.now.get(field, 0)
            self.now[field] = (
                whole if name in LAST or not isinstance(before, int) else before + whole
            )
        self.now.update(properties)
        self.now["at_ms"] = now_ms
        now = self._clock.monotonic()
        if self._saved_at is None or now - self._saved_at >= SAVE_EVERY_S:
            self.save()

    def save(self, **properties: object) -> None:
        """Write it now."""
        self.now.update(properties)
        self._saved_at = self._clock.monotonic()
        with contextlib.suppress(OSError):
            write_json(self._path, self.now)
