"""What of a DynamoDB store IAM decides on: its physical tables, by what is done with them.

A table of the log that is yet to come is under the prefix, as is what a rebuild makes of one; so
the grant is for ``PREFIX.*``. A prefix that begins with another store's and a dot is under that
one's grants, too: choose others where it matters. The store's own table is under the prefix as well,
so a role that may delete tables is denied that one.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliers.stores.dynamodb_tables_spec import Specification
from binlog.aws.policies import Place, Target, tables_target


def targets_of(
    specification: Specification, place: Place, keys: Iterable[str] | None = None
) -> list[Target]:
    """The targets of a store's grants. ``keys``: what encrypts its tables, else what is declared."""
    declared = specification.declared
    made = [f"{specification.prefix}.*"]
    owned, models = [], []
    for table, each in sorted(declared.items()):
        name = specification.name_of(table, generation=None)
        if each.owned:
            owned.append(name)
        elif each.physical is not None:
            made += [name, f"{name}.*"]
        if each.like is not None:
            models.append(each.like)
    if keys is None:
        said = (specification.own, specification.defaults, *declared.values())
        keys = sorted({each.kms for each in said if each.kms is not None})
    keys = tuple(keys)
    control = [specification.control().physical]
    return [
        tables_target("control", place, control, keys),
        tables_target("tables", place, made, keys),
        tables_target("owned", place, owned, keys),
        tables_target("models", place, models),
    ]
