"""How many frames a second may begin in each shard, so that small ones wait and become larger.

A shard takes, and its owner pays for, records; events share one for nothing. A linger of fixed length
is wrong at both ends: at a few events a second it only delays them, at many it makes more records
than the shard takes. With a budget an event waits only while others before it have used it up, and
what gathers meanwhile goes with it: at any rate the wait is as long as it has to be.

The rule, for each shard by itself:

* a frame begins when the one before it is paid for, at the present rate; what was not used for
  `BURST_S` may be used at once. So below the rate nothing waits, and above it, of k partitions that
  have something to send in the shard, each has its turn within k / rate;
* a part of the burst, `KEPT`, is left to frames for which somebody waits (an append, a flush): who
  publishes all the time would use up all of it, and the flush after it would wait for every frame;
* the rate is at most what the producer was given, of all that the shard takes. Nobody knows how
  many producers there are, so the shard says it: a reply in which it refuses frames lets the rate
  shrink by `CUT`, and takes the burst away; after `GROWTH_FRAMES` that it took, and not sooner than
  `GROWTH_S`, the rate grows by `GROWTH`. So each comes to rest where it is refused about once a
  second, or a sixth of what it tries where that is less: who has more than the others is refused
  more often than they, N producers together try at most a fifth more than the shard takes, and
  nearly all of that is used (measured, for N from 10 to 10,000: tests/producer);
* a storm is no such sharing: the shard refuses everything for a while, or half of it, and then takes
  what it took before. So what was used before it is remembered, which the shard can take, since it
  did; a part of that is tried on while the storm lasts (`PROBES`), and once nothing is refused for
  `CLIMB_S` the rate doubles with every reply until it is there again. It is forgotten by half in
  `HALF_S` where the shard takes some and refuses some, which others may be the reason of, and not at
  all where it takes nothing. After a storm of five seconds or of a minute nine tenths of what was
  taken before are taken again within a second, after one of five seconds in which every third frame
  came through within two; together 100 producers then try no more than they did before (measured:
  tests/producer). A storm of that kind that lasts for a minute is a smaller shard to everybody, and
  from there the rate grows by `GROWTH`;
* a frame that was throttled waits for its turn like a new one (`binlog.producer.resting`): what a
  shard refuses is not to be multiplied by all who wait for it.

The bound on the wait: below the rate none; above it k / rate, for k partitions in use that the shard
holds. N producers on a shard that takes R records a second come to R / N each, and so to a wait of
about N k / R seconds: 0.16 s at 10 producers and 16 partitions a shard, 1.6 s at 100, 16 s at
1,000. What waits for longer than `queue_wait_s` fails, unsent: there are too few shards for so many
producers, and partitions.
"""

from __future__ import annotations

from collections.abc import Iterable

from binlog.log import Appended, Failed, Reply

BURST_S = 1.0  # what was not used for so long can be used at once
KEPT = 0.75  # of it, for what somebody waits for
CUT, CUT_S = 0.8, 0.1  # what was under way at a cut is no reason for another one
GROWTH, GROWTH_S, GROWTH_FRAMES = 1.25, 1.0, 5
RATE_MIN = 1 / 60  # frames a second
SETTLED_S = 3.0  # without a refusal: what is used then the shard takes
WINDOW_S = 1.0  # over which, at least, that is counted
PROBES, PROBES_PER_S = 1 / 32, 2.0  # of it, or so many a second, are tried on in a storm
CLIMB, CLIMB_S = 2.0, 0.1  # back to it, from so long after the last refusal on
HALF_S = 10.0  # in which half of it is forgotten, while the shard takes some and refuses some


class _Share:
    """What this producer takes of one shard."""

    __slots__ = (
        "_learnt_at",
        "_since",
        "_used",
        "cut_at",
        "grown_at",
        "known",
        "rate",
        "refused_at",
        "taken",
        "took",
        "used_up",
    )

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.used_up = 0.0  # when what was begun is paid for
        self.taken = 0  # frames, since the rate was changed
        self.cut_at = self.grown_at = self.refused_at = -1e9
        self.took = False  # anything, since it refused something
        self.known = 0.0  # frames a second that it took before it began to refuse
        self._learnt_at = -1e9
        self._since, self._used = 0.0, 0  # frames taken: from when on, and how many

    def refuse(self, now: float, *, rate_min: float) -> None:
        """The shard has refused something."""
        if self.took:
            self._learn(now)
        self.refused_at, self.took = now, False
        if now < self.cut_at + CUT_S:
            return
        self.cut_at = self.grown_at = now
        self.taken = 0
        probes = min(self.known, max(self.known * PROBES, PROBES_PER_S))
        self.rate = min(self.rate, max(rate_min, probes, self.rate * CUT))
        self.used_up = max(self.used_up, now + BURST_S)

    def _learn(self, now: float) -> None:
        """Something was taken since the last refusal: how much is it going to take?"""
        if now >= self.refused_at + SETTLED_S:
            counted_s = now - self._since
            used = self._used / counted_s if counted_s >= WINDOW_S else 0.0
            self.known = min(self.rate, used)
        else:
            passed_s = min(now - self._learnt_at, SETTLED_S)  # a storm between says nothing of it
            self.known *= 0.5 ** (passed_s / HALF_S)
        self._learnt_at = now

    def take(self, now: float, taken: int) -> None:
        """The shard has taken so many frames."""
        self.took = True
        if not self._since:
            self._since = now
        elif now >= self._since + 2 * WINDOW_S:
            self._used = round(self._used * WINDOW_S / (now - self._since))
            self._since = now - WINDOW_S
        self._used += taken

    def grow(self, now: float, taken: int, *, rate_max: float) -> None:
        """It has taken so many frames, and refused none."""
        self.taken += taken
        if self.rate < self.known and now >= self.refused_at + CLIMB_S:
            self._grow(now, min(self.known, self.rate * CLIMB))
            self.used_up = min(self.used_up, now + BURST_S)  # spent at the storm's rate
        elif self.taken >= GROWTH_FRAMES and now >= self.grown_at + GROWTH_S:
            self._grow(now, min(rate_max, self.rate * GROWTH))

    def _grow(self, now: float, rate: float) -> None:
        self.grown_at = now
        self.taken = 0
        self.rate = rate


class Budget:
    """By shard. Times are seconds that never go back."""

    def __init__(self, frames_per_s: float) -> None:
        self._rate_max = frames_per_s
        self._shares: dict[str, _Share] = {}

    def rate(self, shard: str) -> float:
        """Frames a second that may begin there now."""
        share = self._shares.get(shard)
        return self._rate_max if share is None else share.rate

    def ready_at(self, shard: str, *, is_awaited: bool = True) -> float:
        """From when on a frame may begin there; it may be over."""
        burst_s = BURST_S if is_awaited else BURST_S * (1 - KEPT)
        share = self._shares.get(shard)
        return -burst_s if share is None else share.used_up - burst_s

    def spend(self, shard: str, now: float) -> None:
        """A frame begins."""
        share = self._share(shard)
        share.used_up = max(share.used_up, now) + 1 / share.rate

    def hear(self, replies: Iterable[tuple[str, Reply]], now: float) -> None:
        """What became of a call's frames; with the shard that each one was meant for."""
        tallies: dict[str, list[int]] = {}
        for shard, reply in replies:
            if isinstance(reply, Appended):
                tallies.setdefault(reply.position.shard, [0, 0])[0] += 1
            elif isinstance(reply, Failed) and reply.throttled:
                tallies.setdefault(shard, [0, 0])[1] += 1
        for shard, (taken, refused) in tallies.items():
            share = self._share(shard)
            if taken:
                share.take(now, taken)
            if refused:
                share.refuse(now, rate_min=min(RATE_MIN, self._rate_max))
            else:
                share.grow(now, taken, rate_max=self._rate_max)

    def _share(self, shard: str) -> _Share:
        share = self._shares.get(shard)
        if share is None:
            share = self._shares[shard] = _Share(self._rate_max)
        return share
