"""Whose turn it is to write to a DynamoDB store: one handle's, by the lock, or of a team's each.

What is read when a turn begins is followed from there. An only writer, who holds the lock, begins one
and keeps it. One of a team (`appliers.store.Shareable`) holds nothing: it begins anew whenever it is to
stand on what the store is now, and whatever it writes has to find what was read then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from appliers.stores.dynamodb_births import Births
from appliers.stores.dynamodb_calls import Calls
from appliers.stores.dynamodb_catalog import Catalog, Standing
from appliers.stores.dynamodb_lease import Lease
from appliers.stores.dynamodb_reader import read_catalog, read_standings
from appliers.stores.dynamodb_rows import Rows
from appliers.stores.dynamodb_session import Session
from appliers.stores.dynamodb_states import States
from appliers.stores.dynamodb_tables import Specification, ensure, resolve
from appliers.stores.generations import check_binding
from binlog.errors import ConflictError, LostError
from binlog.params import decode_genesis

LOCK_WAIT_S = 5.0
_LOST_MAX = 8  # times that others of a team change the catalog while a turn begins


class Turns:
    """One handle's. ``genesis``: of the log bound to, though nothing may be written yet."""

    def __init__(
        self,
        calls: Calls,
        rows: Rows,
        states: States,
        specification: Specification,
        connect: Callable[[], Any],
    ) -> None:
        """``connect`` makes a client that repeats its calls."""
        self.lease = Lease(calls, rows, calls.name)
        self.genesis: bytes | None = None
        self.shares = False  # one of a team
        self._calls = calls
        self._rows = rows
        self._states = states
        self._births = Births()
        self._specification = specification
        self._resolved: Specification | None = None  # and bound
        self._connect = connect
        self._control: Any = None
        self._name = calls.name
        self._session: Session | None = None
        self._is_fresh = False  # begun anew, and no row read since

    def lock(self, wait_s: float) -> None:
        """Take the lock, unless it is held, or this is one of a team."""
        if not self.shares and not self.lease.held:
            self.lease.acquire(wait_s)

    def catalog(self) -> Catalog:
        """As this turn knows it; else as it is."""
        session = self._current()
        return session.catalog if session else read_catalog(self._rows, self._name)

    def standings(
        self, generation: str, partitions: Collection[int] | None
    ) -> Mapping[int, Standing]:
        """The checkpoint rows of a live generation: of these partitions, or of more.

        Raises:
            LostError: it is not live.
        """
        if self.shares:
            session = self._session if self._is_fresh else None
            session = session or self.begin_anew()
            self._is_fresh = False  # what is read a second time is read because something moved
            session.catalog.live(generation, self._name)
            session.read_standings(generation, partitions)
            return session.standings(generation)
        self.lease.keep()  # a consumer begins, and may then wait for long
        self.catalog().live(generation, self._name)
        if (found := self._current()) is not None:
            return found.standings(generation)
        return read_standings(self._rows, generation, self._name, partitions)

    def _current(self) -> Session | None:
        return self._session if self.shares or self.lease.held else None

    def begin_anew(self) -> Session:
        """Stand on what the store is now."""
        for left in reversed(range(_LOST_MAX)):
            self._session = None
            try:
                session = self.writing()
            except LostError:  # another one changed the catalog
                if not left:
                    raise
                continue
            self._is_fresh = True
            return session
        raise AssertionError("unreachable")

    def writing(self, *, keep: bool = True) -> Session:
        """The session of a writer: the store made, bound to its log, and locked or shared."""
        session = self._current()
        if session is None:
            session = self._session = self._begin()
        if keep and not self.shares:
            self.lease.keep()
        return session

    @contextmanager
    def losing(self) -> Iterator[None]:
        """After any error, read again what the next write stands on."""
        try:
            yield
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Read again what the next write stands on."""
        self._session = None

    def close(self) -> None:
        """Give the turn up."""
        self._session = None
        self.lease.release()
        if self._control is not None:
            self._control.close()
            self._control = None

    def _begin(self) -> Session:
        specification = self._make()
        self.lock(LOCK_WAIT_S)
        catalog = read_catalog(self._rows, self._name)
        session = Session(
            self._calls,
            self._rows,
            self.lease,
            self._states,
            self._births,
            specification,
            self._repeating(),
            msgspec.structs.replace(catalog, genesis=self._bound(catalog)),
            shares=self.shares,
        )
        if not self.shares:
            session.remove_gone()
        elif not catalog.shared:
            session.change(shared=True)
        return session

    def _bound(self, catalog: Catalog) -> bytes:
        """The genesis of the log that the store belongs to."""
        if self.genesis is not None:
            check_binding(self._name, catalog.genesis, self.genesis)
        genesis = catalog.genesis or self.genesis
        if genesis is None:
            raise ConflictError(
                "the store belongs to no log yet", self._name, "bind it to one before writing"
            )
        return genesis

    def _make(self) -> Specification:
        """What tables there are to be; the control table is there, and was looked at once."""
        if self._resolved is None:
            genesis = self._bound(read_catalog(self._rows, self._name))
            specification = self._specification.bound(decode_genesis(genesis, self._name).log_id)
            ensure(
                self._repeating(),
                specification.control(),
                self._name,
                clock=self._calls.clock,
                pause=self._calls.pause,
            )
            self._resolved = resolve(self._repeating(), specification, self._name)
        return self._resolved

    def _repeating(self) -> Any:
        if self._control is None:
            self._control = self._connect()
        return self._control
