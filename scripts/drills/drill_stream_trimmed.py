"""A lazy consumer was away for longer than the stream keeps its records."""

from kinesis_forgets import KinesisForgets
from kinesis_here import KinesisHere

from binlog.drills import Drill, drill, twin

GO_ON = "binlog replicate {log} {lazy} --archive {archive}"


@drill(
    "stream-trimmed",
    title="A stream has forgotten what a lazy consumer lacks",
    looks="`binlog status LOG STORE` said that the runway is short; now the consumer is refused.",
    take_back="Nothing is to be taken back: archive and stream are one log, with the same offsets.",
    on=("embedded", "stack"),
    rto_s=120.0,
    rto_s_on={"stack": 120.0},
    embedded=KinesisHere,
    stack=KinesisForgets,
)
@twin(
    "another store is carried forward",
    {GO_ON: "binlog replicate {log} {aside} --archive {archive}"},
)
def stream_trimmed(d: Drill) -> None:
    """A replica that is behind on purpose stood still over a weekend; the stream keeps a day.

    What it lacks is gone from the stream. The consumer refuses to go on over the hole. With the
    archive, which was taken all the time, it goes on where it was, and then in the stream.
    """
    assert isinstance(d.target, KinesisHere | KinesisForgets)
    d.init()
    d.load(150)
    d.flow(100)
    lazy = d.replicate("lazy")
    d.caught_up("lazy")
    lazy.end()
    d.flow(150)
    d.stop_load()
    d.run("binlog archive {log} {archive} --once")
    with d.disaster("the lazy consumer stands still for 32 hours", changes="log"):
        for _ in range(2):
            d.target.clock.advance_hours(16)
            d.run("binlog archive {log} {archive} --once")
    d.load(150)
    d.flow(100)
    with d.phase("detect"):
        d.run("binlog replicate {log} {lazy} --once", exit=3)
    with d.phase("restore"):
        d.served = "lazy"
        d.start(GO_ON)
        d.caught_up("lazy")
    with d.phase("verify"):
        d.settle("lazy")  # a table in DynamoDB is compared while nobody writes to it
        d.run("binlog verify {lazy} {log} --archive {archive}")
    d.load(150)
    d.flow(100)
    d.settle("lazy")
    d.holds("lazy")
