"""The constants among what Hypothesis draws: those of the appliers' modules, at every run the same.

Hypothesis mixes in what it finds in the source of every local module that happens to be imported.
So one seed would give other examples when a test runs alone than among all tests, where a package
is installed than in its own tree, and to whoever has another plugin.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from appliers.applier import Rules
from binlog.testing.laws.sending import modules_of


@contextmanager
def constants_of(rules: Rules) -> Iterator[None]:
    """Within it, the constants of the modules in which functions of ``rules`` stand, and no others.

    A Hypothesis that keeps them elsewhere than those we know of is left as it is.
    """
    with ExitStack() as stack:
        for target, name, value in _changes(rules):
            stack.enter_context(patch.object(target, name, value))
        yield


def _changes(rules: Rules) -> list[tuple[Any, str, Any]]:
    try:
        from hypothesis.internal.conjecture import providers
        from hypothesis.internal.constants_ast import (
            Constants,
            constants_from_module,
        )

        cache, provider = providers.CONSTANTS_CACHE, providers.HypothesisProvider
        vars(provider)["_local_constants"]
    except (ImportError, AttributeError, KeyError):  # older ones draw none
        return []
    found = Constants()
    for module in modules_of(rules):
        found |= constants_from_module(sys.modules[module.name])
    ordered = Constants(
        integers=_Sorted(found.integers),
        floats=_Sorted(found.floats),
        bytes=_Sorted(found.bytes),
        strings=_Sorted(found.strings),
    )
    # What was chosen for a strategy is kept by its bounds, with constants of others among it.
    return [
        (providers, "CONSTANTS_CACHE", type(cache)(1024)),
        (provider, "_local_constants", ordered),
    ]


class _Sorted(set[Any]):
    """A set that comes in order: which element is drawn must not depend on the hash seed."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=repr))
