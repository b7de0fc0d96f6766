"""Appliers of the user's own event types: declared by decorator, built into immutable rules.

::

    orders = Appliers()


    @orders.on("OrderPlaced", table="orders", version=1)
    def place(item, event):
        return {**event.key, "total": event.data["total"], "state": "placed"}


    @orders.on("OrderCancelled", table="orders", version=1)
    def cancel(item, event):
        if item is None:
            raise ApplierError("an order that was never placed")
        return {**item, "state": "cancelled"}


    @orders.upcaster("OrderPlaced", from_version=1)
    def total_in_cents(data):
        return {"total": data["total"] * 100}

An applier is pure: item (``None`` where there is none) and event in, item (``None``: delete it)
out, the same for the same input on every machine and day: no clock, no random numbers, no order of
a set. It leaves what it is given as it is: a fold gives it copies, so that no replica is harmed,
but other callers may not, and `binlog.testing.check_applier` holds it to that. It returns the whole
item, key attributes included.
What it raises ends a replica there, or parks the item: the latter only where it is certainly the
event's doing and met again by everybody, which is `ApplierError`, and what pure code raises about a
value that it did not expect (`appliers.poison`). A time-out or a missing module never parks.

Which item: the event's key in the declared table, or in the event's own where none is declared;
``key=`` computes another key from the event, ``keys=`` several. The applier may take the item's
key as a third argument. All must be keys that events of this partition own (`appliers.ownership`):
by default an item belongs to the events published with its own table and key, and ``owner=``
declares otherwise (`by_key` for events that are published without a table).

What a replica changes in events before they are folded, `transform` and `transforms` declare
(`appliers.transform`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from appliers.ownership import Owner, OwnerRule
from appliers.transform import (
    Function,
    TableTransform,
    Transforms,
    TypeTransform,
    build_transforms,
    table_transform,
)
from binlog.envelope import Event
from binlog.errors import RefusedError
from binlog.fields import check_table
from binlog.schema import NO_SCHEMAS, Registry, Schemas, Upcast, check_version

Apply: TypeAlias = Callable[..., Mapping[str, Any] | None]
KeyOf: TypeAlias = Callable[[Event], Mapping[str, Any]]
KeysOf: TypeAlias = Callable[[Event], Iterable[Mapping[str, Any]]]
_Apply = TypeVar("_Apply", bound=Apply)
_Transform = TypeVar("_Transform", bound=Function)
_Upcaster = TypeVar("_Upcaster", bound=Upcast)


class ApplierError(Exception):
    """Raise it in an applier: this event cannot be applied, and why.

    Replicas and rebuilds stop there (`PoisonError`) until the event is left out or the applier
    mended; where they are told to park, the item waits instead, with all later events of it. The
    message is shown as it is.
    """


class Rule(msgspec.Struct, frozen=True):
    """One applier: what it takes, where it goes, and its declared version."""

    event_type: str
    table: str  # "": the event's own
    version: int
    apply: Apply
    takes_key: bool  # whether it wants the item's key as a third argument
    key: KeyOf | None = None
    keys: KeysOf | None = None


class Rules(msgspec.Struct, frozen=True):
    """What a fold goes by: immutable, complete, checked."""

    by_type: Mapping[str, tuple[Rule, ...]]
    owners: Mapping[str, OwnerRule]
    schemas: Schemas
    transforms: Transforms | None = None


NO_RULES = Rules({}, {}, NO_SCHEMAS)
"""Built-in actions only."""


class Appliers:
    """Collects appliers, owners and upcasters; `build` makes rules of them."""

    def __init__(self) -> None:
        self._rules: dict[str, list[Rule]] = {}
        self._owners: dict[str, OwnerRule] = {}
        self._registry = Registry()
        self._table_transforms: dict[str, TableTransform] = {}
        self._type_transforms: dict[str, TypeTransform] = {}

    def on(
        self,
        event_type: str | type,
        *,
        table: str | None = None,
        version: int = 1,
        key: KeyOf | None = None,
        keys: KeysOf | None = None,
        owner: Owner | None = None,
    ) -> Callable[[_Apply], _Apply]:
        """Decorate the applier of ``event_type`` for ``table`` (``None``: the event's own).

        A Python type stands for the event type of its name, and declares what its data look like.
        ``version`` is the applier's, raised when it comes to compute something else (with its
        ``key`` or ``keys``). ``owner`` is short for `table` with the same version. One type may
        have appliers for several tables, one each.

        Raises:
            RefusedError: a built-in type, no table name, a second applier for the same type and
                table, or a function that cannot be one.
        """
        event_type = self._registry.data_type(event_type)
        check_version("version", version)
        if key is not None and keys is not None:
            raise RefusedError(f"the applier of {event_type!r} has key and keys", do="give one")
        if table is not None:
            check_table(table)
        if owner is not None:
            if table is None:
                raise RefusedError(f"the applier of {event_type!r} has an owner and no table")
            self.table(table, owner=owner, version=version)
        # Declared, so that data of a newer schema is never given to an applier of an older one.
        rules = self._rules.setdefault(event_type, [])

        def register(apply: _Apply) -> _Apply:
            rule = Rule(event_type, table or "", version, apply, _takes_key(apply), key, keys)
            for other in rules:
                if other.table == rule.table or not (other.table and rule.table):
                    raise RefusedError(
                        f"two appliers of {event_type!r} for {_table_named(other.table)} and "
                        f"{_table_named(rule.table)}",
                        do="one applier for a type and table",
                    )
            rules.append(rule)
            return apply

        return register

    def table(self, name: str, *, owner: Owner, version: int = 1) -> None:
        """Declare who owns the items of table ``name``: see `appliers.ownership`.

        Raises:
            RefusedError: no table name, or another owner declared before.
        """
        check_table(name)
        check_version("version", version)
        if not callable(owner):
            raise RefusedError(f"the owner of table {name!r} is no function")
        present = self._owners.setdefault(name, OwnerRule(owner, version))
        if present.owner is not owner:
            raise RefusedError(f"two owners of table {name!r}", do="one function for a table")
        if version > present.version:
            self._owners[name] = OwnerRule(owner, version)

    def transform(
        self,
        table: str,
        *,
        version: int,
        to: str | None = None,
        rename: Mapping[str, str] | None = None,
        drop: Collection[str] = (),
        redact: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare what becomes of the actions on ``table``; see `appliers.transform`.

        ``to`` is the table whose items they make, ``rename`` gives attributes other names,
        ``redact`` other values: a constant, or `appliers.redaction.pseudonym`. All names are
        those of the log. ``version`` is raised whenever one of these changes.

        Raises:
            RefusedError: a second transform of the table, or one that contradicts itself.
        """
        check_version("version", version)
        if table in self._table_transforms:
            raise RefusedError(f"two transforms of table {table!r}", do="one transform a table")
        self._table_transforms[table] = table_transform(
            table, version, to, rename or {}, drop, redact or {}
        )

    def transforms(
        self, event_type: str | type, *, version: int = 1
    ) -> Callable[[_Transform], _Transform]:
        """Decorate the transform of the domain events of a type: event in, event or None out.

        It may change data, meta and table, before any applier has the event; ``None``: to this
        replica the event is one that no applier takes. It is pure, as appliers are.

        Raises:
            RefusedError: a built-in type, or a second one of the type.
        """
        event_type = self._registry.data_type(event_type)
        check_version("version", version)
        if event_type in self._type_transforms:
            raise RefusedError(f"two transforms of {event_type!r}", do="one transform a type")

        def register(function: _Transform) -> _Transform:
            if not inspect.isroutine(function) or inspect.iscoroutinefunction(function):
                raise RefusedError(f"the transform of {event_type!r} is no plain function")
            self._type_transforms[event_type] = TypeTransform(event_type, version, function)
            return function

        return register

    def event_type(self, name: str | type, *, schema: int = 1, data: Any = None) -> None:
        """Declare the newest schema version of a type; see `binlog.schema.Registry`."""
        self._registry.event_type(name, schema=schema, data=data)

    def upcaster(
        self, name: str | type, from_version: int, *, version: int = 1, data: Any = None
    ) -> Callable[[_Upcaster], _Upcaster]:
        """Decorate an upcaster; see `binlog.schema.Registry`."""
        return self._registry.upcaster(name, from_version, version=version, data=data)

    def build(self) -> Rules:
        """The rules; later declarations do not change them.

        Raises:
            RefusedError: a type whose upcasters make no path, a transform's secret that is not
                in the environment, or tables that become one without a declared owner.
        """
        schemas = self._registry.build()
        known = {name: schemas.steps(name) for name in schemas.types()}
        # An applier without a word about schemas is one of schema 1.
        known |= {name: () for name in self._rules if name not in known}
        return Rules(
            {name: tuple(rules) for name, rules in sorted(self._rules.items()) if rules},
            dict(sorted(self._owners.items())),
            Schemas(known, {name: schemas.data_type(name, len(known[name]) + 1) for name in known}),
            build_transforms(self._table_transforms, self._type_transforms, self._owners),
        )


def _table_named(table: str) -> str:
    return f"table {table!r}" if table else "the event's table"


def _takes_key(apply: object) -> bool:
    """Whether the applier takes a third argument.

    Raises:
        RefusedError: it takes neither two nor three, or gives no item back when called.
    """
    name = getattr(apply, "__name__", repr(apply))
    if not callable(apply):
        raise RefusedError(f"the applier {name!r} is no function")
    if inspect.iscoroutinefunction(apply) or inspect.isgeneratorfunction(apply):
        raise RefusedError(f"the applier {name!r} is async or a generator: it has to be pure")
    try:
        parameters = inspect.signature(apply).parameters.values()
    except ValueError:
        return False
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in places if p.default is p.empty]
    if any(p.kind == p.KEYWORD_ONLY and p.default is p.empty for p in parameters) or not (
        len(required) <= 3
        and (len(places) >= 2 or any(p.kind == p.VAR_POSITIONAL for p in parameters))
    ):
        raise RefusedError(
            f"the applier {name!r} takes {inspect.signature(apply)}",
            do="it takes (item, event) or (item, event, key)",
        )
    return len(required) == 3
