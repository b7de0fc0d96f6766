"""Conditional writes of items (I1, I2): `PutItem`, or 25 INSERTs a call of what is known to be new.

An item is known to be new where a fold found none (I2, base 0), and where a blind put is the first
of its key in a table that began empty here (`dynamodb_births`). It goes as a statement
(`dynamodb_statements`); whatever does not come of it plainly done is put like everything else.

What may become of a put:

* done; or its condition failed, which the caller is told;
* throttled, or refused before it was looked at: made again after a pause;
* no reply (lost, timed out, a server's error): the item is read, strongly consistent. If it is what we
  wrote, the write is done, otherwise it is made again, or its condition fails by now. An attempt
  that lands after all this meets the same condition, so it changes nothing;
* an item that no applier made stands there: refused, never written over, but for one of an adopted
  table (`dynamodb_adopted`): on its first touch, if it is as it was adopted, on that condition.

As many calls are made at a time as the service takes. What was tried beside: ``BatchWriteItem`` takes
no conditions, ``TransactWriteItems`` costs twice the units.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from appliers.item import Row, Write, condition_holds
from appliers.stores.dynamodb_adopted import Adopted, BaseHashes, check_untouched
from appliers.stores.dynamodb_births import Births
from appliers.stores.dynamodb_calls import CONDITION, INVALID, MISSING, Calls
from appliers.stores.dynamodb_items import (
    Attributes,
    Keys,
    key_attributes,
    row_of,
    stored_item,
    unholdable,
)
from appliers.stores.dynamodb_statements import (
    Birth,
    Left,
    batches_of,
    birth_of,
    insert,
)
from appliers.stores.generations import lost_table
from binlog.aws.errors import error_code, was_refused
from binlog.errors import BinlogError
from binlog.logger import get_logger
from binlog.values import RESERVED_ATTRIBUTE

_logger = get_logger(__name__)

_NAMES = {"#b": RESERVED_ATTRIBUTE, "#v": "v", "#p": "p", "#k": "k"}
_NAMES_PARKED = {**_NAMES, "#t": "t"}
# An item without `_binlog` has no version to be below another, so it fails every condition.
_OLDER = "#b.#v < :v AND #b.#p = :p AND attribute_not_exists(#b.#k)"
_SAME = "#b.#v = :base AND #b.#p = :p AND attribute_not_exists(#b.#k)"
_SAME_PARKED = "#b.#v = :base AND #b.#p = :p AND #b.#k = :true AND #b.#t = :tail"


def condition_of(write: Write, hash_key: str) -> dict[str, Any]:
    """The parameters of `PutItem` that say the condition of a write."""
    row = write.row
    if write.tail is not None:
        return {
            "ConditionExpression": _SAME_PARKED,
            "ExpressionAttributeNames": _NAMES_PARKED,
            "ExpressionAttributeValues": {
                ":p": {"N": str(row.partition)},
                ":base": {"N": str(write.base)},
                ":tail": {"N": str(write.tail)},
                ":true": {"BOOL": True},
            },
        }
    if write.base == 0:
        return {
            "ConditionExpression": "attribute_not_exists(#h)",
            "ExpressionAttributeNames": {"#h": hash_key},
        }
    values = {":p": {"N": str(row.partition)}}
    if write.base is None:
        return {
            "ConditionExpression": f"attribute_not_exists(#h) OR ({_OLDER})",
            "ExpressionAttributeNames": {**_NAMES, "#h": hash_key},
            "ExpressionAttributeValues": values | {":v": {"N": str(row.version)}},
        }
    return {
        "ConditionExpression": _SAME,
        "ExpressionAttributeNames": _NAMES,
        "ExpressionAttributeValues": values | {":base": {"N": str(write.base)}},
    }


COMPARED_MAX = 140
"""An expression has at most 300 operators and functions, AND among them, and 4 KB ("Expression
parameters" in the developer guide's Constraints.html), names and values beside it."""


def unmarked_condition(item: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a write that say: no marks, and every attribute still as in ``item``.

    Of an item of more than `COMPARED_MAX` attributes so many are compared. That another one has
    come to it, no condition can say.
    """
    names = {"#b": RESERVED_ATTRIBUTE}
    values: dict[str, Any] = {}
    terms = ["attribute_not_exists(#b)"]
    for n, (name, value) in enumerate(sorted(item.items())[:COMPARED_MAX]):
        names[f"#a{n}"] = name
        values[f":a{n}"] = value
        terms.append(f"#a{n} = :a{n}")
    return {
        "ConditionExpression": " AND ".join(terms),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


def _touches(adopted: Adopted, write: Write) -> bool:
    """Whether a write is an event's first on an item that was adopted."""
    is_first = write.base == adopted.versions[write.row.partition]
    return is_first and write.tail is None


class Writer:
    """Writes items of one generation."""

    def __init__(
        self,
        calls: Calls,
        generation: str,
        births: Births | None = None,
        hashes: BaseHashes | None = None,
    ) -> None:
        """Without ``births`` everything is put. ``hashes`` are of what tables were adopted with."""
        self._hashes = hashes
        self._calls = calls
        self._generation = generation
        self._births = births

    def write(self, places: Mapping[str, Keys], writes: Sequence[Write]) -> list[Write]:
        """Those whose condition failed, in the order given; all others are durable.

        Raises:
            ConflictError: somebody else's item stands where one is to be written.
            PoisonError: DynamoDB will never take the item.
            LostError: the table is gone, since another generation has replaced it.
            SpentError: see `Calls.check_unspent`; what was written before stays.
            StorageError: not done, or nobody knows; made again it is harmless.
        """
        births, puts = self._sorted(places, writes)
        failed: set[tuple[str, bytes]] = set()
        mutex = threading.Lock()

        def do(work: list[Birth] | Left) -> None:
            self._calls.check_unspent()
            if isinstance(work, Left):
                write = work.write
                if not self._put(write, places[write.table], in_doubt=work.in_doubt):
                    with mutex:
                        failed.add((write.table, write.key))
            elif left := insert(self._calls, work):
                with mutex:
                    puts_then.extend(left)

        puts_then: list[Left] = []
        work: list[list[Birth] | Left] = [*batches_of(births), *puts]
        self._calls.each(do, work)
        if puts_then:
            self._learn(places, puts_then)
            self._calls.each(do, puts_then)
        return [write for write in writes if (write.table, write.key) in failed]

    def _sorted(
        self, places: Mapping[str, Keys], writes: Sequence[Write]
    ) -> tuple[list[Birth], list[Left]]:
        """What is to be inserted, and what is to be put."""
        births: list[Birth] = []
        puts: list[Left] = []
        known = self._births
        for write in writes:
            keys, birth = places[write.table], None
            if known is not None and write.base in (None, 0) and write.tail is None:
                is_first = known.first(keys.physical, write.key)
                if known.permitted and (is_first or write.base == 0):
                    birth = birth_of(write, keys)
            if birth is None:
                puts.append(Left(write))
            else:
                births.append(birth)
        # One alone saves nothing. Where the limit is near, each is to be asked for (`check_unspent`).
        if len(births) == 1 or sum(birth.units for birth in births) > self._calls.unspent:
            puts += [Left(birth.write) for birth in births]
            births = []
        return births, puts

    def _learn(self, places: Mapping[str, Keys], left: Sequence[Left]) -> None:
        """What statements that were not done say about later ones."""
        assert self._births is not None
        for each in left:
            if each.exists and not each.in_doubt and each.write.base is None:
                self._births.forget(places[each.write.table].physical)
            if each.denied and self._births.permitted:
                self._births.permitted = False
                _logger.warning(
                    "statements.denied",
                    store=self._calls.name,
                    do="permit dynamodb:PartiQLInsert (binlog policy applier); puts are slower",
                )

    def _put(self, write: Write, keys: Keys, *, in_doubt: bool) -> bool:
        if not write.moves_on:
            return False  # a version never goes back, whatever stands there
        item = stored_item(write.key, write.row)
        condition = condition_of(write, keys.schema.hash[0])
        if keys.adopted is not None and _touches(keys.adopted, write):
            first = self._first_touch(write, keys, keys.adopted)
            if first is None:
                return False
            condition = first
        for again in self._calls.tries():
            try:
                self._calls.once(
                    "put_item",
                    TableName=keys.physical,
                    Item=item,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    ReturnConsumedCapacity="TOTAL",
                    **condition,
                )
            except BinlogError:
                raise
            except Exception as error:  # noqa: BLE001 - the SDK's, told apart by `_judge`
                outcome = self._judge(error, write, keys, in_doubt=in_doubt)
                if outcome is not None:
                    return outcome
                in_doubt = in_doubt or not was_refused(error)
                again(error)
            else:
                return True
        raise AssertionError("unreachable")

    def _first_touch(self, write: Write, keys: Keys, adopted: Adopted) -> dict[str, Any] | None:
        """The condition of the first write of an adopted item; ``None``: there is none any more.

        Raises:
            PoisonError: it is not what was adopted.
        """
        assert self._hashes is not None
        stands = self._get(write, keys)
        row = self._row_of(stands, keys)
        check_untouched(
            self._hashes, adopted, [write.key], {write.key: row} if row else {}, self._calls.name
        )
        if stands is None:
            return None
        if (
            RESERVED_ATTRIBUTE in stands
        ):  # parked once, and put back without any event, it has marks
            return condition_of(write, keys.schema.hash[0])
        return unmarked_condition(stands)

    def _judge(self, error: Exception, write: Write, keys: Keys, *, in_doubt: bool) -> bool | None:
        """What an error says about the write: done, failed, or ``None``: to be made again."""
        code = error_code(error)
        if code == CONDITION:
            old: Attributes | None = getattr(error, "response", {}).get("Item")
            # Not every stand-in or proxy hands it over; of an absent item there is none.
            row = self._row_of(old, keys) if old else self._stands(write, keys)
            return in_doubt and row == write.row
        if code == MISSING:
            raise lost_table(self._calls.name, self._generation, write.table) from error
        if code == INVALID:
            said = getattr(error, "response", {}).get("Error", {}).get("Message", code)
            raise unholdable(
                write.table, write.key, write.row, " ".join(str(said).split()), self._calls.name
            ) from error
        if was_refused(error):
            return None
        row = self._stands(write, keys)
        if row == write.row:
            return True
        return None if condition_holds(write, row) else False

    def _stands(self, write: Write, keys: Keys) -> Row | None:
        """What is there now, strongly consistent."""
        return self._row_of(self._get(write, keys), keys)

    def _get(self, write: Write, keys: Keys) -> Attributes | None:
        reply = self._calls.call(
            "get_item",
            TableName=keys.physical,
            Key=key_attributes(write.key),
            ConsistentRead=True,
            ReturnConsumedCapacity="TOTAL",
        )
        found: Attributes | None = reply.get("Item")
        return found

    def _row_of(self, item: Attributes | None, keys: Keys) -> Row | None:
        return row_of(item, keys, self._calls.name) if item else None
