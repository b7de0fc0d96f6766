"""A DynamoDB store's tables in the service: looked up, made, compared, removed.

Invariants:

* A table that this code makes carries the tags of its log, store and table from its first moment
  (they are part of CreateTable); only what carries them is ever changed or deleted. A table that is
  there without them is somebody's: declared as ``owned`` it is used as it is, otherwise refused.
* No table with a TTL is used: it would delete items without an event.
* An option that nobody asked for is never changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Never

import msgspec

from appliers.stores.dynamodb_tables_options import (
    UPDATES,
    creation,
    keys_of,
    missing_tags,
    recovery,
)
from appliers.stores.dynamodb_tables_spec import (
    LOG_TAG,
    STORE_TAG,
    TABLE_TAG,
    KeySchema,
    Specification,
    TableSpec,
    Units,
)
from binlog.aws.errors import error_code, trouble
from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError, MismatchError, RefusedError, StorageError

__all__ = ["KeySchema", "Specification", "TableSpec", "Units", "ensure", "remove", "resolve"]

READY_S = 300.0
"""How long one call here may wait for the service. A new table is active after some 10 s."""

# TagResource and ListTagsOfResource are not of one moment: shortly after CreateTable the tags may
# not be shown (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TagResource.html).
TAGS_SHOWN_S = 10.0
_POLL_FIRST_S, _POLL_MOST_S = 0.05, 2.0

_MISSING = "ResourceNotFoundException"
_IN_USE = "ResourceInUseException"
# 500 tables a region and account may be in the making at a time.
_TOO_MANY = "LimitExceededException"
# Shortly after CreateTable (not documented; Terraform's provider waits for it as well).
_BACKUPS_LATER = "ContinuousBackupsUnavailableException"
_ACTIVE = frozenset({"ACTIVE"})
_USABLE = frozenset({"ACTIVE", "UPDATING"})
_OUR_TAGS = {LOG_TAG: "log", STORE_TAG: "store", TABLE_TAG: "table"}


def resolve(client: Any, specification: Specification, where: str) -> Specification:
    """With the key schemas of the tables declared as ``like`` another or ``owned``, looked up.

    Makes no call where nothing is to be looked up; a store's own table is never looked up here.

    Raises:
        RefusedError: there is no such table.
        BinlogError: as `trouble` says.
    """
    declared = dict(specification.declared)
    for table, each in declared.items():
        if each.keys is None and (each.like is not None or each.owned):
            name = each.like or specification.name_of(table, generation=None)
            found = _Table(client, name, where).describe()
            if found is None:
                raise RefusedError(
                    f"there is no table {name}",
                    f"{where}: {specification.where(table)}",
                    "is the name right, and the region?"
                    + (" An owned table is made by others" if each.owned else ""),
                    table=table,
                )
            declared[table] = msgspec.structs.replace(each, keys=keys_of(found))
    return msgspec.structs.replace(specification, declared=declared)


def ensure(
    client: Any,
    spec: TableSpec,
    where: str,
    *,
    clock: Clock | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """The table is there, usable and as it is to be; made if it is not, unless it is owned.

    Whether this call made it. Safe in several processes at once. Waits `READY_S` at most.

    Raises:
        RefusedError: an owned table is not there; one that is has another key schema, a TTL, is
            nobody's, is being deleted, or cannot be used.
        MismatchError: the table is another log's, store's or table's.
        StorageError: not ready in time.
        BinlogError: as `trouble` says.
    """
    table = _Table(client, spec.physical, where, clock=clock, pause=pause)
    if not spec.owned and LOG_TAG not in spec.tags:
        raise ValueError(f"{spec.physical}: no log id (Specification.bound)")
    found, made = table.describe(), False
    if found is None:
        if spec.owned:
            raise RefusedError(
                f"there is no table {spec.physical}, which others are to make (owned)",
                where,
                f"let them, with {spec.keys}; or remove owned, and it is made here",
                table=spec.table,
            )
        made = table.create(spec)
    found = table.usable(found)
    _compare_keys(spec, found, where)
    table.refuse_ttl()
    if not spec.owned:
        tags = table.tags_of_ours(spec, found["TableArn"])
        table.set_up(spec, tags)
    return made


def remove(
    client: Any,
    spec: TableSpec,
    where: str = "",
    *,
    wait: bool = False,
    clock: Clock | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Delete the table, if it is there, ours and not owned; ``wait``: until it is gone.

    Its deletion protection is taken off first: that is against people, and what calls this has
    made another table live in its place, or been asked for it. Where point-in-time recovery was
    on, DynamoDB itself keeps a backup for 35 days.

    Raises:
        RefusedError, MismatchError: its tags do not say that it is this table of this store.
        StorageError: not done in time.
        BinlogError: as `trouble` says.
    """
    if spec.owned:
        return
    table = _Table(client, spec.physical, where, clock=clock, pause=pause)
    found = table.describe()
    if found is None:
        return
    if found["TableStatus"] != "DELETING":
        table.tags_of_ours(spec, found["TableArn"])
        table.delete(found)
    if wait:
        table.gone()


def _compare_keys(spec: TableSpec, found: Mapping[str, Any], where: str) -> None:
    has = keys_of(found)
    differing = []
    for role in ("hash", "range"):
        wanted, present = getattr(spec.keys, role), getattr(has, role)
        if wanted != present:
            differing.append(f"{role} key {_shown(present)} instead of {_shown(wanted)}")
    if not differing:
        return
    swapped = " (the other way round)" if spec.keys.attributes == has.attributes[::-1] else ""
    raise RefusedError(
        f"the table {spec.physical} has {' and '.join(differing)}{swapped}",
        where,
        "declare what it has, or another table: a table's key cannot be changed",
        table=spec.table,
    )


def _shown(attribute: tuple[str, str] | None) -> str:
    return "none" if attribute is None else f"{attribute[0]!r} {attribute[1]}"


class _Table:
    """One table in the service, by one caller, who has until a deadline."""

    def __init__(
        self,
        client: Any,
        name: str,
        where: str,
        *,
        clock: Clock | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self.name = name
        self._place = f"{where}: table {name}" if where else f"table {name}"
        self._clock = clock or SystemClock()
        self._pause = pause
        self._deadline = self._clock.monotonic() + READY_S

    # -- calls ---------------------------------------------------------------------------------

    def call(self, operation: str, *tolerated: str, **request: Any) -> Any:
        """A call on the table; ``None`` where it ends in one of the ``tolerated`` error codes."""
        named = {"TableName": self.name} | request
        try:
            return getattr(self._client, operation)(
                **{name: value for name, value in named.items() if value is not None}
            )
        except BinlogError:
            raise
        except Exception as error:
            if error_code(error) in tolerated:
                return None
            raise trouble(error, self._place) from error

    def describe(self) -> dict[str, Any] | None:
        reply = self.call("describe_table", _MISSING)
        return None if reply is None else reply["Table"]

    def polls(self, what: str, most_s: float = READY_S) -> Iterator[None]:
        """Once now, and again after growing pauses.

        Raises:
            StorageError: ``what``, in all that time.
        """
        pause_s, begun = _POLL_FIRST_S, self._clock.monotonic()
        until = min(self._deadline, begun + most_s)
        while True:
            yield
            left_s = until - self._clock.monotonic()
            if left_s <= 0:
                waited_s = self._clock.monotonic() - begun
                raise StorageError(f"{what} after {waited_s:.0f} s", self._place, "try again")
            self._pause(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _POLL_MOST_S)

    # -- states --------------------------------------------------------------------------------

    def usable(self, found: dict[str, Any] | None = None) -> dict[str, Any]:
        """Its description when it can be read and written. One just made may not be shown yet."""
        return self._in_state(_USABLE, found)

    def _in_state(
        self, states: frozenset[str], found: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        for _ in self.polls("the table is not active"):
            found = found or self.describe()
            status = "not shown" if found is None else found["TableStatus"]
            if found is not None and status in states:
                return found
            if status not in {"not shown", "CREATING", "UPDATING"}:
                self._refuse_state(status)
            found = None
        raise AssertionError("unreachable")

    def _refuse_state(self, status: str) -> Never:
        what, do = {
            "DELETING": ("is being deleted", "wait until it is gone, and try again"),
            "INACCESSIBLE_ENCRYPTION_CREDENTIALS": (
                "cannot use its KMS key",
                "enable the key, or its grant, again",
            ),
        }.get(status, (f"is {status}", "restore it, or take another"))
        raise RefusedError(f"the table {what}", self._place, do, status=status)

    def refuse_ttl(self) -> None:
        described = self.call("describe_time_to_live")["TimeToLiveDescription"]
        if described.get("TimeToLiveStatus", "DISABLED") != "DISABLED":
            attribute = described.get("AttributeName", "")
            raise RefusedError(
                f"the table has a TTL ({attribute!r}, {described['TimeToLiveStatus']}): items "
                "would vanish without an event",
                self._place,
                "turn it off (it takes up to an hour); let expiry be an event",
            )

    def gone(self) -> None:
        for _ in self.polls("the table is not gone"):
            if self.describe() is None:
                return

    # -- whose it is ---------------------------------------------------------------------------

    def tags_of_ours(self, spec: TableSpec, arn: str) -> dict[str, str]:
        """Its tags, which say that it is ours.

        Raises:
            MismatchError: they say that it is another's. RefusedError: they do not say.
        """
        ours = {tag: spec.tags[tag] for tag in _OUR_TAGS if tag in spec.tags}
        missing: set[str] = set()
        try:
            for _ in self.polls("no tags", TAGS_SHOWN_S):
                tags = self._tags(arn)
                for tag in _OUR_TAGS.keys() & tags.keys():
                    if tags[tag] != ours.get(tag):
                        raise self._of_another(tag, tags[tag], ours.get(tag))
                if not (missing := ours.keys() - tags.keys()):
                    return tags
        except StorageError:
            if not missing:
                raise
        raise RefusedError(
            f"a table that was not made here (it has no tag {min(missing)})",
            self._place,
            "declare it as owned, and it is used as it is; or take another prefix or name",
            table=spec.table,
        )

    def _of_another(self, tag: str, found: str, wanted: str | None) -> MismatchError:
        return MismatchError(
            f"the table is another {_OUR_TAGS[tag]}'s: its tag {tag} is {found!r}, and not "
            f"{wanted or ''!r}",
            self._place,
            "take another prefix or name",
            tag=tag,
        )

    def _tags(self, arn: str) -> dict[str, str]:
        found: dict[str, str] = {}
        more: dict[str, Any] = {}
        while True:
            reply = self.call("list_tags_of_resource", TableName=None, ResourceArn=arn, **more)
            found |= {tag["Key"]: tag["Value"] for tag in reply.get("Tags", ())}
            if not reply.get("NextToken"):
                return found
            more = {"NextToken": reply["NextToken"]}

    # -- changes -------------------------------------------------------------------------------

    def create(self, spec: TableSpec) -> bool:
        """Whether we made it: another process may have been quicker."""
        for _ in self.polls("the table is not made"):
            if self.call("create_table", _IN_USE, _TOO_MANY, **creation(spec)) is not None:
                return True
            if self.describe() is not None:
                return False
        raise AssertionError("unreachable")

    def set_up(self, spec: TableSpec, tags: Mapping[str, str]) -> None:
        """The options that were asked for, where they are otherwise."""
        for update in UPDATES:
            for _ in self.polls("the table is being changed by others"):
                request = update(spec, self._in_state(_ACTIVE))
                if request is None:
                    break
                if self.call("update_table", _IN_USE, _TOO_MANY, **request) is not None:
                    self._in_state(_ACTIVE)
                    break
        if missing := missing_tags(spec, tags):
            arn = self.usable()["TableArn"]
            self.call("tag_resource", TableName=None, ResourceArn=arn, Tags=missing)
        if spec.pitr is None:
            return
        for _ in self.polls("backups of the table are being set up"):
            found = self.call("describe_continuous_backups", _BACKUPS_LATER)
            if found is None:
                continue
            request = recovery(spec, found["ContinuousBackupsDescription"])
            if request is None:
                return
            if self.call("update_continuous_backups", _BACKUPS_LATER, **request) is not None:
                return

    def delete(self, found: dict[str, Any]) -> None:
        later = (_IN_USE, _TOO_MANY)
        for _ in self.polls("the table cannot be deleted"):
            if found.get("DeletionProtectionEnabled"):
                self.call("update_table", *later, _MISSING, DeletionProtectionEnabled=False)
            else:
                self.call("delete_table", *later, _MISSING)
            now = self.describe()
            if now is None or now["TableStatus"] == "DELETING":
                return
            found = now
