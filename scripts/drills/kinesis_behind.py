"""The stack, with something between Kinesis and whoever calls it: a network, and a service's limits.

Every call of the drill's producers and of its commands goes through a proxy (`scripts.standins.proxy`)
that loses requests and replies, lets them come late, refuses them, or lets nobody through. DynamoDB
and S3 are reached as ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from kinesis_here import Lost

from binlog.address import open_log
from binlog.drills.clock import ClockAhead
from binlog.drills.targets.stack_aws import Stack
from binlog.log import Log
from scripts.standins.proxy import Proxy
from scripts.standins.proxy_faults import Broken, Fault, Forward, Reply, Request
from scripts.standins.proxy_intruder import Intruder

KINESIS = "AWS_ENDPOINT_URL_KINESIS"
THROTTLED = "ProvisionedThroughputExceededException"
_PUT, _GET = "PutRecords", "GetRecords"


class Weather(Intruder):
    """Besides what is scheduled: what lasts until it is over."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.refused: dict[str, str] = {}  # the code by which an operation is refused
        self.turned_away: Counter[str] = Counter()

    def handle(self, operation: str, request: Request, forward: Forward) -> Reply:
        """One call of a client: its reply."""
        if self.is_away:
            self.turned_away[operation] += 1
            raise Broken("unreached")
        if code := self.refused.get(operation):
            self.turned_away[operation] += 1
            return self.refusal(code)
        return super().handle(operation, request, forward)

    def next_calls(self, operation: str, faults: list[Fault]) -> None:
        """Let these happen to the next calls of an operation, one each."""
        self.add(fault._replace(at=self.calls[operation] + n) for n, fault in enumerate(faults, 1))


class KinesisBehind(Stack):
    """`Stack`, but for the way to the log."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.weather = Weather()
        self._proxy = Proxy(self._endpoints[KINESIS], self.weather)
        self._others: list[Proxy] = []

    @property
    def environment(self) -> Mapping[str, str]:
        return {**super().environment, KINESIS: self._proxy.url}

    def open_log(self, name: str = "log", *, clock_s: float = 0.0) -> Log:
        address = self._addresses[name]
        if name == "log":  # this process's environment is the stack's
            address = f"{address}?endpoint={self._proxy.url}"
        return open_log(address, clock=ClockAhead(clock_s))

    def as_seen_by(self, ahead_s: float) -> dict[str, str]:
        """The variables of a command on a machine whose clock is so far ahead: what it sees of time."""
        if not ahead_s:
            return {KINESIS: self._proxy.url}
        proxy = Proxy(self._endpoints[KINESIS], Intruder(skew_ms=-round(ahead_s * 1000)))
        self._others.append(proxy)
        return {KINESIS: proxy.url}

    def lose(self, *kinds: Lost) -> None:
        """Let these happen to the next puts, one each: ``lose reply``, ``lose request``, ``late``."""
        self.weather.next_calls(_PUT, [Fault(_PUT, 1, kind) for kind in kinds])

    def throttle_some(self, puts: int, reads: int) -> None:
        """Of the next puts one record each is throttled, and the next reads are."""
        some = [Fault(_PUT, 1, "partial", of=(n % 3,), code=THROTTLED) for n in range(puts)]
        self.weather.next_calls(_PUT, some)
        refused = [Fault(_GET, 1, "refuse", code=THROTTLED) for _ in range(reads)]
        self.weather.next_calls(_GET, refused)

    def throttle_all(self, *, puts: bool) -> None:
        """All puts from now on are, or none any more, nor what was to come."""
        if puts:
            self.weather.refused[_PUT] = THROTTLED
        else:
            self.weather.refused.clear()
            self.weather.quiet()

    def pending(self) -> int:
        """What was to happen to puts, and has not yet."""
        return sum(fault.operation == _PUT for fault in self.weather.left)

    def throttled(self) -> str:
        """How many calls were, in words; empty if none was."""
        met, turned = self.weather.met, self.weather.turned_away
        puts, all_of = met[("partial", _PUT, THROTTLED)], turned[_PUT]
        reads = met[("refuse", _GET, THROTTLED)]
        if not (puts and all_of and reads):
            return ""
        return (
            f"one record of {puts} puts was throttled, {all_of} whole puts and {reads} reads were"
        )

    def away(self, *, is_away: bool) -> None:
        """Nobody is let through; or everybody again, and what was on its way arrives."""
        self.weather.is_away = is_away
        if not is_away:
            self.weather.quiet()

    def versions(self) -> dict[str, str]:
        return {**super().versions(), "kinesis": "a stand-in on this machine, behind a proxy"}

    def close(self) -> list[str]:
        for proxy in (self._proxy, *self._others):
            proxy.close()
        return super().close()
