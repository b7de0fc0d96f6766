"""Where the items of a table to be adopted come from: its export, a scan of it, or a file of items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from appliers.stores.dynamodb_physical import Described, PhysicalTable, item_of
from appliers.stores.dynamodb_tables_spec import KeySchema, type_of
from binlog.errors import MismatchError, RefusedError
from binlog.json_values import parse_line, untyped_item
from binlog.values import RESERVED_ATTRIBUTE
from snapshots.adopt_base import TOUCHED
from snapshots.adopt_export import Export
from snapshots.adopt_items import ItemCheck

_LINE_BYTES_MAX = 8 * 1024 * 1024


class Source(Protocol):
    """All items of one table, to be read any number of times."""

    name: str  # for messages, and in the base's manifest
    identity: str  # what is read: a base that was interrupted is gone on with by the same only
    is_live: bool  # it may be another the next time

    def items(self, check: ItemCheck) -> Iterator[tuple[bytes, bytes]]:
        """Key and item of each, canonical and checked, in no order."""


class Live(Protocol):
    """The table itself, beside which a base is held."""

    name: str
    keys: KeySchema

    def items(self, check: ItemCheck, *, touched: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """As they are now. ``touched``: one with marks comes as `TOUCHED`, else it is refused."""


class TableSource:
    """A DynamoDB table, scanned strongly consistent: a source, and the table itself."""

    is_live = True

    def __init__(self, table: PhysicalTable, described: Described, *, rate: float | None) -> None:
        self._table = table
        self._rate = rate
        self.name = table.where
        self.identity = f"{described.arn} {described.id}"
        self.keys = described.keys

    def items(self, check: ItemCheck, *, touched: bool = False) -> Iterator[tuple[bytes, bytes]]:
        for stored in self._table.scan(rate=self._rate):
            item = item_of(stored)
            if touched and RESERVED_ATTRIBUTE in item:
                yield check.key(item), TOUCHED
            else:
                yield check(item)


class ExportSource:
    """DynamoDB's export of the table.

    Raises (when made):
        MismatchError: it is another table's, or of one of that name in another account or region.
    """

    is_live = False

    def __init__(self, export: Export, described: Described) -> None:
        said = export.summary
        if said.table_arn != described.arn:
            raise MismatchError(
                f"the export is of {said.table_arn}, the table is {described.arn}",
                export.name,
                _why_other(said.table_arn, described.arn),
                found=said.table_arn,
                expected=described.arn,
            )
        if said.table_id and described.id and said.table_id != described.id:
            raise MismatchError(
                f"the export is of an earlier table of that name (id {said.table_id}, and now"
                f" {described.id})",
                export.name,
                "export the table that is there",
                found=said.table_id,
                expected=described.id,
            )
        self._export = export
        self.name = export.name
        self.identity = said.export_arn

    def items(self, check: ItemCheck) -> Iterator[tuple[bytes, bytes]]:
        return self._export.items(check)


def _why_other(found: str, wanted: str) -> str:
    """``arn:aws:dynamodb:REGION:ACCOUNT:table/NAME``: what of it is another."""
    names = {3: "region", 4: "account", 5: "table"}
    one, two = found.split(":", 5), wanted.split(":", 5)
    if len(one) == len(two) == 6:
        other = [name for place, name in names.items() if one[place] != two[place]]
        if other:
            return f"another {' and '.join(other)}: name the export of this table"
    return "name the export of this table"


class FileSource:
    """A file with an item a line, plain JSON or DynamoDB's: a source, and the table itself."""

    is_live = True

    def __init__(self, path: str, key: tuple[str, ...]) -> None:
        """``key`` names the key attributes; their types are those of the first item."""
        self._path = Path(path)
        self.name = f"file:{path}"
        self.identity = self.name
        self.keys = self._schema(key)

    def items(
        self,
        check: ItemCheck,
        *,
        touched: bool = False,  # noqa: ARG002 - nobody touches a file
    ) -> Iterator[tuple[bytes, bytes]]:
        for line, item in self._lines():
            yield check(item, f"line {line}")

    def _schema(self, key: tuple[str, ...]) -> KeySchema:
        first: dict[str, Any] = next((item for _, item in self._lines()), {})
        kinds = []
        for name in key:
            kind = type_of(first.get(name)) if first else "S"
            if kind is None:
                raise RefusedError(
                    f"the first item has no key attribute {name!r} of text, number or binary",
                    self.name,
                    "name the key attributes: --key ATTR[,ATTR]",
                )
            kinds.append((name, kind))
        return KeySchema(kinds[0], kinds[1] if len(kinds) > 1 else None)

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            with self._path.open("rb") as file:
                number = 0
                while line := file.readline(_LINE_BYTES_MAX):
                    number += 1
                    if line.strip():
                        yield number, self._item(line, number)
        except OSError as error:
            raise RefusedError(f"{error.strerror or error}", self.name, "is it right?") from error

    def _item(self, line: bytes, number: int) -> dict[str, Any]:
        where = f"{self.name}: line {number}"
        try:
            document = parse_line(line)
        except RefusedError as error:
            raise RefusedError(
                error.what, where, "an item a line, as `binlog dump` prints"
            ) from error
        if type(document) is not dict:
            raise RefusedError("no item", where, "an item a line, as `binlog dump` prints")
        try:
            return untyped_item(document)
        except RefusedError:
            return document  # plain


__all__ = ["TOUCHED", "ExportSource", "FileSource", "Live", "Source", "TableSource"]
