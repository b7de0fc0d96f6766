"""Items for golden events to be folded onto: those that the events themselves can make.

Most appliers want an item that an earlier event has made. So the first two samples of each type's
newest version are folded onto nothing, then onto what came out, a few times over.
"""

from __future__ import annotations

from collections.abc import Mapping

from appliers.applier import Rule
from appliers.lock.document import TypeEntry
from appliers.lock.golden import NO_TABLE, Outcome, Stage, run_of
from binlog.json_values import untyped_any
from binlog.run import Run
from binlog.values import encode_value

_ROUNDS = 3
_STATES_MAX = 6  # of one item
_BEFORES_MAX = 3  # that one golden event is folded onto, besides nothing
_SAMPLES = 2


class States:
    """The items that were met, in the order in which they were: the same at each run."""

    def __init__(self, stage: Stage, entries: Mapping[str, TypeEntry]) -> None:
        self._stage = stage
        self._found: dict[tuple[str, bytes], list[bytes]] = {}
        for _ in range(_ROUNDS):
            for event_type, rules in stage.rules.by_type.items():
                entry = entries[event_type]
                newest = entry.versions[-1]
                for golden in newest.golden[:_SAMPLES]:
                    for rule in rules:
                        run = run_of(rule, newest.schema, golden.canonical, entry.key)
                        self._meet(rule, run)

    def befores(self, rule: Rule, run: Run, *, many: bool) -> list[bytes | None]:
        """What to fold the event onto: nothing and several items, or the first that takes it."""
        keys = self._stage.keys(rule, run)
        if isinstance(keys, str):
            return [None]
        taking: dict[bytes | None, None] = {}
        for key in keys:
            for before in (None, *self._of(rule, key)):
                if self._stage.fold(rule, run, key, before).refused is None:
                    taking.setdefault(before)
        if many:
            return list({None: None, **taking})[: 1 + _BEFORES_MAX]
        # An event that touches several items has to be folded onto something of each.
        return list(taking)[:1] if len(keys) == 1 and taking else [None]

    def _of(self, rule: Rule, key: bytes) -> list[bytes]:
        return self._found.get((rule.table or NO_TABLE, key), [])

    def _meet(self, rule: Rule, run: Run) -> None:
        keys = self._stage.keys(rule, run)
        for key in () if isinstance(keys, str) else keys:
            states = self._found.setdefault((rule.table or NO_TABLE, key), [])
            for before in (None, *states):
                item = _item(self._stage.fold(rule, run, key, before))
                if item is not None and item not in states and len(states) < _STATES_MAX:
                    states.append(item)


def _item(outcome: Outcome) -> bytes | None:
    # An item that is too large for the lock is no state; an applier gives a map, or null: deleted.
    value = None if outcome.value is None else untyped_any(outcome.value)
    return None if value is None else encode_value(value, outer=1)
