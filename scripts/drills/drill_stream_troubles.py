"""The stream is away, or throttles, while producers and consumers go on."""

import time
from collections import Counter

from kinesis_behind import KinesisBehind
from kinesis_here import KinesisHere

from binlog.drills import Drill, drill, twin
from binlog.drills.background import Background
from binlog.producer import ProducerOptions

ANEW = "binlog rebuild {log} {aside}"
SHORT = ProducerOptions(
    give_up_s=1.0, queue_wait_s=1.0, retry_first_s=0.02, retry_most_s=0.2, linger_s=0.05
)
AWAY_S = 3.0  # the half hour, with a producer's patience of a minute scaled down to one second


def given(d: Drill) -> tuple[KinesisHere | KinesisBehind, Background]:
    assert isinstance(d.target, KinesisHere | KinesisBehind)
    d.init()
    produce(d)
    consumer = d.replicate("live")
    d.flow(100)
    d.caught_up("live")
    d.name(early=d.ends())
    return d.target, consumer


def produce(d: Drill) -> None:
    """Producers that do not wait long."""
    d.load(150, options=SHORT)


def compared(d: Drill) -> None:
    """The replica that went through it, one that is made anew, and the reference are the same."""
    with d.phase("switch"):
        d.flow(50)
        d.settle("live")  # producers ask what became of what they do not know
    with d.phase("verify"):
        d.run("binlog verify {live} {log}")
    produce(d)
    d.flow(50)
    d.settle("live")
    d.run(ANEW)
    d.log_holds()
    d.holds("live")
    d.holds("aside")


@drill(
    "kinesis-away",
    title="Kinesis is away",
    on=("embedded", "stack"),
    rto_s=120.0,
    rto_s_on={"stack": 120.0},
    looks="Producers report events as not sent, some as unknown; consumers try again, and end after a while.",
    take_back="Nothing is to be taken back. Events that were reported as not sent may be sent again.",
    embedded=KinesisHere,
    stack=KinesisBehind,
)
@twin(
    "the table is rebuilt up to before the outage",
    {ANEW: "binlog rebuild {log} {aside} --until {early}"},
)
def kinesis_away(d: Drill) -> None:
    """The service does not answer: the last requests before it may have come through, or come late.

    Producers hold for as long as they were told to, and then tell of each event whether it was not
    sent, or that nobody can say yet. Afterwards every unknown is resolved. What was acknowledged is
    there once, what was reported as not sent is not there, and consumers go on where they were.
    """
    target, consumer = given(d)

    def told() -> Counter[str]:
        return Counter(entry.told for entry in d.book.entries())

    def reported() -> str:
        count = told()
        said = f"producers report {count['failed']} as not sent and {count['unknown']} as unknown"
        return said if count["failed"] else ""

    with d.disaster("Kinesis does not answer", shown=reported):
        target.lose(*("lose reply", "late", "lose request") * 2)
        d.wait("the last requests", lambda: not target.pending())
        target.away(is_away=True)
        time.sleep(AWAY_S)
        d.wait("producers that give up", lambda: told()["failed"], alone=True)
    with d.phase("detect"):
        d.run("binlog status {log} {live}", exit=3)
    target.away(is_away=False)
    d.note(f"the consumer {consumer.state}: {consumer.last_line}")
    # No step of the recovery: one that gave up, or is about to, is started again by what watches over it.
    consumer.end(or_ended=True)
    with d.phase("restore"):
        d.replicate("live")
    compared(d)
    unknown = d.book.summary().unknown
    d.expect("every unknown outcome was resolved", unknown == 0, f"{unknown} are left", by="ledger")


@drill(
    "throttling-storm",
    title="A storm of throttling",
    on=("embedded", "stack"),
    rto_s=120.0,
    rto_s_on={"stack": 120.0},
    looks="Lag and the age of what producers hold grow; `binlog status` tells how far behind.",
    take_back="Nothing is to be taken back.",
    embedded=KinesisHere,
    stack=KinesisBehind,
)
@twin(
    "the table is rebuilt up to before the storm",
    {ANEW: "binlog rebuild {log} {aside} --until {early}"},
)
def throttling_storm(d: Drill) -> None:
    """Some records of a call are throttled and others not, then all; reads are throttled, too.

    Producers send the same bytes again and in order, consumers wait and read again. Nothing is lost
    or applied twice, and nobody has to do anything but wait, or make the stream larger.
    """
    target, _ = given(d)
    with d.disaster("the stream throttles", shown=target.throttled):
        target.throttle_some(puts=40, reads=3)
        d.flow(60)
        target.throttle_all(puts=True)
        d.wait("calls that are throttled", target.throttled)
    with d.phase("restore"):
        target.throttle_all(puts=False)
    compared(d)
