"""Golden events: sample events of every version, and what the code made of them when it was locked.

What runs here is what runs in production: canonical bytes, upcasters one after the other, the
appliers' keys, the fold of one event onto an item. Each outcome is a value, or that the event was
refused; *why* it was refused is noted for people and not compared, since words of an error are not
what a replica holds.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from appliers.applier import Rule, Rules
from appliers.lock.shape import Typed
from appliers.poison import reason_of
from appliers.routing import Routing
from appliers.user_rules import apply_rule, keys_of
from binlog.columns import columns_of
from binlog.envelope import Envelope
from binlog.errors import PoisonError
from binlog.fields import encode_key
from binlog.frame import Session
from binlog.json_values import typed_any, untyped_any
from binlog.params import Params
from binlog.run import Run
from binlog.values import decode_value, encode_value

NO_TABLE = "golden"
"""Stands in for the event's own table, where an applier declares none."""
OUTCOME_BYTES_MAX = 4_096
"""A larger value is kept as its digest."""
_TIME_MS = 1_709_210_096_789
_ARRIVAL_MS = _TIME_MS + 11
_OFFSET = 7
_KEY_VALUES = ("a", "b")


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came out: a value (null: the item is deleted), its digest, or that it was refused."""

    value: Typed | None = None
    digest: str = ""  # SHA-256 of the canonical bytes
    refused: str | None = None


class Folded(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one item becomes; without ``before`` there was none."""

    key: Typed
    after: Outcome
    before: Typed | None = None


class Routed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one applier makes of an event; ``refused`` if it cannot say which items it touches."""

    items: list[Folded] = []
    refused: str | None = None

    @property
    def keys(self) -> set[bytes]:
        """Canonical bytes of the keys of the items."""
        return {encode_value(untyped_any(folded.key)) for folded in self.items}


class Golden(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One event: its data, their canonical bytes, and what becomes of it."""

    name: str  # what it shows
    data: Typed
    base64: str  # of the canonical bytes
    upcast: dict[str, Outcome] = {}  # by the schema version reached; only while none is refused
    folds: dict[str, Routed] = {}  # by the applier's table, "" for the event's own

    @property
    def canonical(self) -> bytes:
        """The canonical bytes.

        Raises:
            ValueError: no base64.
        """
        return a2b_base64(self.base64, strict_mode=True)


class OwnerOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who owns the item of that key."""

    key: Typed
    owner: Outcome  # [table, key]


def golden_of(name: str, value: Any) -> Golden:
    """A golden event of these data, before anything was made of it.

    Raises:
        RefusedError: no data of an event.
    """
    data = encode_value(value, outer=1)
    text = b2a_base64(data, newline=False).decode()
    return Golden(name=name, data=typed_any(decode_value(data)), base64=text)


def outcome_of(value: Any) -> Outcome:
    """``value``, or its digest if it is large."""
    data = encode_value(value, outer=2)
    if len(data) > OUTCOME_BYTES_MAX:
        return Outcome(digest=sha256(data).hexdigest())
    return Outcome(value=typed_any(decode_value(data)))


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are the same for a replica."""
    if one.refused is not None or other.refused is not None:
        return one.refused is not None and other.refused is not None
    return (one.value, one.digest) == (other.value, other.digest)


class Stage:
    """Where golden events are played: the rules, and a log of one partition that owns all items."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._routing = Routing(Params(log_id="0" * 32, partitions=1), rules=rules)

    def step(self, event_type: str, schema: int, data: Any) -> Outcome:
        """What the upcaster from ``schema`` makes of ``data``, which it may change."""
        upcast = self.rules.schemas.steps(event_type)[schema - 1].upcast
        try:
            return outcome_of(decode_value(encode_value(upcast(data), outer=1)))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 whatever the user's code raises
            return Outcome(refused=reason_of(error))

    def keys(self, rule: Rule, run: Run) -> list[bytes] | str:
        """The keys of the items that the event touches, or why that cannot be said."""
        try:
            return keys_of(self._routing, run, 0, rule)
        except PoisonError as error:
            return _reason(error)

    def fold(self, rule: Rule, run: Run, key: bytes, before: bytes | None) -> Outcome:
        """What the item of ``key`` becomes."""
        table = rule.table or NO_TABLE
        try:
            after = apply_rule(self._routing, run, 0, rule, table=table, key=key, data=before)
        except PoisonError as error:
            return Outcome(refused=_reason(error))
        return outcome_of(None if after is None else decode_value(after))

    def owner(self, table: str, key: bytes) -> Outcome:
        """The table and key of the events that own an item."""
        try:
            owner_table, owner_key = self._routing.ownership.owner_of(table, key)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 whatever the user's code raises
            return Outcome(refused=reason_of(error))
        return outcome_of([owner_table, decode_value(owner_key)])

    def play(self, rule: Rule, run: Run, befores: Sequence[bytes | None]) -> Routed:
        """The event of ``run`` on each of ``befores`` (``None``: no item) that is of a key of its."""
        keys = self.keys(rule, run)
        if isinstance(keys, str):
            return Routed(refused=keys)
        items = []
        for key in keys:
            onto = [item for item in befores if item is None or holds_key(item, key)]
            items += [
                Folded(
                    typed_any(decode_value(key)),
                    self.fold(rule, run, key, before),
                    None if before is None else typed_any(decode_value(before)),
                )
                for before in onto or [None]
            ]
        return Routed(items)


def holds_key(item: bytes, key: bytes) -> bool:
    """Whether the item is one of that key."""
    return bool(decode_value(item).items() >= decode_value(key).items())


def run_of(rule: Rule, schema: int, data: bytes, key: Sequence[str]) -> Run:
    """The event with canonical ``data``, numbered, whose key has these attributes."""
    named = dict(zip(key, _KEY_VALUES, strict=False))
    envelope = Envelope(
        "golden",
        rule.event_type,
        schema,
        rule.table or NO_TABLE,
        encode_key(named, None),
        data,
        time_ms=_TIME_MS,
    )
    session = Session(bytes(16), 1)
    return Run(0, _OFFSET, columns_of([envelope]), [_OFFSET], session, _ARRIVAL_MS, _OFFSET)


def _reason(error: PoisonError) -> str:
    return str(error.details.get("reason", error.what))
