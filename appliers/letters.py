"""Dead letters: events that could not be applied to an item, and those that wait behind them.

An item whose event is poison is *parked*: it stays as it was, and that event and all later ones of
the item become letters, each with the event whole, so that they can be folded again, in order,
without the log (`consumers.redrive`). It is there as it is folded, transforms laid on it. The mark is in the item itself (`Row.parked`, `Row.tail`).

Order of writes: letters durable, then the item's mark, then the checkpoint. So every letter up to an
item's tail is there; one beyond it is of a commit that has not come to its end, or of one that
found the item moved on and was folded anew.

An event that has no item to park (its key function failed, it names no table, the item that it is
routed to belongs to another partition) stands *alone*, under its own key. Nothing waits behind it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from appliers.transforming import Failure, Transformed, as_transformed
from binlog.columns import Columns
from binlog.errors import DamageError
from binlog.frame import Session
from binlog.run import Run
from binlog.vector import offset_of

LetterPlace: TypeAlias = tuple[str, int, bytes, int, bool]
"""Table, partition, key, version, and whether it stands alone: each letter has its own."""


Item: TypeAlias = tuple[int, bytes]
"""Partition and key: of which item of a table."""


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """One event of one item, or one that stands alone."""

    table: str  # the item's; "" where the event stands alone and names none
    partition: int
    key: bytes  # canonical, the item's; of one that stands alone its own
    version: int  # that the event gives: timeline and offset
    alone: bool
    id: str
    type: str
    reason: str  # why it could not be applied; "": it waits behind another
    event: bytes  # whole, see `run_of`

    @property
    def offset(self) -> int:
        """The event's, in its partition."""
        return offset_of(self.version)

    @property
    def place(self) -> LetterPlace:
        """By which it is kept."""
        return self.table, self.partition, self.key, self.version, self.alone


def letter_order(letter: DeadLetter) -> tuple[str, int, bytes, bool, int]:
    """By table, partition, key, then version; what stands alone under a key after its item's."""
    return letter.table, letter.partition, letter.key, letter.alone, letter.version


class _Whole(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event as it was in its run. Fields are only ever added, at the end."""

    schema: int
    table: str  # that the event names
    key: bytes  # that it was published with
    data: bytes | None
    meta: bytes | None
    expect: int | None
    time_ms: int
    arrival_ms: int
    family: bytes
    generation: int
    number: int
    sequence: str  # of the record; up to 56 digits, and msgpack has no integers of that size


class _Transformed(_Whole, frozen=True, array_like=True, gc=False):
    """One on which a transform was laid: whoever folds it again lays on none."""

    failed: str | None = None  # why it could not be; then there is no more of the event
    is_transformed: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Transformed).decode


def letter_of(
    run: Run, index: int, version: int, *, table: str, key: bytes, reason: str, alone: bool = False
) -> DeadLetter:
    """The letter of the event at ``index`` of ``run``."""
    columns = run.columns
    event_type, schema, event_table = columns.kinds[columns.index[index]]
    failed: str | None = None
    if type(run) is Transformed and index in run.failures:
        failed = run.failures[index].reason
    whole = _Whole(
        schema=schema,
        table=event_table,
        key=columns.keys[index],
        data=columns.datas[index],
        meta=None if columns.metas is None else columns.metas[index],
        expect=None if columns.expects is None else columns.expects[index],
        time_ms=columns.times[index],
        arrival_ms=run.arrival_ms,
        family=run.session.family,
        generation=run.session.generation,
        number=run.numbers[index],
        sequence=str(run.sequence),
    )
    if type(run) is Transformed:
        fields = {name: getattr(whole, name) for name in _Whole.__struct_fields__}
        whole = _Transformed(**fields, failed=failed, is_transformed=True)
    return DeadLetter(
        table=table,
        partition=run.partition,
        key=key,
        version=version,
        alone=alone,
        id=columns.ids[index],
        type=event_type,
        reason=reason,
        event=_encode(whole),
    )


def run_of(letter: DeadLetter) -> Run:
    """A run of this one event: what the fold took, to be folded again.

    Raises:
        DamageError: its bytes are no event.
    """
    try:
        whole = _decode(letter.event)
        sequence = int(whole.sequence)
    except (msgspec.DecodeError, ValueError, UnicodeDecodeError) as error:
        raise DamageError(
            f"a dead letter is damaged ({error})",
            f"table {letter.table}, partition {letter.partition}, offset {letter.offset}",
            "was it changed by hand? rebuild the store",
        ) from error
    columns = Columns(
        kinds=[(letter.type, whole.schema, whole.table)],
        index=b"\0",
        ids=[letter.id],
        keys=[whole.key],
        datas=[whole.data],
        times=[whole.time_ms],
        metas=None if whole.meta is None else [whole.meta],
        expects=None if whole.expect is None else [whole.expect],
    )
    run = Run(
        partition=letter.partition,
        first_offset=letter.offset,
        columns=columns,
        numbers=[whole.number],
        session=Session(whole.family, whole.generation),
        arrival_ms=whole.arrival_ms,
        sequence=sequence,
    )
    if not whole.is_transformed:
        return run
    failures = {} if whole.failed is None else {0: Failure(whole.failed, alone=letter.alone)}
    return as_transformed(run, failures)
