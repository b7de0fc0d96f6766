"""A broken law told: what it is, the events that show it, what to do, and a test of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType

from binlog.envelope import Envelope
from binlog.testing.choice import repeat_command
from binlog.testing.laws.folding import Outcome
from binlog.testing.laws.surroundings import (
    CLOCK,
    DECIMAL,
    DIRECTORY,
    ENVIRONMENT,
    LOCALE,
    RANDOM,
    ZONE,
)
from binlog.testing.laws.trial import Finding
from binlog.testing.subject import Source
from binlog.testing.violation import Violation
from binlog.testing.words import event_code, imports_of_code, say_event, say_item, say_key
from binlog.values import decode_value

# What the same events lead to "another result" by, and what to do about it.
ASPECTS = {
    CLOCK: (
        "at another moment",
        (
            "take the time from the event: event.time_ms (when it happened) or event.arrival_ms (when "
            "the log took it), never now() or today(); a replay happens years later"
        ),
    ),
    ZONE: (
        "in another time zone",
        (
            "name the zone: datetime.fromtimestamp(seconds, tz=UTC), zoneinfo.ZoneInfo(...); never "
            "that of the machine"
        ),
    ),
    RANDOM: (
        "with other random numbers",
        (
            "let whoever publishes draw random numbers and new ids, and put them into the event; or "
            "derive them from event.id"
        ),
    ),
    DECIMAL: (
        "in another decimal context",
        (
            "calculate in a context of your own, wide enough to round nothing: "
            "with decimal.localcontext(prec=76): ..., and quantize(..., rounding=...); or count in "
            'whole cents. allow=("decimal context",) leaves this law out'
        ),
    ),
    LOCALE: (
        "in another locale",
        'format without the locale: f"{n:,}" and not "n" or locale.*',
    ),
    ENVIRONMENT: (
        "with other environment variables",
        "an applier has no settings: what it needs to know is in the event or in its code",
    ),
    DIRECTORY: ("in another directory", "an applier reads no files: put the values into its code"),
    "together": ("in other surroundings", "write it from item and event alone"),
    "hash seed": (
        "in another process, where sets come in another order",
        "sort what comes out of a set: sorted(...); and let no hash() and no id() into an item",
    ),
    "state": (
        "when it is called again",
        (
            "keep nothing between calls (no globals, caches, counters, defaults that change), and read "
            "no clock and no new ids: a consumer restarts, and sees an event twice"
        ),
    ),
    "map order": (
        "when attributes come in another order",
        (
            "name the attributes that you mean, or sort them: sorted(event.data.items()); "
            'allow=("map order",) leaves this law out'
        ),
    ),
    "cut": (
        "when they are folded in other batches",
        (
            "an event's result must come from the item and the event; where a batch begins is anybody's "
            "choice"
        ),
    ),
    "turns": (
        "when keys take turns in another order",
        "only the events of one key have an order: let an applier see nothing of other keys",
    ),
}
ADVICE = {
    "outside": "an applier is a function of item and event, and runs where there is nothing else: "
    "put what it needs into the event before it is published",
    "mutation": "make a new item, {**item, ...}, and copy what you change: list(...), dict(...); "
    "callers that keep what they pass would see it change. "
    'allow=("mutation",) leaves this law out',
    "floats": "count in whole cents, or in Decimal: a float is wrong beyond 2**53, and math.* may "
    "differ in the last digit on another machine; // and % stay whole. "
    'allow=("floats",) leaves this law out',
    "expected versions": "this is a bug of binlog: please report it with the test below",
    "": "the appliers' result is not what a plain loop gives: look for what depends on how often "
    "a function is called; if there is nothing, please report it with the test below",
}


def violation_of(
    finding: Finding,
    events: Sequence[Envelope],
    outcome: Outcome,
    *,
    test: str,
    before: Sequence[Envelope] = (),
    note: str = "",
) -> Violation:
    """The finding as a check of the kit fails with it; ``before`` is what must have been folded."""
    aspect = ASPECTS.get(finding.aspect) if finding.law in {"pure", "batches"} else None
    if aspect is None:
        what, advice = finding.what, ADVICE.get(finding.advice, finding.advice)
    else:
        when, advice = aspect
        what = f"{finding.what} makes something else of the same events {when}"
    if finding.law == "reference":
        what = f"{finding.what} does not make of the events what a plain loop does"
    what = what[0].upper() + what[1:]
    return Violation(
        what,
        law=finding.law,
        story=[
            *(f"before, onto items of its own: {say_event(envelope)}" for envelope in before),
            *_story(events, outcome, finding),
        ],
        differences=finding.differences,
        do=f"{advice}{note}",
        repeat=repeat_command(),
        test=test,
    )


def _story(events: Sequence[Envelope], outcome: Outcome, finding: Finding) -> list[str]:
    """The events, each with what came of it in plain surroundings."""
    rejected = {rejection[0] for rejection in outcome.rejections}
    lines = []
    for index, envelope in enumerate(events):
        items = [
            f"{say_key(w.key)} of {w.table} is now {say_item(decode_value(w.data))}"
            if w.data is not None
            else f"{say_key(w.key)} of {w.table} is deleted"
            for w in outcome.written
            if w.index == index
        ]
        if index in outcome.refused:
            items = [f"the applier declares it impossible ({outcome.refused[index]})"]
        elif outcome.trouble is not None and outcome.trouble.index == index:
            items = ["this is where it fails"]
        elif index in rejected and not items:
            items = ["the item has another version: nothing moves"]
        elif not items and index < len(events) - 1:
            items = ["no item moves"]
        mark = "  <- here" if index == finding.index and len(events) > 1 else ""
        lines.append("\n       ".join([f"{say_event(envelope)}{mark}", *items]))
    return lines


# -- a test to paste -------------------------------------------------------------------------------


def test_code(
    source: Source,
    lists: Sequence[Sequence[Envelope]],
    *,
    law: str,
    allow: Sequence[str],
    frame: FrameType | None,
) -> str:
    """A test that fails as this check did; ``frame`` is the caller's, who has names for things."""
    argument, line = subject(source, frame)
    imports = ["from binlog.testing import check_applier"]
    if line:
        imports.append(line)
    body = ""
    for events in lists:
        codes = "".join(f"                {event_code(envelope)},\n" for envelope in events)
        body += f"            [\n{codes}            ],\n"
    imports += imports_of_code(body)
    allowed = f"        allow={tuple(allow)!r},\n" if allow else ""
    name = law.replace(" ", "_")
    return (
        f"{chr(10).join(sorted(imports))}\n\n\n"
        f"def test_{argument.rpartition(':')[2].strip(chr(34)).replace('.', '_')}_{name}():\n"
        f"    check_applier(\n        {argument},\n"
        f"        examples=[\n{body}        ],\n{allowed}    )\n"
    )


def subject(source: Source, frame: FrameType | None) -> tuple[str, str]:
    """The source as code, and the line that imports it, if any is needed and known."""
    if isinstance(source, str):
        return f'"{source}"', ""
    name, home = "appliers", None
    if frame is not None:
        found = [
            name
            for scope in (frame.f_locals, frame.f_globals)
            for name, value in scope.items()
            if value is source and name.isidentifier()
        ]
        name = found[0] if found else name
        home = _home(source, name, frame)
    return name, f"from {home} import {name}" if home else ""


def _home(source: Source, name: str, frame: FrameType) -> str | None:
    """The module, not the test itself, that has ``source`` under ``name``."""
    here = frame.f_globals.get("__name__")
    for module_name, module in list(sys.modules.items()):
        if module_name in {here, "__main__", "__mp_main__"} or "conftest" in module_name:
            continue
        if getattr(module, "__dict__", {}).get(name) is source:
            return module_name
    return None
