"""Bases and rows under every interleaving: no row is ever unreadable, and no base stays for ever.

The store of these tests has what any store has: rows written on a condition, objects created if
absent, deleted, listed. Several writers of one partition, none of which knows whether it is the
zombie, take the steps of `appliers.state_steps.writing` one at a time, in any order, crash between
any two, sleep for days, lose replies, and have writes land long after they gave them up.
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
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from appliers.state_base import ORPHAN_S, Base, Packed, named_by, orphans, pack, unpack
from appliers.state_steps import (
    DeleteBase,
    Fence,
    PutBase,
    PutRow,
    Step,
    Sweep,
    recall,
    sweeping,
    take,
    writing,
)
from binlog.errors import DamageError, LostError
from binlog.frame import Session
from binlog.sequencer_state import SequencerState
from tests.state.state_worlds import crowd, step

WHO = st.integers(0, 2)
FATES = st.sampled_from(["heard", "heard", "heard", "unheard", "late"])
GROWS = st.sampled_from([0, 0, 0, 60, -60])


class Row(msgspec.Struct, frozen=True):
    """What the toy store keeps of the partition, and what the test knows should come out of it."""

    version: int
    data: bytes
    state: bytes


class Shop:
    """The toy store of one partition. ``made`` says when each base was made."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.row: Row | None = None
        self.bases: dict[str, bytes] = {}
        self.made: dict[str, float] = {}
        self.under: list[Row] = []  # row writes that nobody waits for any more

    @property
    def version(self) -> int:
        return 0 if self.row is None else self.row.version

    def put_base(self, base: Base) -> None:
        assert base.id not in self.bases, "an id drawn twice"
        self.bases[base.id] = base.data
        self.made[base.id] = self.now_s

    def put_row(self, row: Row) -> bool:
        if self.version != row.version - 1:
            return False
        self.row = row
        return True

    def delete_base(self, name: str) -> None:
        self.bases.pop(name, None)
        self.made.pop(name, None)


class Writer:
    """One consumer, alive until it crashes. It knows the row that it read or wrote last."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.version = 0
        self.base: Base | None = None
        self.state = b""
        self.steps: Generator[Step, bool | None, bool | None] | None = None
        self.todo: Step | None = None
        self.packed: Packed
        self.read()

    def read(self) -> None:
        """Give up what it was doing, and read the row and its base."""
        shop = self.shop

        def read() -> Row | None:
            return shop.row

        def data_of(row: Row | None) -> bytes | None:
            return None if row is None else row.data

        row, state, base = recall(read, data_of, shop.bases.get, known=self.base)
        assert state == (row and row.state)
        self.version, self.base = shop.version, base
        self.state = state or crowd(Random(7), 150).encode()
        self.steps = self.todo = None

    def begin(self, packed: Packed, state: bytes) -> None:
        self.packed, self.state = packed, state
        self.steps = writing(packed)
        self.todo = next(self.steps)

    def go_on(self, fate: str) -> None:
        """Take the next step. It is heard of, or done unheard, or lands later, or never."""
        todo, answer = self.todo, True if fate == "heard" else None
        if isinstance(todo, PutBase):
            self.shop.put_base(todo.base)
            answer = True  # who hears nothing asks again
        elif isinstance(todo, DeleteBase):
            if fate == "heard":
                self.shop.delete_base(todo.id)
        else:
            assert isinstance(todo, PutRow)
            row = Row(self.version + 1, todo.row, self.state)
            if fate == "late":
                self.shop.under.append(row)
            elif not self.shop.put_row(row) and fate == "heard":
                answer = False
            if answer:
                self.version, self.base = row.version, self.packed.named
        assert self.steps is not None
        try:
            self.todo = self.steps.send(answer)
        except StopIteration as stop:
            self.steps = self.todo = None
            if stop.value is not True:
                self.read()


class Interleavings(RuleBasedStateMachine):
    """Three who believe that they own the partition, sweepers, slow readers, in any order."""

    rows = Bundle("rows")

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop()
        self.random = Random(1)
        self.ids = itertools.count()
        self.writers = [Writer(self.shop) for _ in range(3)]
        self.listed: list[tuple[str, float]] = []
        self.fenced: list[str] = []  # what a sweeper that has put up its fence will delete

    # -- writers ---------------------------------------------------------------------------------

    def _act(self, index: int, fate: str, renews: bool, grows: int) -> None:
        writer = self.writers[index]
        if writer.todo is not None:
            writer.go_on(fate)
            return
        state = SequencerState.decode(writer.state)
        state.sessions += crowd(self.random, max(0, grows)).sessions
        state.sessions = sorted(state.sessions[max(0, -grows) :], key=lambda s: s.session)
        known = {s.session.family for s in state.sessions}
        state.closed = [closed for closed in state.closed if closed.family in known]
        step(self.random, state, min(9, len(state.sessions)))
        packed = pack(
            state.encode(),
            writer.base,
            row_bytes_max=0 if renews else 24_000,
            token=lambda size: next(self.ids).to_bytes(size, "big"),
        )
        writer.begin(packed, state.encode())

    # Rules are drawn evenly, and what a writer does is most of what there is.
    act = rule(index=WHO, fate=FATES, renews=st.booleans(), grows=GROWS)(_act)
    act_again = rule(index=WHO, fate=FATES, renews=st.booleans(), grows=GROWS)(_act)
    act_more = rule(index=WHO, fate=FATES, renews=st.booleans(), grows=GROWS)(_act)

    @rule(index=WHO)
    def crash(self, index: int) -> None:
        """Between any two steps of one, or only a new look; another one comes in its place."""
        self.writers[index] = Writer(self.shop)

    @precondition(lambda self: self.shop.under)
    @rule(index=st.integers(0, 9))
    def land(self, index: int) -> None:
        """A write that nobody waits for any more arrives, however late."""
        self.shop.put_row(self.shop.under.pop(index % len(self.shop.under)))

    # -- sweepers, readers -----------------------------------------------------------------------

    @rule()
    def list_bases(self) -> None:
        """A day later the first third of a sweep; writers sleep through the day."""
        self.shop.now_s += ORPHAN_S + 1
        self.listed = list(self.shop.made.items())

    @rule()
    def put_up_a_fence(self) -> None:
        """The second."""
        self.fenced = self._sweep(self.listed)

    def _sweep(self, listed: list[tuple[str, float]]) -> list[str]:
        found: list[str] = []

        def do(step: Sweep) -> list[bytes] | None:
            if isinstance(step, DeleteBase):
                found.append(step.id)
                return None
            row = self.shop.row
            if row is None:
                return None
            assert self.shop.put_row(Row(row.version + 1, row.data, row.state))
            return [row.data]

        take(sweeping(listed, self.shop.now_s), do)
        return found

    @rule()
    def delete_orphans(self) -> None:
        """The last third, of what may be an old list by now."""
        for name in self.fenced:
            self.shop.delete_base(name)

    @rule()
    def sweep_at_once(self) -> None:
        """All three, while the writers sleep."""
        self.list_bases()
        self.put_up_a_fence()
        self.delete_orphans()

    @precondition(lambda self: self.shop.row is not None)
    @rule(target=rows)
    def read_row(self) -> Row | None:
        """A reader reads the row, and is then slow."""
        return self.shop.row

    @rule(row=consumes(rows))
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
        if self.shop.row is None:
            return
        for name in self._sweep(list(self.shop.made.items())):
            self.shop.delete_base(name)
        self.the_row_is_readable()
        assert set(self.shop.bases) == {named_by(self.shop.row.data)} - {None}


def test_no_interleaving_makes_a_row_unreadable_or_leaves_a_base() -> None:
    """Writers, zombies, crashes, lost replies, late writes, sweeps, slow readers."""
    run_state_machine_as_test(Interleavings)


# -- one by one ----------------------------------------------------------------------------------


def large(count: int = 200) -> bytes:
    return crowd(Random(2), count).encode()


def test_the_base_comes_first_and_the_replaced_one_goes_last() -> None:
    """The one order in which a crash between any two steps is harmless."""
    first = pack(large(), None)
    second = pack(large(300), first.named, row_bytes_max=0)
    steps = writing(second)
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
    steps = writing(second)
    next(steps)
    steps.send(True)
    with pytest.raises(StopIteration) as stop:
        steps.send(answer)
    assert stop.value.value is answer


def test_a_sweep_deletes_nothing_without_its_fence() -> None:
    """Somebody who was stopped for days may be about to name what looks like an orphan."""
    steps = sweeping([("old", 0.0)], ORPHAN_S + 1.0)
    assert next(steps) == Fence()
    with pytest.raises(StopIteration):
        steps.send(None)
    assert list(sweeping([("young", 2.0)], ORPHAN_S + 1.0)) == []


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
