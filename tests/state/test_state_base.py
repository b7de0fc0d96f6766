"""A row and its base give back the very state, and refuse what is not what was written."""

from __future__ import annotations

import contextlib
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers import state_base
from appliers.number_columns import gaps, pack_numbers, ungap, unpack_numbers
from appliers.state_base import (
    INLINE_UNITS_MAX,
    ROW_BYTES_MAX,
    STATE_BYTES_MAX,
    Base,
    named_by,
    pack,
    units,
    unpack,
)
from appliers.state_delta import EMPTY, Parts, apply_delta, encode_delta
from binlog.errors import DamageError, LostError, TooLargeError, UpgradeError
from binlog.frame import Session
from binlog.sequencer_state import Closed, Held, SequencerState, SessionState
from tests.state.state_worlds import FAMILIES, Bases, crowd, states, step

ROW_BYTES = st.sampled_from([0, 200, ROW_BYTES_MAX])


@given(st.lists(states(), min_size=1, max_size=6), ROW_BYTES, st.randoms(use_true_random=False))
def test_gives_back_every_state_of_any_chain_byte_for_byte(
    chain: list[bytes], row_bytes_max: int, random: Random
) -> None:
    """Whatever state comes after whatever other, with a base renewed at any of them."""
    bases, base = Bases(random), None
    for state in chain:
        packed = bases.pack(state, base, row_bytes_max=row_bytes_max)
        found, named = unpack(packed.row, bases.get)
        assert found == state
        assert (named and named.id) == (packed.named and packed.named.id) == named_by(packed.row)
        assert (named and (named.rows, named.spent)) == (
            packed.named and (packed.named.rows, packed.named.spent)
        )
        base = named if random.random() < 0.5 else packed.named  # from the store, or kept


@given(states(), states())
def test_a_delta_makes_one_state_of_any_other(new: bytes, old: bytes) -> None:
    """Rows by rows: sessions that come, go, hold, renew; closings and ids that do as they like."""
    parts, base = Parts.of(new), Parts.of(old)
    assert parts is not None
    assert base is not None
    assert parts.join() == new
    delta = encode_delta(parts, base)
    assert delta is not None
    assert apply_delta(delta, base).join() == new


@given(states(), st.binary(max_size=12), st.integers(0, 400), st.randoms(use_true_random=False))
def test_gives_back_bytes_that_are_no_state(
    state: bytes, noise: bytes, at: int, random: Random
) -> None:
    """What another version wrote, or nobody: kept whole, never put right on the way."""
    odd = state[:at] + noise + state[at + len(noise) :]
    bases = Bases(random)
    first = bases.pack(state, None, row_bytes_max=0)
    second = bases.pack(odd, first.named)
    assert unpack(second.row, bases.get)[0] == odd
    third = bases.pack(odd, second.named)
    assert unpack(third.row, bases.get)[0] == odd
    fourth = bases.pack(state, third.named)
    assert unpack(fourth.row, bases.get)[0] == state


@pytest.mark.parametrize(
    "sessions",
    [
        [SessionState(Session(b"short", 1), 5, 2, True)],  # a family of another size
        [SessionState(Session(FAMILIES[1], 1), 5, 2), SessionState(Session(FAMILIES[0], 1), 5, 2)],
        [SessionState(Session(FAMILIES[0], 1), 5, 2), SessionState(Session(FAMILIES[0], 1), 5, 3)],
    ],
)
def test_keeps_unusual_states_whole(sessions: list[SessionState]) -> None:
    """Of another order or shape than the sequencer's: no delta, and not a byte changed."""
    state = SequencerState(sessions=sessions).encode()
    bases = Bases(Random(1))
    assert unpack(bases.pack(state, None).row, bases.get)[0] == state
    for before in (state, crowd(Random(2), 9).encode()):
        base = bases.pack(before, None, overhead_bytes=9_999).named
        assert base is not None
        assert unpack(bases.pack(state, base).row, bases.get)[0] == state


@pytest.mark.parametrize("generation", [1, 127, 128, 255, 256, 65_536, 1 << 40])
def test_sorts_generations_of_a_family_as_numbers(generation: int) -> None:
    """Rows are put together by the order of their bytes; it has to be that of the numbers."""
    several = [generation, generation + 1, generation * 2 + 1, (1 << 63) - 1]
    state = SequencerState(
        sessions=[SessionState(Session(FAMILIES[3], g), 7, 1, True) for g in several]
    ).encode()
    parts = Parts.of(state)
    assert parts is not None
    assert apply_delta(encode_delta(parts, EMPTY) or b"", EMPTY).join() == state


# -- what it costs -------------------------------------------------------------------------------


def test_a_small_state_has_no_base() -> None:
    """Ten producers are a unit a row, and one thing less to read."""
    packed = pack(crowd(Random(3), 10).encode(), None)
    assert packed.base is None
    assert packed.named is None
    assert units(len(packed.row) + 512) <= INLINE_UNITS_MAX


def test_a_large_state_is_a_base_of_under_half_and_rows_of_almost_nothing() -> None:
    """A session is 16 random bytes and little else; one that moved on, a byte or two."""
    random = Random(4)
    state = crowd(random, 5_000)
    first = pack(state.encode(), None)
    assert first.base is not None
    assert len(first.row) < 100
    assert len(first.base.data) < 21 * 5_000
    assert len(first.base.data) * 2 < len(state.encode())
    base = first.named
    for changed in (10, 50, 200):
        step(random, state, changed)
        packed = pack(state.encode(), base)
        assert packed.base is None
        assert packed.named is not None
        assert len(packed.row) < 250 + 2 * sum((10, 50, 200))
        base = packed.named


def test_what_closed_older_generations_follows_from_the_sessions() -> None:
    """A renewed session costs its birth, not its family and the end of its life as well."""
    random = Random(5)
    state = crowd(random, 1_000)
    first = pack(state.encode(), None)
    for session in random.sample(state.sessions, 300):
        session.session = Session(session.session.family, session.session.generation + 1)
        session.born_ms += random.randrange(900_000)
        session.next = 1 + random.randrange(20)
    state.closed = [
        Closed(s.session.family, s.session.generation, s.born_ms + 3_600_000)
        for s in state.sessions
        if s.session.generation > 1
    ]
    packed = pack(state.encode(), first.named)
    assert packed.base is None
    assert len(packed.row) < 300 * 8
    assert unpack(packed.row, {first.named.id: first.named.data}.get)[0] == state.encode()  # type: ignore[union-attr]


def test_a_base_is_renewed_when_a_row_costs_more_than_rows_do_on_average() -> None:
    """Not by a size alone: at that moment the average of a row, base included, is the least."""
    base = Base("0" * 32, bytes(10 * 1024), rows=10, spent=30)
    assert not base.is_due(4)  # 10 rows and a base of 10 units, twice: 5 units a row
    assert base.is_due(5)
    assert not Base("0" * 32, bytes(10 * 1024), rows=1_000_000, spent=3_000_000).is_due(3)


def test_a_row_never_passes_its_bound() -> None:
    """A session that holds 200 KB of frames goes into the base, whose size nobody minds."""
    state = crowd(Random(6), 5)
    first = pack(state.encode(), None)
    held = [Held(n, 1, 5, "9" * 56, Random(n).randbytes(50_000)) for n in range(5, 9)]
    state.sessions[2].held = held
    packed = pack(state.encode(), first.named)
    assert packed.base is not None
    assert len(packed.row) < 100 < ROW_BYTES_MAX < len(packed.base.data)
    assert unpack(packed.row, {packed.base.id: packed.base.data}.get)[0] == state.encode()


# -- what is refused -----------------------------------------------------------------------------


def saved() -> tuple[bytes, dict[str, bytes], bytes]:
    random = Random(7)
    state = crowd(random, 300)
    first = pack(state.encode(), None)
    step(random, state, 40)
    packed = pack(state.encode(), first.named)
    assert first.base is not None
    assert packed.base is None
    return packed.row, {first.base.id: first.base.data}, state.encode()


def test_a_flipped_bit_is_damage_wherever_it_is() -> None:
    """Never another state, and never one read as from the start."""
    row, bases, state = saved()
    name, data = next(iter(bases.items()))
    for at in range(len(row)):
        broken = row[:at] + bytes((row[at] ^ 0x10,)) + row[at + 1 :]
        with pytest.raises((DamageError, UpgradeError)):
            unpack(broken, bases.get)
    for at in range(0, len(data), 37):
        broken = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        with pytest.raises((DamageError, UpgradeError)):
            unpack(row, {name: broken}.get)
    assert unpack(row, bases.get)[0] == state


def test_another_base_of_the_same_id_is_damage() -> None:
    """Even a sound one: a delta means nothing without the very base."""
    row, bases, _ = saved()
    other = pack(crowd(Random(8), 300).encode(), None).base
    assert other is not None
    with pytest.raises(DamageError, match="other than the row's own"):
        unpack(row, dict.fromkeys(bases, other.data).get)


def test_a_base_that_is_gone_says_read_the_row_again() -> None:
    """Somebody replaced the row since: no damage."""
    row, _, _ = saved()
    with pytest.raises(LostError, match="read the row again"):
        unpack(row, lambda _: None)


def test_a_base_that_is_known_is_not_read() -> None:
    """It never changes, so a consumer reads it once."""
    row, bases, state = saved()
    _, base = unpack(row, bases.get)
    found, _ = unpack(row, lambda _: pytest.fail("read again"), known=base)
    assert found == state


def test_a_newer_format_asks_for_an_upgrade() -> None:
    """Of the row, and of the base."""
    row, bases, _ = saved()
    with pytest.raises(UpgradeError, match="row of format 2"):
        unpack(b"\x02" + row[1:], bases.get)
    with pytest.raises((UpgradeError, DamageError)):
        unpack(row, {name: b"\x02" + data[1:] for name, data in bases.items()}.get)


def test_a_state_above_the_limit_is_refused() -> None:
    """Before anything is compressed."""
    with pytest.raises(TooLargeError, match="limit"):
        pack(bytes(STATE_BYTES_MAX + 1), None)


@given(st.binary(max_size=64), st.integers(0, 1 << 32), st.integers(0, 4))
def test_a_hostile_row_is_damage_within_bounded_memory(body: bytes, size: int, kind: int) -> None:
    """With checksums that are right: sizes are lies, bodies are anything."""
    row = state_base._seal(state_base._Row(kind, size, 0, body))
    with pytest.raises(DamageError):
        unpack(row, lambda _: None)


@given(states(), st.integers(0, 10_000), st.binary(min_size=1, max_size=6))
def test_a_delta_that_was_tampered_with_is_damage_or_another_delta(
    state: bytes, at: int, noise: bytes
) -> None:
    """It never raises anything else: the state's checksum then tells."""
    parts = Parts.of(state)
    assert parts is not None
    delta = encode_delta(parts, EMPTY) or b""
    broken = delta[: at % len(delta)] + noise + delta[at % len(delta) + len(noise) :]
    with contextlib.suppress(DamageError):
        apply_delta(broken, EMPTY)


# -- columns -------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.lists(st.integers(0, 3), max_size=200),
    st.lists(st.integers(0, (1 << 64) - 1), max_size=50),
    st.lists(st.sampled_from([0, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32]), max_size=50),
)


@given(NUMBERS)
def test_columns_keep_their_numbers(numbers: list[int]) -> None:
    """Of every width."""
    assert list(unpack_numbers(pack_numbers(numbers))) == numbers


@given(st.sets(st.integers(0, 5_000)))
def test_places_come_back_from_their_gaps(places: set[int]) -> None:
    """In order."""
    assert ungap(gaps(sorted(places))) == sorted(places)


@given(NUMBERS, st.integers(0, 300), st.binary(max_size=5))
def test_a_tampered_column_is_damage_or_numbers(numbers: list[int], at: int, noise: bytes) -> None:
    """A count that lies is refused before its memory is taken."""
    data = pack_numbers(numbers)
    with contextlib.suppress(DamageError):
        unpack_numbers(data[:at] + noise + data[at + len(noise) :])


def test_a_state_is_msgpack_as_the_sequencer_writes_it() -> None:
    """The one place where this file's idea of the format meets the sequencer's own."""
    state = crowd(Random(9), 20).encode()
    assert len(msgspec.msgpack.decode(state)) == len(SequencerState.__struct_fields__) == 11
    assert Parts.of(state) is not None
