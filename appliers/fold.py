"""The fold: runs of events in, at most one row or write an item out (I3).

Invariants:

* an item's entry is ``(version, content)``, the canonical fold of its events up to the version;
* every event routed to an item, and neither rejected nor excluded, moves its version, whatever
  else it changes; a delete, or a fold to None, leaves a tombstone, also where nothing was;
* an event at or below the entry's version is in it already, and changes nothing;
* an item's events come from one partition (`appliers.ownership`), so entries are kept by
  partition, and partitions may be folded in any order or by different folds.

Per event of a frame that holds nothing but puts and deletes there is one tuple and one insertion
into a dict; everything that can be is decided once a frame.

Nothing here reads or writes a store: `appliers.batch` folds onto one, a rebuild onto nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from appliers.adoption import Bases, adopt
from appliers.applier import Rule
from appliers.contents import Contents
from appliers.counts import Counts
from appliers.entries import ABSENT, Entry, Items, act, content_of
from appliers.item import Rejection, Row
from appliers.parking import Parking
from appliers.poison import newer, poison, reason_of
from appliers.routing import Op, Plan, Routing
from appliers.transforming import Failure, failures_of, left_out_of
from appliers.user_rules import apply_rule, check_owner, keys_of
from binlog.errors import DamageError, PoisonError, RefusedError, UpgradeError
from binlog.run import Run
from binlog.vector import version_of

__all__ = ["Counts", "Entry", "Fold", "Items"]

_PUT, _DELETE, _UPDATE, _APPLY = Op.PUT, Op.DELETE, Op.UPDATE, Op.APPLY
_ONLY_PUTS = (_PUT,)
_CONTROL = (Op.CONTROL, Op.ADOPT)


class Fold:
    """Items being folded. After an error it is incomplete: throw it away.

    ``after`` says where each partition's runs begin, a partition left out at 0; ``None`` lets the
    first run of each say it. From there on runs have to follow each other without a gap.
    ``parks``: an event that is poison parks its item, and is no error (`appliers.parking`).
    ``bases``: where the content of adopted tables is, for a fold from nothing (`appliers.adoption`).
    """

    def __init__(
        self,
        routing: Routing,
        *,
        after: Mapping[int, int] | None = {},
        parks: bool = False,
        bases: Bases | None = None,
    ) -> None:
        self.routing = routing
        self.counts = Counts()
        self.parking = Parking(self.counts, parks=parks)
        self.rejections: list[Rejection] = []
        """Found so far; whoever takes them away may clear the list."""
        self.types: set[str] = set()
        """Of the domain events met, whether an applier took them or not."""
        self._met: set[str] = set()
        self._after = after
        self._bases_of_tables = bases
        self._reached: dict[int, int] = dict(after or {})
        self._contents = Contents(self.parking)
        self._items_of = self._contents.of

    # -- in ----------------------------------------------------------------------------------

    def preload(self, partition: int, table: str, rows: Mapping[bytes, Row | None]) -> None:
        """Begin these items at what a store holds, ``None``: nothing. Before their first event.

        Of a parked one nothing is folded: what comes for it waits.
        """
        self._contents.preload(partition, table, rows)

    def begin(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> int:
        """Begin a table at the rows of a base, as a rebuild has it; how many there were.

        The base is at ``after``, or beyond: of an item that is further on, events up to its version
        change nothing. It may come in several calls, all of them before the first run.

        Raises:
            ValueError: a key comes twice.
        """
        self._met.add(table)
        return self._contents.take_base(table, rows)

    def add(self, run: Run) -> None:
        """Fold the events of ``run``.

        Raises:
            PoisonError: an event that cannot be applied, the first of the run; with ``parks`` only
                if that is not certainly the event's doing.
            UpgradeError: a schema version that the rules do not know.
            ValueError: the run does not follow the one before it.
        """
        routing = self.routing
        run, skipped, is_odd = routing.prepared(run)
        columns = run.columns
        partition = run.partition
        reached = self._reached.get(partition)
        if reached is None:
            reached = run.first_offset - 1 if self._after is None else 0
        if run.first_offset != reached + 1:
            raise ValueError(
                f"partition {partition}: offset {run.first_offset} cannot follow {reached}"
            )
        self._reached[partition] = reached + len(columns.index)
        plan = routing.plan(columns.kinds)
        first = version_of(routing.params.timeline, run.first_offset)
        waiting = self.parking.waiting
        if (
            plan.actions_only
            and columns.expects is None
            and skipped is None
            and not is_odd
            and first > self._contents.newest(partition)
            and (not waiting or waiting.get(partition, frozenset()).isdisjoint(columns.keys))
        ):
            self._add_actions(run, plan, first)
        else:
            self._add_each(run, plan, first, skipped or frozenset())

    def _add_actions(self, run: Run, plan: Plan, first: int) -> None:
        """The common frame: puts, deletes and updates, none conditional or applied before."""
        columns = run.columns
        index, keys, datas, ops = columns.index, columns.keys, columns.datas, plan.ops
        count = len(index)
        touched: list[tuple[str, Items, int]] = []  # with the number of items before
        of_kind: list[Items] = []
        if plan.table is not None:
            items = self._items_of(run.partition, plan.table)
            touched.append((plan.table, items, len(items)))
            of_kind = [items] * len(ops)
            self._met.add(plan.table)
        else:
            for kind, table in enumerate(plan.tables):
                items = self._items_of(run.partition, table)
                # A frame's table may name kinds of which nothing was accepted.
                if kind in index and all(table != other for other, _, _ in touched):
                    touched.append((table, items, len(items)))
                    self._met.add(table)
                of_kind.append(items)
        versions = range(first, first + count)
        version = first
        try:
            if ops == _ONLY_PUTS and all(datas):
                of_kind[0].update(zip(keys, zip(versions, datas, strict=True), strict=True))
            else:
                # The one loop over every event.
                for version, kind, key, data in zip(versions, index, keys, datas, strict=True):
                    op = ops[kind]
                    if op is _PUT and data:
                        of_kind[kind][key] = (version, data)
                    elif op is _DELETE and data is None:
                        of_kind[kind][key] = (version, None)
                    else:
                        act(op, of_kind[kind], key, version, data)
        except (RefusedError, DamageError) as error:
            count = version - first
            self._check_owners(run, plan, touched, count, first)
            if not self.parking.parks:
                raise poison(run, count, reason_of(error)) from error
        else:
            self._check_owners(run, plan, touched, count, first)
        self.counts.events += count
        self.counts.routed += count
        if count < len(index):  # from the one that failed on, with time for each
            self._add_each(run, plan, first, frozenset(), begin=count)

    def _check_owners(
        self,
        run: Run,
        plan: Plan,
        touched: Sequence[tuple[str, Items, int]],
        stop: int,
        first: int,
    ) -> None:
        """Check the keys that are new since ``touched`` was noted: the last ones of each dict.

        Raises:
            PoisonError: for the first event before ``stop`` whose item another partition owns.
        """
        ownership = self.routing.ownership
        wrong: dict[str, set[bytes]] = {}
        for table, items, before in touched:
            count = 0 if self.routing.settles(table) else len(items) - before
            if count and (
                foreign := ownership.foreign(run.partition, table, islice(reversed(items), count))
            ):
                wrong[table] = set(foreign)
        if wrong:
            columns = run.columns
            for i in range(stop):
                table, key = plan.tables[columns.index[i]], columns.keys[i]
                if key in wrong.get(table, ()):
                    try:
                        check_owner(self.routing, run, i, table=table, key=key)
                    except PoisonError as error:
                        self.divert(run, i, first + i, table, key, error)
            for table, items, _ in touched:
                for key in wrong.get(table, ()):
                    del items[key]

    def _add_each(
        self, run: Run, plan: Plan, first: int, skipped: frozenset[int], *, begin: int = 0
    ) -> None:
        """Any frame, event by event, from the one at ``begin`` on."""
        counts = self.counts
        columns = run.columns
        failures, left_out = failures_of(run), left_out_of(run)
        for i, kind in enumerate(columns.index[begin:], begin):
            op = plan.ops[kind]
            if op >= Op.CONTROL and op in _CONTROL:
                counts.control += 1
                if op is Op.ADOPT:
                    self._adopt(run, i, plan.tables[kind], first + i)
                continue
            counts.events += 1
            if i in skipped:
                counts.excluded += 1
                continue
            if op >= _APPLY and plan.types[kind] not in self.types:
                self.types.add(plan.types[kind])
            if i in left_out:
                counts.unrouted += 1
            elif i in failures and op <= _APPLY:
                counts.routed += 1
                self.refuse(run, i, plan.tables[kind], first + i, failures[i])
            elif op <= _UPDATE:
                counts.routed += 1
                self.act_on(run, i, op, plan.tables[kind], first + i)
            elif op is _APPLY:
                if self._apply_rules(run, i, plan.rules[kind], first + i):
                    counts.routed += 1
                else:
                    counts.unrouted += 1
            else:
                counts.unrouted += 1
                if op is not Op.NOTHING:
                    self._refuse_kind(run, i, first + i, op)

    def _adopt(self, run: Run, i: int, table: str, version: int) -> None:
        adopted = adopt(
            run,
            i,
            self._items_of(run.partition, table),
            version,
            rules=self.routing.rules,
            bases=self._bases_of_tables,
            onto_store=self._after is None,
            parking=self.parking,
            rejections=self.rejections,
        )
        self._met.update(() if adopted is None else (adopted,))

    def _refuse_kind(self, run: Run, i: int, version: int, op: Op) -> None:
        if op is Op.NEWER:
            raise newer(run, i)
        error = poison(run, i, "it names no table", alone=True)
        self.divert(run, i, version, "", b"", error)

    def refuse(self, run: Run, i: int, table: str, version: int, failure: Failure) -> None:
        """What cannot be transformed cannot be applied."""
        if isinstance(failure.cause, UpgradeError):
            raise failure.cause
        key, alone = run.columns.keys[i], failure.alone
        error = failure.poison(run, i, table)
        items = self._items_of(run.partition, table)
        if alone or self._moves(run, i, items, table, key, version):
            self._met.add(table)
            self.divert(run, i, version, table, key, error)

    def divert(
        self, run: Run, i: int, version: int, table: str, key: bytes, error: PoisonError
    ) -> None:
        """Park the item for an event that it cannot take, or keep the event by itself.

        Raises:
            PoisonError: ``error``, if nothing is to be parked for it.
        """
        if not (self.parking.parks and error.details["parks"]):
            raise error
        if error.details["alone"]:
            if table:
                self._met.add(table)
            if table or self.routing.tables is None:  # else of none that is wanted here
                self.parking.stand_alone(run, i, version, table, error)
            return
        items = self._items_of(run.partition, table)
        # Where nothing was read that makes a blind write of version 0, which replaces nothing.
        items.setdefault(key, ABSENT)
        self.parking.park(run, i, version, table, key, error)

    # -- one event ---------------------------------------------------------------------------

    def act_on(self, run: Run, i: int, op: Op, table: str, version: int) -> None:
        self._met.add(table)
        key = run.columns.keys[i]
        items = self._items_of(run.partition, table)
        try:
            if self._moves(run, i, items, table, key, version):
                act(op, items, key, version, run.columns.datas[i])
        except PoisonError as error:  # of another partition's item
            self.divert(run, i, version, table, key, error)
        except (RefusedError, DamageError) as error:
            found = poison(run, i, reason_of(error))
            found.__cause__ = error
            self.divert(run, i, version, table, key, found)

    def _moves(self, run: Run, i: int, items: Items, table: str, key: bytes, version: int) -> bool:
        """Whether the event is new to an item that it may touch and that is as it expects (I5)."""
        entry = items.get(key)
        if entry is None:
            check_owner(self.routing, run, i, table=table, key=key)
            entry = ABSENT
        if version <= entry[0]:
            return False
        if self.parking.waiting and self.parking.waits(run, i, version, table, key):
            return False
        expects = run.columns.expects
        expected = None if expects is None else expects[i]
        if expected is None:
            return True
        found = 0 if entry[1] is None else entry[0]
        if found == expected:
            return True
        self.counts.rejected += 1
        self.rejections.append(
            Rejection(
                run.partition, run.first_offset + i, table, key, run.columns.ids[i], expected, found
            )
        )
        return False

    def _apply_rules(self, run: Run, i: int, rules: tuple[Rule, ...], version: int) -> bool:
        """Apply the user's appliers; whether the event was routed to any item."""
        routed = False
        for rule in rules:
            table = rule.table or run.columns.kinds[run.columns.index[i]][2]
            try:
                if not table:
                    event_type, reason = rule.event_type, "names no table, and its applier none"
                    raise poison(run, i, f"{event_type} {reason}", alone=True)
                keys = keys_of(self.routing, run, i, rule)
            except PoisonError as error:
                self.divert(run, i, version, table, b"", error)
                continue
            for key in keys:
                routed = True
                self._met.add(table)
                try:
                    self.apply_to(run, i, rule, table, key, version)
                except PoisonError as error:
                    self.divert(run, i, version, table, key, error)
        return routed

    def apply_to(self, run: Run, i: int, rule: Rule, table: str, key: bytes, version: int) -> None:
        """Apply the user's applier to one item of those that it routes the event to."""
        items = self._items_of(run.partition, table)
        if self._after is None and key not in items:
            check_owner(self.routing, run, i, table=table, key=key)  # else it was read
            # Folded from nothing it would replace what the store has.
            raise poison(
                run,
                i,
                "its applier's key or keys are not the same each time they are asked",
                table=table,
                key=key,
                parks=False,
            )
        if self._moves(run, i, items, table, key, version):
            data = content_of(table, key, items.get(key, ABSENT))
            data = apply_rule(self.routing, run, i, rule, table=table, key=key, data=data)
            items[key] = (version, data)

    # -- out ---------------------------------------------------------------------------------

    @property
    def tables(self) -> frozenset[str]:
        """Every table that an event was routed to, even if it was rejected."""
        return frozenset(self._met)

    def rows(self, table: str) -> Iterator[tuple[bytes, Row]]:
        """Every item of ``table`` met, tombstones too, in no order."""
        return self._contents.rows(table)

    def entries(self) -> Iterator[tuple[int, str, Items, Mapping[bytes, int]]]:
        """Partition, table, its items, and the versions at which preloaded ones began."""
        return self._contents.entries()
