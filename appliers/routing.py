"""From the kinds of event in a frame to what is to be done with each: once a frame, not an event.

A `Routing` is what does not change while a log is folded: its parameters, the rules, the tables
that are wanted and the exclusions. It gives a `Plan` for a frame's table of kinds, and remembers
it, since a log has few different ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import TypeAlias

import msgspec

from appliers.applier import NO_RULES, Rule, Rules
from appliers.exclusion import Exclusions
from appliers.ownership import Ownership
from appliers.transforming import ITEM_SCHEMA, Transformed, Transformer
from binlog.adoption import ADOPT_TYPE
from binlog.envelope import CONTROL_PREFIX, DELETE_ITEM, ITEM_TYPES, PUT_ITEM
from binlog.params import Params
from binlog.run import Run

_Kind: TypeAlias = tuple[str, int, str]  # type of the event, its schema version, table
_PLANS_MAX = 10_000  # remembered; beyond, somebody writes a new table or type a frame


class Op(IntEnum):
    """What is to be done with events of a kind. Up to UPDATE the frame's key is the item's."""

    PUT = 0
    DELETE = 1
    UPDATE = 2
    APPLY = 3  # by the user's rules
    NOTHING = 4  # no applier takes it, or its table is not wanted
    CONTROL = 5
    NO_TABLE = 6  # an action that names no table: poison
    NEWER = 7  # an action of a schema version that this code does not know
    ADOPT = 8  # of a table that is wanted


class Plan(msgspec.Struct, frozen=True):
    """What to do with each kind of a frame, by its number."""

    ops: tuple[Op, ...]
    tables: tuple[str, ...]  # that the events name
    rules: tuple[tuple[Rule, ...], ...]
    types: tuple[str, ...]
    actions_only: bool  # PUT, DELETE and UPDATE
    table: str | None  # the only one that they name


class Routing:
    """Where a log's events go. Holds nothing of what was folded; threads may share it."""

    def __init__(
        self,
        params: Params,
        *,
        rules: Rules = NO_RULES,
        tables: Collection[str] | None = None,
        without: Collection[str] = (),
        exclusions: Exclusions | None = None,
    ) -> None:
        """``tables`` are those wanted, ``None`` for all but those of ``without``.

        Items of others are not touched.
        """
        self.params = params
        self.rules = rules
        self.tables = None if tables is None else frozenset(tables)
        self._without = frozenset(without)
        self.exclusions = exclusions
        self.ownership = Ownership(params.partitions, rules.owners, rules.transforms)
        self._made: frozenset[str] = frozenset()
        self._transformer: Transformer | None = None
        if rules.transforms is not None:
            self._made = rules.transforms.targets
            self._transformer = Transformer(
                rules.transforms,
                ownership=self.ownership,
                partitions=params.partitions,
                schemas=rules.schemas,
                timeline=params.timeline,
                exclusions=exclusions,
                wanted=lambda kind: kind[0] in rules.by_type or self._wanted(kind[2]),
            )
        self._plans: dict[tuple[_Kind, ...], Plan] = {}
        self._each: dict[_Kind, tuple[Op, tuple[Rule, ...]]] = {}

    @property
    def named(self) -> frozenset[str]:
        """Tables that events named, wanted or not, as far as they are remembered."""
        return frozenset(table for _, _, table in self._each)

    def transformed(self, run: Run) -> Run:
        """``run`` as it is to be folded: itself where no transform touches it, or did before."""
        return run if self._transformer is None else self._transformer.run(run)

    def prepared(self, run: Run) -> tuple[Run, frozenset[int] | None, bool]:
        """`transformed`, `skipped` of that, and whether some of its events are not to be folded."""
        if self._transformer is not None:
            run = self._transformer.run(run)
            if type(run) is Transformed:
                return run, run.skipped or None, bool(run.failures or run.left_out)
        return run, None if self.exclusions is None else self.exclusions.matches(run), False

    def skipped(self, run: Run) -> frozenset[int] | None:
        """The indexes of the events of a transformed run that are left out, if there are any."""
        if type(run) is Transformed:
            return run.skipped or None
        return None if self.exclusions is None else self.exclusions.matches(run)

    def may_act(self, partition: int, table: str, key: bytes) -> bool:
        """Whether actions of ``partition``, transformed, may touch the item."""
        return table in self._made or self.ownership.owns(partition, table, key)

    def settles(self, table: str) -> bool:
        """Whether a transform has seen to it that actions on this table touch only their own items."""
        return table in self._made

    def plan(self, kinds: Sequence[_Kind]) -> Plan:
        """The plan for a frame's table of kinds."""
        key = tuple(kinds)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
                self._each.clear()
            plan = self._plans[key] = self._make(key)
        return plan

    def _make(self, kinds: tuple[_Kind, ...]) -> Plan:
        each = [self._each.get(kind) or self._of_kind(kind) for kind in kinds]
        ops = tuple([op for op, _ in each])
        tables = tuple([table for _, _, table in kinds])
        return Plan(
            ops,
            tables,
            tuple([rules for _, rules in each]),
            tuple([event_type for event_type, _, _ in kinds]),
            max(ops, default=Op.PUT) <= Op.UPDATE,
            tables[0] if len(set(tables)) == 1 else None,
        )

    def _of_kind(self, kind: _Kind) -> tuple[Op, tuple[Rule, ...]]:
        """Kinds are few; the frames' tables of them are many, for their order is any."""
        event_type, _, table = kind
        rules = self._rules_for(event_type, table)
        found = self._each[kind] = self._op(*kind, bool(rules)), rules
        return found

    def _op(self, event_type: str, schema: int, table: str, has_rules: bool) -> Op:  # noqa: FBT001
        if event_type.startswith(CONTROL_PREFIX):
            is_adoption = event_type == ADOPT_TYPE and table and self._wanted(table)
            return Op.ADOPT if is_adoption else Op.CONTROL
        if event_type not in ITEM_TYPES:
            return Op.APPLY if has_rules else Op.NOTHING
        if not table:
            return Op.NO_TABLE
        if not self._wanted(table):
            return Op.NOTHING
        if schema > ITEM_SCHEMA:
            return Op.NEWER
        if event_type == PUT_ITEM:
            return Op.PUT
        return Op.DELETE if event_type == DELETE_ITEM else Op.UPDATE

    def _rules_for(self, event_type: str, table: str) -> tuple[Rule, ...]:
        return tuple(
            rule
            for rule in self.rules.by_type.get(event_type, ())
            # A rule that finds no table is kept: it is an error, not an event of no account.
            if not (rule.table or table) or self._wanted(rule.table or table)
        )

    def _wanted(self, table: str) -> bool:
        return table not in self._without if self.tables is None else table in self.tables
