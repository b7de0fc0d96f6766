"""The clock of one producer is an hour ahead."""

import json
import time
from datetime import UTC, datetime

from binlog.drills import Action, Drill, drill, twin

AS_OF = "binlog rebuild {log} {other} --until {moment}"
HOUR_S = 3600.0


@drill(
    "clock-off",
    title="A producer's clock is an hour ahead",
    looks="Producers and `binlog doctor LOG` warn: this machine's clock is behind the log's.",
    take_back="Nothing is to be taken back: the log's time goes on when the hour has passed.",
    names={"moment": """the offsets that step 2 prints, as JSON: '{"0": 17, "1": 12}'"""},
)
@twin(
    "the moment is named by the clock on the wall",
    {AS_OF: "binlog rebuild {log} {other} --until {wall}"},
)
def clock_off(d: Drill) -> None:
    """A machine whose clock is an hour ahead appends among others whose clocks are right.

    The log's time jumps ahead, and stands still for the others until the hour has passed. Nothing is
    refused and nothing expires by it; also an hour behind does no harm. Moments of that hour are named
    by vectors, since the wall's are not the log's.
    """
    d.init()
    d.load()
    d.replicate("live")
    d.flow(300)
    d.caught_up("live")

    def ahead() -> str:
        with d.open_log() as log:
            by_s = log.now_ms() / 1000 - time.time()
        return f"the log's time is {by_s:.0f} s ahead" if by_s > HOUR_S / 2 else ""

    with d.disaster("a producer whose clock is an hour ahead", shown=ahead):
        made = [Action(type="PutItem", key=f"ahead-{n}", data={"n": n}) for n in range(10)]
        d.append(made, clock_s=HOUR_S)
        d.flow(300)
    with d.phase("detect"):
        d.run("binlog doctor {log}", exit=(0, 1), says="clock")
    with d.phase("decide"):
        moment = d.end_of_log()
        d.name(moment=moment, wall=datetime.now(UTC).isoformat())
    with d.phase("restore"):
        d.by_hand("set that machine's clock right")
        d.run(AS_OF)
    with d.phase("verify"):
        d.run("binlog verify {live} {log}")
    d.append([Action(type="PutItem", key="behind", data={"n": 1})], clock_s=-HOUR_S)
    d.flow(200)
    d.settle("live")
    places = d.log_holds()
    ends = {int(partition): end for partition, end in json.loads(moment).items()}
    d.holds("other", wanted=lambda e: places[e.id][1] <= ends[places[e.id][0]], measures=False)
    d.holds("live")
