"""A rebuilt table loaded by DynamoDB's ImportTable: no write units, and the service does the work.

Rows are written to S3 as a data set (`dynamodb_import_data`), and one call makes the table and
loads it. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataImport.HowItWorks.html

Invariants:

* What is imported is named by the digest of its rows and the name of its table; from that comes the
  client token, so a call that is made again, by this process or the next one, starts nothing twice.
* A table is taken only when the service counted as many items processed and imported as the manifest
  has, and no error. Keys are unique in a data set, so none of them can hide another one.
* ImportTable gives no tags, by which our tables are known. So the name of the table and its source are
  noted in the store before the call; a table without tags is ours only if the service says that it
  was imported from that source, and is tagged then (`claim`).
* What a killed rebuild imported, or is importing, is taken over by the next one if the rows are the
  same, and removed otherwise.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from appliers.item import Row
from appliers.stores.dynamodb_catalog import Gone, Place
from appliers.stores.dynamodb_import_data import (
    Compression,
    DataSet,
    check_data_set,
    digest_of,
    object_raw_bytes_for,
    read_data_set,
    remove_data_set,
    write_data_set,
)
from appliers.stores.dynamodb_imported import Imported, describe, import_from, place_of_table, tag
from appliers.stores.dynamodb_items import check_key
from appliers.stores.dynamodb_reader import unpack_row
from appliers.stores.dynamodb_session import Session
from appliers.stores.dynamodb_tables import TableSpec
from appliers.stores.dynamodb_tables_options import creation
from appliers.stores.sorted_runs import merged
from binlog.aws.account import is_aws
from binlog.aws.errors import error_code, trouble
from binlog.errors import ConflictError, DamageError, RefusedError
from binlog.logger import get_logger
from binlog.objects.s3 import S3Objects

POLL_FIRST_S, POLL_MOST_S = 1.0, 20.0
JOBS_PATIENCE_S = 3_600.0  # while the account's 50 jobs are all taken
_IN_PROGRESS, _COMPLETED = "IN_PROGRESS", "COMPLETED"
_MISSING, _IN_USE, _TOO_MANY = (
    *("ResourceNotFoundException", "ResourceInUseException"),
    "LimitExceededException",
)
_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_-]")
# What CreateTable takes and ImportTable does not.
_NOT_OF_IMPORTS = ("Tags", "DeletionProtectionEnabled")

_logger = get_logger(__name__)


class Begun(msgspec.Struct, frozen=True):
    """An import that was started."""

    spec: TableSpec
    prefix: str
    data_set: DataSet
    arn: str


class Importer:
    """Loads tables of builds by way of ``objects``, in which it keeps data sets.

    ``compression`` is zstd, or gzip where the service is not AWS's own: a stand-in knows no other.
    """

    def __init__(self, objects: S3Objects, *, compression: Compression | None = None) -> None:
        self.objects = objects
        self._compression = compression
        self.left: list[Imported] = []  # what killed builds were importing
        self.done: list[Begun] = []

    def load(
        self,
        session: Session,
        generation: str,
        loaded: Mapping[str, Sequence[Path]],
        note: Callable[[Gone], None],
    ) -> dict[str, Place]:
        """Import the sorted runs of each table; where each is, once all of them are as they should be.

        ``note`` writes a table down before it is made.

        Raises:
            RefusedError: the service cannot read the data set, or may not, or refuses items of it.
            DamageError: its counts are not those of the manifest.
            ConflictError: a table of that name is there, and not from this data set.
        """
        begun = [
            started
            for table, runs in sorted(loaded.items())
            if (started := self._begin(session, generation, table, runs, note)) is not None
        ]
        for each in begun:
            self._finish(session, each)
        self.done += begun
        return {each.spec.table: Place(each.spec.physical, each.spec.keys) for each in begun}

    def clean(self) -> None:
        """Delete the data sets of what was imported; it is live by now."""
        for each in self.done:
            if (error := remove_data_set(self.objects, each.prefix)) is not None:
                _logger.warning("dataset.left", prefix=each.prefix, why=str(error))
        self.done.clear()
        self.objects.close()

    # -- begin -------------------------------------------------------------------------------------

    def _begin(
        self,
        session: Session,
        generation: str,
        table: str,
        runs: Sequence[Path],
        note: Callable[[Gone], None],
    ) -> Begun | None:
        first = _first_row(runs)
        if first is None:
            return None
        named = check_key(table, *first, session.declared(table), session.name)
        spec = session.specification.of(table, named, generation=generation)
        prefix, data_set = self._data_set(session, spec, runs)
        for left in self.left:
            if left.table == table and left.source == self._source(prefix):
                spec = msgspec.structs.replace(spec, physical=left.physical)
                break
        note(Imported(table, spec.physical, self._source(prefix)))
        arn = self._start(session, spec, prefix, data_set)
        _logger.info(
            "import.started",
            store=session.name,
            table=table,
            physical=spec.physical,
            items=data_set.items,
            bytes=data_set.raw_bytes,
            usd=round(data_set.price_usd, 2),
        )
        return Begun(spec, prefix, data_set, arn)

    def _source(self, prefix: str) -> str:
        return f"{self.objects.bucket}/{self.objects.prefix}{prefix}/data/"

    def _data_set(
        self, session: Session, spec: TableSpec, runs: Sequence[Path]
    ) -> tuple[str, DataSet]:
        """The data set of these rows: one that is complete already, or else one written now."""
        digest = digest_of(spec.table, spec.keys, runs)
        compression = self._compression or compression_for(session.control)
        log_id = session.specification.log_id or ""
        slug = _NOT_IN_A_KEY.sub("_", spec.table)[:60]
        begin = f"{log_id}/{slug}/{digest[:32]}-"
        for entry in self.objects.list(begin):
            prefix, _, name = entry.key.rpartition("/")
            if name != "manifest.json":
                continue
            found = read_data_set(self.objects, prefix)
            if found is not None and (found.digest, found.log_id, found.compression) == (
                *(digest, log_id),
                compression,
            ):
                check_data_set(self.objects, prefix, found)
                return prefix, found
        prefix = f"{begin}{secrets.token_hex(4)}"
        with ExitStack() as stack:
            rows = (
                _checked(spec, key, unpack_row(value), session.name)
                for key, value in merged(runs, stack)
            )
            made = write_data_set(
                self.objects,
                prefix,
                rows,
                log_id=log_id,
                table=spec.table,
                keys=spec.keys,
                digest=digest,
                compression=compression,
                object_raw_bytes=object_raw_bytes_for(sum(path.stat().st_size for path in runs)),
            )
        check_data_set(self.objects, prefix, made)
        return prefix, made

    def _start(self, session: Session, spec: TableSpec, prefix: str, data_set: DataSet) -> str:
        """Start it, or find it started; its ARN."""
        request = {
            "ClientToken": token_of(self._source(prefix), spec.physical),
            "S3BucketSource": {
                "S3Bucket": self.objects.bucket,
                "S3KeyPrefix": f"{self.objects.prefix}{prefix}/data/",
            },
            "InputFormat": "DYNAMODB_JSON",
            "InputCompressionType": data_set.compression.upper(),
            "TableCreationParameters": {
                "TableName": spec.physical,
                **{
                    name: value
                    for name, value in creation(spec).items()
                    if name not in _NOT_OF_IMPORTS
                },
            },
        }
        where = place_of_table(session, spec.physical)
        begun = session.calls.clock.monotonic()
        while True:
            try:
                reply = session.control.import_table(**request)
            except Exception as error:
                code = error_code(error)
                if code == _IN_USE:  # the token is forgotten after eight hours
                    return self._started(session, spec, prefix)
                waited_s = session.calls.clock.monotonic() - begun
                if code != _TOO_MANY or waited_s > JOBS_PATIENCE_S:
                    raise trouble(error, where) from error
                session.calls.pause(POLL_MOST_S)
                continue
            return str(reply["ImportTableDescription"]["ImportArn"])

    def _started(self, session: Session, spec: TableSpec, prefix: str) -> str:
        found = describe(session, spec.physical)
        arn = None if found is None else import_from(session, found, self._source(prefix))
        if arn is None:
            raise ConflictError(
                f"the table {spec.physical} is there, and was not imported from this data set",
                session.name,
                "delete it, or take another prefix for the store",
                table=spec.table,
            )
        return arn

    # -- end ---------------------------------------------------------------------------------------

    def _finish(self, session: Session, begun: Begun) -> None:
        """Wait for it, hold its counts against the manifest, and make the table one of ours."""
        spec = begun.spec
        found = await_import(session, begun.arn, spec.physical)
        check_counts(found, begun.data_set, place_of_table(session, spec.physical))
        tag(session, spec, str(found["TableArn"]))
        session.ensure(spec)
        _logger.info(
            "import.finished",
            store=session.name,
            table=spec.table,
            physical=spec.physical,
            items=begun.data_set.items,
        )


def compression_for(client: Any) -> Compression:
    """What the service behind a client can read."""
    return "zstd" if is_aws(str(client.meta.endpoint_url)) else "gzip"


def token_of(source: str, physical: str) -> str:
    """The client token of an import: the same for the same rows into the same table."""
    return hashlib.sha256(f"{source}\0{physical}".encode()).hexdigest()[:36]


def _first_row(runs: Sequence[Path]) -> tuple[bytes, Row] | None:
    with ExitStack() as stack:
        for key, value in merged(runs, stack):
            return key, unpack_row(value)
    return None


def _checked(spec: TableSpec, key: bytes, row: Row, name: str) -> tuple[bytes, Row]:
    """A row whose key the table can hold: the service would count it as an error, hours later."""
    check_key(spec.table, key, row, spec.keys, name)
    return key, row


# -- what becomes of an import -----------------------------------------------------------------------


def await_import(session: Session, arn: str, physical: str) -> dict[str, Any]:
    """The description of an import that is over, however it ended. It may take hours.

    Raises:
        BinlogError: as `trouble` says.
    """
    pause_s = POLL_FIRST_S
    while True:
        try:
            reply = session.control.describe_import(ImportArn=arn)
        except Exception as error:
            raise trouble(error, place_of_table(session, physical)) from error
        found: dict[str, Any] = reply["ImportTableDescription"]
        if found["ImportStatus"] not in {_IN_PROGRESS, "CANCELLING"}:
            return found
        session.calls.pause(pause_s)
        pause_s = min(pause_s * 1.5, POLL_MOST_S)


def check_counts(found: Mapping[str, Any], data_set: DataSet, where: str) -> None:
    """That the service has loaded what the manifest counts, all of it, and found no error.

    Raises:
        RefusedError: it failed, with what the service says. DamageError: the counts differ.
    """
    status, errors = found["ImportStatus"], int(found.get("ErrorCount", 0))
    counts = (int(found.get("ProcessedItemCount", 0)), int(found.get("ImportedItemCount", 0)))
    counted = (
        f"{data_set.items} items in the manifest, {counts[0]} processed, {counts[1]} imported,"
        f" {errors} errors"
    )
    if status != _COMPLETED:
        code, said = found.get("FailureCode", status), found.get("FailureMessage", "")
        group = found.get("CloudWatchLogGroupArn", "/aws-dynamodb/imports")
        raise RefusedError(
            f"the import failed: {code}: {' '.join(str(said).split()).rstrip('.')} ({counted})",
            where,
            f"see the log group {group}; may these credentials read the bucket and its key?",
            code=code,
        )
    if errors or counts != (data_set.items, data_set.items):
        raise DamageError(
            f"the import's counts are not the manifest's: {counted}",
            where,
            "run it again; nothing was made live",
        )
