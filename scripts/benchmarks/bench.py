"""One run of the benchmark: its sizes, its scratch directory, and what the contests share.

Everything here is prepared at most once, when a contest first asks for it, and outside every
timing: the actions as Python values, the oracle's digest, our log, the peers' databases.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
from functools import cached_property
from pathlib import Path

import msgspec

from scripts.benchmarks import kinesis, lambda_event, ours, peer_mariadb, peer_msgspec, peer_readme
from scripts.benchmarks.floors import encode_lines
from scripts.benchmarks.mariadb import missing
from scripts.benchmarks.measure import UnavailableError
from scripts.benchmarks.workload import (
    SEED,
    Action,
    History,
    digest_items,
    final_items,
    history,
)

COMMIT = 500
MEMORY_GROWTH = 4
"""How many times longer the second log of the memory figure is, with the same keys."""
_EVENTS_PER_KEY_ALL_MET = 50


class Sizes(msgspec.Struct, frozen=True):
    """Events of each contest, and rounds."""

    events: int
    """For everything but what follows."""
    singles: int
    """One-event commits: each waits for the disk."""
    workers: int
    """For two workers against one, and for a rebuild by them: starting them costs 20 ms."""
    puts: int
    """Into a stream, where single ones take their time."""
    rounds: int
    long: bool
    """MariaDB too."""
    small: bool = False
    """For CI: of what takes a process each only the most telling."""
    seed: int = SEED


SMALL = Sizes(
    events=20_000, singles=200, workers=20_000, puts=5_000, rounds=3, long=False, small=True
)
NORMAL = Sizes(events=100_000, singles=2_000, workers=1_000_000, puts=100_000, rounds=5, long=False)
LONG = Sizes(events=1_000_000, singles=10_000, workers=1_000_000, puts=200_000, rounds=3, long=True)


class Bench:
    """What the contests of one run share. Close it: servers may be running."""

    def __init__(self, sizes: Sizes, scratch: Path) -> None:
        self.sizes = sizes
        self.scratch = scratch
        self._numbers = itertools.count(1)
        self._stack = contextlib.ExitStack()
        self._sources: dict[str, peer_mariadb.Source] = {}
        self.standin = kinesis.Standin(scratch / "kinesis")
        self._stack.callback(self.standin.close)

    def close(self) -> None:
        """End what was started."""
        self._stack.close()

    def new(self, name: str) -> Path:
        """A path in the scratch directory that nothing has used yet."""
        return self.scratch / f"{next(self._numbers):03d}-{name}"

    @cached_property
    def spec(self) -> History:
        """The history of every contest without workers."""
        return history(self.sizes.events, seed=self.sizes.seed)

    @cached_property
    def batches(self) -> list[list[Action]]:
        """The history as Python values, in lists of a commit each."""
        batches = list(self.spec.batches(COMMIT))
        self._freeze()
        return batches

    @cached_property
    def singles(self) -> list[Action]:
        """The first events of the history, for commits of one."""
        return list(itertools.islice(self.spec, self.sizes.singles))

    @cached_property
    def lines(self) -> list[bytes]:
        """The history as lines of JSON."""
        return encode_lines(self.spec)

    @cached_property
    def expected(self) -> str:
        """The oracle's digest of the whole history."""
        return digest_items(final_items(self.spec))

    @cached_property
    def expected_singles(self) -> str:
        """The oracle's digest of the first events."""
        return digest_items(final_items(self.singles))

    @cached_property
    def log(self) -> Path:
        """Our log of the history, as a producer writes it that is given all it can take."""
        return self._log_of(self.spec)

    @cached_property
    def lambda_events(self) -> list[lambda_event.Event]:
        """Our log as a function gets it."""
        events = lambda_event.events_of(self.log)
        self._freeze()
        return events

    @cached_property
    def workers_spec(self) -> History:
        """The history of the rebuild, and of what workers share."""
        return history(self.sizes.workers, seed=self.sizes.seed)

    @cached_property
    def workers_log(self) -> Path:
        """Its log."""
        return self.log if self.workers_spec == self.spec else self._log_of(self.workers_spec)

    @cached_property
    def workers_expected(self) -> str:
        """Its digest."""
        if self.workers_spec == self.spec:
            return self.expected
        return digest_items(final_items(self.workers_spec))

    @cached_property
    def put_batches(self) -> list[list[Action]]:
        """A history of its own, in lists of a call each."""
        batches = list(self._put_spec.batches(kinesis.CALL_EVENTS))
        self._freeze()
        return batches

    @cached_property
    def put_expected(self) -> str:
        """Their digest."""
        return digest_items(final_items(self._put_spec))

    @property
    def _put_spec(self) -> History:
        return history(self.sizes.puts, seed=self.sizes.seed)

    @cached_property
    def stream(self) -> str:
        """Our log of the history in a stream: its address."""
        return kinesis.write_log(self.standin, self.spec)

    def memory_spec(self, *, grown: bool) -> History:
        """A history that meets all its keys, or one `MEMORY_GROWTH` times as long over the same."""
        events = self.spec.events * (MEMORY_GROWTH if grown else 1)
        return History(events, max(8, self.spec.events // _EVENTS_PER_KEY_ALL_MET), self.spec.seed)

    @cached_property
    def memory_logs(self) -> list[Path]:
        """Our logs of the two."""
        return [self._log_of(self.memory_spec(grown=grown)) for grown in (False, True)]

    @cached_property
    def memory_expected(self) -> list[str]:
        """Their digests."""
        specs = (self.memory_spec(grown=grown) for grown in (False, True))
        return [digest_items(final_items(spec)) for spec in specs]

    def msgspec_rows(self, style: peer_msgspec.Style) -> peer_msgspec.Rows:
        """The msgspec peer with the history stored."""
        return self._styles[style.name]

    @cached_property
    def _styles(self) -> dict[str, peer_msgspec.Rows]:
        stored = {}
        for style in (peer_msgspec.DOCUMENTED, peer_msgspec.TUNED):
            app = peer_msgspec.open_rows(self.new(f"{style.id_type}.sqlite"), style)
            self._stack.callback(app.close)
            peer_msgspec.append(app, style, self.batches)
            stored[style.name] = app
        return stored

    @cached_property
    def readme_orders(self) -> peer_readme.Orders:
        """The README peer with the history stored."""
        app = peer_readme.open_orders(self.new("readme.sqlite"))
        self._stack.callback(app.close)
        peer_readme.append(app, self.batches)
        return app

    def mariadb(self, settings: peer_mariadb.Settings) -> peer_mariadb.Source:
        """A MariaDB server that has executed the history.

        Raises:
            UnavailableError: it is not installed.
        """
        if settings.name not in self._sources:
            reason = missing()
            if reason:
                raise UnavailableError(reason)
            folder = self.scratch / "mariadb"
            folder.mkdir(exist_ok=True)
            self._sources[settings.name] = self._stack.enter_context(
                peer_mariadb.source(folder, self.spec, settings)
            )
        return self._sources[settings.name]

    def _log_of(self, spec: History) -> Path:
        folder = self.new("log")
        ours.write_log(folder, spec)
        return folder

    @staticmethod
    def _freeze() -> None:
        # The workload outlives every timing; nobody should pay for scanning it.
        gc.collect()
        gc.freeze()
