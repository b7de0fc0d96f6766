"""What a fold makes of an ADOPT record (`binlog.adoption`): the base's items enter, at its version.

* A fold from nothing takes the base's rows of the partition from `Bases`, verified; without them it
  stops and names the base: a table without what it began with would be another one.
* A fold onto a store finds them there: whoever carries a store forward has put them in before
  (`consumers.adopting`), or the table itself holds them (`appliers.stores.dynamodb_adopted`).
* Either way an event of the table that stands before the record in its partition, or another ADOPT,
  stops it: which of the two an item would have begun with, nobody could tell.

An adopted table is owned by its keys, and no transform is laid on it: a base is cut into partitions
once, for every reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from appliers.applier import Rules
from appliers.entries import Items
from appliers.item import Rejection
from appliers.parking import Parking
from binlog.adoption import Adoption, decode_adoption
from binlog.errors import PoisonError, RefusedError
from binlog.run import Run
from binlog.vector import offset_of


class Bases(Protocol):
    """Where the content of adopted tables is read from."""

    def rows(self, adoption: Adoption, partition: int) -> Iterable[tuple[bytes, bytes]]:
        """Key and canonical item, each once, of the base's items of that partition; in no order.

        Raises:
            RefusedError: there is no such base where it is looked for; another one has its name.
            DamageError: it is not what the record says, by its digest or by a part's.
            StorageError: it cannot be read now.
        """

    def size_bytes(self) -> int:
        """Of all bases of the log, decompressed, as far as that is known before they are met."""


def adoption_at(run: Run, index: int) -> Adoption | None:
    """What the ADOPT record at ``index`` says; ``None``: it has no effect."""
    columns = run.columns
    return decode_adoption(columns.kinds[columns.index[index]][2], columns.datas[index])


def adopt(
    run: Run,
    index: int,
    items: Items,
    version: int,
    *,
    rules: Rules,
    bases: Bases | None,
    onto_store: bool,
    parking: Parking,
    rejections: Iterable[Rejection],
) -> str | None:
    """Fold the ADOPT at ``index``, whose version is that, into its table's ``items``; the table.

    ``None``: the record says nothing. ``onto_store``: what is not in ``items`` is in a store.
    ``parking`` and ``rejections`` are the fold's.

    Raises:
        PoisonError: events of the table stand before it.
        RefusedError: its base is not there, or the table may not be adopted by these rules.
        DamageError, StorageError: see `Bases.rows`.
    """
    adoption = adoption_at(run, index)
    if adoption is None:
        return None
    check_rules(rules, adoption.table)
    before = [entry[0] for entry in items.values() if 0 < entry[0] < version]
    # An event that could not be applied stands before it, too, and one that was rejected.
    before += [
        tail
        for (table, key), tail in parking.tails(run.partition).items()
        if table == adoption.table and (key not in items or items[key][0] < version)
    ]
    here = run.partition, adoption.table
    refused = [r.offset for r in rejections if (r.partition, r.table) == here]
    refused += [parking.refused[here]] if here in parking.refused else []
    before += [offset for offset in refused if offset < offset_of(version)]
    if before:
        raise too_late(run, index, adoption, offset_of(min(before)))
    if not onto_store:
        if bases is None:
            raise no_bases(run, index, adoption)
        rows = bases.rows(adoption, run.partition)
        if items:  # begun from a snapshot that was taken while the base went in
            rows = [(k, d) for k, d in rows if k not in items or items[k][0] < version]
        items.update((key, (version, data)) for key, data in rows)
    return adoption.table


def check_rules(rules: Rules, table: str) -> None:
    """That ``rules`` leave an adopted table as it is.

    Raises:
        RefusedError: a declared owner or a transform says something about it.
    """
    transforms = rules.transforms
    if table in rules.owners:
        why = "an owner is declared for it"
    elif transforms is not None and (table in transforms.tables or table in transforms.targets):
        why = "a transform is laid on it"
    else:
        return
    raise RefusedError(
        f"table {table} is adopted, and {why}: its base is by its own keys, as it was",
        do="leave that out of the appliers, or make the table of events, without a base",
        table=table,
    )


def too_late(run: Run, index: int, adoption: Adoption, before: int) -> PoisonError:
    """The error of an ADOPT that stands behind an event of its table, at offset ``before``."""
    partition, offset, table = run.partition, run.first_offset + index, adoption.table
    rule = f"offsets={partition}:{before}-{before}"
    return PoisonError(
        f"table {table} is adopted here, and there is an event of it before, at offset {before}",
        f"partition {partition}, offset {offset}, id {run.columns.ids[index]!r}",
        f"rebuild without each of these: binlog cat LOG --control --partition {partition} --table "
        f"{table} shows them; --exclude {rule}",
        partition=partition,
        offset=offset,
        id=run.columns.ids[index],
        type=run.columns.kinds[run.columns.index[index]][0],
        table=table,
        key={},
        sequence=run.sequence,
        reason=f"an event of the table stands before it, at offset {before}",
        exclude=(rule,),
        parks=False,
        alone=True,
    )


def no_bases(run: Run, index: int, adoption: Adoption) -> RefusedError:
    """The error of whoever has no base to begin the table with."""
    partition, offset = run.partition, run.first_offset + index
    return RefusedError(
        f"table {adoption.table} begins with base {adoption.base}, which is not given here",
        f"partition {partition}, offset {offset}, written at {adoption.address}",
        "name where it is: --snapshots URL; a store of workers begins by binlog rebuild, which reads it",
        partition=partition,
        offset=offset,
        table=adoption.table,
        base=adoption.base,
    )
