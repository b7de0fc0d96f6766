"""A lock against the code: every incompatible change, and what the code knows beyond the lock.

What is checked of each version that is locked: the shape of its data (see `comparison` for which
direction counts), and each golden event: that its data still have the same canonical bytes and
decode from them, that every upcaster whose declared version is the locked one makes of it what it
made, that what the newest upcasters make fits the declared types, and that each applier of the
locked version routes and folds it as it did. A function that was given a higher version declares
that it computes something else; that is not judged, only noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliers.applier import Rule, Rules
from appliers.lock.comparison import changes
from appliers.lock.declared import part_of, parts_of, shape_of, source_changed
from appliers.lock.difference import outcome_difference, replayed_difference
from appliers.lock.document import Lock, Part, TypeEntry, Version
from appliers.lock.finding import Finding, Words
from appliers.lock.fitting import misfit
from appliers.lock.golden import Golden, Stage, run_of
from appliers.lock.shape import Schema, said_value
from binlog.errors import BinlogError
from binlog.json_values import untyped_any
from binlog.values import decode_value, encode_value


def check(lock: Lock, rules: Rules, words: Words) -> list[Finding]:
    """What does not fit, type by type; those that are not ``breaking`` are what is not locked yet.

    Raises:
        RefusedError: a declared type that cannot be described.
    """
    stage = Stage(rules)
    found: list[Finding] = []
    for event_type in sorted({*lock.types, *rules.schemas.types()}):
        entry = lock.types.get(event_type)
        current = rules.schemas.current(event_type)
        if entry is None:
            found.append(words.behind("type not locked", f"{event_type} is a new type", event_type))
        elif current is None:
            found.append(words.dropped(event_type))
        else:
            found += _TypeCheck(event_type, entry, stage, words).findings(current)
    found += _owners(lock, stage, words)
    return found


class _TypeCheck:
    def __init__(self, event_type: str, entry: TypeEntry, stage: Stage, words: Words) -> None:
        self._type = event_type
        self._entry = entry
        self._stage = stage
        self._words = words
        self._rules = stage.rules
        self._appliers, self._steps = parts_of(stage.rules, event_type)
        self._shapes = [
            shape_of(stage.rules, event_type, schema) for schema in range(1, len(self._steps) + 2)
        ]
        # First difference and count of the golden events that a function makes something else of.
        self._differing: dict[tuple[str | None, int | None], tuple[str, int]] = {}
        self._played: dict[tuple[str | None, int | None], int] = {}

    def findings(self, current: int) -> Iterator[Finding]:
        words, entry = self._words, self._entry
        locked = len(entry.versions)
        if current < locked:
            yield words.steps_removed(self._type, locked, current)
        for schema in range(locked + 1, current + 1):
            yield words.behind(
                "version not locked", f"{self._type}, schema {schema} is new", self._type
            )
        for version in entry.versions[:current]:
            shape = self._shapes[version.schema - 1]
            yield from self._shape(version, shape, newest=version.schema == current)
        yield from self._golden(current)
        yield from self._functions()

    def _shape(self, version: Version, now: Schema | None, *, newest: bool) -> Iterator[Finding]:
        words, schema = self._words, version.schema
        if version.shape is None:
            if now is not None:
                what = f"{self._type}, schema {schema}: its data are declared, and not locked"
                yield words.behind("data not locked", what, self._type)
            return
        if now is None:
            yield words.undeclared(self._type, schema, newest=newest)
            return
        for change in changes(version.shape, now):
            yield words.changed(self._type, schema, change, newest=newest)

    # -- golden events ---------------------------------------------------------------------------

    def _golden(self, current: int) -> Iterator[Finding]:
        said: set[tuple[str, int]] = set()
        for version in self._entry.versions[:current]:
            for golden in version.golden:
                for finding in self._event(version.schema, golden, current):
                    # One an upcaster: its other golden events would say the same.
                    if (finding.kind, finding.schema or 0) not in said:
                        said.add((finding.kind, finding.schema or 0))
                        yield finding

    def _event(self, schema: int, golden: Golden, current: int) -> Iterator[Finding]:
        if why := bytes_differ(golden):
            yield self._words.bytes_changed(self._type, schema, golden.name, why)
            return
        data: Any = decode_value(golden.canonical)
        for step in range(schema, current):
            outcome = self._stage.step(self._type, step, data)
            locked = golden.upcast.get(str(step + 1))
            if self._same_steps(step, step + 1) and locked is not None:
                place = (None, step)
                self._played[place] = self._played.get(place, 0) + 1
                if difference := outcome_difference(locked, outcome):
                    self._differ(place, golden, difference)
                    return
            if outcome.refused is not None:
                yield self._words.upcaster_fails(self._type, step, golden.name, outcome.refused)
                return
            if outcome.value is None:
                return  # larger than a lock holds: nothing more can be said of it
            data = untyped_any(outcome.value)
            target = self._shapes[step]
            if target is not None and (why := misfit(target, data)):
                yield self._words.upcast_misfit(self._type, step, golden.name, why)
        if self._same_steps(schema, current):
            for rule in self._rules.by_type.get(self._type, ()):
                self._play(schema, golden, rule)

    def _same_steps(self, schema: int, through: int) -> bool:
        """Whether the upcasters on that way are declared as they are locked."""
        locked = self._entry.upcasters[schema - 1 : through - 1]
        now = self._steps[schema - 1 : through - 1]
        return [part.version for part in locked] == [part.version for part in now]

    def _play(self, schema: int, golden: Golden, rule: Rule) -> None:
        routed = golden.folds.get(rule.table)
        if routed is None:
            return
        place = (rule.table, None)
        self._played[place] = self._played.get(place, 0) + 1
        run = run_of(rule, schema, golden.canonical, self._entry.key)
        if difference := replayed_difference(self._stage, rule, run, routed):
            self._differ(place, golden, difference)

    def _differ(
        self, place: tuple[str | None, int | None], golden: Golden, difference: str
    ) -> None:
        first, count = self._differing.get(place, ("", 0))
        first = first or f"golden event {golden.name!r} {difference}"
        self._differing[place] = (first, count + 1)

    # -- functions -------------------------------------------------------------------------------

    def _functions(self) -> Iterator[Finding]:
        for step, (locked, now) in enumerate(
            zip(self._entry.upcasters, self._steps, strict=False), 1
        ):
            yield from self._function(None, step, locked, now)
        for table in sorted({*self._entry.appliers, *self._appliers}):
            yield from self._function(
                table, None, self._entry.appliers.get(table), self._appliers.get(table)
            )

    def _function(
        self, table: str | None, step: int | None, locked: Part | None, now: Part | None
    ) -> Iterator[Finding]:
        said, count = self._differing.get((table, step), ("", 0))
        yield from judge(
            self._words,
            (self._type, table, step),
            locked,
            now,
            differing=f"{said} ({count} of {self._played[table, step]} differ)" if said else "",
            played=self._played.get((table, step), 0),
        )


def judge(
    words: Words,
    place: tuple[str, str | None, int | None],
    locked: Part | None,
    now: Part | None,
    *,
    differing: str,
    played: int,
) -> Iterator[Finding]:
    """What to say of one function: ``differing`` is the first golden event that came out otherwise.

    ``place`` is the event type ("": an owner), the table and the schema that an upcaster is from.
    """
    if now is None or locked is None:
        if now is not None:
            yield words.function_behind(place, "is not locked")
        elif locked is not None:
            yield words.function_removed(place)
    elif now.version < locked.version:
        yield words.version_back(place, locked.version, now.version)
    elif now.version > locked.version:
        yield words.function_behind(place, f"is version {now.version}, {locked.version} is locked")
    elif differing:
        yield words.computes_otherwise(place, now.version, differing)
    elif source_changed(locked, now):
        yield words.source_changed(place, now.version, played)


def bytes_differ(golden: Golden) -> str | None:
    """What is wrong between a golden event's data and its canonical bytes."""
    try:
        value, data = untyped_any(golden.data), golden.canonical
        if encode_value(value, outer=1) != data:
            return "its data have other canonical bytes now"
        if encode_value(decode_value(data), outer=1) != data:
            return "its canonical bytes decode to another value now"
    except (BinlogError, ValueError) as error:
        return f"its canonical bytes do not decode any more ({error})"
    return None


def _owners(lock: Lock, stage: Stage, words: Words) -> Iterator[Finding]:
    owners = stage.rules.owners
    for table in sorted({*lock.owners, *owners}):
        entry, rule = lock.owners.get(table), owners.get(table)
        differing, played = "", 0
        if entry is not None and rule is not None and entry.version == rule.version:
            played = len(entry.golden)
            for golden in entry.golden:
                now = stage.owner(table, encode_value(untyped_any(golden.key)))
                if difference := outcome_difference(golden.owner, now):
                    differing = f"the item {said_value(golden.key)}: {difference}"
                    break
        yield from judge(
            words,
            ("", table, None),
            entry,
            None if rule is None else part_of(rule),
            differing=differing,
            played=played,
        )
