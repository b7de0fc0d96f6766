"""A replica rebuilt from the log to stand beside a given one: what it should hold.

Each generation of the given store is rebuilt as it is recorded there: its tables, up to its vector,
without the events that it leaves out, by the rules given. The counterpart lies in a temporary
file, so that neither of the two is held in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from appliers.adoption import Bases
from appliers.applier import NO_RULES, Rules
from appliers.fingerprint import check_fingerprint, fingerprint
from appliers.store import Generation, Reader, Store, vector_of
from appliers.stores.sqlite import SQLiteStore
from binlog.errors import ConflictError, DamageError, MismatchError, StorageError
from binlog.log import Log
from binlog.target import Target
from binlog.vector import Vector
from snapshots.rebuild import OnProgress, Wanted, rebuild
from snapshots.verify import Verification


@contextmanager
def counterpart(
    log: Log,
    reader: Reader,
    *,
    rules: Rules = NO_RULES,
    within: Vector | None = None,
    leave: Collection[str] = (),
    bases: Bases | None = None,
    workers: int = 1,
    progress: OnProgress | None = None,
) -> Iterator[Store]:
    """The store that a replay of the log makes of what ``reader`` records; gone afterwards.

    ``within`` bounds the vectors, for a store whose checkpoints may lie. ``leave`` names tables
    that are left out, since ``rules`` did not make them. ``bases`` are as in `Wanted`.

    Raises:
        ConflictError: made from another log, or by other rules.
        DamageError: the store is beyond the log's end.
        StorageError: the temporary files cannot be written.
        HaltedError, PoisonError, DamageError: the log cannot be replayed that far.
    """
    check_same_log(log, reader)
    generations = reader.generations()
    if not leave:
        check_rules(generations, rules, reader.name)
    with (
        TemporaryDirectory(prefix="binlog-") as directory,
        closing(SQLiteStore(Path(directory, "counterpart.db"), name="the log")) as store,
    ):
        store.bind(log.genesis)
        closed = tuple(t for g in generations if not g.open for t in g.tables)
        # The open one first: its build makes room for all tables, theirs replace what they have.
        for generation in sorted(generations, key=lambda g: not g.open):
            vector = vector_of(reader.checkpoints(generation.id))
            if within is not None:
                vector = {p: min(offset, within.get(p, 0)) for p, offset in vector.items()}
            tables = tuple(t for t in generation.tables if t not in leave)
            if not tables and not generation.open:
                continue
            wanted = Wanted(
                tables=None if generation.open else tables,
                without=(*closed, *leave) if generation.open else (),
                target=Target(vector=vector),
                rules=rules,
                excluded=generation.excluded,
                bases=bases,
                idle_exclusions="allow",  # what they name may have come later
                poison="park",  # a store that never parked met nothing to park up to there
            )
            try:
                rebuild(log, store, wanted, workers=workers, progress=progress)
            except ConflictError as error:
                if "offset" not in error.details:
                    raise
                raise _ahead(error, reader.name) from error
            except StorageError as error:
                if error.where != store.name:
                    raise
                raise _no_room(error, directory) from error
        yield store


def _no_room(error: StorageError, directory: str) -> StorageError:
    """That of the copy, by where it is: neither the log nor the store lacks anything."""
    return StorageError(
        error.what.replace("the store", "a temporary file"),
        f"{Path(directory).parent} (TMPDIR), where what the log says is put together",
        "make room there, or set TMPDIR to another directory",
        **error.details,
    )


def _ahead(error: ConflictError, store: str) -> DamageError:
    """The log has lost what the store was given: no argument of anybody's mends that."""
    return DamageError(
        f"the store is ahead of the log: {error.what}",
        f"{store} and {error.where}",
        "restore the log, or rebuild the store from what is left of it",
        **error.details,
    )


@contextmanager
def verify_against_log(
    store: Store,
    log: Log,
    *,
    rules: Rules = NO_RULES,
    bases: Bases | None = None,
    workers: int = 1,
    progress: OnProgress | None = None,
) -> Iterator[Verification]:
    """Compare ``store``, as it is at one moment, with its counterpart, which is the right side.

    Raises:
        As `counterpart`.
    """
    with (
        store.view() as view,
        counterpart(
            log, view, rules=rules, bases=bases, workers=workers, progress=progress
        ) as rebuilt,
        rebuilt.view() as other,
    ):
        yield Verification(view, other)


def check_same_log(log: Log, reader: Reader) -> None:
    """That the store was made from this log.

    Raises:
        ConflictError: from another one, or from none yet.
    """
    genesis = reader.genesis()
    if genesis != log.genesis:
        made = "another log" if genesis is not None else "no log yet"
        raise ConflictError(
            f"the store was made from {made}",
            f"{reader.name} and {log.name}",
            "name the log that it was made from",
        )


def check_rules(generations: list[Generation], rules: Rules, name: str) -> None:
    """That ``rules`` made every generation.

    Raises:
        ConflictError: they did not; the message names what differs.
    """
    current = fingerprint(rules)
    for generation in generations:
        where = f"{name}, tables {', '.join(generation.tables) or 'none yet'}"
        try:
            check_fingerprint(
                generation.fingerprint,
                current,
                where=where,
                met=generation.types,
                tables=generation.tables,
            )
        except MismatchError as error:
            raise ConflictError(
                error.what, error.where, "give the appliers that made it: --appliers module:object"
            ) from error
