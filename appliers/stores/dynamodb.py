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
from appliers.letters import DeadLetter, Item, LetterPlace
from appliers.store import Checkpoint, Generation, Reader
from appliers.stores.dynamodb_adopted import Adopted, BaseHashes, check_untouched
from appliers.stores.dynamodb_adopting import adopt_in_place, check_declared, declared_name
from appliers.stores.dynamodb_build import LANDING_S, DynamoDBBuild
from appliers.stores.dynamodb_calls import MISSING, PATIENCE_S, WIDTH, Calls, Units
from appliers.stores.dynamodb_commit import commit
from appliers.stores.dynamodb_import import Importer
from appliers.stores.dynamodb_items import Keys
from appliers.stores.dynamodb_leftovers import remove_builds
from appliers.stores.dynamodb_letters import read_letters
from appliers.stores.dynamodb_pace import read_pace, write_pace
from appliers.stores.dynamodb_reader import (
    Moment,
    read_catalog,
    read_items,
)
from appliers.stores.dynamodb_rows import Rows
from appliers.stores.dynamodb_session import LockLostError
from appliers.stores.dynamodb_states import States
from appliers.stores.dynamodb_survey import DynamoDBSurvey
from appliers.stores.dynamodb_tables import Specification
from appliers.stores.dynamodb_turns import LOCK_WAIT_S, Turns
from appliers.stores.generations import (
    check_binding,
    check_creation,
    check_unique,
    described,
    new_generation,
    of_partitions,
)
from binlog.adoption import AdoptedAt
from binlog.aws.account import Account, connector
from binlog.aws.errors import error_code
from binlog.clock import Clock
from binlog.errors import BinlogError, LostError
from binlog.foreign import Foreign, Place

READ_TIMEOUT_S = 5.0
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
        self._states = States(self._rows)
        self._hashes = BaseHashes(self._rows, self.name)
        self._turns = Turns(
            self._calls,
            self._rows,
            self._states,
            specification,
            lambda: self._connect(False),  # noqa: FBT003 - positional in a callable's type
        )
        self._landing_s = landing_s
        self._builds: list[DynamoDBBuild] = []
        self.importer: Importer | None = None  # what a build loads its tables through, if any

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
    def load_rate(self) -> float:
        """Write units a second that loading a rebuilt generation may consume."""
        return self._calls.write_rate.units_per_s

    @load_rate.setter
    def load_rate(self, units_per_s: float) -> None:
        self._calls.write_rate.units_per_s = units_per_s

    @property
    def exists(self) -> bool:
        """Whether there is a store; reading one that is not finds it empty."""
        return self._turns.catalog().rev > 0

    # -- reading -------------------------------------------------------------------------------

    def genesis(self) -> bytes | None:
        return self._turns.catalog().genesis or self._turns.genesis

    def generations(self) -> list[Generation]:
        if self._turns.shares:
            self._turns.begin_anew()
        return list(self._turns.catalog().generations)

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]:
        standings = self._turns.standings(generation, partitions)
        found = {}
        for partition, standing in of_partitions(standings, partitions).items():
            now, state = self._states.whole(generation, standing)
            if now.rev != standing.rev:
                self._turns.forget()  # another writes: read again what the next write stands on
            found[partition] = msgspec.structs.replace(now.checkpoint, state=state)
        return found

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        place = self._turns.catalog().readable(generation, table, self.name)
        if place is None:
            return {}
        try:
            return self._read(place, keys)
        except BinlogError as error:
            if error.__cause__ is None or error_code(error.__cause__) != MISSING:
                raise
            self._turns.forget()  # replaced since the catalog was read
            now = self._turns.catalog().readable(generation, table, self.name)
            if now is None or now == place:
                raise
            return self._read(now, keys)

    def _read(self, place: Keys, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """What is read to be folded onto: what was adopted has to be as it was."""
        found = read_items(self._calls, place, keys)
        if place.adopted is not None:
            check_untouched(self._hashes, place.adopted, keys, found, self.name)
        return found

    # -- adoption ------------------------------------------------------------------------------

    def adopted(self, table: str) -> Adopted | None:
        """A table that was taken over as it was (`dynamodb_adopted`)."""
        return self._turns.catalog().adoption(table)

    def name_of_owned(self, physical: str) -> str | None:
        """The log's name of a table that the tables file declares as that physical one."""
        return declared_name(self._specification, physical)

    def check_adoptable(self, table: str, physical: str) -> None:
        """That the tables file says what `adopt` asks for. Raises `RefusedError`."""
        check_declared(self._specification, table, physical, self.name)

    def adopt(
        self,
        at: AdoptedAt,
        physical: str,
        items_max: int,
        rows: Callable[[int], Iterable[tuple[bytes, bytes]]],
        *,
        timeline: int,
    ) -> Adopted:
        """Take over a table as it is; durable on return, and the same if it is done again.

        ``rows`` gives the base's keys and items of a partition, ``items_max`` their most in one.

        Raises:
            RefusedError, ConflictError: see `adopt_in_place`.
        """
        session = self._turns.writing()
        with self._turns.losing():
            return adopt_in_place(session, at, physical, items_max, rows, timeline=timeline)

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]:
        with self.view() as view:
            yield from view.scan(table, after=after)

    def rejections(self, table: str | None = None) -> Iterator[Rejection]:
        with self.view() as view:
            yield from view.rejections(table)

    def letters(
        self, table: str | None = None, *, item: Item | None = None
    ) -> Iterator[DeadLetter]:
        # Of no moment: who puts them back in order does that beside those who write.
        for generation, name in self._turns.catalog().letters_of(table):
            yield from read_letters(self._rows, generation, name, self.name, item)

    def foreign(self) -> Iterator[Foreign]:
        with self.view() as view:
            yield from view.foreign()

    @contextmanager
    def view(self) -> Iterator[Reader]:
        yield Moment(self._calls, self._rows, self.name, self._states)

    @contextmanager
    def survey(
        self, generation: str | None = None, *, rate: float | None = None
    ) -> Iterator[DynamoDBSurvey]:
        yield DynamoDBSurvey(self._calls, self._rows, self._states, self.name, generation, rate)

    # -- pace ----------------------------------------------------------------------------------

    def pace(self) -> bytes | None:
        return read_pace(self._rows, self.name)

    def set_pace(self, setting: bytes | None) -> None:
        write_pace(self._rows, self.name, setting)

    # -- sharing -------------------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        return read_catalog(self._rows, self.name).shared

    def share(self) -> None:
        self._turns.shares = True  # noted with the first session: there may be no store yet

    def unshare(self) -> None:
        session = self._turns.writing()
        if session.catalog.shared:
            with self._turns.losing():
                session.change(shared=False, was_shared=True)

    # -- writing -------------------------------------------------------------------------------

    def lock(self, *, wait_s: float = LOCK_WAIT_S) -> None:
        # Where there is no store yet there is nothing to lock, nor a log to make one of: whoever
        # writes first makes it, and takes the lock then.
        if self._rows.exist():
            self._turns.lock(wait_s)

    def bind(self, genesis: bytes) -> None:
        bound = self.genesis()
        check_binding(self.name, bound, genesis)
        if bound is None:
            self.lock()
            self._turns.genesis = genesis

    def create(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Generation:
        made = new_generation(tables, fingerprint, excluded)
        session = self._turns.writing()
        live = session.catalog.generations
        check_creation(self.name, live, made)
        with self._turns.losing():
            session.change(generations=(*live, made))
        return made

    def describe(
        self,
        generation: str,
        *,
        fingerprint: str,
        types: Iterable[str],
        excluded: Iterable[str] = (),
    ) -> None:
        session = self._turns.writing()
        known = session.catalog.live(generation, self.name)
        with self._turns.losing():
            session.change_generation(described(known, fingerprint, types, excluded))

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
            session = self._turns.writing()
            try:
                with self._turns.losing():
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
        session = self._turns.writing(keep=False)
        with self._turns.losing():
            left = remove_builds(session, imports=self.importer is not None)
        self._turns.lease.extend()
        self._calls.rest()  # a rebuild forks, which it does not with other threads about
        if self.importer is not None:
            self.importer.left = left
        build = DynamoDBBuild(
            made, self._turns.writing, landing_s=self._landing_s, importer=self.importer
        )
        self._builds.append(build)
        return build

    def close(self) -> None:
        for build in self._builds:
            build.leave()
        self._builds.clear()
        self._turns.close()
        self._calls.close()
