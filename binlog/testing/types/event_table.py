"""The table that events of a type are published with, as far as the appliers imply it."""

from __future__ import annotations

from typing import Any

from appliers.applier import Rules
from binlog.errors import RefusedError

OWN_TABLE = "items"
"""What events name whose appliers take any table."""


def table_of(rules: Rules, event_type: str) -> str:
    """The table of the first applier that takes the type, or of that table's owner; "" for none.

    Raises:
        RefusedError: the owner does not tell.
    """
    for rule in rules.by_type.get(event_type, ()):
        if not rule.table:
            return OWN_TABLE
        owned = rules.owners.get(rule.table)
        if owned is None:
            return rule.table
        try:
            return str(owned.owner(_AnyKey())[0])
        except Exception as error:
            raise RefusedError(
                f"the owner of table {rule.table!r} does not tell the table of {event_type!r}"
                f" ({type(error).__name__}: {error})",
                do='give it: table="..."',
            ) from error
    return ""


class _AnyKey(dict[str, Any]):
    """An item's key with every attribute: an owner only picks from it."""

    def __missing__(self, name: str) -> str:
        return "a"
