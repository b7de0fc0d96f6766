"""A new lock from the old one and the code: it is extended, and never forgets a version.

Golden events that are locked stay as they are, with the items they were folded onto, so that a lock
changes only where the code did. What a function with a higher version makes of them is written
anew; samples of fields that came later, versions, types and appliers are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from appliers.applier import Rules
from appliers.lock.declared import part_of, parts_of, shape_of
from appliers.lock.document import Lock, OwnerEntry, TypeEntry, Version, sealed
from appliers.lock.golden import (
    NO_TABLE,
    Golden,
    Outcome,
    OwnerOf,
    Routed,
    Stage,
    golden_of,
    run_of,
)
from appliers.lock.samples import samples
from appliers.lock.scalars import NoSampleError
from appliers.lock.shape import Schema
from appliers.lock.states import States
from binlog.errors import RefusedError
from binlog.json_values import typed_any, untyped_any
from binlog.values import decode_value, encode_value

DEFAULT_KEY = ("id",)
_OWNED_MAX = 8  # golden keys of an owner


class Updated(msgspec.Struct, frozen=True):
    """The new lock, and what a person should know about it."""

    lock: Lock
    remarks: list[str]


def update(lock: Lock, rules: Rules, *, keys: Mapping[str, Sequence[str]] | None = None) -> Updated:
    """The lock extended by what ``rules`` declare; `check` must have found nothing breaking.

    ``keys`` are the key attributes of golden events by type, "" for all others; a type that is
    locked keeps its own if nothing is said.

    Raises:
        RefusedError: a declared type that cannot be described, an applier that is not pure, or
            ``keys`` of a type that is not declared.
    """
    keys = keys or {}
    if unknown := sorted({*keys} - {"", *rules.schemas.types()}):
        raise RefusedError(f"--key names the type {unknown[0]!r}, which nothing declares")
    remarks: list[str] = []
    stage = Stage(rules)
    entries: dict[str, TypeEntry] = {}
    for event_type in rules.schemas.types():
        old = lock.types.get(event_type)
        default = keys.get("") or (DEFAULT_KEY if old is None else old.key)
        key = list(keys.get(event_type, default))
        entries[event_type] = _Type(event_type, stage, old, key, remarks).extended()
    states = States(stage, entries)
    for event_type, entry in entries.items():
        folded = _folded(event_type, entry, lock, stage, states, remarks)
        entries[event_type] = sealed(event_type, folded)
    owners = {table: sealed(table, _owner(table, entries, lock, stage)) for table in rules.owners}
    return Updated(Lock(types={**lock.types, **entries}, owners={**lock.owners, **owners}), remarks)


class _Type:
    def __init__(
        self,
        event_type: str,
        stage: Stage,
        old: TypeEntry | None,
        key: list[str],
        remarks: list[str],
    ) -> None:
        self._type = event_type
        self._stage = stage
        self._old = old
        self._key = key
        self._remarks = remarks

    def extended(self) -> TypeEntry:
        """Versions, samples and what they are upcast to; not yet what they fold to."""
        appliers, steps = parts_of(self._stage.rules, self._type)
        old = [] if self._old is None else self._old.versions
        versions = [
            self._version(schema, old[schema - 1] if schema <= len(old) else None)
            for schema in range(1, len(steps) + 2)
        ]
        return TypeEntry(versions=versions, key=self._key, appliers=appliers, upcasters=steps)

    def _version(self, schema: int, old: Version | None) -> Version:
        shape = shape_of(self._stage.rules, self._type, schema)
        if shape is None:
            return Version(schema)
        golden = {} if old is None else {event.base64: event for event in old.golden}
        for event in self._samples(schema, shape):
            golden.setdefault(event.base64, event)
        return Version(schema, shape, [self._upcast(schema, event) for event in golden.values()])

    def _samples(self, schema: int, shape: Schema) -> list[Golden]:
        try:
            return [golden_of(name, value) for name, value in samples(shape)]
        except NoSampleError as error:
            self._remarks.append(
                f"{self._type}, schema {schema}: no golden events, since none can be made for {error}"
            )
            return []

    def _upcast(self, schema: int, golden: Golden) -> Golden:
        data = decode_value(golden.canonical)
        upcast: dict[str, Outcome] = {}
        for step in range(schema, len(self._stage.rules.schemas.steps(self._type)) + 1):
            outcome = upcast[str(step + 1)] = self._stage.step(self._type, step, data)
            if outcome.value is None:
                break
            data = untyped_any(outcome.value)
        return msgspec.structs.replace(golden, upcast=upcast)


def _folded(
    event_type: str,
    entry: TypeEntry,
    lock: Lock,
    stage: Stage,
    states: States,
    remarks: list[str],
) -> TypeEntry:
    """The entry with what its golden events fold to."""
    old = lock.types.get(event_type)
    rules = stage.rules.by_type.get(event_type, ())
    taken: dict[str, list[Routed]] = {rule.table: [] for rule in rules}
    versions = []
    for version in entry.versions:
        events = []
        for place, golden in enumerate(version.golden):
            folds: dict[str, Routed] = {}
            for rule in rules:
                run = run_of(rule, version.schema, golden.canonical, entry.key)
                locked = golden.folds.get(rule.table)
                same_key = old is not None and old.key == entry.key
                if locked is not None and locked.refused is None and same_key:
                    befores = _befores(locked)
                else:
                    befores = states.befores(rule, run, many=place == 0)
                routed = stage.play(rule, run, befores)
                if stage.play(rule, run, befores) != routed:
                    raise RefusedError(
                        f"the applier of {event_type} for table {rule.table or NO_TABLE} makes another "
                        f"item each time it is asked (golden event {golden.name!r})",
                        do="make it pure: no time, no random numbers, no state of its own",
                    )
                folds[rule.table] = routed
                taken[rule.table].append(routed)
            events.append(msgspec.structs.replace(golden, folds=folds))
        versions.append(msgspec.structs.replace(version, golden=events))
    remarks += _refused_by_all(event_type, taken)
    return msgspec.structs.replace(entry, versions=versions)


def _befores(locked: Routed) -> list[bytes | None]:
    befores = dict.fromkeys(
        None if folded.before is None else encode_value(untyped_any(folded.before), outer=1)
        for folded in locked.items
    )
    return list(befores) or [None]


def _refused_by_all(event_type: str, taken: Mapping[str, Iterable[Routed]]) -> Iterator[str]:
    """A lock of which every event is refused guards little: probably the key is another."""
    for table, routed in taken.items():
        reasons: list[str | None] = [one.refused for one in routed if one.refused is not None]
        reasons += [folded.after.refused for one in routed for folded in one.items]
        if reasons and None not in reasons:
            where = f" for table {table}" if table else ""
            yield (
                f"{event_type}: its applier{where} refuses every golden event ({reasons[0]}); if "
                f"the attributes of its key are others, lock with --key {event_type}=ATTR[,ATTR]"
            )


def _owner(table: str, entries: Mapping[str, TypeEntry], lock: Lock, stage: Stage) -> OwnerEntry:
    old = lock.owners.get(table)
    keys = (
        {} if old is None else {encode_value(untyped_any(owned.key)): None for owned in old.golden}
    )
    for entry in entries.values():
        for version in entry.versions:
            for golden in version.golden:
                for key in sorted(golden.folds[table].keys) if table in golden.folds else ():
                    if len(keys) < _OWNED_MAX:
                        keys.setdefault(key, None)
    part = part_of(stage.rules.owners[table])
    return OwnerEntry(
        version=part.version,
        source=part.source,
        golden=[OwnerOf(typed_any(decode_value(key)), stage.owner(table, key)) for key in keys],
    )
