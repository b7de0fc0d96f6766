"""The figures of the log on Kinesis: what is measured against what, and the goal of each."""

from __future__ import annotations

import contextlib

from binlog.address import open_log
from scripts.benchmarks import kinesis, ours, straight
from scripts.benchmarks.bench import Bench
from scripts.benchmarks.figures import Contest, Goal, Rival, rate
from scripts.benchmarks.measure import Contender, Outcome, timed
from scripts.benchmarks.workload import digest_items


def kinesis_contests(bench: Bench) -> list[Contest]:
    """Both; where the stand-in cannot run each says why."""
    return [_put(bench), _replay(bench)]


def _put(bench: Bench) -> Contest:
    def by_ours() -> Outcome:
        address, batches = bench.standin.make_log(), bench.put_batches
        with contextlib.closing(open_log(address)) as log:
            with timed(collector=True) as clock:
                kinesis.publish(log, batches)
            found = ours.items_of(kinesis.replay(log))
        bench.standin.remove(address)
        return rate(bench.sizes.puts, clock.seconds, found)

    def by_boto3() -> Outcome:
        client, stream = bench.standin.client(), bench.standin.new_stream()
        batches = bench.put_batches
        kinesis.make_stream(client, stream)
        with timed(collector=False) as clock:
            kinesis.put_singly(client, stream, batches)
        found = kinesis.items_of_singles(client, stream)
        bench.standin.remove(stream)
        return rate(bench.sizes.puts, clock.seconds, found)

    return Contest(
        "kinesis-put",
        f"into Kinesis (kinesalite), from Python values, {bench.sizes.puts:,} events",
        "events/s",
        Contender("binlog", by_ours),
        [
            Rival(
                Contender(f"boto3, put_records of {kinesis.CALL_EVENTS} events", by_boto3), Goal(8)
            )
        ],
        lambda: bench.put_expected,
    )


def _replay(bench: Bench) -> Contest:
    events = bench.spec.events

    def by_ours() -> Outcome:
        with contextlib.closing(open_log(bench.stream)) as log:
            with timed(collector=True) as clock:
                store = kinesis.replay(log)
            return rate(events, clock.seconds, ours.items_of(store))

    def bare() -> Outcome:
        client, stream = bench.standin.client(), kinesis.stream_of(bench.stream)
        with timed(collector=False) as clock:
            kinesis.read_all(client, stream)
        return Outcome(events / clock.seconds)

    def folding() -> Outcome:
        client, stream = bench.standin.client(), kinesis.stream_of(bench.stream)
        with timed(collector=False) as clock:
            table = kinesis.fold_straight(client, stream)
        return Outcome(events / clock.seconds, digest_items(straight.items_of(table)))

    return Contest(
        "kinesis-replay",
        "replay from Kinesis (kinesalite) into memory, all checks on, one process",
        "events/s",
        Contender("binlog", by_ours),
        [
            Rival(Contender("get_records, thrown away", bare), Goal(0.7)),
            Rival(Contender("get_records and a straight loop", folding)),
        ],
        lambda: bench.expected,
    )
