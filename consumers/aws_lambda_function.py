"""One environment of the Lambda consumer: what is kept between invocations, and what is not.

Invariants:

* whatever is not durable and checkpointed when an invocation ends is delivered again: its number is
  reported, or, where nobody is known to read the report, the invocation fails;
* nothing is kept that could be out of date: rows are read in every invocation (`consumers.delivery`);
  what stays is the log's identity, its lineage, and connections. After an error none of it does;
* no thread is at work when an invocation ends, since the environment is frozen then (P8).

A report that nobody reads is success: the mapping would go on behind what failed. So the mapping is
asked, at the first invocation, and again before a report when that was over a minute ago.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from appliers.address import open_store
from appliers.store import Store
from binlog.address import open_log
from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError, BusyError, MismatchError, RefusedError
from binlog.log import Log
from binlog.logger import get_logger
from binlog.objects.address import open_objects
from binlog.objects.objects import Objects
from consumers.aws_lambda_event import Delivered, decode_event, first_of
from consumers.aws_lambda_mapping import (
    LIST,
    List,
    has_lanes,
    list_mappings,
    mapping_findings,
    refusal,
    reports_failures,
)
from consumers.aws_lambda_metrics import Metrics, Write
from consumers.aws_lambda_opened import Opened, open_settings
from consumers.aws_lambda_settings import Settings
from consumers.working import Outcome

SEEN_S = 60.0  # a mapping that was looked at so lately is as it was then
# After so long between two invocations what is on the way (350 s idle: NAT gateways, endpoints in a VPC)
# has forgotten the connections, and may not say so. Those that say so cost one more attempt.
ASLEEP_S = 300.0

_logger = get_logger(__name__)


class Context(Protocol):
    """What Lambda gives a handler beside the event."""

    aws_request_id: str
    invoked_function_arn: str

    def get_remaining_time_in_millis(self) -> int: ...


class Function:
    """Handles the invocations of one environment, one at a time.

    ``open_log``, ``open_store`` and ``mappings`` are how it gets at the services, ``write`` is given
    lines of metrics. Nothing is opened before the first invocation: a snapshot (SnapStart) that was
    taken before holds no connection, no randomness and no time.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        open_log: Callable[[str], Log] = open_log,
        open_store: Callable[[str], Store] = open_store,
        open_objects: Callable[[str], Objects] = open_objects,
        mappings: List = list_mappings,
        write: Write = print,
    ) -> None:
        self._settings = settings
        self._clock: Clock = clock or SystemClock()
        self._open_log = open_log
        self._open_store = open_store
        self._open_objects = open_objects
        self._mappings = mappings
        self._metrics = None
        if settings.metrics is not None:
            self._metrics = Metrics(
                settings.metrics, log=settings.log, store=settings.target, write=write
            )
        self._opened: Opened | None = None
        self._slept_from_ms: int | None = None
        self._reports = settings.mapping == "trust"
        self._seen_ms: int | None = None  # the mapping
        self._cleared = settings.mapping == "trust"  # it drops nothing
        self._lanes = True  # it may deliver partitions of a shard apart from one another

    def handle(self, event: object, context: Context) -> dict[str, Any]:
        """Apply what an event delivers; returns the service's partial response.

        Raises:
            BinlogError: nothing may be reported, and all of the batch has to come again.
        """
        begun = self._clock.monotonic()
        deadline = begun + context.get_remaining_time_in_millis() / 1000 - self._settings.reserve_s
        delivered: Delivered | None = None
        try:
            self._check_time(deadline - begun)
            delivered = decode_event(event)
            self._check_source(delivered)
            opened = self._wake()
            self._look_at_mapping(opened, delivered, context)
            records = opened.records(delivered)
            opened.set_lanes(lanes=self._lanes)
            outcome = opened.worker.apply(delivered.shard, records, deadline=deadline)
        except BinlogError as error:
            self.forget()
            self._tell_error(error, delivered, context, begun)
            return self._report(first_of(event), error, delivered, context)
        except BaseException:
            self.forget()  # whatever it was, what it has left behind is not to be gone on with
            raise
        finally:
            self._slept_from_ms = self._clock.now_ms()
        self._tell(outcome, delivered, context, begun)
        if outcome.first_failed is None:
            return {"batchItemFailures": []}
        why = outcome.error or _over(delivered)
        return self._report(str(outcome.first_failed), why, delivered, context)

    def forget(self) -> None:
        """Close everything; the next invocation opens it again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            try:
                opened.close()
            except BinlogError as error:
                _logger.warning("function.close_failed", error=str(error))

    # -- before ----------------------------------------------------------------------------------

    def _check_time(self, seconds: float) -> None:
        if seconds <= 0:
            raise RefusedError(
                "no time is left for any work",
                "the function's timeout",
                f"make it longer: {self._settings.reserve_s:g} s (BINLOG_RESERVE_S) are kept free"
                " at its end, and 60 s are a good timeout",
            )

    def _check_source(self, delivered: Delivered) -> None:
        stream = self._settings.stream
        if delivered.stream != stream.path:
            raise MismatchError(
                f"records of the stream {delivered.stream}",
                f"BINLOG_LOG={self._settings.log}",
                "give each stream a function of its own",
            )
        region = delivered.arn.split(":")[3]
        if stream.account.region not in (None, region):
            raise MismatchError(
                f"records of region {region}",
                f"BINLOG_LOG={self._settings.log}",
                "a stream of that name in another region is another log",
            )

    def _wake(self) -> Opened:
        """The log and the store, open; after a long sleep anew."""
        slept_from_ms, self._slept_from_ms = self._slept_from_ms, None
        if self._opened is not None and slept_from_ms is not None:
            # The wall clock: the monotonic one may have stood still, too.
            passed_ms = self._clock.now_ms() - slept_from_ms
            if not 0 <= passed_ms < ASLEEP_S * 1000:
                self.forget()
        if self._opened is None:
            self._opened = open_settings(
                self._settings,
                clock=self._clock,
                open_log=self._open_log,
                open_store=self._open_store,
                open_objects=self._open_objects,
            )
        return self._opened

    # -- the mapping -----------------------------------------------------------------------------

    def _look_at_mapping(self, opened: Opened, delivered: Delivered, context: Context) -> None:
        """Once an environment: whether the mapping drops records, and whether it reads reports.

        Raises:
            RefusedError: it does the first.
        """
        if self._cleared:
            return
        mappings = self._see_mappings(delivered, context)
        for each in mappings:
            if (found := refusal(each, is_running=opened.is_running())) is not None:
                raise RefusedError(found.what, found.where, found.do)
        for found in (finding for each in mappings for finding in mapping_findings(each)):
            if found.state == "unhealthy":
                _logger.error("mapping.unsafe", what=found.what, where=found.where, do=found.do)
        self._cleared = True

    def _see_mappings(self, delivered: Delivered, context: Context) -> list[dict[str, Any]]:
        """Those that may have delivered this; notes whether they read reports."""
        self._reports, self._seen_ms = False, self._clock.now_ms()
        function, stream = context.invoked_function_arn, delivered.arn.partition("/consumer/")[0]
        effect = "a failure has all of its batch delivered again"
        try:
            mappings = self._mappings(stream, function)
        except BinlogError as error:
            do = f"permit {LIST} (binlog policy lambda), or set BINLOG_MAPPING=trust"
            _logger.warning("mapping.unknown", error=str(error), effect=effect, do=do)
            return []
        if not mappings:
            _logger.warning("mapping.missing", function=function, stream=stream, effect=effect)
        self._reports = bool(mappings) and all(map(reports_failures, mappings))
        self._lanes = not mappings or any(map(has_lanes, mappings))
        return mappings

    # -- after -----------------------------------------------------------------------------------

    def _report(
        self,
        sequence: str | None,
        error: BinlogError,
        delivered: Delivered | None,
        context: Context,
    ) -> dict[str, Any]:
        """Have the service deliver again from ``sequence`` on; or all, where that is not sure."""
        if sequence is None or delivered is None or not self._is_read(delivered, context):
            _raise(error)
        return {"batchItemFailures": [{"itemIdentifier": sequence}]}

    def _is_read(self, delivered: Delivered, context: Context) -> bool:
        """Whether the mapping reads what is returned, as of a minute ago at most."""
        if self._settings.mapping == "trust":
            return True
        # By the wall clock: in a frozen environment the monotonic one may stand still.
        if self._seen_ms is None or not 0 <= self._clock.now_ms() - self._seen_ms <= SEEN_S * 1000:
            self._see_mappings(delivered, context)
        return self._reports

    def _tell_error(
        self, error: BinlogError, delivered: Delivered | None, context: Context, begun: float
    ) -> None:
        where = "" if delivered is None else delivered.shard
        _logger.error("batch.failed", error=str(error), shard=where)
        if self._metrics is not None:
            count = 1 if delivered is None else len(delivered.records)
            self._metrics.tell(
                {"Failed": count, "Duration": self._passed_ms(begun)},
                now_ms=self._clock.now_ms(),
                Error=str(error),
                Shard=where,
                RequestId=context.aws_request_id,
            )

    def _tell(self, outcome: Outcome, delivered: Delivered, context: Context, begun: float) -> None:
        failed = 0
        if outcome.first_failed is not None:
            failed = sum(
                int(each.sequence_number) >= outcome.first_failed for each in delivered.records
            )
            _logger.error(
                "batch.cut",
                error=str(outcome.error or _over(delivered)),
                shard=delivered.shard,
                first_failed=outcome.first_failed,
                failed=failed,
            )
        if self._metrics is None:
            return
        now_ms = self._clock.now_ms()
        arrival_ms = delivered.records[0].approximate_arrival_timestamp * 1000
        properties: dict[str, object] = {
            "Shard": delivered.shard,
            "Records": len(delivered.records),
            "RequestId": context.aws_request_id,
        }
        if outcome.error is not None:
            properties["Error"] = str(outcome.error)
        self._metrics.tell(
            {
                "Events": outcome.events,
                "Writes": outcome.writes,
                "Duplicates": outcome.duplicates,
                "Rejected": outcome.rejected,
                "Parked": outcome.parked,
                "Foreign": outcome.foreign,
                "Halted": len(outcome.halted),
                "Failed": failed,
                "Behind": max(0, round(now_ms - arrival_ms)),
                "Duration": self._passed_ms(begun),
            },
            now_ms=now_ms,
            **properties,
        )

    def _passed_ms(self, begun: float) -> float:
        return round((self._clock.monotonic() - begun) * 1000, 1)


def _over(delivered: Delivered) -> BinlogError:
    return BusyError("the time was over before the batch was done", delivered.shard)


def _raise(error: BinlogError) -> NoReturn:
    """Without the frames that it came through: the service logs them all."""
    raise error.with_traceback(None) from None
