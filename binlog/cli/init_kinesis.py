"""What ``binlog init`` does for a stream: size it by what it would cost, and make it."""

from __future__ import annotations

from typing import Any

import msgspec

from binlog.address import Address
from binlog.cli.output import write_json, write_table, write_text
from binlog.errors import RefusedError
from binlog.params import Params

_HOUR_MS = 3_600_000
_HOURS_MIN, _HOURS_MAX = 24, 365 * 24
_COLUMNS = (
    "partitions",
    "linger",
    "events/record",
    "records/s",
    "latency",
    "shards",
    "$/month",
    "on demand",
)


class StreamWishes(msgspec.Struct, frozen=True, kw_only=True):
    """The options that are for a stream, as they were given."""

    shards: int | None
    on_demand: bool
    retention_ms: int | None
    kms_key: str | None

    @property
    def given(self) -> str:
        """The first option that was given; empty if none was."""
        named = (
            ("--shards", self.shards),
            ("--on-demand", self.on_demand or None),
            ("--retention", self.retention_ms),
            ("--encrypt", self.kms_key),
        )
        return next((name for name, value in named if value is not None), "")

    @property
    def retention_hours(self) -> int | None:
        """Whole hours.

        Raises:
            RefusedError: none that the service takes.
        """
        if self.retention_ms is None:
            return None
        hours, rest = divmod(self.retention_ms, _HOUR_MS)
        if rest or not _HOURS_MIN <= hours <= _HOURS_MAX:
            raise RefusedError(
                f"a retention of {self.retention_ms / _HOUR_MS:g} h",
                "--retention",
                f"whole hours, from {_HOURS_MIN}h to {_HOURS_MAX // 24}d",
            )
        return hours


def make_stream_log(address: Address, params: Params, wishes: StreamWishes) -> tuple[str, Params]:
    """``created`` or ``exists``, and what the log pins.

    Raises:
        RefusedError: options that disagree; else see `create_kinesis_log`.
    """
    from binlog.logs.kinesis import kinesis_service
    from binlog.logs.kinesis_genesis import FRAME_BYTES_MAX, StreamOptions, create_kinesis_log

    if wishes.shards is not None and wishes.on_demand:
        raise RefusedError("--shards and --on-demand", str(address), "give one of them")
    if (wishes.shards or 0) > params.partitions:
        raise RefusedError(
            f"{wishes.shards} shards for {params.partitions} partitions",
            str(address),
            "a partition lies in one shard: give at most as many shards",
        )
    options = StreamOptions(
        shards=wishes.shards,
        on_demand=wishes.on_demand,
        retention_hours=wishes.retention_hours,
        kms_key=wishes.kms_key,
    )
    service = kinesis_service(address.path, account=address.account)
    wanted = msgspec.structs.replace(params, frame_bytes_max=FRAME_BYTES_MAX)
    try:
        return create_kinesis_log(service, wanted, options)
    finally:
        service.clients.close()


def show_choices(
    log: str,
    rate: float | None,
    producers: int | None,
    wishes: StreamWishes,
    *,
    as_json: bool,
) -> None:
    """Print what a few numbers of partitions come to; nothing is made.

    Raises:
        RefusedError: it was not said for how many events.
    """
    from binlog.logs import kinesis_price as price

    if rate is None:
        raise RefusedError(
            "how many partitions?",
            log,
            "give --partitions N; --rate R --producers N shows what a few choices cost",
        )
    hours = wishes.retention_hours or _HOURS_MIN
    found = price.choices(rate=rate, producers=producers or 1, retention_hours=hours)
    best = price.recommended(found)
    if as_json:
        rows = [_rounded(msgspec.to_builtins(each)) for each in found]
        write_json({"log": log, "state": "reckoned", "recommended": best, "choices": rows})
        return
    write_table(
        _COLUMNS,
        [
            (
                str(each.partitions),
                f"{each.linger_s:g} s",
                f"{each.events_per_record:.1f}",
                f"{each.records_per_s:,.1f}",
                f"{each.latency_s:.2f} s",
                str(each.shards),
                f"{each.provisioned_dollars:,.2f}",
                f"{each.on_demand_dollars:,.2f}",
            )
            for each in found
        ],
    )
    write_text(
        f"reckoned for {rate:,g} events/s by {producers or 1} producers; of {price.EVENT_BYTES} B each,"
        f" {price.PACKED_EVENT_BYTES:g} B in a full record, as scripts/bench --cost measured: others"
        " pack otherwise",
        f"list prices; recommended: --partitions {best}",
    )


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Figures as exact as they mean anything: cents, tenths of events, milliseconds."""
    digits = {"latency_s": 3, "provisioned_dollars": 2, "on_demand_dollars": 2}
    return {
        name: round(value, digits.get(name, 1)) if isinstance(value, float) else value
        for name, value in row.items()
    } | {"linger_s": row["linger_s"]}
