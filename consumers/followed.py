"""Which generations of a store a consumer carries forward, and whether it may (C0)."""

from __future__ import annotations

from collections.abc import Sequence

from appliers.applier import Rules
from appliers.exclusion import parse_exclusions
from appliers.fingerprint import check_fingerprint, fingerprint
from appliers.fold import Counts
from appliers.store import Generation, Sink
from binlog.errors import ConflictError
from binlog.log import Log


def followed(
    log: Log, store: Sink, rules: Rules, *, excluded: Sequence[str], same_meaning: bool
) -> list[Generation]:
    """All of the store's, and an open one among them, made if there is none.

    Raises:
        ConflictError: the open one was made with other exclusions.
        MismatchError: one was made by other rules.
    """
    current = fingerprint(rules)
    exclusions = parse_exclusions(excluded, partitions=log.params.partitions)
    wanted = () if exclusions is None else exclusions.rules
    generations = store.generations()
    following = next((generation for generation in generations if generation.open), None)
    if following is None:
        store.create(tables=None, fingerprint=current, excluded=wanted)
        generations = store.generations()
    elif not set(wanted).issubset(following.excluded):  # redrive may have added some
        raise ConflictError(
            f"the store was made with the exclusions {', '.join(following.excluded) or 'none'}",
            store.name,
            "leave --exclude out to go on with them, or rebuild the store with others",
            excluded=following.excluded,
        )
    for generation in generations:
        check_fingerprint(
            generation.fingerprint,
            current,
            where=f"{store.name}, tables {', '.join(generation.tables) or 'none yet'}",
            met=generation.types,
            tables=generation.tables,
            same_meaning=same_meaning,
        )
        if generation.fingerprint != current:  # of types never met, or vouched for
            store.describe(generation.id, fingerprint=current, types=())
    return generations


def taken_by_others(generations: Sequence[Generation]) -> frozenset[str]:
    """The tables that the open one of them does not take."""
    return frozenset(table for each in generations if not each.open for table in each.tables)


def add_counts(total: Counts, more: Counts) -> None:
    """Add what a page came to."""
    for name in Counts.__struct_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
