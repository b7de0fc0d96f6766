"""Bases and rows under every interleaving: no row is ever unreadable, and no base stays for ever.

The store of these tests has what any store has: rows written on a condition, objects created if
absent, deleted, listed. Several writers of one partition, none of which knows whether it is the
zombie, take the steps of `appliers.state_steps.writing` one at a time, in any order, crash between
any two, lose replies, and have writes of theirs land long after they gave them up.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator
from random import Random

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from appliers.state_base import ORPHAN_S, Base, named_by, orphans, pack, unpack
from appliers.state_steps import (
    NAME_WITHIN_S,
    DeleteBase,
    PutBase,
    PutRow,
    Step,
    recall,
    writing,
)
from binlog.errors import DamageError, LostError
from binlog.frame import Session
from binlog.sequencer_state import SequencerState
from tests.state.state_worlds import crowd, step

LATE_S = 3_600  # the longest that a write sent may be under way


class Row(msgspec.Struct, frozen=True):
    """What the toy store keeps of the partition, and what the test knows should come out of it."""

    version: int
    data: bytes
    state: bytes


class Under(msgspec.Struct, frozen=True):
    """A row write under way."""

    expected: int
    row: Row
    until_s: float


class Writer:
    """One consumer, alive until it crashes. ``row`` is what it read or wrote last."""

    def __init__(self, row: Row | None, base: Base | None) -> None:
        self.row = row
        self.base = base
        self.steps: Generator[Step, bool | None, bool | None] | None = None
        self.todo: Step | None = None
        self.new: tuple[bytes, Base | None] = (b"", None)


class Shop:
    """The toy store. ``made`` says when each base was made."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.row: Row | None = None
        self.bases: dict[str, bytes] = {}
        self.made: dict[str, float] = {}
        self.under: list[Under] = []

    def put_base(self, base: Base) -> None:
        assert base.id not in self.bases, "an id drawn twice"
        self.bases[base.id] = base.data
        self.made[base.id] = self.now_s

    def put_row(self, expected: int, row: Row) -> bool:
        if (0 if self.row is None else self.row.version) != expected:
            return False
        self.row = row
        return True

    def delete_base(self, name: str) -> None:
        self.bases.pop(name, None)
        self.made.pop(name, None)

    def sweep(self, listed: list[tuple[str, float]]) -> None:
        named = () if self.row is None else (named_by(self.row.data),)
        for name in orphans(listed, named, self.now_s):
            self.delete_base(name)


class Interleavings(RuleBasedStateMachine):
    """Writers, their crashes, late writes, lost replies, sweeps and readers, in any order."""

    writers = Bundle("writers")
    held_rows = Bundle("held_rows")

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop()
        self.random = Random(1)
        self.content = crowd(self.random, 90)
        self.ids = itertools.count()
        self.listed: list[tuple[str, float]] = []

    @initialize(target=writers)
    def first_two(self) -> object:
        """Both believe that they own the partition."""
        return multiple(Writer(None, None), Writer(None, None))

    # -- writers ---------------------------------------------------------------------------------

    @rule(writer=writers)
    def read(self, writer: Writer) -> None:
        """Give up what it was doing, and read the row and its base."""
        shop = self.shop
        row, state, base = recall(
            lambda: shop.row, lambda r: r and r.data, shop.bases.get, known=writer.base
        )
        assert state == (row and row.state)
        writer.row, writer.base, writer.steps, writer.todo = row, base, None, None

    @rule(target=writers)
    def start(self) -> Writer:
        """Another consumer comes."""
        writer = Writer(None, None)
        self.read(writer)
        return writer

    @rule(writer=consumes(writers))
    def crash(self, writer: Writer) -> None:
        """Between any two of its steps; it comes back, if at all, as another one."""

    @rule(
        writer=writers,
        changed=st.integers(0, 60),
        grows=st.integers(-80, 80),
        row_bytes_max=st.sampled_from([0, 600, 24_000]),
    )
    def begin(self, writer: Writer, changed: int, grows: int, row_bytes_max: int) -> None:
        """Pack a later state than the one that its row holds: of fewer sessions, or more."""
        old = crowd(Random(7), 60) if writer.row is None else decode(writer.row.state)
        for _ in range(grows):
            session = crowd(self.random, 1).sessions[0]
            old.sessions.append(session)
        del old.sessions[: max(0, -grows)]
        old.sessions.sort(key=lambda s: s.session)
        known = {s.session.family for s in old.sessions}
        old.closed = [closed for closed in old.closed if closed.family in known]
        step(self.random, old, min(changed, len(old.sessions)))
        state = old.encode()
        packed = pack(state, writer.base, row_bytes_max=row_bytes_max, token=self._token)
        writer.new = state, packed.named
        writer.steps = writing(packed, lambda: self.shop.now_s)
        writer.todo = next(writer.steps)

    def _token(self, size: int) -> bytes:
        return next(self.ids).to_bytes(size, "big")

    @rule(writer=writers, fate=st.sampled_from(["done", "done", "done", "unheard", "late"]))
    def go_on(self, writer: Writer, fate: str) -> None:
        """Take the writer's next step, if it has one. A write may land unheard, or late."""
        todo = writer.todo
        if todo is None:
            return
        answer: bool | None = True
        if isinstance(todo, PutBase):
            if fate == "late":
                return  # it still waits for it
            self.shop.put_base(todo.base)
        elif isinstance(todo, DeleteBase):
            if fate == "done":
                self.shop.delete_base(todo.id)
        else:
            answer = self._write_row(writer, todo, fate)
        self._tell(writer, answer)

    def _write_row(self, writer: Writer, todo: PutRow, fate: str) -> bool | None:
        expected = 0 if writer.row is None else writer.row.version
        row = Row(expected + 1, todo.row, writer.new[0])
        if fate == "late":
            self.shop.under.append(Under(expected, row, self.shop.now_s + LATE_S))
        else:
            won = self.shop.put_row(expected, row)
            if fate == "done":
                if won:
                    writer.row, writer.base = row, writer.new[1]
                return won
        # Unheard or late: it looks. What is there may still be replaced by its own write.
        if self.shop.row == row:
            writer.row, writer.base = row, writer.new[1]
            return True
        return None

    def _tell(self, writer: Writer, answer: bool | None) -> None:
        assert writer.steps is not None
        try:
            writer.todo = writer.steps.send(answer)
        except StopIteration as stop:
            writer.steps = writer.todo = None
            if stop.value is not True:
                self.read(writer)

    @precondition(lambda self: self.shop.under)
    @rule(index=st.integers(0, 9))
    def land(self, index: int) -> None:
        """A write that nobody waits for any more arrives."""
        under = self.shop.under.pop(index % len(self.shop.under))
        if under.until_s >= self.shop.now_s:
            self.shop.put_row(under.expected, under.row)

    # -- time, sweeps, readers -------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, NAME_WITHIN_S - 1, NAME_WITHIN_S + 1, ORPHAN_S, ORPHAN_S]))
    def pass_time(self, seconds: float) -> None:
        """Writers sleep through it, in the middle of what they do."""
        self.shop.now_s += seconds

    @rule()
    def list_bases(self) -> None:
        """The first half of a sweep."""
        self.listed = list(self.shop.made.items())

    @rule()
    def sweep(self) -> None:
        """The second half, of a list that may be old by now."""
        self.shop.sweep(self.listed)

    @precondition(lambda self: self.shop.row is not None)
    @rule(target=held_rows)
    def read_row(self) -> Row | None:
        """A reader reads the row, and is then slow."""
        return self.shop.row

    @rule(row=held_rows)
    def read_base(self, row: Row) -> None:
        """It finds the base, and the very state, or the row has been replaced meanwhile."""
        try:
            state, _ = unpack(row.data, self.shop.bases.get)
        except LostError:
            assert row != self.shop.row, "the base of the row that stands is gone"
        else:
            assert state == row.state

    # -- what holds ------------------------------------------------------------------------------

    @invariant()
    def the_row_is_readable(self) -> None:
        """At every moment, whoever reads it."""
        row = self.shop.row
        if row is not None:
            assert unpack(row.data, self.shop.bases.get)[0] == row.state

    def teardown(self) -> None:
        """Whatever happened: a day later one sweep leaves the base that the row names, or none."""
        self.shop.now_s += ORPHAN_S + 1
        self.shop.sweep(list(self.shop.made.items()))
        self.the_row_is_readable()
        row = self.shop.row
        named = None if row is None else named_by(row.data)
        assert set(self.shop.bases) == ({named} - {None})


def decode(state: bytes) -> SequencerState:
    return SequencerState.decode(state)


def test_no_interleaving_makes_a_row_unreadable_or_leaves_a_base() -> None:
    """Writers, zombies, crashes, lost replies, late writes, sweeps, slow readers."""
    run_state_machine_as_test(Interleavings)  # type: ignore[no-untyped-call]


# -- one by one ----------------------------------------------------------------------------------


def large(count: int = 200) -> bytes:
    return crowd(Random(2), count).encode()


def test_the_base_comes_first_and_the_replaced_one_goes_last() -> None:
    """The one order in which a crash between any two steps is harmless."""
    first = pack(large(), None)
    second = pack(large(300), first.named, row_bytes_max=0)
    steps = writing(second, lambda: 0.0)
    assert second.base is not None
    assert first.named is not None
    assert next(steps) == PutBase(second.base)
    assert steps.send(True) == PutRow(second.row)
    assert steps.send(True) == DeleteBase(first.named.id)
    with pytest.raises(StopIteration) as stop:
        steps.send(None)
    assert stop.value.value is True


@pytest.mark.parametrize("answer", [False, None])
def test_who_has_not_seen_that_it_won_deletes_nothing(answer: bool | None) -> None:
    """It lost, or does not know: the base may be what the winner's row names."""
    first = pack(large(), None)
    second = pack(large(300), first.named, row_bytes_max=0)
    steps = writing(second, lambda: 0.0)
    next(steps)
    steps.send(True)
    with pytest.raises(StopIteration) as stop:
        steps.send(answer)
    assert stop.value.value is answer


def test_a_base_that_waited_too_long_is_not_named() -> None:
    """A sweep may be about to take it for an orphan."""
    now = iter([0.0, NAME_WITHIN_S + 1.0])
    steps = writing(pack(large(), None), lambda: next(now))
    next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.send(True)
    assert stop.value.value is False


def test_recall_reads_the_row_again_when_its_base_has_gone() -> None:
    """And again, as long as it is another row; the same row without its base is damage."""
    first, second = pack(large(), None), pack(large(300), None)
    assert second.base is not None
    rows = iter([first.row, second.row])
    bases = {second.base.id: second.base.data}
    row, state, base = recall(lambda: next(rows), lambda r: r, bases.get)
    assert (row, state) == (second.row, large(300))
    assert base is not None
    assert base.id == second.base.id
    with pytest.raises(DamageError, match="not there"):
        recall(lambda: first.row, lambda r: r, bases.get)
    assert recall(lambda: None, lambda r: r, bases.get) == (None, None, None)


def test_recall_gives_up_on_rows_that_never_stand_still() -> None:
    """With an error that asks for another try, not a hang."""
    rows = (pack(large(150 + n), None).row for n in itertools.count())
    with pytest.raises(LostError, match="replaced"):
        recall(lambda: next(rows), lambda r: r, lambda _: None)


def test_an_orphan_is_a_day_old_and_named_by_no_row() -> None:
    """A younger one may be named any moment."""
    bases = [("old", 0.0), ("young", 2.0), ("named", 0.0)]
    assert orphans(bases, {"named"}, ORPHAN_S + 1.0) == ["old"]
    assert orphans(bases, {"named"}, float(ORPHAN_S)) == []


def test_the_next_generation_of_a_family_takes_its_place() -> None:
    """A reader that knows the base of another row is not misled by it."""
    random, state = Random(3), crowd(Random(3), 120)
    first = pack(state.encode(), None)
    assert first.base is not None
    state.sessions[5].session = Session(state.sessions[5].session.family, 3)
    step(random, state, 4)
    second = pack(state.encode(), first.named)
    other = pack(large(), None).named
    found, _ = unpack(second.row, {first.base.id: first.base.data}.get, known=other)
    assert found == state.encode()
