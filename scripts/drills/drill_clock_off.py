"""The clock of one producer is an hour ahead."""

import json
import time
from datetime import UTC, datetime, timedelta

from kinesis_behind import KinesisBehind

from binlog.drills import Action, Drill, drill, twin

AS_OF = "binlog rebuild {log} {other} --until {moment}"
HOUR_S = 3600.0
SAYS = {"embedded": "s behind the log's", "stack": "s ahead of the service's"}


@drill(
    "clock-off",
    title="A producer's clock is an hour ahead",
    looks="Producers and `binlog doctor LOG` warn: this machine's clock is behind the log's.",
    take_back="Nothing is to be taken back: the log's time goes on when the hour has passed.",
    names={"moment": """the offsets that step 2 prints, as JSON: '{"0": 17, "1": 12}'"""},
    on=("embedded", "stack"),
    stack=KinesisBehind,
    rto_s=60.0,
    rto_s_on={"stack": 120.0},
)
@twin(
    "the moment is named by the clock on the wall",
    {AS_OF: "binlog rebuild {log} {other} --until {wall}"},
)
def clock_off(d: Drill) -> None:
    """A machine whose clock is an hour ahead appends among others whose clocks are right.

    The log's time jumps ahead, and stands still for the others until the hour has passed. Nothing is
    refused and nothing expires by it; also an hour behind does no harm. Moments of that hour are named
    by vectors, since the wall's are not the log's. A stream's time is the service's: there the machine
    changes nothing by its clock, is told of it, and reads moments off the wrong wall.
    """
    d.init()
    d.load()
    d.replicate("live")
    d.flow(300)
    d.caught_up("live")

    stream = d.target if isinstance(d.target, KinesisBehind) else None

    def ahead() -> str:
        with d.open_log() as log:
            by_s = log.now_ms() / 1000 - time.time()
        if stream is None:
            return f"the log's time is {by_s:.0f} s ahead" if by_s > HOUR_S / 2 else ""
        told = f"the log's time is {abs(by_s):.0f} s off, the producer's {HOUR_S:.0f} s"
        return told if abs(by_s) < HOUR_S / 2 and d.tagged("ahead") else ""

    with d.disaster("a producer whose clock is an hour ahead", shown=ahead):
        made = [Action(type="PutItem", key=f"ahead-{n}", data={"n": n}) for n in range(10)]
        d.append(made, tag="ahead", clock_s=HOUR_S)
        d.flow(300)
    with d.phase("detect"):
        if stream is not None:
            d.environment(**stream.as_seen_by(HOUR_S))
        d.run("binlog doctor {log}", exit=1, says=SAYS[d.target.name])
        if stream is not None:
            d.environment(**stream.as_seen_by(0))
    with d.phase("decide"):
        moment = d.end_of_log()
        wall = datetime.now(UTC) - timedelta(seconds=0 if stream is None else HOUR_S)
        d.name(moment=moment, wall=wall.isoformat())
    with d.phase("restore"):
        d.by_hand("set that machine's clock right")
        d.run(AS_OF)
    with d.phase("verify"):
        d.settle("live")  # a table in DynamoDB is compared while nobody writes to it
        d.run("binlog verify {live} {log}")
    d.load()
    d.append([Action(type="PutItem", key="behind", data={"n": 1})], clock_s=-HOUR_S)
    d.flow(200)
    d.settle("live")
    places = d.log_holds()
    ends = {int(partition): end for partition, end in json.loads(moment).items()}
    d.holds("other", wanted=lambda e: places[e.id][1] <= ends[places[e.id][0]], measures=False)
    d.holds("live")
