"""A machine's invariants, as a world asks for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

from binlog.errors import RefusedError
from binlog.testing.world.judge import Invariants, Item

_Marked = TypeVar("_Marked", bound=Callable[..., object])
_MARK = "_binlog_invariant"
_METHODS = {"item": "item_invariant", "replica": "replica_invariant"}


def check_written(machine: type) -> None:
    """That nothing of ``machine`` is misspelled: an invariant that is never asked always holds.

    Raises:
        RefusedError: it has no applier, or a method or attribute that was meant otherwise.
    """
    named = f"the class {machine.__name__}"
    if getattr(machine, "applier", None) is None:
        raise RefusedError(f"{named} has no applier", do="applier = the Appliers that you prove")
    for owner in machine.__mro__:
        if owner.__module__.startswith("binlog.testing."):
            continue
        for name, value in vars(owner).items():
            meant = _meant(name, value)
            if meant is not None:
                raise RefusedError(
                    f"{named} has {name!r}, which nothing asks",
                    do=f"did you mean {meant!r}? Decorate invariants of other names with "
                    "of_each_item or of_each_replica",
                )


def _meant(name: str, value: object) -> str | None:
    if name == "event":
        return "events"
    if name in _METHODS.values() or not inspect.isfunction(value) or hasattr(value, _MARK):
        return None
    return next(iter(get_close_matches(name, _METHODS.values(), 1, 0.8)), None)


def of_each_item(method: _Marked) -> _Marked:
    """Decorate a method like `ReplayMachine.item_invariant`, to have several, under their names."""
    setattr(method, _MARK, "item")
    return method


def of_each_replica(method: _Marked) -> _Marked:
    """Decorate a method like `ReplayMachine.replica_invariant`, to have several."""
    setattr(method, _MARK, "replica")
    return method


def invariants_of(machine: type, base: type) -> Invariants | None:
    """Those of ``machine``: what it overrides of ``base``, and what it marks; ``None``: none.

    They are methods of an instance in which nothing happens.
    """
    instance = machine()
    found: dict[str, list[Callable[..., object]]] = {"item": [], "replica": []}
    for kind, name in _METHODS.items():
        if getattr(machine, name) is not getattr(base, name):
            found[kind].append(getattr(instance, name))
    for name in dir(machine):
        if mark := getattr(getattr(machine, name, None), _MARK, None):
            found[mark].append(getattr(instance, name))
    items, replicas = found["item"], found["replica"]

    def of_item(table: str, key: Item, item: Item | None) -> None:
        for method in items:
            _ask(method, table, key, item)

    def of_replica(_vector: dict[int, int], tables: Mapping[str, Sequence[Item]]) -> None:
        for method in replicas:
            _ask(method, tables)

    if not items and not replicas:
        return None
    return Invariants(of_item if items else None, of_replica if replicas else None)


def _ask(method: Callable[..., object], *args: object) -> None:
    """Ask an invariant; one that cannot be computed (an attribute is missing) does not hold."""
    try:
        method(*args)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
