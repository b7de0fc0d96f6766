"""What ``binlog adopt`` says: what it would take, what it did, what is not as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from binlog.cli.output import note, write_json, write_text

if TYPE_CHECKING:
    from appliers.stores.dynamodb_physical import Described
    from snapshots.adopt import Adopted, Adopting
    from snapshots.adopt_base import Stray
    from snapshots.adopt_sources import FileSource, TableSource


def plan_of(
    adopting: Adopting,
    partitions: int,
    name: str,
    live: TableSource | FileSource,
    described: Described | None,
    *,
    is_export: bool,
) -> dict[str, Any]:
    """What it takes. Of a table that is being adopted already: what is left of it."""
    from appliers.stores.dynamodb_physical import READ_PRICE_USD

    standing = adopting.standing()
    scans = 0 if standing is not None else 1 if is_export else 2
    units = 0 if described is None else scans * described.scan_units
    return {
        "table": name,
        "key": str(live.keys),
        "items": None if described is None else described.items,
        "bytes": None if described is None else described.bytes,
        "partitions": partitions,
        "base": None if standing is None else standing.base,
        "records": len(adopting.missing),
        "read_units": units,
        "read_usd": round(units * READ_PRICE_USD / 1_000_000, 4),
        "written": False,
    }


def write_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    """The plan, and that nothing was done."""
    if as_json:
        write_json(plan)
        return
    size = (
        "" if plan["items"] is None else f", some {plan['items']:,} items, {plan['bytes']:,} bytes"
    )
    lines = [f"table {plan['table']}{size}; {plan['key']}"]
    if plan["base"] is not None:
        lines.append(f"the log adopts it already, with base {plan['base']}")
    else:
        lines.append(
            f"read: {plan['read_units']:,} read units, ${plan['read_usd']:.4f} on demand"
            " (the table twice; an export and the table once)"
        )
    lines.append(f"write: {plan['records']} ADOPT records, one a partition")
    write_text(*lines)
    note("binlog: nothing was written; --yes does it, while nobody writes to the table")


def adopted_document(adopted: Adopted, store: str | None, units: float) -> dict[str, Any]:
    """What was done, as JSON."""
    adoption = adopted.at.adoption
    return {
        "table": adoption.table,
        "base": adoption.base,
        "digest": adoption.digest,
        "address": adoption.address,
        "items": adopted.items,
        "vector": {str(p): offset for p, offset in enumerate(adopted.at.offsets)},
        "records": adopted.written,
        "found": adopted.base_was_there,
        "store": store,
        "read_units": units,
        "written": True,
    }


def write_adopted(adopted: Adopted, log: str, store: str | None, units: float) -> None:
    """The same for people."""
    adoption = adopted.at.adoption
    found = "found" if adopted.base_was_there else "written"
    paid = f", {units:,.0f} read units" if units else ""
    write_text(
        f"table {adoption.table}: {adopted.items:,} items{paid}",
        f"base {adoption.base} {found} at {adoption.address}",
        f"{adopted.written} ADOPT records written, {len(adopted.at.offsets)} are in {log}",
    )
    if not adopted.written:
        note("binlog: it was adopted before, and not read again; --check lists what is otherwise")
    if store is not None:
        write_text(
            f"{store} goes on with the table in place; `--check` lists what others write to it"
        )


def key_text(stray: Stray) -> str:
    """Its key, as JSON."""
    from appliers.poison import readable_key

    return readable_key(stray.key)[1]


def stray_document(stray: Stray) -> dict[str, Any]:
    """A stray as JSON: what the base says, and what stands in the table."""
    from binlog.json_values import plain
    from binlog.values import decode_value

    def item(data: bytes | None) -> Any:
        return None if data is None else plain(decode_value(data))

    return {
        "key": plain(decode_value(stray.key)),
        "kind": stray.kind,
        "base": item(stray.base),
        "found": item(stray.found),
    }
