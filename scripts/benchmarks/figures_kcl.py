"""The figures of the KCL consumer: its driver alone, and with all that is behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache

from appliers.stores.memory import MemoryStore
from binlog.address import open_log
from scripts.benchmarks import kcl_pipe
from scripts.benchmarks import ours as by_ours
from scripts.benchmarks.bench import Bench
from scripts.benchmarks.figures import Contest, Goal, Rival, rate
from scripts.benchmarks.kcl_pipe import Messages
from scripts.benchmarks.measure import Contender, Outcome, timed


def kcl_contests(bench: Bench) -> list[Contest]:
    """Both; without `amazon_kclpy` each says so."""
    messages = cache(lambda: Messages(bench.new("kcl"), bench.log))
    return [_driver(messages), _processor(bench, messages)]


def _driver(messages: Callable[[], Messages]) -> Contest:
    def ours() -> Outcome:
        given = messages()
        with contextlib.closing(open_log(f"file:{given.log}")) as log:
            processor = kcl_pipe.ours(log, None)
            with timed(collector=True) as clock:
                kcl_pipe.pipe(given.often, processor)
        return Outcome(given.records * kcl_pipe.TIMES / clock.seconds)

    def nothing() -> Outcome:
        given = messages()
        with timed(collector=True) as clock:
            kcl_pipe.pipe(given.often, kcl_pipe.idle())
        return Outcome(given.records * kcl_pipe.TIMES / clock.seconds)

    return Contest(
        "kcl-pipe",
        "KCL's pipe and our processor, nothing behind it",
        "records/s",
        Contender("binlog", ours),
        [Rival(Contender("the pipe and a processor that does nothing", nothing), Goal(0.5))],
    )


def _processor(bench: Bench, messages: Callable[[], Messages]) -> Contest:
    def ours() -> Outcome:
        given, store = messages(), MemoryStore()
        with contextlib.closing(open_log(f"file:{given.log}")) as log:
            processor = kcl_pipe.ours(log, store)
            with timed(collector=True) as clock:
                kcl_pipe.pipe(given.once, processor)
        return rate(bench.spec.events, clock.seconds, by_ours.items_of(store))

    def bare() -> Outcome:
        given, found = messages(), [0]

        def count(events: int) -> None:
            found[0] += events

        with timed(collector=False) as clock:
            kcl_pipe.pipe(given.once, kcl_pipe.decoding(count))
        if found[0] != bench.spec.events:
            raise RuntimeError(f"the processor met {found[0]} events of {bench.spec.events}")
        return Outcome(found[0] / clock.seconds)

    return Contest(
        "kcl",
        "KCL's pipe and our processor, into memory",
        "events/s",
        Contender("binlog", ours),
        [
            Rival(
                Contender("the pipe and a processor that decodes the events, and no more", bare),
                Goal(0.5),
            )
        ],
        lambda: bench.expected,
    )
