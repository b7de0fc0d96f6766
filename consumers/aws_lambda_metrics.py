"""Figures of an invocation, in CloudWatch's embedded metric format: a line of JSON on stdout.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

CloudWatch makes metrics of such a line by itself: no call, no permission, nothing to wait for. A
metric costs by its dimensions, so those are the log and the store alone; shard and request are
properties, to be found in the log group.

The figures are those of `consumers.metrics`: of an invocation, Behind is from the arrival of the
batch's first record to its being done, Duration that of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from consumers.metrics import UNITS

DIMENSIONS = ("Log", "Store")

Write = Callable[[str], object]


class Metrics:
    """Writes the figures of invocations; ``write`` is given lines."""

    def __init__(self, namespace: str, *, log: str, store: str, write: Write) -> None:
        self._namespace = namespace
        self._dimensions = dict(zip(DIMENSIONS, (log, store), strict=True))
        self._write = write

    def tell(self, values: Mapping[str, float], *, now_ms: int, **properties: object) -> None:
        """One invocation; ``values`` are by the names above, and those left out are not told.

        ``properties`` go along, and are no metrics.
        """
        metrics = [{"Name": name, "Unit": UNITS[name]} for name in values]
        declared = {
            "Namespace": self._namespace,
            "Dimensions": [list(DIMENSIONS)],
            "Metrics": metrics,
        }
        whole = {
            "_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [declared]},
            **self._dimensions,
            **properties,
            **values,
        }
        self._write(msgspec.json.encode(whole).decode())
