"""Putting back what waits: an item's dead letters are folded onto it, in order, by today's rules.

For each item that is parked:

* its row is read, and then its letters. Every letter up to the row's tail is there by then
  (`appliers.letters`); one beyond it is of a commit that has not come to its end, and is left alone;
* the letters are folded onto the item up to the first that still cannot be applied, if there is one.
  Where something is to be noted besides the item, the row is read once more: no letter of it that
  counts can have gone between two readings that are alike;
* the item is written, no longer parked if nothing is left, on the condition that version and tail are
  as they were read. If that fails, another event came meanwhile, or somebody else does the same: it is
  read again;
* only then do those letters go. What a crash leaves of them is recognized by the version of its item.

So a redrive may run beside the consumers, at any time and twice at once, and what it makes of an item
is what a rebuild that parks would by the same rules.

An event that stands alone has no place in an order: later events of whatever it concerns were applied.
It goes if today's rules have nothing to do with it; else a rebuild takes it in its place, or an
exclusion passes it. A letter that an exclusion of its generation names (`consumers.leaving_out`) is passed
over, and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice

import msgspec

from appliers.applier import Rules
from appliers.exclusion import parse_exclusions
from appliers.fingerprint import check_fingerprint, fingerprint
from appliers.fold import Fold
from appliers.item import Row, Write
from appliers.letters import DeadLetter, run_of
from appliers.refold import fold_letter
from appliers.routing import Routing
from appliers.store import Generation, Shareable, Store
from binlog.errors import ConflictError, PoisonError
from binlog.logger import get_logger
from binlog.params import decode_genesis
from binlog.vector import offset_of
from consumers.leaving_out import LeftOut, check_left_out, find_left_out
from consumers.waiting import Outcome, Redriven, Waiting, waiting_in

__all__ = ["CHUNK", "TRIES_MAX", "Redrive", "Redriven", "Waiting", "waiting_in"]

CHUNK = 500  # letters of an item in memory, and in one write of it
TRIES_MAX = 8  # of one item against others who move it

_logger = get_logger(__name__)


class Redrive:
    """Puts back what waits in ``store``, or says what would come of it.

    ``tables`` and ``key`` (canonical bytes) narrow it down. ``without`` are ids of events that wait,
    and that are left out of their generations from now on (`consumers.leaving_out`). ``dry_run`` writes
    nothing.

    Raises:
        MismatchError: the rules are not those that the store was made by.
        ConflictError: the store belongs to no log; an event cannot be left out.
    """

    def __init__(
        self,
        store: Store,
        rules: Rules,
        *,
        tables: Collection[str] | None = None,
        key: bytes | None = None,
        without: Collection[str] = (),
        same_meaning: bool = False,
        dry_run: bool = True,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        """``between`` is called before each write, by tests."""
        genesis = store.genesis()
        if genesis is None:
            raise ConflictError("the store belongs to no log yet", store.name, "replicate into it")
        self._store = store
        self._params = decode_genesis(genesis, store.name)
        self._rules = rules
        self._tables = tables
        self._key = key
        self._without = without
        self._same_meaning = same_meaning
        self.left_out: list[LeftOut] = []
        """The events that are left out from now on, once `run` is through."""
        self._dry_run = dry_run
        self._between = between

    def run(self) -> Iterator[Redriven]:
        """One by one, in the order of `waiting_in`, generation by generation.

        Raises:
            MismatchError: see the class; nothing of that generation was touched.
            LostError: the generation was replaced meanwhile.
            ConflictError: an event cannot be left out; nothing of its generation was touched.
        """
        current = fingerprint(self._rules)
        if not self._dry_run and isinstance(self._store, Shareable) and self._store.shared:
            self._store.share()
        generations = self._store.generations()
        taken = [table for each in generations if not each.open for table in each.tables]
        left_out = find_left_out(self._store, generations, self._without) if self._without else {}
        for generation in generations:
            names = [*([""] if generation.open else ()), *generation.tables]
            wanted = [name for name in names if self._tables is None or name in self._tables]
            if not any(next(self._store.letters(name), None) for name in wanted):
                continue
            check_fingerprint(
                generation.fingerprint,
                current,
                where=f"{self._store.name}, tables {', '.join(generation.tables) or 'none yet'}",
                met=generation.types,
                tables=generation.tables,
                same_meaning=self._same_meaning,
            )
            events = left_out.get(generation.id, [])
            rules = {each.rule for each in events}.difference(generation.excluded)
            routing = Routing(
                self._params,
                rules=self._rules,
                tables=None if generation.open else generation.tables,
                without=taken if generation.open else (),
                exclusions=parse_exclusions((*generation.excluded, *rules)),
            )
            if events:
                checkpoints = self._store.checkpoints(generation.id)
                check_left_out(self._store, generation, routing, events, checkpoints)
                self.left_out += events
            if (generation.fingerprint != current or rules) and not self._dry_run:
                self._store.describe(
                    generation.id, fingerprint=current, types=(), excluded=sorted(rules)
                )
            for table in wanted:
                yield from _Table(self._store, generation, routing, table).redrive(
                    self._key, dry_run=self._dry_run, between=self._between
                )


class _Table:
    """One table's letters. The one that is called "" holds those of events that name none."""

    def __init__(self, store: Store, generation: Generation, routing: Routing, table: str) -> None:
        self._store = store
        self._generation = generation.id
        self._routing = routing
        self._table = table
        self._applied = {p: c.applied for p, c in store.checkpoints(generation.id).items()}

    def redrive(
        self, key: bytes | None, *, dry_run: bool, between: Callable[[], object]
    ) -> Iterator[Redriven]:
        self._dry_run, self._between = dry_run, between
        for waiting in list(waiting_in(self._store, self._table)):
            if key is None or waiting.key == key:
                yield self._alone(waiting) if waiting.alone else self._item(waiting)

    # -- items -----------------------------------------------------------------------------------

    def _item(self, waiting: Waiting) -> Redriven:
        """Chunk by chunk, until nothing is left or an event still cannot be applied."""
        applied = rejected = tries = 0
        found: Row | None = None
        rest: Iterator[DeadLetter] | None = None  # of a dry run, which removes none of them
        begin: int | None = None
        while True:
            row = found if self._dry_run and found is not None else self._read(waiting.key)
            if row is None or not row.parked:
                self._tidy(waiting, row)
                outcome: Outcome = "back" if applied else "gone"
                return Redriven(waiting, outcome, applied, rejected)
            if begin is None:
                begin = row.version
                if waiting.first.version <= begin:  # left by a crash
                    self._tidy(waiting, row)
            if rest is None or not self._dry_run:
                rest = self._letters(waiting, after=row.version, through=row.tail)
            letters = list(islice(rest, CHUNK))
            if not letters:
                tries += 1
                if tries < TRIES_MAX:  # somebody else has put them back, since the row was read
                    continue
                return self._stopped(waiting, begin, applied, rejected, None)  # `check` says why
            step = self._fold(row, letters)
            found = self._row_after(row, step, letters)
            if not (found.parked or found.version):
                reason = "no event is left that made the item: rebuild the table"
                nothing = msgspec.structs.replace(letters[0], reason=reason)
                return self._stopped(waiting, begin, applied, rejected, nothing)
            if not self._write(row, found, letters, step):
                tries += 1
                if tries < TRIES_MAX:
                    continue
                reason = f"others moved the item {TRIES_MAX} times meanwhile: redrive it again"
                moved = msgspec.structs.replace(letters[0], reason=reason)
                return self._stopped(waiting, begin, applied, rejected, moved)
            applied += step.taken
            rejected += len(step.fold.rejections)
            if step.stopped is not None:
                return self._stopped(waiting, begin, applied, rejected, step.stopped)

    def _stopped(
        self,
        waiting: Waiting,
        begin: int,
        applied: int,
        rejected: int,
        stopped: DeadLetter | None,
    ) -> Redriven:
        """``begin`` is the item's version as it was found: letters up to it count for nothing."""
        outcome: Outcome = "partly" if applied else "stays"
        # Counted again: more may have come.
        left = sum(1 for _ in self._letters(waiting, after=begin, through=1 << 63))
        if self._dry_run:
            left -= applied
        return Redriven(waiting, outcome, applied, rejected, left, stopped)

    def _read(self, key: bytes) -> Row | None:
        return self._store.read(self._generation, self._table, [key]).get(key)

    def _letters(self, waiting: Waiting, *, after: int, through: int) -> Iterator[DeadLetter]:
        """The item's letters of these versions, as they are now."""
        item = waiting.partition, waiting.key
        for letter in self._store.letters(self._table, item=item):
            if letter.alone == waiting.alone and after < letter.version <= through:
                yield letter

    def _fold(self, row: Row, letters: Sequence[DeadLetter]) -> _Step:
        """As many as can be applied."""
        first = letters[0]
        fold = Fold(self._routing, after=None, parks=True)
        whole = msgspec.structs.replace(row, parked=False, tail=0)
        fold.preload(first.partition, self._table, {first.key: whole})
        for taken, letter in enumerate(letters):
            if self._is_left_out(letter):
                continue
            try:
                if not fold_letter(fold, letter):
                    reason = (
                        "today's rules do not send it to this item: they do not mean what those did "
                        "that it was parked by; rebuild the table"
                    )
                    return _Step(fold, taken, msgspec.structs.replace(letter, reason=reason))
            except PoisonError as error:
                reason = str(error.details.get("reason", error.what))
                return _Step(fold, taken, msgspec.structs.replace(letter, reason=reason))
            if fold.parking.letters:
                return _Step(fold, taken, fold.parking.letters[0])
        return _Step(fold, len(letters), None)

    def _is_left_out(self, letter: DeadLetter) -> bool:
        exclusions = self._routing.exclusions
        return exclusions is not None and exclusions.names(letter.partition, letter.offset)

    def _row_after(self, row: Row, step: _Step, letters: Sequence[DeadLetter]) -> Row:
        [after] = [row for _, row in step.fold.rows(self._table)]
        is_all = step.stopped is None and letters[-1].version == row.tail
        return msgspec.structs.replace(after, parked=not is_all, tail=0 if is_all else row.tail)

    def _write(self, before: Row, after: Row, letters: Sequence[DeadLetter], step: _Step) -> bool:
        """The item, its letters gone; not if it is no longer as it was read."""
        if self._dry_run:
            return True
        self._between()
        taken, stopped = letters[: step.taken], step.stopped
        write = Write(self._table, letters[0].key, after, before.version, before.tail)
        told = [] if stopped is None or stopped == letters[step.taken] else [stopped]
        # Of a chunk whose events are all refused the item stays as it is; the letters go all the same,
        # or they would be met again and again. Whoever else redrives it refuses the same.
        if not (write.moves_on or told or taken):
            return True
        # What is kept before the item is written, or without that, has to be of these letters on that
        # item: between its row and the letters somebody else may have put the first of them back.
        rejections = step.fold.rejections
        if (rejections or told or not write.moves_on) and self._read(write.key) != before:
            return False
        failed = self._store.commit(
            self._generation,
            [write] if write.moves_on else [],
            [],
            rejections=rejections,
            letters=told,
            settled=[letter.place for letter in taken],
        )
        if not failed and taken:
            _logger.info(
                "letters.redriven",
                table=self._table,
                partition=letters[0].partition,
                offset=offset_of(taken[-1].version),
                count=len(taken),
                parked=after.parked,
            )
        return not failed

    def _tidy(self, waiting: Waiting, row: Row | None) -> None:
        """Remove what a crash left: letters of events that the item has taken, or refused.

        Of one that is parked those beyond its version wait. Of another, those of events beyond the
        checkpoint may be of a commit that is under way.
        """
        if self._dry_run:
            return
        version = 0 if row is None else row.version
        is_parked = row is not None and row.parked
        applied = 0 if is_parked else self._applied.get(waiting.partition, 0)
        while gone := [
            letter.place
            for letter in islice(self._letters(waiting, after=0, through=1 << 63), CHUNK)
            if letter.version <= version or letter.offset <= applied
        ]:
            self._store.commit(self._generation, [], [], settled=gone)

    # -- alone -----------------------------------------------------------------------------------

    def _alone(self, waiting: Waiting) -> Redriven:
        """Those that today's rules have nothing to do with go."""
        gone: list[DeadLetter] = []
        stopped: DeadLetter | None = None
        rebuild = False
        for letter in self._letters(waiting, after=0, through=1 << 63):
            if self._is_left_out(letter):
                gone.append(letter)
                continue
            fold = Fold(self._routing, parks=True, after=None)
            try:
                fold.add(run_of(letter))
                still = [each for each in fold.parking.letters if each.place == letter.place]
                concerned = bool(fold.tables)
            except PoisonError as error:
                # Where it would be applied nothing was read: that is what this error says.
                concerned = not error.details.get("alone", False)
                reason = str(error.details.get("reason", error.what))
                still = [] if concerned else [msgspec.structs.replace(letter, reason=reason)]
            if not still and not concerned:
                gone.append(letter)
                continue
            rebuild = rebuild or not still
            stopped = stopped or (still[0] if still else letter)
        if gone and not self._dry_run:
            self._store.commit(self._generation, [], [], settled=[each.place for each in gone])
        if stopped is None:
            return Redriven(waiting, "gone", applied=len(gone))
        outcome: Outcome = "rebuild" if rebuild else "stays"
        return Redriven(waiting, outcome, len(gone), 0, waiting.count - len(gone), stopped)


class _Step(msgspec.Struct):
    """What a chunk of letters came to: so many are in the fold, and one stopped it."""

    fold: Fold
    taken: int
    stopped: DeadLetter | None
