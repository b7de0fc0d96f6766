"""Comparing, sampling and fitting shapes agree, on shapes of chance."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from appliers.lock import shape as s
from appliers.lock.comparison import changes
from appliers.lock.fitting import misfit
from appliers.lock.samples import samples
from appliers.lock.scalars import NoSampleError
from binlog.errors import RefusedError

_BOUNDS = st.none() | st.integers(-2, 3)
_INTS = st.builds(
    lambda low, high, step: s.Int(ge=low, le=high, multiple_of=step),
    _BOUNDS,
    _BOUNDS,
    st.sampled_from([None, None, 1, 2, 4]),
)
_TEXTS = st.builds(s.Text, st.sampled_from([None, 0, 1, 2]), st.sampled_from([None, 2, 3]))
_NAMES = st.sets(st.sampled_from(["a", "b", "text"]), min_size=1).map(lambda v: s.OneOf(sorted(v)))
_NUMBERS = st.sets(st.integers(0, 3), min_size=1).map(lambda v: s.OneOf(sorted(v)))
_PLAIN = st.sampled_from([s.Null(), s.Boolean(), s.Decimal(), s.Anything()])
_LEAVES: st.SearchStrategy[s.AnyShape] = st.one_of(_INTS, _TEXTS, _NAMES, _NUMBERS, _PLAIN)


def _shapes(inner: st.SearchStrategy[s.AnyShape]) -> st.SearchStrategy[s.AnyShape]:
    field = st.builds(
        lambda shape, kind: s.Field(
            shape, required=kind == 0, default={"N": str(kind)} if kind > 1 else None
        ),
        inner,
        st.integers(0, 3),
    )
    fields = st.dictionaries(st.sampled_from("pq"), field, max_size=2)
    return st.one_of(
        st.builds(lambda of, low: s.ListOf(low, of=of), inner, st.sampled_from([None, 1])),
        st.builds(lambda of: s.MapOf(keys=s.Text(), values=of), inner),
        st.builds(s.TupleOf, st.lists(inner, min_size=1, max_size=2)),
        st.builds(s.Record, fields),
        st.builds(lambda f, tag: s.Record(f, "type", tag), fields, st.sampled_from("uv")),
        st.lists(inner, min_size=2, max_size=3, unique_by=type).map(
            lambda of: s.OneOfShapes([m for shape in of for m in s.members(shape)])
        ),
    )


# R is another record on each side, and may hold itself where there is an end.
_SHAPES = st.recursive(_LEAVES | st.just(s.Ref("R")), _shapes, max_leaves=5)
_RECORDS = st.dictionaries(
    st.sampled_from("pq"), st.builds(s.Field, _SHAPES, required=st.booleans()), max_size=2
).map(lambda fields: {"R": s.Record(fields)})
SCHEMAS = st.builds(s.Schema, _SHAPES, _RECORDS)


@st.composite
def nearby(draw: st.DrawFn, shape: s.AnyShape) -> s.AnyShape:
    """The shape with one place changed; two shapes of chance nearly always break."""
    if draw(st.integers(0, 5)) == 0:
        return draw(_LEAVES)
    match shape:
        case s.Int():
            return draw(_INTS)
        case s.Text():
            return draw(_TEXTS)
        case s.OneOf():
            return draw(_NAMES | _NUMBERS)
        case s.ListOf():
            return msgspec.structs.replace(shape, of=draw(nearby(shape.of)))
        case s.MapOf():
            return msgspec.structs.replace(shape, values=draw(nearby(shape.values)))
        case s.TupleOf() | s.OneOfShapes():
            place = draw(st.integers(0, len(shape.of) - 1))
            made = [draw(nearby(m)) if n == place else m for n, m in enumerate(shape.of)]
            return msgspec.structs.replace(shape, of=made)
        case s.Record():
            name = draw(st.sampled_from("pqr"))
            field = shape.fields.get(name, s.Field(draw(_LEAVES), required=draw(st.booleans())))
            field = msgspec.structs.replace(field, type=draw(nearby(field.type)))
            return msgspec.structs.replace(shape, fields={**shape.fields, name: field})
        case _:
            return shape


@st.composite
def pairs(draw: st.DrawFn) -> tuple[s.Schema, s.Schema]:
    old = draw(SCHEMAS)
    record = draw(nearby(old.records["R"]))
    records = {"R": record} if isinstance(record, s.Record) else old.records
    return old, s.Schema(draw(nearby(old.data)), records)


def test_no_sample_of_the_old_misfits_the_new_unless_a_breaking_change_is_named() -> None:
    """The comparison against two that know nothing of it: making data, and looking at them."""
    compared = Counter[bool]()

    @given(pairs())
    @settings(max_examples=400)
    def law(pair: tuple[s.Schema, s.Schema]) -> None:
        old, new = pair
        try:
            made = samples(old)
        except (NoSampleError, RefusedError):
            return
        breaks = any(change.breaking for change in changes(old, new))
        compared[breaks] += 1
        for label, value in () if breaks else made:
            assert misfit(new, value) is None, label

    law()
    assert min(compared[True], compared[False]) > 50, compared


@given(SCHEMAS)
def test_a_schema_is_like_itself_and_takes_its_samples(schema: s.Schema) -> None:
    assert changes(schema, schema) == []
    try:
        made = samples(schema)
    except (NoSampleError, RefusedError):
        return
    for label, value in made:
        assert misfit(schema, value) is None, label
