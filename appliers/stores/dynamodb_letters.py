"""Dead letters in the control table of a DynamoDB store.

::

    letters  # GENERATION   TABLE#00017#KEY#HASH#A#VERSION#CHUNK

``KEY`` is the item's key in hexadecimal, its first `_KEY_BYTES` bytes (a range key has 1,024 bytes,
an item's key may have three times that), ``HASH`` tells longer ones apart, ``A`` is 1 where the event
stands alone. So a query gives a table's letters in the order in which they are asked for.

They lie beside the rejections and not in a table of their own: who can write a checkpoint can write
them, a new table would be another to name, pay for and permit, and what a dead generation leaves goes
in one sweep. They are read as a whole only by those who look after what is parked.

A letter is the same however often it is written, so it is written unconditionally, 25 a call; and
before the mark of its item, so one that lands late is of an item that has moved on, and is no more
than in the way (`consumers.redrive` removes it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

from appliers.letters import DeadLetter, Item, LetterPlace, letter_order
from appliers.stores.dynamodb_calls import Calls
from appliers.stores.dynamodb_catalog import ROW_BYTES_MAX, damaged
from appliers.stores.dynamodb_items import Attributes
from appliers.stores.dynamodb_rows import Rows, write_batch

LETTERS = "letters"
_KEY_BYTES = 256
_BATCH = (
    25  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
)
_BATCH_BYTES = 4 * 1024 * 1024  # of 16 MB that a call may have


def letters_pk(generation: str) -> Attributes:
    """Under which the letters of a generation are."""
    return {"S": f"{LETTERS}#{generation}"}


def item_sk(table: str, item: Item) -> str:
    """What the range keys of an item's letters begin with."""
    partition, key = item
    named, digest = key[:_KEY_BYTES].hex(), sha256(key).hexdigest()[:32]
    return f"{table}#{partition:05d}#{named}#{digest}#"


def place_sk(place: LetterPlace) -> str:
    """What the range keys of a letter's rows begin with."""
    table, partition, key, version, alone = place
    return f"{item_sk(table, (partition, key))}{alone:d}#{version:020d}#"


def letter_items(generation: str, letter: DeadLetter) -> list[Attributes]:
    """The rows of a letter: the first one tells all but what does not fit into it."""
    pk, place = letters_pk(generation), place_sk(letter.place)
    event = letter.event
    chunks = [event[n : n + ROW_BYTES_MAX] for n in range(0, len(event), ROW_BYTES_MAX)]
    items: list[Attributes] = [
        {"pk": pk, "sk": {"S": f"{place}{number:03d}"}, "event": {"B": chunk}}
        for number, chunk in enumerate(chunks)
    ]
    items[0] |= {
        "table": {"S": letter.table},
        "partition": {"N": str(letter.partition)},
        "key": {"B": letter.key},
        "version": {"N": str(letter.version)},
        "alone": {"BOOL": letter.alone},
        "id": {"S": letter.id},
        "type": {"S": letter.type},
        "reason": {"S": letter.reason},
        "chunks": {"N": str(len(chunks))},
    }
    return items


def write_letters(calls: Calls, rows: Rows, generation: str, letters: Sequence[DeadLetter]) -> None:
    """Make letters durable; of one in several rows the one that makes it visible comes last."""
    first: list[Attributes] = []
    more: list[Attributes] = []
    for letter in letters:
        items = letter_items(generation, letter)
        first.append(items[0])
        more += items[1:]
    for group in (more, first):
        calls.each(
            lambda batch: write_batch(
                calls, rows.table, [{"PutRequest": {"Item": item}} for item in batch]
            ),
            _batches(group),
        )


def remove_letters(
    calls: Calls, rows: Rows, generation: str, places: Iterable[LetterPlace]
) -> None:
    """Keep these letters no longer, whether they are there or not."""
    pk = letters_pk(generation)

    def remove(place: LetterPlace) -> None:
        rows.delete(list(rows.query(pk, begins=place_sk(place)))[1:])

    found = list(places)
    # Nearly all are one row, which is known without asking.
    large = [place for place in found if rows.get(_second(generation, place)) is not None]
    calls.each(remove, large)
    rows.delete({"pk": pk, "sk": {"S": f"{place_sk(place)}000"}} for place in found)


def _second(generation: str, place: LetterPlace) -> Attributes:
    return {"pk": letters_pk(generation), "sk": {"S": f"{place_sk(place)}001"}}


def read_letters(
    rows: Rows, generation: str, table: str, name: str, item: Item | None = None
) -> Iterator[DeadLetter]:
    """A table's letters, or one item's, in order. Raises `DamageError`."""
    begins = f"{table}#" if item is None else item_sk(table, item)
    found = _letters_of(rows.query(letters_pk(generation), begins=begins), name)
    # Of keys that begin alike for long the order is that of their hashes.
    for _, alike in groupby(found, key=lambda each: (each.partition, each.key[:_KEY_BYTES])):
        yield from sorted(alike, key=letter_order)


def _letters_of(items: Iterable[Mapping[str, Any]], name: str) -> Iterator[DeadLetter]:
    head: Mapping[str, Any] | None = None
    event: list[bytes] = []
    for item in items:
        if "chunks" in item:
            head, event = item, []
        if head is None:
            continue  # of a letter that is not whole yet, or no longer
        try:
            event.append(bytes(item["event"]["B"]))
            if len(event) == int(head["chunks"]["N"]):
                yield DeadLetter(
                    table=head["table"]["S"],
                    partition=int(head["partition"]["N"]),
                    key=bytes(head["key"]["B"]),
                    version=int(head["version"]["N"]),
                    alone=head["alone"]["BOOL"],
                    id=head["id"]["S"],
                    type=head["type"]["S"],
                    reason=head["reason"]["S"],
                    event=b"".join(event),
                )
                head = None
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(f"a dead letter is damaged ({error})", name) from error
    if head is not None:
        raise damaged("a dead letter lacks a part", name)


def _batches(items: Sequence[Attributes]) -> list[list[Attributes]]:
    batches: list[list[Attributes]] = []
    size = 0
    for item in items:
        size += len(item["event"]["B"])
        if not batches or len(batches[-1]) == _BATCH or size > _BATCH_BYTES:
            batches.append([])
            size = len(item["event"]["B"])
        batches[-1].append(item)
    return batches
