"""Schema versions of event types, and the upcasters that bring older data up to date.

An upcaster takes one step: pure, data of version n in, data of version n + 1 out. A type's steps
make one path from version 1 to the version that this code knows; a gap or a second way is refused
when the registry is built, not years later when the first old event is met. A type that nobody
declared passes through as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from binlog.envelope import CONTROL_PREFIX, ITEM_TYPES
from binlog.errors import RefusedError, UpgradeError
from binlog.values import decode_value, encode_value

Upcast: TypeAlias = Callable[[Any], Any]
_Upcaster = TypeVar("_Upcaster", bound=Upcast)


class Step(msgspec.Struct, frozen=True):
    """One upcaster. ``version`` is its own, declared, and raised when it computes otherwise."""

    upcast: Upcast
    version: int
    data: Any = None  # type of the data that it takes, if declared


class Schemas:
    """A built registry: every type has one path from version 1 to its current version."""

    def __init__(
        self, paths: Mapping[str, tuple[Step, ...]], types: Mapping[str, Any] | None = None
    ) -> None:
        """``types``: of the newest data of each event type that declares one."""
        self._paths = dict(paths)
        self._types = dict(types or {})

    def current(self, event_type: str) -> int | None:
        """The newest schema version that is known; ``None`` for a type nobody declared."""
        path = self._paths.get(event_type)
        return None if path is None else len(path) + 1

    def steps(self, event_type: str) -> tuple[Step, ...]:
        """The upcasters from version 1, from version 2, and so on."""
        return self._paths.get(event_type, ())

    def types(self) -> list[str]:
        """The declared types, sorted."""
        return sorted(self._paths)

    def data_type(self, event_type: str, schema: int) -> Any:
        """The declared Python type of that version's data, ``None`` where none is declared.

        Nothing is decoded into it: it says what producers publish, for `binlog.testing` and
        ``binlog schema``.
        """
        steps = self.steps(event_type)
        if 1 <= schema <= len(steps):
            return steps[schema - 1].data
        return self._types.get(event_type) if schema == len(steps) + 1 else None

    def upcast(self, event_type: str, schema: int, data: Any) -> tuple[int, Any]:
        """The current schema version and ``data`` brought up to it.

        An upcaster gets data of its own, which it may change, and what it returns is brought into
        canonical form, so that neither shares anything with what was decoded.

        Raises:
            UpgradeError: a newer version than this code knows.
            Exception: whatever an upcaster raises; RefusedError if it returns no value.
        """
        path = self._paths.get(event_type)
        if path is None or schema == len(path) + 1:
            return schema, data
        if schema > len(path) + 1:
            raise UpgradeError(
                f"schema version {schema} of {event_type!r}, this code knows up to {len(path) + 1}",
                do="upgrade the code that declares its upcasters",
                type=event_type,
                schema=schema,
            )
        for step in path[schema - 1 :]:
            data = decode_value(encode_value(step.upcast(data), outer=1))
        return len(path) + 1, data


class Registry:
    """Collects types and upcasters, by call or decorator; `build` checks them.

    ::

        registry = Registry()


        @registry.upcaster("OrderPlaced", from_version=1)
        def name_the_currency(data):
            return {**data, "currency": "EUR"}
    """

    def __init__(self) -> None:
        self._current: dict[str, int] = {}
        self._types: dict[str, Any] = {}
        self._steps: dict[str, dict[int, Step]] = {}

    def event_type(self, name: str | type, *, schema: int = 1, data: Any = None) -> None:
        """Declare that ``schema`` is the newest version of ``name``, as published now.

        ``data`` is the Python type of its data, one that msgspec describes (a Struct, a dataclass,
        a TypedDict); a type in place of the name is both (`event_name`).

        Raises:
            RefusedError: a built-in type, no version, or declared before with another one.
        """
        check_version("schema", schema)
        name = self.data_type(name, data)
        if self._current.setdefault(name, schema) != schema:
            raise RefusedError(
                f"schema {schema} of {name!r}: declared before as {self._current[name]}"
            )

    def data_type(self, name: str | type, data: Any = None) -> str:
        """Note the type of the newest data of ``name``, whatever version that is; its name.

        Raises:
            RefusedError: a built-in type, or declared before with another type.
        """
        if isinstance(name, type):
            name, data = event_name(name), name if data is None else data
        check_own_type(name)
        if data is not None and self._types.setdefault(name, data) is not data:
            raise RefusedError(
                f"two types for the data of {name!r}", do="an earlier one goes to its upcaster"
            )
        return name

    def upcaster(
        self, name: str | type, from_version: int, *, version: int = 1, data: Any = None
    ) -> Callable[[_Upcaster], _Upcaster]:
        """Decorate the step of ``name`` from schema ``from_version`` to the next.

        ``version`` is the step's own: raise it when the step comes to compute something else, so
        that tables made with the old one are not continued with the new one. ``data`` is the
        Python type of the data that it takes.

        Raises:
            RefusedError: a built-in type, no version, or a second step from the same version.
        """
        name = check_own_type(event_name(name) if isinstance(name, type) else name)
        check_version("from_version", from_version)
        check_version("version", version)

        def register(upcast: _Upcaster) -> _Upcaster:
            steps = self._steps.setdefault(name, {})
            if from_version in steps:
                raise RefusedError(
                    f"two upcasters of {name!r} from schema {from_version}",
                    do="one step from a version: keep one of them",
                )
            steps[from_version] = Step(upcast, version, data)
            return upcast

        return register

    def build(self) -> Schemas:
        """The registry, complete and immutable.

        Raises:
            RefusedError: a path with a gap, or a step beyond the declared version.
        """
        paths = {}
        for name in sorted({*self._current, *self._steps, *self._types}):
            steps = self._steps.get(name, {})
            current = self._current.get(name, max(steps, default=0) + 1)
            if missing := sorted(set(range(1, current)) - set(steps)):
                raise RefusedError(
                    f"{name!r} has schema {current}, but no upcaster from {missing[0]}",
                    do=f'add one: upcaster("{name}", from_version={missing[0]})',
                )
            if beyond := [n for n in sorted(steps) if n >= current]:
                raise RefusedError(
                    f"{name!r} has schema {current}, but an upcaster from {beyond[0]}",
                    do="raise the declared schema, or leave the upcaster out",
                )
            paths[name] = tuple(steps[n] for n in range(1, current))
        return Schemas(paths, self._types)


NO_SCHEMAS = Schemas({})


def event_name(data: type) -> str:
    """The event type that a Python type stands for: its msgspec tag, or else its name."""
    config = getattr(data, "__struct_config__", None)
    tag = getattr(config, "tag", None)
    return tag if isinstance(tag, str) else data.__name__


def check_own_type(name: object) -> str:
    """``name`` itself, if a user may declare something for it.

    Raises:
        RefusedError: no text, or one of the types that have a meaning of their own.
    """
    if not isinstance(name, str) or not name:
        raise RefusedError(f"the event type {name!r}: text, and not empty")
    if name in ITEM_TYPES or name.startswith(CONTROL_PREFIX):
        raise RefusedError(f"{name!r} is built in and keeps its meaning", do="choose another type")
    return name


def check_version(what: str, version: object) -> int:
    """``version`` itself, if it is a whole number from 1.

    Raises:
        RefusedError: it is not.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RefusedError(f"{what} {version!r}: a whole number from 1")
    return version
