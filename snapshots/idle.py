"""Rebuilds that would make nothing of something: refused before anything is replaced.

A table that nothing names is a slip in its name, and a target before the log's first event one in a
time. Both would be done without a word, and the second takes a live store's items away.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from appliers.applier import Rules
from appliers.store import Store, vector_of
from binlog.errors import RefusedError


def check_tables(
    wanted: Collection[str], met: Collection[str], store: Store, rules: Rules, *, where: str
) -> None:
    """That each wanted table is known: an event up to the target names it (``met``), or ``store``, or a rule.

    Raises:
        RefusedError: one is not; the message names the nearest that is.
    """
    known = set(met).union(rules.owners, *(g.tables for g in store.generations()))
    if rules.transforms is not None:
        known |= rules.transforms.targets.union(rules.transforms.tables)
    known.discard("")
    for table in sorted(set(wanted) - known):
        near = get_close_matches(table, sorted(known), 1, cutoff=0)
        raise RefusedError(
            f"no event up to there names table {table}, nor does the store have it",
            f"{where} and {store.name}",
            (f"was {near[0]} meant? " if near else "")
            + "to make it empty all the same, rebuild it with --until '{}'",
            table=table,
            nearest=near[0] if near else None,
        )


def check_store_is_empty(wanted: Collection[str] | None, store: Store, *, where: str) -> None:
    """That ``store`` holds no event of the wanted tables (``None``: all), since none is to replace them.

    Raises:
        RefusedError: it does.
    """
    held = sorted(
        table
        for generation in store.generations()
        if any(vector_of(store.checkpoints(generation.id)).values())
        for table in generation.tables
        if wanted is None or table in wanted
    )
    if held:
        raise RefusedError(
            "there is no event up to there, and the store would lose what it has of"
            f" {', '.join(held)}",
            f"{where} and {store.name}",
            "give a later --until; to empty it, --until '{}'",
            tables=held,
        )
