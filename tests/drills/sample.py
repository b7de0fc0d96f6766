"""A realistic result, for the tests of reports and runbooks: all fields in use, figures that agree."""

from __future__ import annotations

from msgspec.structs import replace

from binlog.drills.result import (
    Command,
    DrillResult,
    Goals,
    Ledger,
    Mark,
    Measured,
    Phase,
    Sample,
    Spent,
    Verdict,
)


def _samples() -> tuple[Sample, ...]:
    """Half a minute: even load, the table gone at 8 s, back at 10.4 s and caught up at 13 s."""
    found = []
    for tick in range(60):
        t_s = tick / 4
        if t_s < 8:
            applied, lag = 400.0 + 10 * (tick % 3), 20 + tick % 7
        elif t_s < 10.4:
            applied, lag = None, None
        elif t_s < 13:
            applied, lag = 900.0, round(1_000 - (t_s - 10.4) * 380)
        else:
            applied, lag = 405.0, 18 + tick % 5
        found.append(
            Sample(t_s=t_s, events_s=400.0 + 8 * (tick % 4), applied_s=applied, lag_events=lag)
        )
    return tuple(found)


def sample_result() -> DrillResult:
    """A drill that passed."""
    return DrillResult(
        name="table-dropped",
        title="A table is dropped",
        story="Somebody drops the table that production reads.\n\nThe log has everything: the table "
        "is rebuilt from the newest snapshot and the tail of the log, compared with the log, and "
        "followed again.",
        take_back="A rebuild replaces the table in one step; the one before it is gone already.",
        on="embedded",
        seed=7,
        repeat="binlog drill run table-dropped --on embedded --seed 7",
        started_at="2026-11-26T16:40:12Z",
        seconds=15.2,
        passed=True,
        failure=None,
        goals=Goals(rpo_events=0, rpo_age_s=None, rto_s=30.0),
        measured=Measured(
            rpo_events=0,
            rpo_age_s=0.0,
            rto_s=2.43,
            rto={"detect": 0.62, "decide": 0.21, "restore": 0.94, "verify": 0.51, "switch": 0.13},
            events=6_180,
            items=412,
            recovery=Spent(
                read_bytes=412_880,
                written_bytes=98_304,
                requests={"dynamodb BatchWriteItem": 17, "kinesis GetRecords": 41},
                read_units=0.0,
                write_units=412.0,
                put_units=0,
                dollars=0.000258,
            ),
            run=Spent(
                read_bytes=9_412_880,
                written_bytes=2_398_304,
                requests={
                    "dynamodb BatchWriteItem": 117,
                    "kinesis GetRecords": 141,
                    "kinesis PutRecords": 391,
                },
                unanswered=2,
                read_units=1.5,
                write_units=6_592.0,
                put_units=391,
                dollars=0.034125,
            ),
            counted=("A stand-in was asked, which costs nothing.", "Requests are all tries."),
        ),
        ledger=Ledger(acknowledged=6_180, failed=0, unknown=0, sha256="9f2c" * 16),
        phases=(
            Phase(name="detect", begin_s=8.0, end_s=8.62),
            Phase(name="decide", begin_s=8.62, end_s=8.83),
            Phase(name="restore", begin_s=8.83, end_s=9.77),
            Phase(name="verify", begin_s=9.77, end_s=10.28),
            Phase(name="switch", begin_s=10.28, end_s=10.41),
        ),
        marks=(
            Mark(kind="given", text="a log of 8 partitions, a replica", begin_s=0.1, end_s=0.4),
            Mark(kind="load", text="400 events a second", begin_s=0.5, end_s=15.0),
            Mark(kind="note", text="snapshot taken", begin_s=4.0, end_s=4.0),
            Mark(kind="disaster", text="DROP TABLE orders", begin_s=7.98, end_s=8.0),
        ),
        commands=(
            Command(
                typed="binlog snapshot {live} {snapshots}",
                shown="binlog snapshot sqlite:live.db file:snapshots",
                phase=None,
                begin_s=3.4,
                seconds=0.61,
                status=0,
                expected=(0,),
                output=("20261126T164016-1a2b  412 rows of orders",),
            ),
            Command(
                typed="binlog status {log} {live}",
                shown="binlog status file:log sqlite:live.db",
                phase="detect",
                begin_s=8.0,
                seconds=0.61,
                status=3,
                expected=(1, 3),
                output=("binlog: sqlite:live.db: the table orders is gone: rebuild it",),
            ),
            Command(
                typed="binlog rebuild {log} {live} --snapshots {snapshots}",
                shown="binlog rebuild file:log sqlite:live.db --snapshots file:snapshots",
                phase="restore",
                begin_s=8.83,
                seconds=0.93,
                status=0,
                expected=(0,),
                output=("began at snapshot 20261126T164016-1a2b", "rebuilt from 1,630 events"),
                spent=Spent(
                    read_bytes=204_800, written_bytes=98_304, requests={"kinesis GetRecords": 41}
                ),
            ),
            Command(
                typed="binlog verify {live} {log}",
                shown="binlog verify sqlite:live.db file:log",
                phase="verify",
                begin_s=9.77,
                seconds=0.5,
                status=0,
                expected=(0,),
                output=("equal: 412 keys in 1 table",),
            ),
        ),
        verdicts=(
            Verdict(
                claim="no acknowledged event is missing",
                ok=True,
                evidence="6,180 acknowledged, 6,180 in the log, 0 missing",
                by="ledger",
            ),
            Verdict(
                claim="the table holds what the acknowledged events make of it",
                ok=True,
                evidence="412 of 412 items equal to the reference model's",
                by="model",
            ),
            Verdict(
                claim="recovered within 30 s",
                ok=True,
                evidence="2.43 s from the disaster to readers being served",
                by="clock",
            ),
        ),
        samples=_samples(),
        versions={"binlog": "0.1.0", "python": "3.11.7", "system": "Linux 6.8, 2 CPUs"},
        addresses={"log": "file:log", "live": "sqlite:live.db", "snapshots": "file:snapshots"},
    )


def sample_failed() -> DrillResult:
    """Its sabotaged twin: the recovery began at the wrong place, and the judge says so."""
    good = sample_result()
    missing = Verdict(
        claim="the table holds what the acknowledged events make of it",
        ok=False,
        evidence="371 of 412 items equal to the reference model's, 41 differ",
        by="model",
        lines=(
            "orders o17: n is 4, should be 9 (event 3f2a of partition 2)",
            "orders o93: is missing (event 88c1 of partition 5)",
        ),
    )
    return replace(
        good,
        twin="rebuilt up to the snapshot, without the tail",
        sabotaged=1,
        passed=False,
        failure="the table holds what the acknowledged events make of it: 371 of 412 items equal",
        measured=replace(good.measured, rpo_events=1_630, rpo_age_s=4.0),
        verdicts=(good.verdicts[0], missing, good.verdicts[2]),
    )
