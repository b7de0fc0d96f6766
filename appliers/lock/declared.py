"""What the rules declare now, in the form in which a lock holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appliers.applier import Rule, Rules
from appliers.lock.describe import schema_of
from appliers.lock.document import Part
from appliers.lock.shape import Schema
from appliers.ownership import OwnerRule
from appliers.source import source_hash
from binlog.schema import Step


def shape_of(rules: Rules, event_type: str, schema: int) -> Schema | None:
    """The shape of that version's data; ``None`` where no type is declared.

    Raises:
        RefusedError: a type that cannot be described.
    """
    data_type = rules.schemas.data_type(event_type, schema)
    if data_type is None:
        return None
    return schema_of(data_type, name=f"{event_type}, schema {schema}")


def part_of(function: Rule | Step | OwnerRule) -> Part:
    """Declared version and source of an applier, an upcaster or an owner."""
    match function:
        case Rule():
            key: Callable[..., Any] | None = function.key or function.keys
            return Part(
                version=function.version,
                source=source_hash(function.apply),
                key_source="" if key is None else source_hash(key),
            )
        case Step():
            return Part(version=function.version, source=source_hash(function.upcast))
        case OwnerRule():
            return Part(version=function.version, source=source_hash(function.owner))


def parts_of(rules: Rules, event_type: str) -> tuple[dict[str, Part], list[Part]]:
    """The appliers of a type by table, and its upcasters in order."""
    appliers = {rule.table: part_of(rule) for rule in rules.by_type.get(event_type, ())}
    return appliers, [part_of(step) for step in rules.schemas.steps(event_type)]


def source_changed(locked: Part, now: Part) -> bool:
    """Whether the source is another; not where one of the two is not to be had."""
    pairs = ((locked.source, now.source), (locked.key_source, now.key_source))
    return any(was and is_now and was != is_now for was, is_now in pairs)
