"""Whether three stores are what the reference makes of the stream, to the byte.

The reference is `tests.faults.fault_judge.Truth`: the raw records, numbered by the model and folded
by tables written from the specification. What a table's digest is, is spelt out here once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from appliers.store import Store
from appliers.summary import summarize
from tests.faults.fault_judge import Truth


def differences(truth: Truth, store: Store) -> Iterator[str]:
    """What is not as it has to be at rest, the first thing first, each in a line."""
    vector = {partition: len(taken) for partition, taken in truth.sequenced.items() if taken}
    generations = store.generations()
    if not generations:
        yield f"{store.name}: there is nothing"
    for generation in generations:
        rows = store.checkpoints(generation.id)
        for partition, end in sorted(vector.items()):
            row = rows.get(partition)
            if row is None or row.applied != end:
                stands = "nowhere" if row is None else f"at {row.applied}"
                yield f"{store.name}: partition {partition} stands {stands}, and ends at {end}"
            elif row.digest != truth.digests[partition]:
                yield f"{store.name}: partition {partition} went another way to {end}"
    names = {table for generation in generations for table in generation.tables}
    if names != truth.tables.names():
        yield f"{store.name}: tables {sorted(names)}, expected {sorted(truth.tables.names())}"
    for table in sorted(names):
        yield from _different_rows(truth, store, table)
    letters = list(store.letters())
    if letters:
        yield f"{store.name}: {len(letters)} events still wait, the first {letters[0].id}"
    told = summarize(store)
    if {p: end for p, end in told.vector.items() if end} != vector:
        yield f"{store.name}: its vector is {told.vector}, expected {vector}"
    for table in sorted(names & truth.tables.names()):
        expected = digest_of_table(truth, table)
        if told.tables[table].digest != expected:
            found = told.tables[table].digest
            yield f"{store.name}: table {table} has the digest {found}, expected {expected}"


def _different_rows(truth: Truth, store: Store, table: str) -> Iterator[str]:
    expected = {
        key: (version, partition, data, False, 0)
        for key, (version, partition, data) in truth.tables.rows(table).items()
    }
    found = {
        key: (row.version, row.partition, row.data, row.parked, row.tail)
        for key, row in store.scan(table)
    }
    for key in sorted({*expected, *found}):
        if expected.get(key) != found.get(key):
            yield (
                f"{store.name}: table {table}, key {key!r}: found {found.get(key)},"
                f" expected {expected.get(key)}"
            )


def digest_of_table(truth: Truth, table: str) -> str:
    """The sum of its rows' hashes, by the layout that DESIGN.md and `appliers.digest` show."""
    name, total = table.encode(), 0
    for key, (version, _, data) in truth.tables.rows(table).items():
        item = b"" if data is None else data
        head = len(name).to_bytes(2, "big") + name + version.to_bytes(8, "big")
        head += bytes([data is None]) + bytes(8)
        head += len(key).to_bytes(4, "big") + len(item).to_bytes(4, "big")
        total += int.from_bytes(sha256(head + key + item).digest(), "big")
    return f"{total % 2**256:064x}"
