"""The user's functions, watched while the real fold calls them.

The rules that a fold gets are the user's, with every function wrapped: who was called, what it
raised, whether it changed what it was given, what it reached for outside. Nothing of the fold is
replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeAlias

import msgspec

from appliers.applier import Rule, Rules
from appliers.ownership import OwnerRule
from appliers.transform import Transforms
from binlog.envelope import Event
from binlog.errors import RefusedError
from binlog.schema import Schemas, Step
from binlog.testing.laws.guard import Guard
from binlog.testing.laws.watched import FloatWatch
from binlog.values import encode_value

Function: TypeAlias = Callable[..., Any]

_MAY_CHANGE = frozenset({"upcaster", "owner", "transform"})
"""What these are given belongs to them, as their contracts say."""


class Who(msgspec.Struct, frozen=True):
    """One of the user's functions."""

    role: str  # applier, key, keys, owner, upcaster, transform
    of: str  # the event type, or the owner's table
    function: Function
    schema: int = 0  # that an upcaster takes


class Failure(msgspec.Struct, frozen=True):
    """What one of them raised."""

    who: Who
    error: Exception
    item: Any = None  # that an applier was given

    @property
    def role(self) -> str:
        return self.who.role


class Mutation(msgspec.Struct, frozen=True):
    """An argument that was changed."""

    index: int  # of the event
    who: Who
    argument: str
    before: Any
    after: Any


class Instruments:
    """What is watched in one fold, and what was seen."""

    def __init__(
        self,
        *,
        reorder: bool = False,
        mutation: bool = False,
        guard: Guard | None = None,
        floats: FloatWatch | None = None,
    ) -> None:
        """``reorder``: maps come in the other order of insertion."""
        self._reorder = reorder
        self._mutation = mutation
        self._guard = guard
        self._floats = floats
        self._index = 0
        self.error: Failure | None = None
        """Of the current event."""
        self.returned: tuple[Who, Any] | None = None
        """By the last call, of the current event."""
        self.mutations: list[Mutation] = []
        self.called: set[Who] = set()
        self.callers: dict[int, list[Who]] = {}
        """Appliers called, by event."""

    def begin(self, index: int) -> None:
        """The next event's calls follow."""
        self._index = index
        self.error = None
        self.returned = None

    def end(self) -> None:
        """They are over."""

    def wrap(self, who: Who) -> Function:
        """The function, watched."""

        def watched(*args: Any) -> Any:
            return self._call(who, args)

        return watched

    def _call(self, who: Who, args: tuple[Any, ...]) -> Any:
        if self._reorder:
            args = tuple(map(_reordered, args))
        watched = self._mutation and who.role not in _MAY_CHANGE
        before = _packed(args) if watched else None
        if who.role == "applier":
            self.callers.setdefault(self._index, []).append(who)
        try:
            with ExitStack() as around:
                if self._guard is not None:
                    around.enter_context(self._guard.of(self._index, who))
                if self._floats is not None:
                    around.enter_context(self._floats.of(self._index, who))
                result = who.function(*args)
                if who.role == "keys":
                    result = list(result)  # a generator runs here, and not where it is watched less
        except Exception as error:
            self.error = Failure(who, error, args[0] if who.role == "applier" else None)
            raise
        finally:
            if before is not None:
                self._compare(who, before, args)
        self.returned = (who, result)
        return result

    def _compare(self, who: Who, before: dict[str, bytes], args: tuple[Any, ...]) -> None:
        for name, value in _named(args).items():
            try:
                same = encode_value(value, outer=2) == before[name]
            except RefusedError:
                same = False
            if not same:
                self.mutations.append(Mutation(self._index, who, name, before[name], value))
                return


def instrumented(rules: Rules, tools: Instruments) -> Rules:
    """``rules`` with every function of the user's watched by ``tools``."""
    wrap = tools.wrap
    return Rules(
        {
            name: tuple(_rule(rule, wrap) for rule in of_type)
            for name, of_type in rules.by_type.items()
        },
        {
            table: OwnerRule(wrap(Who("owner", table, rule.owner)), rule.version)
            for table, rule in rules.owners.items()
        },
        Schemas(
            {
                name: tuple(
                    Step(wrap(Who("upcaster", name, step.upcast, schema)), step.version)
                    for schema, step in enumerate(rules.schemas.steps(name), 1)
                )
                for name in rules.schemas.types()
            }
        ),
        _transforms(rules.transforms, wrap),
    )


def _transforms(
    transforms: Transforms | None, wrap: Callable[[Who], Function]
) -> Transforms | None:
    if transforms is None:
        return None
    types = {
        name: msgspec.structs.replace(each, function=wrap(Who("transform", name, each.function)))
        for name, each in transforms.types.items()
    }
    return Transforms(transforms.tables, types)


def _rule(rule: Rule, wrap: Callable[[Who], Function]) -> Rule:
    def wrapped(role: str, function: Function | None) -> Function | None:
        return None if function is None else wrap(Who(role, rule.event_type, function))

    return msgspec.structs.replace(
        rule,
        apply=wrapped("applier", rule.apply),
        key=wrapped("key", rule.key),
        keys=wrapped("keys", rule.keys),
    )


def _named(args: tuple[Any, ...]) -> dict[str, Any]:
    """The values among the arguments that a function could change, by what they are called."""
    found: dict[str, Any] = {}
    for arg in args:
        if isinstance(arg, Event):
            found |= {"event.data": arg.data, "event.key": arg.key, "event.meta": arg.meta}
        else:
            found["key" if "event.data" in found else "item"] = arg
    return found


def _packed(args: tuple[Any, ...]) -> dict[str, bytes]:
    return {name: encode_value(value, outer=2) for name, value in _named(args).items()}


def _reordered(value: Any) -> Any:
    """The same value, its maps made in the other order."""
    if isinstance(value, Event):
        return msgspec.structs.replace(
            value,
            key=_reordered(value.key),
            data=_reordered(value.data),
            meta=_reordered(value.meta),
        )
    if isinstance(value, Mapping):
        return {name: _reordered(value[name]) for name in reversed(value)}
    if isinstance(value, list):
        return [_reordered(element) for element in value]
    return value
