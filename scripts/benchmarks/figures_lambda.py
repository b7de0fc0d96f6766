"""The figures of the Lambda consumer: its throughput, its package and its cold start."""

from __future__ import annotations

from appliers.stores.memory import MemoryStore
from scripts.benchmarks import lambda_event, ours
from scripts.benchmarks.bench import Bench
from scripts.benchmarks.figures import Contest, Goal, Rival, rate
from scripts.benchmarks.lambda_cold import IMPORT_SECONDS_MAX, ZIP_MEGABYTES_MAX, Package
from scripts.benchmarks.measure import Contender, Outcome, timed


def lambda_contests(bench: Bench) -> list[Contest]:
    """All three."""
    package = Package(bench.new("lambda"))
    return [_handler(bench), _cold_start(package), _size(package)]


def _handler(bench: Bench) -> Contest:
    def by_ours() -> Outcome:
        store, events = MemoryStore(), bench.lambda_events
        function = lambda_event.function_of(bench.log, store)
        with timed(collector=True) as clock:
            lambda_event.handle_all(function, events)
        return rate(bench.spec.events, clock.seconds, ours.items_of(store))

    def bare() -> Outcome:
        events = bench.lambda_events
        with timed(collector=False) as clock:
            found = lambda_event.decode_all(events)
        if found != bench.spec.events:
            raise RuntimeError(f"the loop met {found} events of {bench.spec.events}")
        return Outcome(found / clock.seconds)

    return Contest(
        "lambda",
        f"Lambda handler, events of {lambda_event.BATCH} records, into memory",
        "events/s",
        Contender("binlog", by_ours),
        [Rival(Contender("a loop that decodes their events, and no more", bare), Goal(0.5))],
        lambda: bench.expected,
    )


def _cold_start(package: Package) -> Contest:
    return Contest(
        "lambda-cold",
        "Lambda handler, import of the deployed package, SDK clients made",
        "s",
        Contender("binlog", lambda: Outcome(package.import_seconds())),
        [],
        goal=Goal(IMPORT_SECONDS_MAX, at_most=True),
    )


def _size(package: Package) -> Contest:
    return Contest(
        "lambda-zip",
        "Lambda package, zipped, without boto3",
        "MB",
        Contender("binlog", lambda: Outcome(package.built.zipped_bytes / 1e6)),
        [],
        goal=Goal(ZIP_MEGABYTES_MAX, at_most=True),
    )
