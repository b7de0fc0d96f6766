"""From a run as it is in the log to one that is ready to be folded: transforms are laid on here.

Which kinds of event they touch is decided once a frame; a frame of none of them is passed on as it
is. A transformed run is never transformed again, and a dead letter knows that its event is.

An event whose transform fails keeps its offset, and nothing else: neither its key, where that holds
what is to be taken out, nor its data or meta go any further, so that nothing of it is ever in a
dead letter. It cannot be redriven: by the same rules it fails again, and other rules are another
generation, which reads the log.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from appliers.applier import ApplierError
from appliers.exclusion import Exclusions
from appliers.ownership import Ownership
from appliers.poison import is_of_the_event, poison, readable_key, reason_of
from appliers.transform import TableTransform, Transforms, TypeTransform
from binlog.columns import KINDS_MAX, Columns
from binlog.envelope import DELETE_ITEM, ITEM_TYPES, PUT_ITEM, Event
from binlog.errors import BinlogError, DamageError, PoisonError, RefusedError, UpgradeError
from binlog.events import event_at
from binlog.fields import check_data_size, check_table, encode_meta
from binlog.run import Run
from binlog.schema import Schemas
from binlog.values import encode_value

_Kind: TypeAlias = tuple[str, int, str]
_Step: TypeAlias = TableTransform | TypeTransform | None
_PLANS_MAX = 10_000
ITEM_SCHEMA = 1
"""The only schema version there is of PutItem, DeleteItem and UpdateItem."""
_NOTHING: frozenset[int] = frozenset()


class Failure(msgspec.Struct, frozen=True):
    """Why an event could not be transformed."""

    reason: str
    alone: bool = False  # there is no item that could wait for it
    parks: bool = True  # it is certainly the event's doing
    cause: Exception | None = None  # an UpgradeError is raised whatever is done about poison

    def poison(self, run: Run, index: int, table: str) -> PoisonError:
        """The same about the event at ``index``, whose items are in ``table``."""
        error = poison(run, index, self.reason, table=table, parks=self.parks, alone=self.alone)
        error.__cause__ = self.cause
        return error


_NO_FAILURES: Mapping[int, Failure] = {}


class Transformed(Run, frozen=True, gc=False):
    """A run whose events are as they are to be folded."""

    failures: Mapping[int, Failure] = {}
    left_out: frozenset[int] = frozenset()
    skipped: frozenset[int] = frozenset()
    """Excluded; exclusions name events as they are in the log."""


def failures_of(run: Run) -> Mapping[int, Failure]:
    """By index the events that could not be transformed."""
    return run.failures if type(run) is Transformed else _NO_FAILURES


def left_out_of(run: Run) -> frozenset[int]:
    """The indexes of the events that a transform leaves out."""
    return run.left_out if type(run) is Transformed else _NOTHING


def as_transformed(
    run: Run, failures: Mapping[int, Failure], *, columns: Columns | None = None
) -> Transformed:
    """``run``, on which transforms were laid before."""
    return Transformed(
        run.partition,
        run.first_offset,
        columns or run.columns,
        run.numbers,
        run.session,
        run.arrival_ms,
        run.sequence,
        failures,
    )


def _reason_of(error: BaseException | None) -> str:
    """What is kept of an error of the user's function, which met what it was to take out.

    Python's own errors show the value that they are about, and a reason stays in the store, in the
    log of whoever parks and in what `parked` prints. So of these it is the place that is told.
    """
    if isinstance(error, ApplierError | BinlogError):
        return reason_of(error)  # the user's own words, and ours
    frames = traceback.extract_tb(None if error is None else error.__traceback__)
    place = f" at line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""
    return f"{type(error).__name__}{place} (what it says may hold what is to be taken out)"


class Transformer:
    """Transforms the runs of a log. Threads may share it."""

    def __init__(
        self,
        transforms: Transforms,
        *,
        ownership: Ownership,
        partitions: int,
        schemas: Schemas,
        timeline: int,
        exclusions: Exclusions | None,
        wanted: Callable[[_Kind], bool],
    ) -> None:
        """``wanted`` says of a transformed kind whether anything is done with it."""
        self._transforms = transforms
        self._ownership = ownership
        self._sources = Ownership(partitions, {})
        self._schemas = schemas
        self._timeline = timeline
        self._exclusions = exclusions
        self._wanted = wanted
        self._plans: dict[tuple[_Kind, ...], tuple[_Step, ...] | None] = {}

    def run(self, run: Run) -> Run:
        """``run`` as it is to be folded; itself where no transform touches it."""
        if type(run) is Transformed:
            return run
        kinds = tuple(run.columns.kinds)
        try:
            steps = self._plans[kinds]
        except KeyError:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            each = tuple(map(self._step, kinds))
            steps = self._plans[kinds] = each if any(step is not None for step in each) else None
        if steps is None:
            return run
        skipped = (self._exclusions and self._exclusions.matches(run)) or frozenset()
        return _Work(self, run, steps, skipped).done()

    def _step(self, kind: _Kind) -> _Step:
        """What is laid on events of ``kind``."""
        event_type, _, table = kind
        if event_type not in ITEM_TYPES:
            return self._transforms.types.get(event_type)
        found = self._transforms.tables.get(table)
        if found is None and table in self._transforms.targets:
            return TableTransform(table, 0, table)
        return found

    def kind(self, kind: _Kind, step: _Step) -> _Kind:
        """The kind that it becomes."""
        return (kind[0], kind[1], step.to) if isinstance(step, TableTransform) else kind

    def wants(self, kind: _Kind) -> bool:
        return self._wanted(kind)

    def foreign(self, partition: int, table: str, keys: Sequence[bytes]) -> set[bytes]:
        """Keys of events that are not this partition's."""
        return set(self._sources.foreign(partition, table, set(keys)))

    def check_item(self, step: TableTransform, key: bytes, item_key: bytes) -> None:
        """That the item is one of the event's table and key.

        Raises:
            RefusedError: it is another's.
            Exception: what the declared owner raises.
        """
        if self._ownership.is_computed_back(step.to):
            if self._transforms.owners[step.to].table == step.table:
                return
            owner_table = self._transforms.owners[step.to].table
            raise RefusedError(
                f"items of table {step.to!r} are made of events of {owner_table!r}, and this one "
                f"is of {step.table!r} (declare its owner: see appliers.transform)"
            )
        owner = self._ownership.owner_of(step.to, item_key)
        if owner != (step.table, key):
            raise RefusedError(
                f"the item belongs to events of table {owner[0]!r}, key {readable_key(owner[1])[1]},"
                f" and this one is of table {step.table!r}"
            )

    def event(self, run: Run, index: int, step: TypeTransform) -> Event | None:
        """What the user's function makes of an event.

        Raises:
            Exception: whatever it raises; RefusedError for what it may not return.
        """
        before = event_at(run, index, self._schemas, timeline=self._timeline)
        kept = event_at(run, index, self._schemas, timeline=self._timeline)
        after: object = step.function(before)
        if after is None:
            return None
        if not isinstance(after, Event):
            raise RefusedError(f"the transform returned a {type(after).__name__}, not an event")
        same = msgspec.structs.replace(after, data=kept.data, meta=kept.meta, table=kept.table)
        if same != kept:
            raise RefusedError("the transform changed more of the event than data, meta and table")
        return after


class _Work:
    """One run being transformed."""

    def __init__(
        self, transformer: Transformer, run: Run, steps: tuple[_Step, ...], skipped: frozenset[int]
    ) -> None:
        self._of = transformer
        self._run = run
        self._skipped = skipped
        self._failures: dict[int, Failure] = {}
        self._left_out: set[int] = set()
        columns = run.columns
        self._kinds = [
            transformer.kind(kind, step) for kind, step in zip(columns.kinds, steps, strict=True)
        ]
        self._index = columns.index
        self._keys = list(columns.keys)
        self._datas = list(columns.datas)
        self._metas = None if columns.metas is None else list(columns.metas)
        for number, step in enumerate(steps):
            if step is None or not transformer.wants(self._kinds[number]):
                continue
            if isinstance(step, TableTransform) and columns.kinds[number][1] != ITEM_SCHEMA:
                continue  # the fold refuses what it does not know
            places = [
                i for i, kind in enumerate(columns.index) if kind == number and i not in skipped
            ]
            if isinstance(step, TableTransform):
                self._actions(number, step, places)
            elif isinstance(step, TypeTransform):
                self._events(step, places)

    def done(self) -> Transformed:
        run, columns = self._run, self._run.columns
        return Transformed(
            run.partition,
            run.first_offset,
            Columns(
                self._kinds,
                self._index,
                columns.ids,
                self._keys,
                self._datas,
                columns.times,
                self._metas,
                columns.expects,
            ),
            run.numbers,
            run.session,
            run.arrival_ms,
            run.sequence,
            self._failures,
            frozenset(self._left_out),
            self._skipped,
        )

    def _fail(self, i: int, failure: Failure, key: bytes) -> None:
        self._failures[i] = failure
        self._keys[i] = key
        self._datas[i] = None
        if self._metas is not None:
            self._metas[i] = None

    def _actions(self, number: int, step: TableTransform, places: Sequence[int]) -> None:
        event_type = self._run.columns.kinds[number][0]
        keys, datas = self._keys, self._datas
        foreign = self._of.foreign(self._run.partition, step.table, [keys[i] for i in places])
        change = step.item if event_type == PUT_ITEM else step.change
        is_delete = event_type == DELETE_ITEM
        for i in places:
            raw = keys[i]
            if self._metas is not None:
                self._metas[i] = None  # no fold of an action asks for it
            try:
                if raw in foreign:
                    raise RefusedError("its key belongs to another partition")  # noqa: TRY301
                key = step.key(raw) if step.touched else raw
                self._of.check_item(step, raw, key)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 the declared owner is the user's
                parks = is_of_the_event(error)
                failure = Failure(reason_of(error), alone=True, parks=parks, cause=error)
                self._fail(i, failure, step.masked(raw))
                continue
            keys[i] = key
            data = datas[i]
            if not data or not step.touched:
                continue
            try:
                if is_delete:
                    raise RefusedError("a DeleteItem with data")  # noqa: TRY301
                datas[i] = change(data)
            except (DamageError, RefusedError) as error:
                self._fail(i, Failure(reason_of(error), cause=error), key)

    def _events(self, step: TypeTransform, places: Sequence[int]) -> None:
        for i in places:
            try:
                after = self._of.event(self._run, i, step)
                if after is None:
                    self._left_out.add(i)
                    continue
                self._take(i, after)
            except MemoryError:
                raise
            except UpgradeError as error:
                self._fail(i, Failure(error.what, cause=error), self._keys[i])
            except Exception as error:  # noqa: BLE001 the user's
                cause: BaseException | None = error
                if isinstance(error, PoisonError):  # an upcaster's
                    cause = error.__cause__
                parks = is_of_the_event(cause)
                failure = Failure(_reason_of(cause), alone=True, parks=parks, cause=error)
                self._fail(i, failure, self._keys[i])

    def _take(self, i: int, event: Event) -> None:
        if event.table:
            check_table(event.table)
        data = check_data_size(encode_value(event.data, outer=1))
        meta = None if event.meta is None else encode_meta(event.meta)
        kind = (event.type, event.schema, event.table)
        if self._kinds[self._index[i]] != kind:
            if kind not in self._kinds:
                if len(self._kinds) == KINDS_MAX:
                    raise RefusedError(f"transforms make more than {KINDS_MAX} kinds of a frame")
                self._kinds.append(kind)
            index = bytearray(self._index)
            index[i] = self._kinds.index(kind)
            self._index = bytes(index)
        self._datas[i] = data
        if meta is not None and self._metas is None:
            self._metas = [None] * len(self._keys)
        if self._metas is not None:
            self._metas[i] = meta
