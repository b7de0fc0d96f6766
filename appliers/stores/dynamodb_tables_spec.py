"""What tables a DynamoDB store is to have: their names, key schemas and options.

A log's table ``T`` is kept in the table ``PREFIX.T``; the one that a rebuild makes is
``PREFIX.T.1a2b3c4d``, after the generation, so that both can be there until the switch. The store's
own table, in which checkpoints, rejections and the catalog of generations are, is
``PREFIX.binlog``. A specification file (see `dynamodb_tables_file`) may say otherwise.

A key of one attribute needs no declaration: its name and type are those of the first item. Of two
attributes nothing tells which is the hash key, and no table can be given another one later.

Names: 3 to 255 of a-z A-Z 0-9 _ - . (https://docs.aws.amazon.com/amazondynamodb/latest/
developerguide/HowItWorks.NamingRulesDataTypes.html).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from binlog.errors import RefusedError

NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")
NAME_RULE = "3 to 255 of a-z A-Z 0-9 _ - ."
CONTROL = "binlog"  # PREFIX.binlog; of the store itself, not of the log

LOG_TAG, STORE_TAG, TABLE_TAG = "binlog/log-id", "binlog/store", "binlog/table"
"""Which log's, which store's and which of its tables a table is: set when it is made, for ever."""

KeyType: TypeAlias = Literal["S", "N", "B"]
Attribute: TypeAlias = tuple[str, KeyType]
_TYPE_NAMES = {"S": "text", "N": "a number", "B": "binary"}


class KeySchema(msgspec.Struct, frozen=True):
    """The attributes that make an item's key, each with its type."""

    hash: Attribute
    range: Attribute | None = None

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The hash key first."""
        return (self.hash,) if self.range is None else (self.hash, self.range)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.attributes)

    def __str__(self) -> str:
        return ", ".join(
            f"{role} {name!r} {kind}"
            for role, (name, kind) in zip(("hash", "range"), self.attributes, strict=False)
        )

    def misfit(self, key: Mapping[str, Any]) -> str | None:
        """What keeps ``key`` from being one of such a table; ``None`` if nothing does."""
        if key.keys() != self.names:
            return f"the key has {_listed(sorted(key))}, the table {_listed(sorted(self.names))}"
        for name, kind in self.attributes:
            if type_of(key[name]) != kind:
                return f"the key attribute {name!r} is not {_TYPE_NAMES[kind]} ({kind})"
        return None


class Units(msgspec.Struct, frozen=True):
    """Provisioned capacity, units a second. Of a table that is there, it is left as it is."""

    read: int
    write: int


class TableSpec(msgspec.Struct, frozen=True):
    """One physical table as it is to be.

    An option that is ``None`` was not asked for: a new table gets DynamoDB's default, one that is
    there keeps what it has. ``owned``: made by others (CloudFormation, Terraform), so it is
    compared, and never created, changed or deleted.
    """

    table: str  # the log's; empty for the store's own
    physical: str
    keys: KeySchema
    owned: bool = False
    billing: Literal["on-demand"] | Units | None = None  # None: on demand where it is made
    pitr: bool | int | None = None  # point-in-time recovery; a number: days of it, 1 to 35
    deletion_protection: bool | None = None
    kms: str | None = None  # id, ARN or alias of a key
    tags: Mapping[str, str] = {}


CONTROL_KEYS = KeySchema(("pk", "S"), ("sk", "S"))


class Declared(msgspec.Struct, frozen=True):
    """What is said of one table; defaults are filled in. ``physical`` None: by the prefix."""

    physical: str | None = None
    keys: KeySchema | None = None
    like: str | None = None
    owned: bool = False
    billing: Literal["on-demand"] | Units | None = None
    pitr: bool | int | None = None
    deletion_protection: bool | None = None
    kms: str | None = None
    tags: Mapping[str, str] = {}


class Specification(msgspec.Struct, frozen=True):
    """The tables of one store: those declared, and how the others are derived.

    Frozen: `bound` and `dynamodb_tables.resolve` give another one.
    """

    prefix: str
    path: str | None = None  # of the file, for messages
    declared: Mapping[str, Declared] = {}
    own: Declared = Declared()  # the control table
    defaults: Declared = Declared()
    log_id: str | None = None

    @classmethod
    def load(cls, path: str | None, prefix: str) -> Specification:
        """Of a tables file; without one, all is derived.

        Raises:
            RefusedError: no prefix, no such file, or a mistake in it: one line, file and key.
        """
        from appliers.stores.dynamodb_tables_file import read  # imports us

        check_prefix(prefix)
        return cls(prefix) if path is None else read(path, prefix)

    def bound(self, log_id: str) -> Specification:
        """With the log that the store belongs to, which is in the tags of all its tables."""
        return msgspec.structs.replace(self, log_id=log_id)

    def control(self) -> TableSpec:
        """The store's own table."""
        return self._spec("", self.own, CONTROL_KEYS, self.own.physical or self._name(CONTROL))

    def of(self, table: str, key: Mapping[str, Any], *, generation: str | None) -> TableSpec:
        """The table that keeps a log's ``table``, whose items have such a ``key``.

        ``generation``: the id of the one that a rebuild makes; ``None`` for the table's first.

        Raises:
            RefusedError: two attributes and no declaration, a key that does not fit what is
                declared, a name DynamoDB would not take, or a rebuild of an owned table.
        """
        declared = self.declared.get(table, self.defaults)
        keys = declared.keys
        if keys is None:
            if declared.like or (declared.owned and table in self.declared):
                raise ValueError(f"{table}: the key schema has not been looked up (resolve)")
            keys = self._derived(table, key)
        elif misfit := keys.misfit(key):
            raise RefusedError(
                misfit,
                f"table {table!r}",
                f"{self.where(table)} says {keys}: mend that, or what the events have as key",
                table=table,
            )
        return self._spec(table, declared, keys, self.name_of(table, generation=generation))

    def name_of(self, table: str, *, generation: str | None) -> str:
        """The physical name.

        Raises:
            RefusedError: as `of`.
        """
        declared = self.declared.get(table, self.defaults)
        name = declared.physical or self._name(table)
        if generation is not None:
            if declared.owned:
                raise RefusedError(
                    f"table {table!r} is made by others (owned), so a rebuild cannot replace it",
                    self.where(table),
                    "replicate into a store of another prefix, whose file names a new empty table",
                    table=table,
                )
            name = f"{name}.{generation[:8]}"
        if declared.physical is None and name == self.control().physical:
            raise RefusedError(
                f"table {table!r} would have the name of the store's own table, {name}",
                self.path or "",
                f"declare a name: {toml(table, physical=f'{self.prefix}.{table}.table')}",
                table=table,
            )
        others = self.declared.items() if table not in self.declared else ()
        for other, theirs in others:  # of declared ones the file's reader says it, with the line
            if theirs.physical == name:
                raise RefusedError(
                    f"table {table!r} would have the name {name}, which is declared for {other!r}",
                    self.where(other),
                    f"declare another name: {toml(table, physical=f'{name}.table')}",
                    table=table,
                )
        # Better refused now than when a rebuild is needed.
        longest = name if declared.owned or generation else f"{name}.{'0' * 8}"
        if NAME.fullmatch(longest) is None:
            raise RefusedError(
                f"{longest!r} ({len(longest)} characters) is no DynamoDB table's name "
                f"({NAME_RULE}), and a rebuild would need it",
                f"table {table!r}",
                "take a shorter prefix, or declare a shorter name (physical)",
                table=table,
            )
        return name

    def where(self, table: str) -> str:
        """The place in the file where a table is declared, for messages."""
        return f"{self.path or 'no tables file'}: tables.{bare(table)}"

    def _name(self, table: str) -> str:
        return f"{self.prefix}.{table}"

    def _spec(self, table: str, declared: Declared, keys: KeySchema, physical: str) -> TableSpec:
        ours = {STORE_TAG: self.prefix}
        if table:
            ours[TABLE_TAG] = table
        if self.log_id is not None:
            ours[LOG_TAG] = self.log_id
        return TableSpec(
            table=table,
            physical=physical,
            keys=keys,
            owned=declared.owned,
            billing=declared.billing,
            pitr=declared.pitr,
            deletion_protection=declared.deletion_protection,
            kms=declared.kms,
            tags={**declared.tags, **ours},
        )

    def _derived(self, table: str, key: Mapping[str, Any]) -> KeySchema:
        typed: list[Attribute] = []
        for name, value in key.items():
            if (kind := type_of(value)) is None:
                raise RefusedError(
                    f"the key attribute {name!r} is neither text, number nor binary",
                    f"table {table!r}",
                    "DynamoDB has no other keys",
                    table=table,
                )
            typed.append((name, kind))
        match typed:
            case [one]:
                return KeySchema(one)
            case [one, two]:
                target = f"at the top of {self.path}" if self.path else "in a file"
                and_then = "" if self.path else "; then add ?tables=FILE to the store's address"
                raise RefusedError(
                    f"the key has two attributes, {one[0]!r} and {two[0]!r}, and nothing says "
                    f"which is the hash key",
                    # The first event tells, and to delete what is made by then is not everybody's right.
                    f"table {table!r} ({self.control().physical} is made, and used when you go on)",
                    f"write {target}, or the other way round: "
                    f"{toml(table, hash=one, range=two)}{and_then}",
                    table=table,
                )
        raise RefusedError(
            f"a key of {len(key)} attributes, and DynamoDB takes one or two",
            f"table {table!r}",
            "make the rest of them part of one",
            table=table,
        )


def check_prefix(prefix: str) -> None:
    """Refuse what no name can begin with.

    Raises:
        RefusedError: it is so.
    """
    if NAME.fullmatch(f"{prefix}.{CONTROL}") is None or not prefix:
        raise RefusedError(
            f"{prefix!r} cannot begin a DynamoDB table's name",
            f"dynamodb://{prefix}",
            "write 1 to 240 of a-z A-Z 0-9 _ - .",
        )


def type_of(value: object) -> KeyType | None:
    """The DynamoDB type of a key attribute's value; ``None`` if no key can have it."""
    if isinstance(value, str):
        return "S"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return "N"
    return "B" if isinstance(value, bytes | bytearray | memoryview) else None


def toml(table: str, **fields: object) -> str:
    """A declaration on one line, to be pasted above the first ``[header]`` of a file."""
    inner = ", ".join(f"{name} = {_toml_value(value)}" for name, value in fields.items())
    return f"tables.{bare(table)} = {{ {inner} }}"


def bare(name: str) -> str:
    """A key as TOML writes it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _toml_value(value: object) -> str:
    # JSON's lists, numbers and basic strings are TOML's, but for the raw character 0x7f.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _listed(names: list[str]) -> str:
    return " and ".join(map(repr, names)) or "no attributes"
