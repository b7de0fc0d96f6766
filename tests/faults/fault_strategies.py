"""Stories for Hypothesis: what may happen where, and how often.

Every kind of fault is in `KINDS`, once for each shape that it takes, and each is as likely as any
other. Small numbers on purpose: faults have to meet calls that are made, and each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import strategies as st

from scripts.standins.proxy_faults import Fault
from tests.faults.fault_story import Ask, Follow, Land, Pass, Publish, Restart, Step, Story

PROCESSES = 3
THROTTLE, KMS = "ProvisionedThroughputExceededException", "KMSThrottlingException"
_OUTAGE = 14  # calls: long enough that frames are given up, or that the SDK gives up
_NEVER = 10_000  # calls: lands when the story says so, or at its end
_BREAKS = ("unreached", "lose request", "lose reply", "cut reply", "error")


def _faults(operation: str, *kinds: str) -> list[Fault]:
    return [Fault(operation, 1, kind) for kind in kinds]


PUTS = [
    *_faults("PutRecords", *_BREAKS, "stall", "time out", "error after", "partial lie", "no date"),
    *[Fault("PutRecords", 1, "late", number=number) for number in (1, 3, _NEVER)],
    *[Fault("PutRecords", 1, "partial", code=code) for code in (THROTTLE, KMS, "InternalFailure")],
    *[Fault("PutRecords", 1, "refuse", code=code) for code in (THROTTLE, KMS)],
    *[
        Fault("PutRecords", 1, "refuse", code=code)
        for code in ("ExpiredTokenException", "RequestTimeTooSkewed")
    ],
    # Hosts of one service, whose clocks differ by less than the tolerance.
    *[Fault("PutRecords", 1, "date", number=ms) for ms in (-20_000, 20_000)],
]
OUTAGES = [
    *[Fault("PutRecords", 1, k, times=_OUTAGE) for k in ("stall", "time out", "lose reply")],
    *[Fault("PutRecords", 1, "late", times=_OUTAGE, number=n) for n in (_OUTAGE, _NEVER)],
    Fault("GetRecords", 1, "error", times=_OUTAGE),
    Fault("DescribeStreamSummary", 1, "lose reply", times=_OUTAGE),
]
_LATE = [Fault("PutRecords", 3, "late", times=_OUTAGE, number=_NEVER)]
GHOSTS = Story([*[Publish(0, 9)] * 8, Land(), Ask(), Follow(0), Publish(0, 9)], _LATE)
"""What was given up lands when a later generation has begun."""
EXPIRED = Story([*[Publish(0, 9)] * 4, Pass(61 * 60_000), Publish(0, 9), Land(), Follow(1)], _LATE)
"""What was given up lands when its session's life is over."""
READS = [
    *_faults("GetRecords", *_BREAKS, "empty page", "short page"),
    *[Fault("GetRecords", 1, "refuse", code=c) for c in (THROTTLE, KMS)],
    Fault("GetRecords", 1, "refuse", code="ExpiredIteratorException"),
]
CONTROL = [
    fault
    for operation in ("GetShardIterator", "ListShards", "DescribeStreamSummary")
    for fault in _faults(operation, "lose request", "lose reply", "error")
]
TABLES = [
    *_faults("PutItem", *_BREAKS[1:], "stall", "time out", "error after"),
    *[Fault("PutItem", 1, "late", number=number) for number in (1, 4)],
    *[Fault("PutItem", 1, "refuse", code=code) for code in (THROTTLE, "ThrottlingException")],
    *_faults("BatchGetItem", "lose request", "lose reply", "error", "unprocessed"),
    Fault("BatchGetItem", 1, "refuse", code=THROTTLE),
    *_faults("GetItem", "lose reply", "error"),
    *_faults("Query", "lose reply", "error"),
]

STATEMENTS = [  # of new items, several a call
    *_faults("BatchExecuteStatement", *_BREAKS, "stall", "time out", "error after", "unprocessed"),
    *[Fault("BatchExecuteStatement", 1, "late", number=number) for number in (1, 3)],
    Fault("BatchExecuteStatement", 1, "refuse", code=THROTTLE),
]
BUILDS = [  # a rebuild's items, without conditions
    *_faults("BatchWriteItem", *_BREAKS, "stall", "time out", "error after", "unprocessed"),
    Fault("BatchWriteItem", 1, "late"),
    Fault("BatchWriteItem", 1, "refuse", code=THROTTLE),
    *_faults("PutItem", "lose reply", "error after"),
    *_faults("CreateTable", "lose reply", "error"),
    *_faults("DeleteTable", "lose reply", "error"),
]


def acts(*names: str) -> list[Fault]:
    """Something is done in the middle of calls: before one, or behind it."""
    return [
        Fault(operation, 1, kind, code=name)
        for operation in ("PutRecords", "GetRecords")
        for kind in ("act", "act after")
        for name in names
    ]


LARGE = [
    *PUTS,
    *PUTS,
    *OUTAGES,
    *OUTAGES,
    *READS,
    *CONTROL,
    *acts("split", "merge"),
    *acts("expire"),
]


def faults_of(kinds: Sequence[Fault], *, calls: int) -> st.SearchStrategy[Fault]:
    """One of these, at one of the first ``calls`` calls of its operation."""

    def placed(kind: Fault, at: int, times: int, of: tuple[int, ...]) -> Fault:
        with_of = kind.kind.startswith(("partial", "act", "unprocessed"))
        repeats = kind.times == 1 and not kind.kind.startswith(("act", "late"))
        return kind._replace(
            at=at, times=times if repeats else kind.times, of=of if with_of else ()
        )

    return st.builds(
        placed,
        st.sampled_from(kinds),
        st.integers(1, calls),
        st.sampled_from([1, 1, 1, 2]),
        st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True).map(tuple),
    )


def steps_of(
    replicas: int, *, count_max: int, passing: Sequence[int] = ()
) -> st.SearchStrategy[Step]:
    by = st.integers(0, PROCESSES - 1)
    publish: st.SearchStrategy[Step] = st.builds(
        Publish, by, st.integers(1, count_max), st.sampled_from([0, 1, 2, 99, 99])
    )
    follow: st.SearchStrategy[Step] = st.builds(
        Follow,
        st.integers(0, replicas - 1),
        st.sampled_from(["", "", "", "before", "between", "after"]),
    )
    others: list[st.SearchStrategy[Step]] = [
        st.builds(Restart, by, st.booleans()),
        st.just(Land()),
        st.just(Ask()),
    ]
    if passing:
        others.append(st.builds(Pass, st.sampled_from(passing)))
    return st.one_of(publish, publish, publish, publish, follow, follow, *others)


@st.composite
def large_stories(draw: st.DrawFn) -> Story:
    """For the double."""
    passing = [1_000, 60_000, 16 * 60_000, 61 * 60_000]
    steps = steps_of(2, count_max=12, passing=passing)
    return Story(
        steps=draw(st.lists(steps, min_size=14, max_size=40)),
        faults=draw(st.lists(faults_of(LARGE, calls=24), min_size=6, max_size=24)),
        shards=draw(st.integers(1, 3)),
        skew_ms=draw(st.sampled_from([0, -7_200_000, 7_200_000])),
    )


@st.composite
def small_stories(draw: st.DrawFn, kinds: Sequence[Fault], *, replicas: int) -> Story:
    """For a stand-in, where a step takes its time."""
    steps = steps_of(replicas, count_max=9)
    return Story(
        steps=[Publish(0, 9), *draw(st.lists(steps, min_size=4, max_size=9)), Publish(1, 9)],
        faults=draw(st.lists(faults_of(kinds, calls=10), min_size=6, max_size=18)),
        shards=draw(st.integers(1, 2)),
        skew_ms=draw(st.sampled_from([0, -7_200_000, 7_200_000])),
    )


def one_each(kinds: Sequence[Fault], *, first: int = 2) -> list[Fault]:
    """Every kind, at one call of its operation after the other."""
    calls: Counter[str] = Counter()
    placed = []
    for kind in kinds:
        at = first + calls[kind.operation]
        calls[kind.operation] += 1
        placed.append(kind._replace(at=at, of=(at,) if kind.kind.startswith("act") else (0,)))
    return placed


def names_of(kinds: Sequence[Fault]) -> list[str]:
    """Each kind as it is counted when it was met."""
    named = {"refuse", "act", "act after", "partial"}
    return sorted(
        {" ".join([k.kind, k.operation, *([k.code] if k.kind in named else [])]) for k in kinds}
    )
