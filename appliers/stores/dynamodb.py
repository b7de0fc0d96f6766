"""A store in DynamoDB: items in tables of their own, natively, and beside them one control table.

A table of the log is a table ``PREFIX.TABLE``, whose items are those of the log and have one more
attribute, `_binlog` (see `dynamodb_items`). What the store itself keeps is in ``PREFIX.binlog`` (see
`dynamodb_catalog`). Without transactions, which cost twice the units, the order of writes and a
condition on each of them hold what a transaction would; `dynamodb_commit` says what exactly, and
what a paused writer can still do.

Invariants, beside those of `appliers.stores.generations`:

* no write is unconditional, but for those into a build that nobody reads;
* no reply is taken for an outcome that it does not say: what was lost is read again;
* an item without `_binlog` is never written over;
* a physical table is written by one generation in its life, and has one name in its life.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import msgspec

from appliers.item import Rejection, Row, Write
from appliers.letters import DeadLetter, LetterPlace
from appliers.store import Checkpoint, Generation, Reader
from appliers.stores.dynamodb_births import Births
from appliers.stores.dynamodb_build import LANDING_S, DynamoDBBuild
from appliers.stores.dynamodb_calls import MISSING, PATIENCE_S, WIDTH, Calls, Units
from appliers.stores.dynamodb_catalog import Catalog
from appliers.stores.dynamodb_commit import commit
from appliers.stores.dynamodb_lease import Lease
from appliers.stores.dynamodb_leftovers import remove_builds
from appliers.stores.dynamodb_letters import read_letters
from appliers.stores.dynamodb_reader import (
    Moment,
    read_catalog,
    read_items,
    read_standings,
)
from appliers.stores.dynamodb_rows import Rows
from appliers.stores.dynamodb_session import LockLostError, Session
from appliers.stores.dynamodb_states import States
from appliers.stores.dynamodb_tables import Specification, ensure, resolve
from appliers.stores.generations import (
    check_binding,
    check_creation,
    check_unique,
    described,
    new_generation,
    of_partitions,
)
from binlog.aws.account import Account, connector
from binlog.aws.errors import error_code
from binlog.clock import Clock
from binlog.errors import BinlogError, ConflictError, LostError
from binlog.foreign import Foreign, Place
from binlog.params import decode_genesis

READ_TIMEOUT_S = 5.0
LOCK_WAIT_S = 5.0
_LOST_MAX = 3  # times that a lock or a row goes while one looks, before it is said

Connect = Callable[[bool], Any]
"""Makes a client; given whether its calls are made once, whatever becomes of them."""


def connect_to(account: Account, name: str) -> Connect:
    """Clients of an account."""
    once = connector(
        account,
        "dynamodb",
        name,
        total_max_attempts=1,
        read_timeout_s=READ_TIMEOUT_S,
        connections=WIDTH + 2,
    )
    repeating = connector(account, "dynamodb", name, connections=2)
    return lambda is_once: once() if is_once else repeating()


class DynamoDBStore:
    """A `Store` of the tables that ``specification`` declares or derives.

    ``units`` counts what its calls have consumed. Views keep no moment (`keeps_moments`).
    """

    keeps_moments = False
    paid_by_the_write = True  # `consumers.thrift`

    def __init__(
        self,
        specification: Specification,
        *,
        account: Account | None = None,
        name: str | None = None,
        connect: Connect | None = None,
        clock: Clock | None = None,
        pause: Callable[[float], None] = time.sleep,
        random: Random | None = None,
        width: int = WIDTH,
        patience_s: float = PATIENCE_S,
        landing_s: float = LANDING_S,
    ) -> None:
        """No call is made before the first use. ``width`` is the most calls at a time."""
        self.name = name or f"dynamodb://{specification.prefix}"
        self._specification = specification
        self._connect = connect or connect_to(account or Account(), self.name)
        self._calls = Calls(
            lambda: self._connect(True),  # noqa: FBT003 - positional in a callable's type
            self.name,
            clock=clock,
            pause=pause,
            random=random,
            width=width,
            patience_s=patience_s,
        )
        self._rows = Rows(self._calls, specification.control().physical)
        self._lease = Lease(self._calls, self._rows, self.name)
        self._states = States(self._rows)
        self._births = Births()
        self._landing_s = landing_s
        self._genesis: bytes | None = None  # bound to, though nothing is written yet
        self._session: Session | None = None
        self._control: Any = None  # a client that repeats its calls
        self._is_made = False  # the control table, and looked at
        self._builds: list[DynamoDBBuild] = []

    @property
    def units(self) -> Units:
        """Consumed capacity since this handle was made."""
        return self._calls.units

    @property
    def write_units_max(self) -> float:
        """Once so many write units are consumed no item is written: `SpentError`."""
        return self._calls.write_units_max

    @write_units_max.setter
    def write_units_max(self, units: float) -> None:
        self._calls.write_units_max = units

    @property
    def exists(self) -> bool:
        """Whether there is a store; reading one that is not finds it empty."""
        return self._catalog().rev > 0

    # -- reading -------------------------------------------------------------------------------

    def genesis(self) -> bytes | None:
        return self._catalog().genesis or self._genesis

    def generations(self) -> list[Generation]:
        return list(self._catalog().generations)

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]:
        self._lease.keep()  # a consumer begins, and may then wait for long
        session = self._current()
        self._catalog().live(generation, self.name)
        standings = (
            session.standings(generation)
            if session
            else read_standings(self._rows, generation, self.name)
        )
        found = {}
        for partition, standing in of_partitions(standings, partitions).items():
            now, state = self._states.whole(generation, standing)
            if now.rev != standing.rev:
                self._session = None  # another writes: read again what the next write stands on
            found[partition] = msgspec.structs.replace(now.checkpoint, state=state)
        return found

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        place = self._catalog().readable(generation, table, self.name)
        if place is None:
            return {}
        try:
            return read_items(self._calls, place, keys)
        except BinlogError as error:
            if error.__cause__ is None or error_code(error.__cause__) != MISSING:
                raise
            self._session = None  # replaced since the catalog was read
            now = self._catalog().readable(generation, table, self.name)
            if now is None or now == place:
                raise
            return read_items(self._calls, now, keys)

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]:
        with self.view() as view:
            yield from view.scan(table, after=after)

    def rejections(self, table: str | None = None) -> Iterator[Rejection]:
        with self.view() as view:
            yield from view.rejections(table)

    def letters(self, table: str | None = None) -> Iterator[DeadLetter]:
        # Of no moment: who puts them back in order does that beside those who write.
        for generation, name in self._catalog().letters_of(table):
            yield from read_letters(self._rows, generation, name, self.name)

    def foreign(self) -> Iterator[Foreign]:
        with self.view() as view:
            yield from view.foreign()

    @contextmanager
    def view(self) -> Iterator[Reader]:
        yield Moment(self._calls, self._rows, self.name, self._states)

    def _current(self) -> Session | None:
        return self._session if self._lease.held else None

    def _catalog(self) -> Catalog:
        """As the writer knows it, who alone changes it; else as it is."""
        session = self._current()
        return session.catalog if session else read_catalog(self._rows, self.name)

    # -- writing -------------------------------------------------------------------------------

    def lock(self, *, wait_s: float = LOCK_WAIT_S) -> None:
        # Where there is no store yet there is nothing to lock, nor a log to make one of: whoever
        # writes first makes it, and takes the lock then.
        if not self._lease.held and self._rows.exist():
            self._lease.acquire(wait_s)

    def bind(self, genesis: bytes) -> None:
        bound = self.genesis()
        check_binding(self.name, bound, genesis)
        if bound is None:
            self.lock()
            self._genesis = genesis

    def create(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Generation:
        made = new_generation(tables, fingerprint, excluded)
        session = self._writing()
        live = session.catalog.generations
        check_creation(self.name, live, made)
        with self._losing():
            session.change(generations=(*live, made))
        return made

    def describe(self, generation: str, *, fingerprint: str, types: Iterable[str]) -> None:
        session = self._writing()
        known = session.catalog.live(generation, self.name)
        with self._losing():
            session.change_generation(described(known, fingerprint, types))

    def commit(
        self,
        generation: str,
        writes: Sequence[Write],
        checkpoints: Sequence[Checkpoint],
        *,
        rejections: Sequence[Rejection] = (),
        tables: Iterable[str] = (),
        foreign: Sequence[Foreign] = (),
        relayed: Sequence[Place] = (),
        letters: Sequence[DeadLetter] = (),
        settled: Sequence[LetterPlace] = (),
        behind: Collection[int] = (),
    ) -> list[Write]:
        check_unique(writes)
        tables = list(tables)
        for _ in range(_LOST_MAX):
            session = self._writing()
            try:
                with self._losing():
                    return commit(
                        session,
                        generation,
                        writes,
                        checkpoints,
                        rejections,
                        tables,
                        foreign,
                        relayed,
                        letters,
                        settled,
                        behind=behind,
                    )
            except LockLostError:
                continue  # take it again, or be told who has it
        raise LostError("the lock was lost again and again", self.name, "see who else writes")

    def build(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> DynamoDBBuild:
        made = new_generation(tables, fingerprint, excluded)
        session = self._writing(keep=False)
        with self._losing():
            remove_builds(session)
        self._lease.extend()
        self._calls.rest()  # a rebuild forks, which it does not with other threads about
        build = DynamoDBBuild(made, self._writing, landing_s=self._landing_s)
        self._builds.append(build)
        return build

    def close(self) -> None:
        for build in self._builds:
            build.leave()
        self._builds.clear()
        self._session = None
        self._lease.release()
        self._calls.close()
        if self._control is not None:
            self._control.close()
            self._control = None

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """After any error, read again what the next write stands on."""
        try:
            yield
        except BaseException:
            self._session = None
            raise

    def _writing(self, *, keep: bool = True) -> Session:
        """The session of the writer: locked, the store made, bound to its log."""
        if self._session is None or not self._lease.held:
            self._session = self._begin()
        if keep:
            self._lease.keep()
        return self._session

    def _begin(self) -> Session:
        self._make()
        self._lease.acquire(LOCK_WAIT_S)
        catalog = read_catalog(self._rows, self.name)
        genesis = self._bound(catalog)
        specification = self._specification.bound(decode_genesis(genesis, self.name).log_id)
        session = Session(
            self._calls,
            self._rows,
            self._lease,
            self._states,
            self._births,
            resolve(self._repeating(), specification, self.name),
            self._repeating(),
            msgspec.structs.replace(catalog, genesis=genesis),
        )
        session.remove_gone()
        return session

    def _bound(self, catalog: Catalog) -> bytes:
        """The genesis of the log that the store belongs to."""
        if self._genesis is not None:
            check_binding(self.name, catalog.genesis, self._genesis)
        genesis = catalog.genesis or self._genesis
        if genesis is None:
            raise ConflictError(
                "the store belongs to no log yet", self.name, "bind it to one before writing"
            )
        return genesis

    def _make(self) -> None:
        """The control table, made if it is not there; looked at once a handle."""
        if not self._is_made:
            genesis = self._bound(read_catalog(self._rows, self.name))
            log_id = decode_genesis(genesis, self.name).log_id
            control = self._specification.bound(log_id).control()
            ensure(
                self._repeating(),
                control,
                self.name,
                clock=self._calls.clock,
                pause=self._calls.pause,
            )
            self._is_made = True

    def _repeating(self) -> Any:
        if self._control is None:
            self._control = self._connect(False)  # noqa: FBT003 - positional in a callable's type
        return self._control
