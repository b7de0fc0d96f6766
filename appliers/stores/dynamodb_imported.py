"""Tables that the service has imported for builds: noted before they are made, known, claimed, removed.

ImportTable gives a table no tags, by which ours are known. Until it has them, what says that it is ours
is the note of its build, and the service's own word from where it was imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from appliers.stores.dynamodb_catalog import Gone
from appliers.stores.dynamodb_session import Session
from appliers.stores.dynamodb_tables import TableSpec
from appliers.stores.dynamodb_tables_options import missing_tags
from appliers.stores.dynamodb_tables_spec import LOG_TAG
from binlog.aws.errors import error_code, trouble
from binlog.errors import BinlogError, BusyError
from binlog.logger import get_logger

TAG_TRIES, TAG_PAUSE_S = 20, 1.0
_MISSING, _IN_USE = "ResourceNotFoundException", "ResourceInUseException"

_logger = get_logger(__name__)


class Imported(Gone, frozen=True, omit_defaults=True):
    """A table that a build makes, noted before it is; ``source``: the bucket and prefix it is from.

    ``doomed``: its build is removing it, so no other one takes it over.
    """

    source: str = ""
    doomed: bool = False


def place_of_table(session: Session, physical: str) -> str:
    """A physical table, in messages."""
    return f"{session.name}: table {physical}"


def describe(session: Session, physical: str) -> dict[str, Any] | None:
    """What the service says of a table; ``None``: there is none."""
    try:
        found: dict[str, Any] = session.control.describe_table(TableName=physical)["Table"]
    except Exception as error:
        if error_code(error) == _MISSING:
            return None
        raise trouble(error, place_of_table(session, physical)) from error
    return found


def tag(session: Session, spec: TableSpec, arn: str) -> None:
    """Give a table that was imported the tags of ours."""
    left = TAG_TRIES
    while True:
        try:
            session.control.tag_resource(ResourceArn=arn, Tags=missing_tags(spec, {}))
            return
        except Exception as error:
            left -= 1
            if error_code(error) not in {_IN_USE, _MISSING} or not left:
                raise trouble(error, place_of_table(session, spec.physical)) from error
        session.calls.pause(TAG_PAUSE_S)


def import_from(session: Session, table: Mapping[str, Any], source: str) -> str | None:
    """The import that has made a table, if it was from ``source``."""
    more: dict[str, Any] = {}
    while True:
        try:
            reply = session.control.list_imports(TableArn=table["TableArn"], **more)
        except Exception as error:
            raise trouble(error, session.name) from error
        for each in reply.get("ImportSummaryList", ()):
            named = each.get("S3BucketSource", {})
            if f"{named.get('S3Bucket')}/{named.get('S3KeyPrefix', '')}" == source:
                return str(each["ImportArn"])
        if not reply.get("NextToken"):
            return None
        more = {"NextToken": reply["NextToken"]}


# -- what killed builds left -------------------------------------------------------------------------


def claim(session: Session, left: Imported) -> bool:
    """Make a table that was imported, and not tagged yet, one that can be removed as ours.

    Whether it can: the service may not tell (any more) where it is from.

    Raises:
        BusyError: it is being imported, which nobody can stop.
    """
    table = describe(session, left.physical)
    if table is None:
        return True
    try:
        reply = session.control.list_tags_of_resource(ResourceArn=table["TableArn"])
    except Exception as error:
        raise trouble(error, session.name) from error
    if any(each["Key"] == LOG_TAG for each in reply.get("Tags", ())):
        return True
    arn = import_from(session, table, left.source)
    if arn is None:
        return False
    status = session.control.describe_import(ImportArn=arn)["ImportTableDescription"]
    if status["ImportStatus"] == "IN_PROGRESS":
        raise BusyError(
            f"the table {left.physical} is being imported",
            session.name,
            "DynamoDB lets nobody stop that: try again when it is done",
            table=left.table,
        )
    tag(session, session.spec_of_gone(left), str(table["TableArn"]))
    return True


def remove_imported(session: Session, left: Iterable[Imported]) -> list[Imported]:
    """Remove tables that killed builds imported; those that cannot be yet, or not by us.

    What a live generation has taken over stays: the note of a build may name it still.
    """
    kept: list[Imported] = []
    live = {place.physical for place in session.catalog.places.values()}
    for each in left:
        if each.physical in live:
            continue
        try:
            if claim(session, each):
                session.remove(each)
                continue
            why = "nothing says that it was imported for this store"
        except BinlogError as error:
            why = str(error)
        _logger.warning("table.left", store=session.name, table=each.physical, why=why)
        kept.append(each)
    return kept
