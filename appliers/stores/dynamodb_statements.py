"""New items by `BatchExecuteStatement`: 25 INSERTs a call, each on the condition that there is none.

A statement costs the units of a put and a tenth of its processor time, and 25 share one round trip.
What becomes of each is in the reply, one by one: done, throttled (made again, it alone), or
anything else, which is then left to a put: its condition and its error say exactly what
stands there or what is wrong. So this file decides nothing but "done". A call without a reply is
read, strongly consistent: what is there as we wrote it is done, the rest is in doubt.

Only INSERT is used. An UPDATE can say the condition of a fold (``WHERE key AND "_binlog"."v" = base``)
but not replace an item: it sets and removes attributes by name, and one that somebody else has added
meanwhile, which `PutItem` would end, stays. Of an item that is put blindly (I1) not even the names
are known, and no statement is for "absent or older".

Limits: 25 statements a call, 8,192 characters a statement
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html,
.../API_BatchStatementRequest.html). How large a call may be is not documented: items above
`ITEM_BYTES_MAX` go by themselves, a batch stays below the 1 MB of other PartiQL calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from appliers.item import Write
from appliers.stores.dynamodb_calls import Calls
from appliers.stores.dynamodb_items import Attributes, Keys, stored_item
from appliers.stores.dynamodb_reader import read_items
from binlog.aws.errors import THROTTLES, error_code, was_refused
from binlog.errors import BinlogError

STATEMENTS_MAX = 25
STATEMENT_CHARS_MAX = 8_192
ITEM_BYTES_MAX = 64 * 1024
BATCH_BYTES_MAX = 1_000_000
_UNIT_BYTES = 1024

# Of one statement; they are the codes of errors without their last word.
_THROTTLED = frozenset({"ProvisionedThroughputExceeded", "RequestLimitExceeded", "ThrottlingError"})
_IN_DOUBT = frozenset({"InternalServerError"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})
EXISTS = frozenset({"ConditionalCheckFailed", "DuplicateItem"})


class Birth(msgspec.Struct):
    """A write of a new item, and the statement that says it."""

    write: Write
    keys: Keys
    statement: Attributes
    size: int  # bytes, roughly

    @property
    def units(self) -> int:
        """Write units, roughly."""
        return -(-self.size // _UNIT_BYTES)


class Left(msgspec.Struct, frozen=True):
    """A write that was not done, or not known to be (``in_doubt``), and the code that says why."""

    write: Write
    in_doubt: bool = False
    code: str = ""

    @property
    def exists(self) -> bool:
        """An item of its key stands there."""
        return self.code in EXISTS

    @property
    def denied(self) -> bool:
        """Statements are not permitted."""
        return self.code in _DENIED


def birth_of(write: Write, keys: Keys) -> Birth | None:
    """The INSERT of a write; ``None`` where it is rather put: large, or of names to be wary of."""
    size = len(write.row.data or write.key)
    if size > ITEM_BYTES_MAX:
        return None
    item = stored_item(write.key, write.row)
    if not all(map(_is_plain, item)):
        return None
    members = ", ".join([f"'{name}': ?" for name in item])
    text = f'INSERT INTO "{keys.physical}" VALUE {{{members}}}'
    if len(text) > STATEMENT_CHARS_MAX:
        return None
    statement: Attributes = {"Statement": text, "Parameters": list(item.values())}
    return Birth(write, keys, statement, size + 64)


def _is_plain(name: str) -> bool:
    """Whether a name needs no escaping in a statement, by anybody's rules."""
    return name.isprintable() and not ("'" in name or '"' in name or "\\" in name or "?" in name)


def batches_of(births: Sequence[Birth]) -> list[list[Birth]]:
    """Births in calls, within the limits of one."""
    batches: list[list[Birth]] = []
    size = 0
    for birth in births:
        size += birth.size
        if not batches or len(batches[-1]) == STATEMENTS_MAX or size > BATCH_BYTES_MAX:
            batches.append([])
            size = birth.size
        batches[-1].append(birth)
    return batches


def insert(calls: Calls, births: Sequence[Birth]) -> list[Left]:
    """Make one batch of births; those that are not known to be done. All others are durable.

    Raises:
        StorageError: throttled for `PATIENCE_S`, or nobody answers.
        ConflictError, DamageError: as `read_items` says, of what stands there after a lost reply.
    """
    given_up: list[Left] = []
    left, begun, attempt = list(births), calls.clock.monotonic(), 0
    while left:
        reply = _execute(calls, left)
        if isinstance(reply, str):
            return given_up + [Left(each.write, code=reply) for each in left]
        if reply is None or len(reply) != len(left):
            return given_up + _not_there(calls, left)
        throttled: list[Birth] = []
        for birth, said in zip(left, reply, strict=True):
            code = said.get("Error", {}).get("Code")
            if code in _THROTTLED:
                throttled.append(birth)
            elif "Error" in said:
                given_up.append(Left(birth.write, in_doubt=code in _IN_DOUBT, code=str(code)))
        if len(throttled) < len(left):
            begun, attempt = calls.clock.monotonic(), 0
        left = throttled
        if left:
            calls.unprocessed(begun, attempt)
            attempt += 1
    return given_up


def _execute(
    calls: Calls, births: Sequence[Birth]
) -> Sequence[Mapping[str, Attributes]] | str | None:
    """One call: what it says of each; a code, and nothing was done; or ``None``, nobody knows."""
    for again in calls.tries():
        try:
            reply = calls.once(
                "batch_execute_statement",
                Statements=[birth.statement for birth in births],
                ReturnConsumedCapacity="TOTAL",
            )
        except BinlogError:
            raise
        except Exception as error:  # noqa: BLE001 - the SDK's, told apart here
            code = error_code(error)
            if not was_refused(error):
                return None
            if code and code not in THROTTLES:
                return code  # a put is refused for the same reason, or is not
            again(error)
        else:
            said: Sequence[Mapping[str, Attributes]] = reply.get("Responses", ())
            return said
    raise AssertionError("unreachable")


def _not_there(calls: Calls, births: Sequence[Birth]) -> list[Left]:
    """Those that do not stand there as we write them. A late attempt may still do that."""
    found = {}
    for keys in {birth.keys.physical: birth.keys for birth in births}.values():
        wanted = [birth.write.key for birth in births if birth.keys.physical == keys.physical]
        for key, row in read_items(calls, keys, wanted).items():
            found[keys.physical, key] = row
    return [
        Left(birth.write, in_doubt=True)
        for birth in births
        if found.get((birth.keys.physical, birth.write.key)) != birth.write.row
    ]
