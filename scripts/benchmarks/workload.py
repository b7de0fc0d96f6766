"""The change history that every party of the benchmark is given.

A history is a pure function of (events, keys, seed): the same numbers give the same bytes on
every machine and in every process, so nobody has to keep or ship a file of events. It looks like
the change stream of a table of orders:

- 79 % PutItem, 11 % UpdateItem (Set, Add, Remove), 10 % DeleteItem;
- keys are Zipf-distributed (exponent 1), so a few are hot and most are seen once or twice;
- an update or delete prefers a key that is there, as an application's would, but some meet
  nothing, because every party has to get that right too;
- a line of JSON is 200 bytes on average, an item has 8 attributes beside its key.

An action is a plain dict in the form that `binlog append` reads. The oracle, `final_items`, is a
deliberately naive fold written for the benchmark alone: it shares no code with the appliers, so a
digest that agrees with it means something.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random
from typing import Any

import msgspec

TABLE = "orders"
PARTITIONS = 64
SEED = 20_240_917
EVENTS_PER_KEY = 10
"""Distinct keys met are about a tenth of the events."""

Action = dict[str, Any]
Items = dict[str, dict[str, Any]]
"""Live items by the text of their key attribute `id`."""

_PUTS, _UPDATES = 0.79, 0.11
_STATUSES = ("placed", "paid", "packed", "shipped", "arrived", "returned")
_CITIES = ("Oslo", "Lima", "Kyoto", "Accra", "Quito", "Turin", "Perth", "Minsk")
_CARRIERS = ("post", "dhl", "ups", "bike", "van")
_ATTEMPTS = 4
"""Draws for an update or delete before it accepts a key that is not there."""


class History(msgspec.Struct, frozen=True):
    """A history that can be walked as often as wanted without being kept."""

    events: int
    keys: int
    """Size of the key space; a Zipf tail leaves about a fifth of it untouched."""
    seed: int = SEED

    def __iter__(self) -> Iterator[Action]:
        return _actions(self)

    def batches(self, size: int) -> Iterator[list[Action]]:
        """The same actions in lists of `size` (the last one may be shorter)."""
        return in_batches(self, size)


def in_batches(actions: Iterable[Action], size: int) -> Iterator[list[Action]]:
    """The same actions in lists of `size` (the last one may be shorter)."""
    left = iter(actions)
    while batch := list(islice(left, size)):
        yield batch


def history(events: int, *, seed: int = SEED) -> History:
    """The history of `events` events over a key space in proportion."""
    return History(events=events, keys=max(8, events // (EVENTS_PER_KEY - 2)), seed=seed)


def _actions(spec: History) -> Iterator[Action]:
    random = Random(spec.seed)
    draw, pick, bits = random.random, random.choice, random.getrandbits
    span = math.log(spec.keys + 1)
    stride = _coprime_stride(spec.keys)
    exp = math.exp
    alive = bytearray(spec.keys)
    for _ in range(spec.events):
        kind = draw()
        index = (int(exp(draw() * span)) - 1) * stride % spec.keys
        if kind >= _PUTS:
            attempts = _ATTEMPTS
            while not alive[index] and attempts:
                index = (int(exp(draw() * span)) - 1) * stride % spec.keys
                attempts -= 1
        key = {"id": f"o-{index:07d}"}
        if kind < _PUTS:
            alive[index] = 1
            yield {
                "Action": "PutItem",
                "Table": TABLE,
                "Key": key,
                "Data": {
                    "customer": f"customer-{bits(16):05d}",
                    "status": pick(_STATUSES),
                    "total": bits(17),
                    "paid": kind < 0.5,
                    "city": pick(_CITIES),
                    "lines": [{"sku": f"sku-{bits(12)}", "count": 1 + bits(2)}],
                    "carrier": pick(_CARRIERS),
                    "visits": bits(3),
                },
            }
        elif kind < _PUTS + _UPDATES:
            alive[index] = 1
            change: dict[str, Any] = {"Set": {"status": pick(_STATUSES), "total": bits(17)}}
            if kind < _PUTS + 0.04:
                change["Add"] = {"visits": 1 + bits(2)}
            elif kind < _PUTS + 0.06:
                change["Remove"] = ["carrier"]
            yield {"Action": "UpdateItem", "Table": TABLE, "Key": key, "Data": change}
        else:
            alive[index] = 0
            yield {"Action": "DeleteItem", "Table": TABLE, "Key": key}


def _coprime_stride(keys: int) -> int:
    """A step that visits every index once, so that hot keys are not neighbours."""
    stride = max(1, int(keys * 0.618))
    while math.gcd(stride, keys) != 1:
        stride += 1
    return stride


def fold_one(items: Items, action: Action) -> None:
    """Apply one action to `items`: the oracle's rule, in as few words as it can be said."""
    key: dict[str, Any] = action["Key"]
    name: str = key["id"]
    kind = action["Action"]
    if kind == "PutItem":
        items[name] = {**action["Data"], **key}
    elif kind == "DeleteItem":
        items.pop(name, None)
    else:
        items[name] = change_item(items.get(name, key), action["Data"])


def change_item(item: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The item after an UpdateItem's Set, Add (numbers) and Remove; `item` is left alone."""
    after = {**item, **change.get("Set", {})}
    for name, amount in change.get("Add", {}).items():
        after[name] = after.get(name, 0) + amount
    for name in change.get("Remove", ()):
        after.pop(name, None)
    return after


def final_items(actions: Iterable[Action]) -> Items:
    """What the table holds after `actions`: the answer that every party must arrive at."""
    items: Items = {}
    for action in actions:
        fold_one(items, action)
    return items


def digest_items(items: Items) -> str:
    """One hash of a table that does not depend on the order of items or attributes."""
    digest = hashlib.sha256()
    encode = msgspec.json.Encoder(order="deterministic").encode
    for name in sorted(items):
        digest.update(encode(items[name]))
        digest.update(b"\n")
    return digest.hexdigest()
