"""Transforms: what a replica changes in events before it folds them. Declared, pure, versioned.

::

    shop = Appliers()
    shop.transform(
        "customers",
        version=1,
        to="people",
        rename={"mail": "email"},
        drop=("card",),
        redact={"name": "(removed)", "phone": pseudonym()},
    )

A table's transform is data, not code: it is laid on the PutItem, UpdateItem and DeleteItem events
that name the table, key and data alike, and never on what is stored. So an UpdateItem folds onto
the item as it is kept, without what was taken out of it. Names in a declaration are those of the
log; all renames happen at once, so two attributes may change places.

What would depend on more than the event is refused, at the event (`appliers.poison`; it parks):

* an attribute that arrives under a name to which another one is renamed: whether the item has
  both, no single event tells, and the one would overwrite the other;
* an Add of a number to a pseudonym;
* a dropped key attribute, or one redacted by a constant: many items would become one.

Who owns the items (`appliers.ownership`): a table's events come from one partition each, and the
transform of their key is injective, so the item's owner is the event's table and key, computed back
through the renames. Pseudonyms do not go back; there it is the event's own place that is checked,
and no applier may write such items. Where several tables become one, keys may meet, and only the
user can say whose an item is: the owner of the target has to be declared (`Appliers.table`), and an
event whose item is not its own is refused. Events that name a target which is made of other tables
are events of one more table, and are held to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import msgspec

from appliers.redaction import Redaction, redaction_of, with_secret
from binlog.envelope import Event
from binlog.errors import DamageError, RefusedError
from binlog.fields import KEY_NAME_BYTES_MAX, check_table
from binlog.values import RESERVED_ATTRIBUTE, decode_value, encode_item, encode_value

Function: TypeAlias = Callable[[Event], Event | None]


class UntellableError(RefusedError):
    """Whose an item is cannot be told from its key, which holds pseudonyms."""


class TableTransform(msgspec.Struct, frozen=True, dict=True):
    """What becomes of a table's actions. Names are those of the log."""

    table: str
    version: int
    to: str
    rename: Mapping[str, str] = {}
    drop: frozenset[str] = frozenset()
    redact: Mapping[str, Redaction] = {}

    @cached_property
    def touched(self) -> frozenset[str]:
        """The names that it does something about."""
        return frozenset({*self.rename, *self.drop, *self.redact}) | self.taken

    @cached_property
    def taken(self) -> frozenset[str]:
        """The names that no attribute may arrive under, since another one gets them."""
        return frozenset(self.rename.values()) - self.rename.keys() - self.drop

    @cached_property
    def _back(self) -> dict[str, str]:
        return {after: before for before, after in self.rename.items()}

    def key(self, key: bytes) -> bytes:
        """The key of the item.

        Raises:
            RefusedError: it drops a key attribute, makes it a constant, or a name is taken.
            DamageError: not the bytes of a key.
        """
        named = _map(key, "a key")
        if self.touched.isdisjoint(named):
            return key
        self._check_taken(named)
        for name in named:
            if name in self.drop:
                raise RefusedError(f"the transform drops the key attribute {name!r}")
            redaction = self.redact.get(name)
            if redaction is not None and not redaction.injective:
                raise RefusedError(
                    f"the transform makes the key attribute {name!r} a constant: all items would be "
                    "one"
                )
        return encode_value(self._renamed(self._redacted(named)))

    def masked(self, key: bytes) -> bytes:
        """The key without what is to be taken out of it, for one that has no item."""
        try:
            named = self._redacted(_map(key, "a key"))
        except (DamageError, RefusedError):
            return encode_value({})
        return encode_value({name: v for name, v in named.items() if name not in self.drop})

    def item(self, data: bytes) -> bytes:
        """The whole item of a PutItem.

        Raises:
            RefusedError: a name is taken, the item would be too large, or is none.
            DamageError: not the bytes of a value.
        """
        item = _map(data, "a PutItem's data")
        if self.touched.isdisjoint(item):
            return data
        self._check_taken(item)
        for name in self.drop:
            item.pop(name, None)
        return encode_item(self._renamed(self._redacted(item)))

    def change(self, data: bytes) -> bytes:
        """The sections of an UpdateItem; those that come to nothing are left out.

        Raises:
            RefusedError: a name is taken or in two sections, a number is added to a pseudonym, or
                there are no such sections.
            DamageError: not the bytes of a value.
        """
        sections: dict[str, Any] = _map(data, "an UpdateItem's data")
        names: list[Any] = []
        for section, content in sections.items():
            names += _names(section, content)
        if not all(type(name) is str for name in names):
            raise RefusedError("Remove takes names")
        if self.touched.isdisjoint(names):
            return data
        if len(set(names)) != len(names):
            raise RefusedError("an UpdateItem that names an attribute twice")
        self._check_taken(names)
        after: dict[str, Any] = {}
        for section, content in sections.items():
            for name in content:
                if name not in self.drop:
                    operand = None if section == "Remove" else content[name]
                    self._put_section(after, section, name, operand)
        if "Remove" in after:
            after["Remove"].sort()
        return encode_value(after, outer=1)

    def owner(self, key: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Table and key of the events of the target's item with this key.

        Raises:
            UntellableError: a pseudonym is in it.
        """
        named = {self._back.get(name, name): value for name, value in key.items()}
        hidden = self.redact.keys() & named.keys()
        if hidden:
            raise UntellableError(
                f"whose the item is cannot be told: its key attribute {min(hidden)!r} is a "
                "pseudonym, so that no applier can write it"
            )
        return self.table, named

    def _put_section(self, after: dict[str, Any], section: str, name: str, operand: Any) -> None:
        new, redaction = self.rename.get(name, name), self.redact.get(name)
        if section == "Remove":
            after.setdefault("Remove", []).append(new)
            return
        if redaction is not None:
            if section == "Set":
                operand = redaction.of(operand)
            elif section == "Add":
                section, operand = redaction.added(name, operand)
            else:
                operand = redaction.deleted(operand)
                if operand is None:
                    return
        after.setdefault(section, {})[new] = operand

    def _check_taken(self, names: Collection[str]) -> None:
        if not self.taken.isdisjoint(names):
            name = min(self.taken.intersection(names))
            raise RefusedError(
                f"an attribute arrives as {name!r}, and the transform of table {self.table!r} "
                f"renames {self._back[name]!r} to that (drop or rename it, too)",
                attribute=name,
            )

    def _redacted(self, item: dict[str, Any]) -> dict[str, Any]:
        for name, redaction in self.redact.items():
            if name in item:
                item[name] = redaction.of(item[name])
        return item

    def _renamed(self, item: dict[str, Any]) -> dict[str, Any]:
        rename = self.rename
        if not rename:
            return item
        return {rename.get(name, name): value for name, value in item.items()}


class TypeTransform(msgspec.Struct, frozen=True):
    """What becomes of the domain events of a type, before any applier has them."""

    event_type: str
    version: int
    function: Function


class Transforms(msgspec.Struct, frozen=True, dict=True):
    """All there are. None at all are spelt ``None`` where rules have them."""

    tables: Mapping[str, TableTransform]
    types: Mapping[str, TypeTransform]

    @cached_property
    def targets(self) -> frozenset[str]:
        """The tables whose items transforms make."""
        return frozenset(each.to for each in self.tables.values())

    @cached_property
    def owners(self) -> Mapping[str, TableTransform]:
        """Those of targets that are made of one table: the transform that leads back to it."""
        found: dict[str, list[TableTransform]] = {}
        for each in self.tables.values():
            found.setdefault(each.to, []).append(each)
        return {table: each[0] for table, each in found.items() if len(each) == 1}


_CONTENTS: dict[Any, type] = {"Set": dict, "Remove": list, "Add": dict, "Delete": dict}


def table_transform(
    table: str,
    version: int,
    to: str | None,
    rename: Mapping[str, str],
    drop: Collection[str],
    redact: Mapping[str, Any],
) -> TableTransform:
    """The declared transform of a table, checked.

    Raises:
        RefusedError: no table name, no attribute name, a name that is dropped and something else,
            two attributes renamed to one, or a constant that no item can hold.
    """
    what = f"the transform of table {check_table(table)!r}"
    if isinstance(drop, str):
        raise RefusedError(f"{what} drops {drop!r}", do=f"give several names: ({drop!r},)")
    given: list[object] = [*rename, *rename.values(), *drop, *redact]
    for name in given:
        if not isinstance(name, str) or not name or name == RESERVED_ATTRIBUTE:
            raise RefusedError(f"{what} names the attribute {name!r}")
        if len(name.encode(errors="surrogatepass")) > KEY_NAME_BYTES_MAX:
            raise RefusedError(f"{what}: a name above {KEY_NAME_BYTES_MAX} bytes")
    twice = {*rename, *redact} & set(drop)
    if twice:
        raise RefusedError(f"{what} drops {min(twice)!r}, and does something else with it")
    if len(set(rename.values())) != len(rename):
        raise RefusedError(f"{what} renames two attributes to one name")
    same = [before for before, after in rename.items() if before == after]
    if same:
        raise RefusedError(f"{what} renames {same[0]!r} to itself")
    redactions = {name: redaction_of(value) for name, value in sorted(redact.items())}
    return TableTransform(
        table,
        version,
        table if to is None else check_table(to),
        dict(sorted(rename.items())),
        frozenset(drop),
        redactions,
    )


def build_transforms(
    tables: Mapping[str, TableTransform],
    types: Mapping[str, TypeTransform],
    owned: Collection[str],
) -> Transforms | None:
    """The transforms with their secrets; ``owned`` are tables with a declared owner.

    Raises:
        RefusedError: a secret is missing, or several tables become one that has no owner.
    """
    if not tables and not types:
        return None
    ready = {
        name: msgspec.structs.replace(
            each, redact={attribute: with_secret(r) for attribute, r in each.redact.items()}
        )
        for name, each in sorted(tables.items())
    }
    transforms = Transforms(ready, dict(sorted(types.items())))
    unsaid = transforms.targets - transforms.owners.keys() - set(owned)
    if unsaid:
        target = min(unsaid)
        sources = " and ".join(repr(each.table) for each in ready.values() if each.to == target)
        raise RefusedError(
            f"the tables {sources} become {target!r}, and whose its items are is not declared",
            do=f"declare it: .table({target!r}, owner=...), from the item's key to the table and "
            "key of its events",
        )
    return transforms


def _names(section: str, content: Any) -> Any:
    if type(content) is not _CONTENTS.get(section):
        raise RefusedError(f"an UpdateItem with {section!r}, which is no section of one")
    return content


def _map(data: bytes, what: str) -> dict[str, Any]:
    value = decode_value(data)
    if type(value) is not dict:
        raise RefusedError(f"{what} that is no map")
    return value
