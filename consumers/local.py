"""The local consumer: carries a store forward from its checkpoints, once or for ever.

Each generation of the store goes on from its own vector, by its own rules and exclusions (C0). An
open one, made here if there is none, takes the tables that no other has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import msgspec

from appliers.adoption import Bases
from appliers.applier import NO_RULES, Rules
from appliers.fold import Counts
from appliers.store import Shareable, Sink
from binlog.clock import Clock, SystemClock
from binlog.errors import ConflictError
from binlog.halt import Halt
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.reader import PAGE_BYTES
from binlog.vector import minimum
from consumers.engine import Engine
from consumers.followed import add_counts, followed, taken_by_others
from consumers.metrics import Metrics
from consumers.pace import Setting
from consumers.pacer import WAIT_S, Pacer
from consumers.thrift import Thrift, is_paid_by_the_write
from snapshots.adopt_base import KeptBases
from snapshots.rebuild import Report

_RETRY_S = 60.0  # on a log that is never idle: between two looks for the RESOLVEs of halts


class Following(msgspec.Struct, frozen=True):
    """How to replicate."""

    once: bool = False  # stop where the log was at the start (`binlog.horizon`)
    setting: Setting = Setting()  # how fast, until another one is set in the store
    rules: Rules = NO_RULES
    excluded: tuple[str, ...] = ()  # for a generation that is made here
    poison: Literal["stop", "park"] = "stop"  # what an event that fits no item does
    same_meaning: bool = False  # changed source of the rules computes what it did
    page_bytes: int = PAGE_BYTES
    alone: bool = False  # the workers that shared the store are gone
    bases: Bases | None = None  # of adopted tables; None: where their records say


def replicate(
    log: Log,
    store: Sink,
    how: Following,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] | None = None,
    clock: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
    metrics: Metrics | None = None,
) -> Report:
    """Apply what the log has beyond the store's checkpoints.

    Ends with ``once`` where the log was when it began, else when ``stop`` says so, which is asked at least every
    half second. ``progress`` is called with the events applied so far, ``metrics`` is told of each
    page and each wait; what was dropped as a copy is in the report alone.

    Raises:
        HaltedError: a partition is halted, and nobody has decided; after all others were carried
            to the end.
        PoisonError, DamageError: what lies before is applied.
        MismatchError: the store belongs to another log, was made by other rules, or is ahead.
        BusyError: somebody else writes to the store.
        ConflictError: several workers do (`Shareable`), and always will.
    """
    clock = SystemClock() if clock is None else clock
    started = clock.monotonic()
    store.lock()
    store.bind(log.genesis)
    _leave_to_workers(store, alone=how.alone)
    engines = _engines(log, store, how, clock)
    pacer = Pacer(
        log,
        store,
        how.setting,
        clock=clock,
        sleep=sleep,
        stop=stop,
        page_bytes=how.page_bytes,
        once=how.once,
        metrics=metrics,
    )
    total = Counts()
    asked: set[Halt] = set()  # halts for which a RESOLVE was looked for a second time
    retry_at = started + _RETRY_S
    while not stop():
        idle = True
        for engine in engines:
            pacer.rest(engine)
            if stop():
                break
            wait_s = 0.0 if how.once or engine is not engines[-1] else WAIT_S
            step = engine.step(wait_s=wait_s)
            if step is None:
                continue
            idle = False
            add_counts(total, step.counts)
            if progress is not None:
                progress(total.events)
            pacer.note(engine, step)
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


def _leave_to_workers(store: Sink, *, alone: bool) -> None:
    """Nothing rests on it: each would only undo the other's work, for ever."""
    if not isinstance(store, Shareable) or not store.shared:
        return
    if not alone:
        raise ConflictError(
            "several workers write to the store, as Lambda or the KCL runs them",
            store.name,
            "follow the log into another one, or, where they are gone for good, say --alone",
        )
    store.unshare()


def _engines(log: Log, store: Sink, how: Following, clock: Clock) -> list[Engine]:
    generations = followed(
        log, store, how.rules, excluded=how.excluded, same_meaning=how.same_meaning
    )
    closed = taken_by_others(generations)
    horizon = horizon_of(log) if how.once else None
    return [
        Engine(
            log,
            store,
            g,
            how.rules,
            taken=closed if g.open else (),
            page_bytes=how.page_bytes,
            poison=how.poison,
            tell_halts=not how.once,  # the error that ends it soon says the same
            bases=how.bases or KeptBases(log.genesis),
            horizon=horizon,
            thrift=Thrift(clock.monotonic) if is_paid_by_the_write(store) else None,
        )
        for g in generations
    ]
