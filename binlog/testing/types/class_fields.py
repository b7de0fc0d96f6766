"""The fields of one class put together, those with a default sometimes left out.

An absent field is what old events look like, and the smallest example has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

from binlog.testing.types.leaves import draw_pool, pool_of
from binlog.values import encode_value

_Made: TypeAlias = st.SearchStrategy[Any]


class ClassFields:
    """The fields of a class. Shown short: Hypothesis prints what a failing draw came from."""

    def __init__(
        self,
        name: str,
        head: Mapping[str, Any],
        required: Sequence[tuple[str, _Made]],
        optional: Sequence[tuple[str, _Made, bytes | None]],
    ) -> None:
        """``head`` is the tag. Each optional one has the canonical bytes that are left out."""
        self.name = name
        self.head = head
        self.required = [(name, pool_of(made), made) for name, made in required]
        self.optional = [(name, pool_of(made), made, out) for name, made, out in optional]

    def __repr__(self) -> str:
        return f"<fields of {self.name}>"


@st.composite
def maps(draw: st.DrawFn, fields: ClassFields) -> dict[str, Any]:
    """A map of the fields; of those with a default some are absent."""
    data = dict(fields.head)
    present = _presence(draw, len(fields.optional))
    for name, pool, made in fields.required:
        data[name] = draw(made) if pool is None else draw_pool(draw, pool)
    for name, pool, made, omitted in fields.optional:
        if present & 1:
            value = draw(made) if pool is None else draw_pool(draw, pool)
            if omitted is None or encode_value(value) != omitted:
                data[name] = value
        present >>= 1
    return data


@st.composite
def arrays(draw: st.DrawFn, fields: ClassFields) -> list[Any]:
    """A list of the fields: of those with a default, the last ones may be absent."""
    count = draw(st.integers(0, len(fields.optional))) if fields.optional else 0
    data = [*fields.head.values(), *(draw(made) for _, _, made in fields.required)]
    return data + [draw(made) for _, _, made, _ in fields.optional[:count]]


_BITS_MAX = 8  # among more than 256 numbers Hypothesis prefers the small ones
_BITS = [st.integers(0, 2**bits - 1) for bits in range(_BITS_MAX + 1)]


def _presence(draw: st.DrawFn, count: int) -> int:
    """A bit for each optional field, 0 for absent; one draw for many fields, as draws are dear."""
    present = 0
    while count > 0:
        bits = min(count, _BITS_MAX)
        present = present << bits | draw(_BITS[bits])
        count -= bits
    return present
