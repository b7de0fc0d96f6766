"""The engines of a worker, one a generation, kept from call to call without their places."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from msgspec.structs import replace

from appliers.applier import Rules
from appliers.store import Generation, Sink
from binlog.lineage import Lineage
from binlog.log import Log
from binlog.pages import Pages
from consumers.engine import Engine


class Engines:
    """What is kept of an engine is what was compiled of the rules; every use begins at the rows."""

    def __init__(
        self,
        log: Log,
        store: Sink,
        rules: Rules,
        lineage: Lineage,
        *,
        poison: Literal["park", "stop"],
    ) -> None:
        self._log = log
        self._store = store
        self._rules = rules
        self._lineage = lineage
        self._poison = poison
        self._known: dict[str, tuple[object, Engine]] = {}

    def of(
        self,
        generation: Generation,
        taken: frozenset[str],
        pages: Pages,
        partitions: Collection[int],
    ) -> Engine:
        """The engine of a generation, at the rows of these partitions as they are now."""
        # An open one takes whatever table there is; those that it has met say nothing.
        made_for = replace(generation, tables=()) if generation.open else generation, taken
        known = self._known.get(generation.id)
        if known is not None and known[0] == made_for:
            known[1].go_on(pages=pages, partitions=partitions)
            return known[1]
        made = Engine(
            self._log,
            self._store,
            generation,
            self._rules,
            taken=taken if generation.open else (),
            poison=self._poison,
            tell_halts=False,  # the outcome does
            pages=pages,
            partitions=partitions,
            lineage=self._lineage,
        )
        self._known[generation.id] = made_for, made
        return made
