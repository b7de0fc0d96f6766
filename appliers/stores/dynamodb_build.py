"""A generation being built beside what is live in a DynamoDB store (B1), and the one switch.

Its tables have names of their own, after the generation, and are noted in the store before they are
made, so that the next build removes what a killed one left. Rows are sorted in files first: a key
that comes twice is found out, and workers only write files. They are written by `BatchWriteItem`,
unconditionally. `DynamoDBBuild.finish` writes the checkpoints and then replaces the catalog, one
item, on the condition that it is the one that was read. Of a switch without a reply `abandon` finds
out first: it takes away nothing that is live, or may be later.

A batch without a reply may land late, and after the switch it would bring back what a consumer has
replaced meanwhile. All attempts at a key carry the same item, so before the switch it does no harm:
`finish` waits until the last doubtful attempt is `LANDING_S` old. That a request which was given up
does not land later than that is assumed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import msgspec

from appliers.item import Rejection, Row, Write
from appliers.letters import DeadLetter
from appliers.store import Checkpoint, Generation, Part
from appliers.stores.dynamodb_calls import INVALID
from appliers.stores.dynamodb_catalog import BUILD, Gone, Place, rejections_pk
from appliers.stores.dynamodb_commit import keep_foreign, keep_rejections, put_checkpoint
from appliers.stores.dynamodb_import import Importer
from appliers.stores.dynamodb_imported import Imported, remove_imported
from appliers.stores.dynamodb_items import Attributes, Keys, check_key, stored_item
from appliers.stores.dynamodb_leftovers import remove_left, sweep
from appliers.stores.dynamodb_letters import letters_pk, write_letters
from appliers.stores.dynamodb_reader import pack_row, unpack_row
from appliers.stores.dynamodb_rows import write_batch
from appliers.stores.dynamodb_session import Session, gone_of, with_places
from appliers.stores.dynamodb_writes import Writer
from appliers.stores.generations import (
    after_build,
    check_open,
    described,
    tables_of_letters,
    with_tables,
)
from appliers.stores.sorted_runs import SortedRuns, once
from binlog.errors import BinlogError, ConflictError, LostError, RefusedError
from binlog.foreign import Foreign
from binlog.foreign import Place as ForeignPlace
from binlog.logger import get_logger

SWITCHES_MAX = 8  # tries, where others change the catalog meanwhile
LANDING_S = 60.0
_BATCH = (
    25  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
)
_ROUND = 40 * _BATCH  # rows in memory at a time, at most 400 MB of the largest

_encode = msgspec.msgpack.Encoder().encode
_logger = get_logger(__name__)


class _Met(msgspec.Struct):
    """What a part was given, beside rows."""

    tables: dict[str, int]  # and the folder of each
    # A sequence number has up to 56 digits, and msgpack no integers of that size: it is text.
    foreign: list[tuple[str, str, str, int, bytes]]
    relayed: list[tuple[str, str]]


_read_met = msgspec.msgpack.Decoder(_Met).decode


class DynamoDBPart:
    """Rows in sorted files. Sent to another process and back it is the path of their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs: dict[str, SortedRuns] = {}
        self._foreign: list[Foreign] = []
        self._relayed: list[ForeignPlace] = []

    def __reduce__(self) -> tuple[object, ...]:
        return DynamoDBPart, (self.folder,)

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        runs = self._runs.get(table)
        if runs is None:
            folder = self.folder / str(len(self._runs))
            folder.mkdir(parents=True)
            runs = self._runs[table] = SortedRuns(folder=folder)
        for key, row in rows:
            runs.add(key, pack_row(row))

    def keep(self, foreign: Iterable[Foreign], relayed: Iterable[ForeignPlace] = ()) -> None:
        self._foreign += foreign
        self._relayed += relayed

    def close(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for runs in self._runs.values():
            runs.flush()
        tables = {table: number for number, table in enumerate(self._runs)}
        met = _Met(
            tables,
            [
                (f.shard, str(f.sequence), f.partition_key, f.arrival_ms, f.data)
                for f in self._foreign
            ],
            [(shard, str(sequence)) for shard, sequence in self._relayed],
        )
        (self.folder / "met").write_bytes(_encode(met))

    def met(self) -> _Met:
        """What a closed part was given."""
        return _read_met((self.folder / "met").read_bytes())

    def runs(self, number: int) -> list[Path]:
        """The files of one of its tables."""
        return sorted((self.folder / str(number)).iterdir())


class DynamoDBBuild:
    """A private generation. ``writing`` gives the session of the writer, which may be a new one."""

    def __init__(
        self,
        made: Generation,
        writing: Callable[[], Session],
        *,
        landing_s: float = LANDING_S,
        importer: Importer | None = None,
    ) -> None:
        """``importer``: tables are made and loaded by the service, at `finish`."""
        self.generation = made.id
        self._made = made
        self._writing = writing
        self._landing_s = landing_s
        self._importer = importer
        self._folder = Path(tempfile.mkdtemp(prefix="binlog-build-"))
        self._parts = 0
        self._places: dict[str, Place] = {}
        self._tables: set[str] = set()
        self._loaded: dict[str, list[Path]] = {}  # runs of keys that are written already
        self._doubtful_at: float | None = None
        self._tables_noted: list[Gone] = []  # made, or about to be
        self._noted = 0  # the rev of our row under `BUILD`
        self._is_switching = False  # and whether it is done only the catalog tells
        self._over = False

    # -- rows ----------------------------------------------------------------------------------

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        check_open(over=self._over)
        with_tables(self._made, [table])
        part = self.part()
        part.load(table, rows)
        part.close()
        self.adopt([part])

    def part(self) -> DynamoDBPart:
        check_open(over=self._over)
        self._parts += 1
        return DynamoDBPart(self._folder / f"part-{self._parts}")

    def adopt(self, parts: Iterable[Part]) -> None:
        check_open(over=self._over)
        runs: dict[str, list[Path]] = {}
        met: list[_Met] = []
        for part in parts:
            if not isinstance(part, DynamoDBPart):
                raise TypeError(f"{part!r} is no part of this build")
            met.append(part.met())
            for table, number in met[-1].tables.items():
                runs.setdefault(table, []).extend(part.runs(number))
        with_tables(self._made, runs)
        session = self._session()
        keep_foreign(
            session,
            [
                Foreign(shard, int(sequence), partition_key, arrival_ms, data)
                for each in met
                for shard, sequence, partition_key, arrival_ms, data in each.foreign
            ],
            [(shard, int(sequence)) for each in met for shard, sequence in each.relayed],
        )
        for table in sorted(runs):
            self._tables.add(table)
            if self._importer is None:
                self._write(session, table, runs[table])
            else:
                with ExitStack() as stack:  # of a key that comes twice the service keeps either
                    deque(once(table, self._loaded.get(table, ()), runs[table], stack), maxlen=0)
            self._loaded.setdefault(table, []).extend(runs[table])

    def _session(self) -> Session:
        session = self._writing()
        session.lease.keep()
        return session

    def _write(self, session: Session, table: str, runs: Sequence[Path]) -> None:
        with ExitStack() as stack:
            records = iter(once(table, self._loaded.get(table, ()), runs, stack))
            while round_ := list(islice(records, _ROUND)):
                some = [(key, unpack_row(value)) for key, value in round_]
                keys = self._keys(session, table, *some[0])
                batches = [some[n : n + _BATCH] for n in range(0, len(some), _BATCH)]
                session.calls.each(lambda each: self._write_batch(session, keys, each), batches)  # noqa: B023 - done before the next

    def _keys(self, session: Session, table: str, key: bytes, row: Row) -> Keys:
        """The physical table, made when its first row comes."""
        place = self._places.get(table)
        if place is None:
            named = check_key(table, key, row, session.declared(table), session.name)
            spec = session.specification.of(table, named, generation=self.generation)
            self._note(session, Gone(table, spec.physical))
            place = self._places[table] = session.make(spec)
        if place.physical is None or place.keys is None:
            raise AssertionError("unreachable")
        return Keys(table, place.physical, place.keys)

    def _note(self, session: Session, *made: Gone) -> None:
        """Write down a table that is to be made, before it is; and that this build goes on.

        Raises:
            ConflictError: a later build has removed this one.
        """
        self._tables_noted += made
        item: Attributes = {
            **self._row(),
            "rev": {"N": str(self._noted + 1)},
            "tables": {"S": msgspec.json.encode(self._tables_noted).decode()},
        }
        if not session.rows.put(item, rev=self._noted):
            raise ConflictError(
                "the build was removed by a later one", session.name, "run it again"
            )
        self._noted += 1

    def _row(self) -> Attributes:
        return {"pk": {"S": BUILD}, "sk": {"S": self.generation}}

    def _write_batch(self, session: Session, keys: Keys, rows: Sequence[tuple[bytes, Row]]) -> None:
        session.calls.check_unspent()
        session.calls.keep_rate()
        requests = []
        for key, row in rows:
            check_key(keys.table, key, row, keys.schema, session.name)
            requests.append({"PutRequest": {"Item": stored_item(key, row)}})
        try:
            write_batch(session.calls, keys.physical, requests, doubtful=self._doubt(session))
        except RefusedError as error:
            if error.details.get("code") != INVALID:
                raise
            # One of them; which, the service tells only of one by itself. Not together: whoever is
            # one of the threads and waits for the others may wait for itself.
            writer = Writer(session.calls, self.generation)
            for key, row in rows:
                writer.write({keys.table: keys}, [Write(keys.table, key, row, 0)])
            raise

    def _doubt(self, session: Session) -> Callable[[], None]:
        def doubtful() -> None:
            self._doubtful_at = session.calls.clock.monotonic()

        return doubtful

    def reject(self, rejections: Iterable[Rejection]) -> None:
        check_open(over=self._over)
        found = list(rejections)
        if found:
            session = self._noting({rejection.table for rejection in found})
            keep_rejections(session, self.generation, found)

    def divert(self, letters: Iterable[DeadLetter]) -> None:
        check_open(over=self._over)
        found = list(letters)
        if found:
            session = self._noting(tables_of_letters(found))
            write_letters(session.calls, session.rows, self.generation, found)

    def _noting(self, tables: Iterable[str]) -> Session:
        """A session to write more rows of this build in, which has met these tables."""
        met = set(tables)
        with_tables(self._made, met)
        self._tables.update(met)
        session = self._session()
        if not self._noted:
            self._note(session)  # a killed build is found by its row
        return session

    # -- the end -------------------------------------------------------------------------------

    def finish(
        self,
        checkpoints: Mapping[int, Checkpoint],
        *,
        tables: Iterable[str],
        types: Iterable[str] = (),
    ) -> None:
        check_open(over=self._over)
        made = with_tables(self._made, self._tables, tables)
        made = described(made, made.fingerprint, types)
        session = self._session()
        if self._importer is not None:
            self._import(session, self._importer)
        self._wait_for_doubtful(session)
        self._note(session)  # who removes this build from now on replaces the catalog first
        # Read once, and before the threads: one that read later than others wrote would leave in this
        # handle, which goes on with the store, rows that are not what stands there.
        session.standings(made.id)
        session.calls.each(
            lambda each: put_checkpoint(session, made.id, each), list(checkpoints.values())
        )
        self._is_switching = True
        for left in reversed(range(SWITCHES_MAX)):
            try:
                self._switch(session, made)
                break
            except LostError:
                if not session.catalog.shared or not left:
                    raise
                session.read_catalog()  # a team changes it whenever it meets a new table or type
        self._over = True
        self._remove_folder()
        try:  # live; what follows the next writer would do, too
            session.rows.delete([self._row()])
            session.remove_gone()
            sweep(session)
            if self._importer is not None:
                self._importer.clean()
        except BinlogError as error:
            _logger.warning("build.unswept", store=session.name, why=str(error))

    def _import(self, session: Session, importer: Importer) -> None:
        self._places |= importer.load(
            session, self.generation, self._loaded, lambda gone: self._note(session, gone)
        )
        self._note(session)  # imports take hours: are we the builder still?
        taken = {place.physical or "" for place in self._places.values()}
        remove_left(session, build=self.generation, taken=taken)

    def _switch(self, session: Session, made: Generation) -> None:
        kept, gone = after_build(session.catalog.generations, made)
        session.change(
            generations=(*kept, made),
            places=with_places(
                session.catalog, {table: self._places.get(table, Place()) for table in made.tables}
            ),
            gone=gone_of(session.catalog, gone),
        )

    def _wait_for_doubtful(self, session: Session) -> None:
        if self._doubtful_at is not None:
            passed_s = session.calls.clock.monotonic() - self._doubtful_at
            if passed_s < self._landing_s:
                session.calls.pause(self._landing_s - passed_s)

    def abandon(self) -> None:
        if self._over:
            return
        self._over = True
        self._remove_folder()
        try:
            self._remove(self._session())
        except BinlogError as error:  # what ended the build is what is to be told
            _logger.warning("build.left", generation=self.generation, why=str(error))

    def _remove(self, session: Session) -> None:
        if self._is_switching:
            session.settle_change()
            if any(each.id == self.generation for each in session.catalog.generations):
                return  # live, though nobody heard it; the next build removes our row
        imported = [each for each in self._tables_noted if isinstance(each, Imported)]
        for gone in self._tables_noted if self._importer is None else ():
            session.remove(gone)
        if imported and not self._doom(session, imported):
            return  # a later build has taken them over, or will
        for pk in (rejections_pk(self.generation), letters_pk(self.generation)):
            session.rows.delete(list(session.rows.query(pk)))
        session.rows.delete([self._row()])

    def _doom(self, session: Session, imported: Sequence[Imported]) -> bool:
        """Remove what was imported, unless a later build is at it; whether nothing is left."""
        self._tables_noted = [msgspec.structs.replace(each, doomed=True) for each in imported]
        self._note(session)
        return not remove_imported(session, imported)

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def leave(self) -> None:
        """Remove what is on this machine; what is in the service the next build removes."""
        self._over = True
        self._remove_folder()
