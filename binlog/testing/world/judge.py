"""The judge: every journal of a world, held against the truth about its log.

Each entry is looked at once, in the order in which the entries became durable, and only once,
however often the judge is asked. What has to hold (numbers as in DESIGN.md):

* 10: a row is the item's canonical fold at its version, to the byte;
* 11: an item's version never goes back, and nothing is written to a generation that was replaced;
* 12: at a checkpoint, every event at or below it is in its item, or rejected and noted;
* 13: a checkpoint never moves back, nor beyond the log;
* 15: at one place of the log all consumers have the same offset, digest and sequencer state,
  the offset is the reference's, and so is the digest at the log's end;
* I5: a rejection is one of the reference's, and noted once;
* an event that cannot be applied is left out by an exclusion, and no other event is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from appliers.item import Row
from appliers.store import Checkpoint
from binlog.sequencer_state import SequencerState
from binlog.testing.violation import Violation
from binlog.testing.words import differences, say_key
from binlog.testing.world.cell import Cell
from binlog.testing.world.contents import check_rows, fact
from binlog.testing.world.store import Began, Kept, Moved, Noted, WorldStore, Wrote
from binlog.testing.world.truth import Truth, item_of
from binlog.values import decode_value
from binlog.vector import Vector

Item = dict[str, Any]
_Seen = tuple[int, bytes, bytes]  # of a place in the log: offset, digest, hash of the state


class Invariants(msgspec.Struct, frozen=True):
    """What must be true of the user's items; either raises `AssertionError` where it is not.

    ``item(table, key, item)`` is asked once for each version that an item ever has, ``None`` where
    it is deleted. ``replica(vector, tables)`` is asked at each vector that a replica's checkpoints
    ever stand at: ``tables`` are the live items there, by table, in the order of their keys.
    """

    item: Callable[[str, Item, Item | None], object] | None = None
    replica: Callable[[dict[int, int], Mapping[str, Sequence[Item]]], object] | None = None


class Judge:
    """Of one world."""

    def __init__(
        self, truth: Truth, stores: Sequence[WorldStore], invariants: Invariants | None = None
    ) -> None:
        self.truth = truth
        self._places: dict[tuple[int, str, int], _Seen] = {}
        self.journals = [
            Journal(store, f"replica {number}", self) for number, store in enumerate(stores)
        ]
        self._invariants = invariants or Invariants()
        self._asked = 0  # versions of items
        self._vectors: set[tuple[tuple[int, int], ...]] = set()

    def look(self) -> None:
        """Look at all that has become durable.

        Raises:
            Violation: a law is broken.
        """
        self.truth.look()
        if self._invariants.item is not None:
            self._ask_of_items(self._invariants.item)
        for journal in self.journals:
            journal.look()

    def _ask_of_items(self, ask: Callable[[str, Item, Item | None], object]) -> None:
        cells = list(self.truth.cells.items())[self._asked :]
        for (table, key, version), cell in cells:
            try:
                ask(table, decode_value(key), item_of(cell))
            except AssertionError as error:
                raise Violation(
                    f"an invariant of {table} {say_key(key)} does not hold at version {version}",
                    law="your invariant",
                    differences=[str(error) or "it raised AssertionError", f"item: {cell.item!r}"],
                ) from error
        self._asked += len(cells)

    def ask_of_replica(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """The user's invariant of whole replicas, once a vector."""
        ask = self._invariants.replica
        if ask is None:
            return
        vector = {p: c.applied for p, c in sorted(checkpoints.items()) if c.applied}
        if tuple(vector.items()) in self._vectors:
            return
        self._vectors.add(tuple(vector.items()))
        tables = {
            table: [item_of(cell) for _, cell in sorted(rows.items()) if cell.data is not None]
            for table, rows in sorted(self.truth.rows_at(vector).items())
        }
        try:
            ask(vector, tables)
        except AssertionError as error:
            raise Violation(
                f"an invariant does not hold of a replica at {vector}",
                law="your invariant",
                differences=[str(error) or "it raised AssertionError"],
            ) from error

    def agree(self, checkpoint: Checkpoint, who: str) -> None:
        """8 and 15: whoever stands at this place of the log has read the same, and no other."""
        place = checkpoint.partition, checkpoint.shard, checkpoint.sequence
        between = self.truth.offsets_at(*place)
        offset, applied = checkpoint.offset, checkpoint.applied
        if between is None or offset != between[0] or not offset <= applied <= between[1]:
            raise Violation(
                f"{who} counts {offset} events of partition {place[0]} up to a record, of which"
                f" {applied} are applied",
                law="the sequencer is its specification (8)",
                differences=[
                    "the log halts its readers before that record"
                    if between is None
                    else f"expected {between[0]}, and {between[1]} up to the next record"
                ],
            )
        seen = checkpoint.offset, checkpoint.digest, sha256(checkpoint.state).digest()
        if self._places.setdefault(place, seen) != seen:
            raise Violation(
                f"{who} has read another partition {place[0]} than somebody else up to the same"
                f" record",
                law="one numbering for all (15)",
                differences=[f"expected {self._places[place]}", f"found {seen}"],
            )


class Journal:
    """What one store's journal has shown so far, of the generation that is live."""

    def __init__(self, store: WorldStore, who: str, judge: Judge) -> None:
        self._store = store
        self._who = who
        self._judge = judge
        self._truth = judge.truth
        self._seen = 0  # entries
        self._begin(Began("", ()))

    def _begin(self, began: Began) -> None:
        self._generation = began.generation
        self._excluded = frozenset(began.excluded)
        self._versions: dict[tuple[str, bytes], int] = {}
        self._checkpoints: dict[int, Checkpoint] = {}
        self._noted: set[tuple[object, ...]] = set()

    def look(self) -> None:
        journal = self._store.journal
        for entry in journal[self._seen :]:
            if type(entry) is Began:
                self._begin(entry)
                continue
            if isinstance(entry, Kept):
                continue  # of the store, and of no generation; see tests/relay
            if entry.generation != self._generation:
                raise Violation(
                    f"{self._who}: written to a generation that was replaced",
                    law="nothing of a lost generation (11)",
                    differences=[repr(entry)],
                )
            if type(entry) is Wrote:
                self._wrote(entry.table, entry.key, entry.row)
            elif type(entry) is Moved:
                self._moved(entry.checkpoint)
            elif type(entry) is Noted:
                self._note(entry)
        self._seen = len(journal)

    def _wrote(self, table: str, key: bytes, row: Row) -> None:
        version = row.version
        cell = self._truth.cells.get((table, key, version))
        if cell is None or row.data != cell.data or row.partition != cell.partition:
            raise self._wrong_row(table, key, row, cell)
        place = table, key
        if version <= self._versions.get(place, 0):
            raise Violation(
                f"{self._who}: {table} {say_key(key)} went from version {self._versions[place]}"
                f" back to {version}",
                law="versions never go back (11)",
            )
        self._versions[place] = version

    def _wrong_row(self, table: str, key: bytes, row: Row, cell: Cell | None) -> Violation:
        law = "a row is the fold of its events (10)"
        what = f"{self._who}: {table} {say_key(key)} was written at version {row.version}"
        if cell is None:
            return Violation(f"{what}, which no event of it has", law=law)
        return Violation(
            f"{what} with another content than its events fold to",
            law=law,
            differences=[
                *differences(cell.item, None if row.data is None else decode_value(row.data)),
                *([] if row.partition == cell.partition else [f"partition {row.partition}"]),
            ],
        )

    def _moved(self, new: Checkpoint) -> None:
        partition, applied = new.partition, new.applied
        old = self._checkpoints.get(partition)
        before = 0 if old is None else old.applied
        if old is not None and _is_back(new, old):
            raise Violation(
                f"{self._who}: the checkpoint of partition {partition} moved back",
                law="checkpoints never move back (13)",
                differences=[f"stood at {_said(old)}", f"moved to {_said(new)}"],
            )
        moved = self._truth.moved[partition]
        if applied > len(moved):
            raise Violation(
                f"{self._who}: applied {applied} events of partition {partition}, and the log has"
                f" {len(moved)}",
                law="nothing beyond the log (13)",
            )
        versions, refused = self._versions, self._truth.refused
        left_out = bool(self._truth.poison or self._excluded)
        for offset in range(before + 1, applied + 1):
            for place in moved[offset - 1]:
                if versions.get(place, 0) < offset:
                    raise self._not_applied(partition, offset, place)
            if (partition, offset) in refused:
                self._check_noted(partition, offset)
            if left_out:
                self._check_left_out(partition, offset)
        self._checkpoints[partition] = new
        self._judge.agree(new, self._who)
        self._judge.ask_of_replica(self._checkpoints)

    def _not_applied(self, partition: int, offset: int, place: tuple[str, bytes]) -> Violation:
        """12: what is at or below a checkpoint is in its item."""
        return Violation(
            f"{self._who}: the checkpoint of partition {partition} passed event {offset},"
            f" which {place[0]} {say_key(place[1])} does not hold",
            law="a checkpoint covers what is applied (12)",
            differences=[f"the item stands at version {self._versions.get(place, 0)}"],
        )

    def _check_noted(self, partition: int, offset: int) -> None:
        for refused in self._truth.refused[partition, offset]:
            if (partition, offset, refused.table, refused.key) not in self._noted:
                raise Violation(
                    f"{self._who}: event {offset} of partition {partition} expected another version"
                    f" of {refused.table} {say_key(refused.key)}, and that was not noted",
                    law="a rejection is noted (I5)",
                )

    def _check_left_out(self, partition: int, offset: int) -> None:
        poison = self._truth.poison.get((partition, offset))
        if (poison is not None) == (f"offsets={partition}:{offset}-{offset}" in self._excluded):
            return
        what = (
            "was refused, although it can be applied"
            if poison is None
            else f"cannot be applied ({poison.reason}), and was passed over"
        )
        raise Violation(
            f"{self._who}: event {offset} of partition {partition} {what}",
            law="what cannot be applied stops everybody",
        )

    def _note(self, entry: Noted) -> None:
        found = entry.rejection
        place = found.partition, found.offset, found.table, found.key
        if place in self._noted:
            raise Violation(
                f"{self._who}: a rejection was noted twice", law="a rejection is noted once (I5)"
            )
        self._noted.add(place)
        found_fact = fact(found)
        refused = self._truth.refused.get((found.partition, found.offset), ())
        expected = [fact(each) for each in refused]
        if found_fact not in expected:
            raise Violation(
                f"{self._who}: event {found.offset} of partition {found.partition} was rejected"
                f" for the version of {found.table} {say_key(found.key)}, wrongly",
                law="a rejection is the reference's (I5)",
                differences=[f"expected {expected or 'none'}", f"found {found_fact}"],
            )

    # -- at rest ---------------------------------------------------------------------------------

    def check_stands_at(self, vector: Vector) -> None:
        """14 and 15: the store is applied up to ``vector``, and holds that and no more."""
        applied = {p: c.applied for p, c in sorted(self._checkpoints.items()) if c.applied}
        if applied != vector:
            raise Violation(
                f"{self._who} has come to rest, and stands elsewhere",
                law="everything is applied in the end (14)",
                differences=differences(vector, applied),
            )
        if vector == self._truth.end():
            for checkpoint in self._checkpoints.values():
                self._check_digest(checkpoint)
        self._check_types(vector)
        check_rows(self._store, self._truth, vector, self._who)

    def check_holds_nothing(self) -> None:
        """7: all that was sent has landed, all sessions have expired, and nothing waits any more."""
        for partition, checkpoint in self._checkpoints.items():
            held = [s.session for s in SequencerState.decode(checkpoint.state).sessions if s.held]
            if held:
                raise Violation(
                    f"{self._who} holds frames of {held[0]} in partition {partition} for ever",
                    law="nothing is held for ever (7)",
                )

    def _check_digest(self, checkpoint: Checkpoint) -> None:
        expected = self._truth.digest(checkpoint.partition)
        if checkpoint.digest != expected:
            raise Violation(
                f"{self._who} has another digest of partition {checkpoint.partition} than what it"
                " holds",
                law="a digest tells what was read (15)",
                differences=[f"expected {expected.hex()}", f"found {checkpoint.digest.hex()}"],
            )

    def _check_types(self, vector: Vector) -> None:
        """What a generation has met decides which changed rules may go on with it."""
        expected = self._truth.types_at(vector)
        [generation] = self._store.generations()
        if {*generation.types} != expected:
            raise Violation(
                f"{self._who} has noted down other types of events than it has met",
                law="what was met is noted",
                differences=differences(sorted(expected), sorted(generation.types)),
            )


def _is_back(new: Checkpoint, old: Checkpoint) -> bool:
    """Whether a checkpoint is not beyond the one before it."""
    if new.applied < old.applied or new.offset < old.offset:
        return True
    return new.shard == old.shard and (new.sequence, new.applied) <= (old.sequence, old.applied)


def _said(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.shard}:{checkpoint.sequence}, event {checkpoint.applied}"
