"""Rules as bytes for another process: functions by name where it can import them, else by value.

A module that the other process cannot find by its name (a test module, a script) is loaded there
from its file, under the same name; only what has no file, a function inside a function and a
notebook's cell goes by value. So a Struct of the user's is the same class on both sides wherever
that is possible.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

import cloudpickle
import msgspec

from appliers.applier import Rules
from binlog.errors import RefusedError
from binlog.schema import Schemas, Step

_SKIPPED = ("binlog", "appliers", "snapshots", "consumers", "builtins")


class Module(msgspec.Struct, frozen=True):
    """Where a module of the user's came from."""

    name: str
    file: str


def modules_of(rules: Rules) -> list[Module]:
    """The modules in which the user's functions stand, those of a file, sorted."""
    names = {getattr(function, "__module__", None) for function in functions_of(rules)}
    found = []
    for name in sorted(name for name in names if isinstance(name, str)):
        if name.partition(".")[0] in _SKIPPED or name == "__main__":
            continue
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            found.append(Module(name, file))
    return found


def functions_of(rules: Rules) -> Iterator[Callable[..., Any]]:
    """All functions of the user's that a fold calls."""
    for of_type in rules.by_type.values():
        for rule in of_type:
            yield from (f for f in (rule.apply, rule.key, rule.keys) if f is not None)
    yield from (owner.owner for owner in rules.owners.values())
    if rules.transforms is not None:
        yield from (each.function for each in rules.transforms.types.values())
    for name in rules.schemas.types():
        yield from (step.upcast for step in rules.schemas.steps(name))


def pack_rules(rules: Rules) -> bytes:
    """``rules`` as bytes; the types of their data stay here.

    Raises:
        RefusedError: something that a function refers to cannot be sent.
    """
    schemas = Schemas(
        {
            name: tuple(Step(step.upcast, step.version) for step in rules.schemas.steps(name))
            for name in rules.schemas.types()
        }
    )
    target = io.BytesIO()
    try:
        _Pickler(target).dump(Rules(rules.by_type, rules.owners, schemas, rules.transforms))
    except Exception as error:
        raise RefusedError(
            "the appliers cannot be sent to another process, where their results are compared "
            f"({type(error).__name__}: {error})",
            do="move them to a module of their own, without locks, files and connections; "
            'or give allow=("process",) to leave that comparison out',
        ) from error
    return target.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Cloudpickle, which does not know how a Struct class is made."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and issubclass(obj, msgspec.Struct) and _is_local(obj):
            return _define, _definition(obj)
        return super().reducer_override(obj)


def _is_local(kind: type) -> bool:
    """Whether no import finds it: made in a function, or in the main program."""
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not kind or kind.__module__ == "__main__"


def _definition(kind: Any) -> tuple[Any, ...]:
    config = kind.__struct_config__
    options = {
        name: getattr(config, name)
        for name in ("frozen", "eq", "order", "array_like", "gc", "repr_omit_defaults",
                     "omit_defaults", "forbid_unknown_fields", "weakref", "dict", "cache_hash",
                     "tag", "tag_field")
    }  # fmt: skip
    info = msgspec.structs.fields(kind)
    fields = [(field.name, field.type, _default(field)) for field in info]
    rename = {f.name: f.encode_name for f in info if f.encode_name != f.name} or None
    inherited = {name for base in kind.__mro__[1:] for name in vars(base)}
    namespace = {
        name: value
        for name, value in vars(kind).items()
        if isinstance(value, FunctionType | property | classmethod | staticmethod)
        and (name not in inherited or not name.startswith("__"))
    }
    return kind.__name__, fields, options, rename, namespace, kind.__module__


def _default(field: msgspec.structs.FieldInfo) -> tuple[str, Any]:
    if field.default is not msgspec.NODEFAULT:
        return "default", field.default
    if field.default_factory is not msgspec.NODEFAULT:
        return "factory", field.default_factory
    return "required", None


def _define(
    name: str,
    fields: Iterable[tuple[str, Any, tuple[str, Any]]],
    options: dict[str, Any],
    rename: dict[str, str] | None,
    namespace: dict[str, Any],
    module: str,
) -> Any:
    made: list[Any] = []
    for field, kind, (how, default) in fields:
        if how == "required":
            made.append((field, kind))
        elif how == "default":
            made.append((field, kind, default))
        else:
            made.append((field, kind, msgspec.field(default_factory=default)))
    options |= {"rename": rename, "namespace": namespace, "module": module}
    try:
        return msgspec.defstruct(name, made, **options)
    except TypeError:  # a field with a default before one without
        return msgspec.defstruct(name, made, kw_only=True, **options)
