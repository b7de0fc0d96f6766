"""The verdicts that every drill has: what could not be proved has failed."""

from __future__ import annotations

from binlog.drills.declared import Declared
from binlog.drills.record import By, Record
from binlog.drills.verbs import Drill

RECOVERS = frozenset({"restore", "verify", "switch"})


def conclude(declared: Declared, drill: Drill, record: Record) -> str | None:
    """The first reason why it failed: no figure, no disaster, nothing acknowledged, or what it said.

    Only what is measured wrong is said by the ledger or the model; that something was not done or not
    looked at is said by the drill, and is not what a twin is caught by.
    """
    record.measure_rto()
    measured, goals = record.measured, declared.goals
    ledger = drill.book.summary()
    disasters = sum(mark.kind == "disaster" for mark in record.marks)
    if drill.scale.events and not drill.book.fills:
        return "--events: the drill has no load and fills nothing, so it is not longer by it"
    if drill.unused:
        return f"the twin is no sabotage: the drill never types {', '.join(drill.unused)}"
    record.say(
        "a disaster was made, and shown to be one",
        ok=disasters > 0 and record.proved == disasters,
        evidence=f"{disasters} made, {record.proved} shown",
        by="drill",
    )
    record.say(
        "every event has an outcome",
        ok=ledger.unknown == 0 and ledger.acknowledged > 0,
        evidence=f"{ledger.acknowledged:,} acknowledged, {ledger.failed:,} not sent, "
        f"{ledger.unknown:,} unknown",
        by="drill",
    )
    if declared.goes_on:
        _events_before_and_after(drill, record)
    lost = measured.rpo_events
    # What was lost before a twin's sabotage is not what it is caught by.
    by: By = "ledger" if record.lost >= (record.sabotaged or 0) else "drill"
    record.say(
        f"at most {goals.rpo_events:,} acknowledged events are lost",
        ok=lost is not None and lost <= goals.rpo_events,
        evidence="not measured" if lost is None else f"{lost:,}",
        by=by,
    )
    if record.judged is not None:
        since = ledger.acknowledged - record.judged
        record.say(
            "nothing was acknowledged after the last look at the table",
            ok=since == 0,
            evidence=f"{record.judged:,} when it was judged, {since:,} since",
            by="drill",
        )
    if goals.rpo_age_s is not None:
        age_s = measured.rpo_age_s
        record.say(
            f"what is lost is of the last {goals.rpo_age_s:g} s before the disaster",
            ok=age_s is not None and age_s <= goals.rpo_age_s,
            evidence="not measured" if age_s is None else f"{age_s:.2f} s",
            by=by,
        )
    rto_s = measured.rto_s
    is_timed = bool(RECOVERS.intersection(measured.rto))
    record.say(
        f"recovered within {goals.rto_s:g} s",
        ok=rto_s is not None and is_timed and rto_s <= goals.rto_s,
        evidence="not measured"
        if rto_s is None
        else f"{rto_s:.2f} s from the disaster to the end of the last phase"
        + ("" if is_timed else f", and none of them is one of {', '.join(sorted(RECOVERS))}"),
        by="clock",
    )
    for verdict in record.verdicts:
        if not verdict.ok:
            return f"{verdict.claim}: {verdict.evidence}"
    return None


def _events_before_and_after(drill: Drill, record: Record) -> None:
    disaster_s, recovered_s = record.disaster_s(), record.recovered_s()
    if disaster_s is None or recovered_s is None:
        return  # other verdicts say so
    before = during = after = 0
    for at_s in drill.book.times():
        if at_s < disaster_s:
            before += 1
        elif at_s > recovered_s:
            after += 1
        else:
            during += 1
    record.say(
        "events were acknowledged before the disaster, and after the recovery",
        ok=before > 0 and after > 0,
        evidence=f"{before:,} before, {during:,} during, {after:,} after",
        by="drill",
    )
