"""Which items the events of a run are routed to, asked without folding anything.

It is what `appliers.fold` does with them, less what it does to the items: built-in actions to the
key they name, domain events to the keys that the rules compute. An event that cannot be routed
touches no item here; a fold tells why.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from appliers.routing import Op, Routing
from appliers.transforming import failures_of, left_out_of
from appliers.user_rules import keys_of
from binlog.errors import PoisonError
from binlog.run import Run


class Cause(msgspec.Struct, frozen=True, gc=False):
    """An event, by what a person looks for it, an exclusion names it, or a log book has it."""

    partition: int
    offset: int
    id: str
    type: str
    time_ms: int  # the event's own
    arrival_ms: int  # the log's
    session: str
    number: int


def cause_of(run: Run, index: int) -> Cause:
    """The event at ``index`` of ``run``."""
    columns = run.columns
    return Cause(
        partition=run.partition,
        offset=run.first_offset + index,
        id=columns.ids[index],
        type=columns.kinds[columns.index[index]][0],
        time_ms=columns.times[index],
        arrival_ms=run.arrival_ms,
        session=str(run.session),
        number=run.numbers[index],
    )


def touches(
    routing: Routing, run: Run, *, item: tuple[str, bytes] | None = None
) -> Iterator[tuple[int, str, bytes]]:
    """Index, table and key of each item that an event of ``run``, transformed, is routed to.

    Those of one ``item`` alone, where it is given.

    Raises:
        UpgradeError: a schema version that the rules do not know.
    """
    columns = run.columns
    plan = routing.plan(columns.kinds)
    failures, left_out = failures_of(run), left_out_of(run)
    for i, kind in enumerate(columns.index):
        op = plan.ops[kind]
        if i in left_out or op > Op.APPLY:
            continue
        if op is not Op.APPLY or i in failures:
            found = plan.tables[kind], columns.keys[i]
            if item is None or found == item:
                yield i, *found
            continue
        for rule in plan.rules[kind]:
            table = rule.table or plan.tables[kind]
            if not table or (item is not None and table != item[0]):
                continue
            try:
                keys = keys_of(routing, run, i, rule)
            except PoisonError:
                continue
            for key in keys:
                if item is None or key == item[1]:
                    yield i, table, key
