"""The local consumer: carries a store forward from its checkpoints, once or for ever.

Each generation of the store goes on from its own vector, by its own rules and exclusions (C0). An
open one, made here if there is none, takes the tables that no other has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import msgspec

from appliers.applier import NO_RULES, Rules
from appliers.exclusion import parse_exclusions
from appliers.fingerprint import check_fingerprint, fingerprint
from appliers.fold import Counts
from appliers.store import Sink
from binlog.clock import Clock, SystemClock
from binlog.errors import ConflictError
from binlog.halt import Halt
from binlog.log import Log
from binlog.reader import PAGE_BYTES
from binlog.vector import minimum
from consumers.engine import Engine
from consumers.pace import Pace, Setting
from consumers.thrift import Thrift, is_paid_by_the_write
from snapshots.rebuild import Report

_WAIT_S = 0.5  # for new records, before looking whether to stop
_RETRY_S = 60.0  # on a log that is never idle: between two looks for the RESOLVEs of halts
_PACED_PAGE_BYTES = 64 * 1024  # with a rate, batches stay short


class Following(msgspec.Struct, frozen=True):
    """How to replicate."""

    once: bool = False  # stop at the log's end as it is then
    rate: float | None = None  # items a second
    rules: Rules = NO_RULES
    excluded: tuple[str, ...] = ()  # for a generation that is made here
    poison: Literal["stop", "park"] = "stop"  # what an event that fits no item does
    same_meaning: bool = False  # changed source of the rules computes what it did
    page_bytes: int = PAGE_BYTES


def replicate(
    log: Log,
    store: Sink,
    how: Following,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] | None = None,
    clock: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Apply what the log has beyond the store's checkpoints.

    Ends at the log's end with ``once``, else when ``stop`` says so, which is asked at least every
    half second. ``progress`` is called with the events applied so far.

    Raises:
        HaltedError: a partition is halted, and nobody has decided; after all others were carried
            to the end.
        PoisonError, DamageError: what lies before is applied.
        MismatchError: the store belongs to another log, was made by other rules, or is ahead.
        BusyError: somebody else writes to the store.
    """
    clock = SystemClock() if clock is None else clock
    started = clock.monotonic()
    store.lock()
    store.bind(log.genesis)
    engines = _engines(log, store, how, clock)
    pace = Pace(Setting(rate=how.rate), now=started)
    total = Counts()
    asked: set[Halt] = set()  # halts for which a RESOLVE was looked for a second time
    retry_at = started + _RETRY_S
    while not stop():
        idle = True
        for engine in engines:
            wait_s = 0.0 if how.once or engine is not engines[-1] else _WAIT_S
            step = engine.step(wait_s=wait_s)
            if step is None:
                continue
            idle = False
            _add(total, step.counts)
            if progress is not None:
                progress(total.events)
            pace.note(items=step.writes, events=step.counts.events, through_ms=None)
            while (rest_s := pace.wait_s(behind_s=0.0, now=clock.monotonic())) and not stop():
                sleep(min(rest_s, _WAIT_S))
        if idle and how.once:
            break
        halts = {halt for engine in engines for halt in engine.reader.halts.values()}
        if idle and halts <= asked:
            for engine in engines:
                engine.reader.raise_halts()
        if halts and (idle or clock.monotonic() >= retry_at):
            asked |= halts
            retry_at = clock.monotonic() + _RETRY_S
            for engine in engines:
                engine.reader.retry_halted()
    for engine in engines:
        engine.checkpoint()
    for engine in engines:
        engine.reader.raise_halts()
    return Report(
        counts=total,
        vector=minimum([engine.reader.vector() for engine in engines]),
        duplicates=sum(engine.total_duplicates() for engine in engines),
        seconds=clock.monotonic() - started,
        tables=tuple(sorted(table for g in store.generations() for table in g.tables)),
    )


def _engines(log: Log, store: Sink, how: Following, clock: Clock) -> list[Engine]:
    current = fingerprint(how.rules)
    exclusions = parse_exclusions(how.excluded, partitions=log.params.partitions)
    excluded = () if exclusions is None else exclusions.rules
    generations = store.generations()
    following = next((generation for generation in generations if generation.open), None)
    if following is None:
        store.create(tables=None, fingerprint=current, excluded=excluded)
        generations = store.generations()
    elif excluded and excluded != following.excluded:
        raise ConflictError(
            f"the store was made with the exclusions {', '.join(following.excluded) or 'none'}",
            store.name,
            "leave --exclude out to go on with them, or rebuild the store with others",
            excluded=following.excluded,
        )
    for generation in generations:
        check_fingerprint(
            generation.fingerprint,
            current,
            where=f"{store.name}, tables {', '.join(generation.tables) or 'none yet'}",
            met=generation.types,
            tables=generation.tables,
            same_meaning=how.same_meaning,
        )
        if generation.fingerprint != current:  # of types never met, or vouched for
            store.describe(generation.id, fingerprint=current, types=())
    closed = {table for g in generations if not g.open for table in g.tables}
    page_bytes = how.page_bytes if how.rate is None else min(how.page_bytes, _PACED_PAGE_BYTES)
    return [
        Engine(
            log,
            store,
            g,
            how.rules,
            taken=closed if g.open else (),
            page_bytes=page_bytes,
            poison=how.poison,
            tell_halts=not how.once,  # the error that ends it soon says the same
            thrift=Thrift(clock.monotonic) if is_paid_by_the_write(store) else None,
        )
        for g in generations
    ]


def _add(total: Counts, more: Counts) -> None:
    for name in Counts.__struct_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
