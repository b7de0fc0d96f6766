"""What a golden event came to before and comes to now, where that is not the same: in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliers.applier import Rule
from appliers.lock.golden import Outcome, Routed, Stage, same
from appliers.lock.shape import Typed, said_value
from binlog.json_values import typed_any, untyped_any
from binlog.run import Run
from binlog.values import decode_value, encode_value

_SHOWN_MAX = 80  # characters of a value


def outcome_difference(before: Outcome, after: Outcome) -> str | None:
    """The first place where two outcomes differ, ``total: 12 before, 13 now``; ``None``: same."""
    if same(before, after):
        return None
    if before.value is None or after.value is None:
        return f"{_said(before)} before, {_said(after)} now"
    return next(_differences("", untyped_any(before.value), untyped_any(after.value)))


def replayed_difference(stage: Stage, rule: Rule, run: Run, locked: Routed) -> str | None:
    """Where an applier routes or folds the event otherwise than it did; ``None``: nowhere."""
    keys = stage.keys(rule, run)
    refused = isinstance(keys, str)
    if refused or locked.refused is not None:
        if refused and locked.refused is not None:
            return None
        if refused:
            return f"routed to {len(locked.keys)} items before, refused ({keys}) now"
        return f"refused ({locked.refused}) before, routed to {len(keys)} items now"
    if set(keys) != locked.keys:
        was, now = (_keys(found) for found in (sorted(locked.keys), keys))
        return f"routed to {was} before, to {now} now"
    for folded in locked.items:
        key = encode_value(untyped_any(folded.key))
        before = (
            None if folded.before is None else encode_value(untyped_any(folded.before), outer=1)
        )
        after = stage.fold(rule, run, key, before)
        if difference := outcome_difference(folded.after, after):
            onto = "no item" if folded.before is None else f"the item {_short(folded.before)}"
            return f"onto {onto}: {difference}"
    return None


def _keys(keys: Any) -> str:
    return ", ".join(_short(typed_any(decode_value(key))) for key in keys) or "no item"


def _differences(path: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            place = f"{path}.{name}" if path else name
            if name not in after:
                yield f"{place}: {_short(typed_any(before[name]))} before, not there now"
            elif name not in before:
                yield f"{place}: not there before, {_short(typed_any(after[name]))} now"
            else:
                yield from _differences(place, before[name], after[name])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{number}]", *pair)
    elif encode_value(before, outer=2) != encode_value(after, outer=2):
        place = f"{path}: " if path else ""
        yield f"{place}{_short(typed_any(before))} before, {_short(typed_any(after))} now"


def _said(outcome: Outcome) -> str:
    if outcome.refused is not None:
        return f"refused ({outcome.refused})"
    return _short(outcome.value) if outcome.value is not None else "a value too large to show"


def _short(value: Typed) -> str:
    text = said_value(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."
