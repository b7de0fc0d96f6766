"""Hypothesis strategies from the types of your events.

::

    values(Placed)                                    data of one type, as a log gives them back
    events(shop)                                      envelopes of all types that appliers declare
    events(shop, [Placed, Paid], key="order")         of these
    events(shop, fields={"Placed.total": st.integers(0, 9)})

What msgspec says about a type is honoured: bounds, patterns, tags, renamed fields, generics. A
field with a default is sometimes absent, as it is in events older than the field. Most values are
small and meet each other; one in `HOSTILE_SHARE` is an edge of its type. Failures shrink to the
plainest: 0, "", absent, the first key.

Values are published ones (`binlog.typed`): a date is its text, an enumeration its value, a whole
Decimal an ``int``. A set is never empty. Attributes that a type does not have are never made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import msgspec
from hypothesis import reject
from hypothesis import strategies as st

from appliers.applier import Rules
from binlog.changes import event
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.schema import event_name
from binlog.testing.subject import Source, rules_of
from binlog.testing.types import hostile as odd
from binlog.testing.types.data_strategies import DataStrategies, published
from binlog.testing.types.described import (
    Description,
    classes,
    describe,
    keys_of_field,
    name_of,
    name_of_type,
)
from binlog.testing.types.event_table import table_of
from binlog.testing.types.key_strategies import Key, key_maps, repeated
from binlog.testing.types.leaves import pool
from binlog.values import decode_value, encode_value

Fields: TypeAlias = "Mapping[str, st.SearchStrategy[Any]] | None"

IDS = 32
"""Different event ids: few enough that some come again, with other content."""


def values(kind: Any, *, fields: Fields = None, hostile: bool = True) -> st.SearchStrategy[Any]:
    """Published data of a type that msgspec describes.

    ``fields`` puts a strategy of your own (of typed or plain values) in the place of a field,
    ``"TypeName.field"``, or of a whole type, ``"TypeName"``; nested types go by their own names.
    ``hostile=False`` leaves out the edges.

    Raises:
        RefusedError: a type that cannot be published or never ends, with the field's path and
            what to write; a name in ``fields`` that no type has.
    """
    name = name_of_type(kind)
    _check_fields(fields, [kind], names=[name])
    return _values(kind, name, fields, hostile=hostile).filter(_has_room)


def events(
    source: Source,
    types: Sequence[Any] | None = None,
    *,
    key: Key = "id",
    table: str | None = None,
    fields: Fields = None,
    expects: bool = True,
    schemas: Literal["all", "current"] = "all",
    hostile: bool = True,
) -> st.SearchStrategy[Envelope]:
    """Envelopes of the user's event types, as a producer takes them.

    ``types`` are Python types or names of event types, by default all that the appliers declare.
    ``key`` is the attribute that orders the events, or two, or a strategy for each, or a strategy
    of whole key maps; a field of the data by the same name holds the key's value. ``table`` is theirs; by default the one whose events may touch the items
    that the appliers make (`appliers.ownership`), "" for none. ``fields`` is that of `values`; the
    name of an event type stands for its whole data in the newest version. With ``expects`` a few
    expect a version. ``schemas="all"`` has every version that an upcaster still takes.

    Raises:
        RefusedError: as `values`; a type that the appliers do not know; a version whose type
            nobody declares.
    """
    rules = rules_of(source)
    kinds = [
        kind
        for given in _given_types(rules, types)
        for kind in _kinds(rules, given, table, every_version=schemas == "all")
    ]
    kinds.sort(key=lambda kind: kind.age)  # failures shrink to the newest
    _check_fields(fields, [kind.data for kind in kinds], names=[kind.type for kind in kinds])
    shared = repeated(
        key,
        [kind.data for kind in kinds],
        lambda kind, place: (
            _given(place, fields[place])
            if fields and place in fields
            else _values(kind, place, None, hostile=hostile)
        ),
    )
    drawn = [
        (kind, _data_of(kind, fields, hostile=hostile), shared.of(kind.data)) for kind in kinds
    ]
    keys = key_maps(key, hostile=hostile, typed=shared.typed)
    mix = Mix(drawn, keys, expects=expects, hostile=hostile)
    made = _envelopes(mix)
    _mixes[made] = mix
    return made


def event_strategy(rules: Rules, events_given: Any = None, **options: Any) -> Any:
    """What the checks of the kit mean by ``events=``: `None`, types, or a strategy of envelopes.

    ``options`` are those of `events`; a strategy is taken as it is.

    Raises:
        RefusedError: as `events`, or none of the three.
    """
    if isinstance(events_given, st.SearchStrategy):
        return events_given.map(_check_envelope)
    if isinstance(events_given, str | Mapping) or not isinstance(events_given, Iterable | None):
        raise RefusedError(
            f"events={events_given!r}",
            do="give a list of event types, or a strategy of Envelopes",
        )
    return events(rules, None if events_given is None else list(events_given), **options)


# -- which events --------------------------------------------------------------------------------


class _Kind(msgspec.Struct, frozen=True):
    """Events of one type in one version."""

    type: str
    schema: int
    age: int  # versions before the newest
    table: str
    data: Any  # a Python type


def _given_types(rules: Rules, types: Sequence[Any] | None) -> list[tuple[str, Any]]:
    """Names of event types, each with its newest type where the caller gives it."""
    known = {*rules.by_type, *rules.schemas.types()}
    if types is None:
        types = sorted(known)
    if not types:
        raise RefusedError(
            "there are no event types", do="give events=[...], or appliers that declare some"
        )
    given = []
    for kind in types:
        if isinstance(kind, st.SearchStrategy):
            raise RefusedError(
                "a strategy in a list of event types", do="st.one_of(events(...), ...)"
            )
        name = kind if isinstance(kind, str) else event_name(kind)
        if name not in known:
            close = get_close_matches(name, known, 1)
            raise RefusedError(
                f"no applier takes events of type {name!r}{_meant(close)}",
                do=f"the type's tag or name has to be that of an applier ({', '.join(sorted(known))})",
            )
        given.append((name, None if isinstance(kind, str) else kind))
    return given


def _kinds(
    rules: Rules, given: tuple[str, Any], table: str | None, *, every_version: bool
) -> list[_Kind]:
    name, newest = given
    current = rules.schemas.current(name) or 1
    found = []
    for schema in range(1 if every_version else current, current + 1):
        data = rules.schemas.data_type(name, schema)
        if schema == current and newest is not None:
            data = newest
        if data is None and schema < current:
            raise RefusedError(
                f"the upcaster of {name!r} from schema {schema} does not say what data it takes",
                do=f'upcaster("{name}", from_version={schema}, data=THE_TYPE), or schemas="current"',
            )
        if data is None:
            raise RefusedError(
                f"the events of type {name!r} have no Python type",
                do=f'declare it: event_type("{name}", schema={current}, data=THE_TYPE),'
                " or give types: events=[THE_TYPE]",
            )
        found.append(
            _Kind(
                name,
                schema,
                current - schema,
                table_of(rules, name) if table is None else table,
                data,
            )
        )
    return found


def _data_of(kind: _Kind, fields: Fields, *, hostile: bool) -> st.SearchStrategy[Any]:
    if fields and kind.age == 0 and kind.type in fields:
        return _given(kind.type, fields[kind.type])
    name = name_of_type(kind.data)
    return _values(kind.data, name, fields, hostile=hostile)


def _values(kind: Any, name: str, fields: Fields, *, hostile: bool) -> st.SearchStrategy[Any]:
    given = {key: _given(key, made) for key, made in (fields or {}).items()}
    if name in given:
        return given[name]
    description = Description(describe(kind), given=given)
    return DataStrategies(description, given, hostile=hostile).build(name)


# -- what the caller gives -----------------------------------------------------------------------


def _check_fields(fields: Fields, kinds: Iterable[Any], *, names: Iterable[str]) -> None:
    """That every key of ``fields`` names something, so that a slip of the pen is noticed."""
    if not fields:
        return
    nodes = classes(describe(kind) for kind in kinds)
    known = {*names, *map(name_of, nodes)}
    known |= {key for node in nodes for field in node.fields for key in keys_of_field(node, field)}
    for key, made in fields.items():
        if key not in known:
            close = get_close_matches(str(key), known, 1)
            raise RefusedError(
                f"fields has {key!r}, which no type has{_meant(close)}",
                do=f"name a field as TypeName.field: {', '.join(sorted(known))}",
            )
        _check_strategy(f"fields[{key!r}]", made)


def _check_strategy(where: str, made: object) -> None:
    if not isinstance(made, st.SearchStrategy):
        raise RefusedError(
            f"{where} is {made!r}, no strategy", do="for one value: hypothesis.strategies.just(...)"
        )


def _meant(close: list[str]) -> str:
    return f" (did you mean {close[0]!r}?)" if close else ""


def _has_room(data: Any) -> bool:
    return len(encode_value(data, outer=1)) <= odd.DATA_BYTES_MAX


def _given(key: str, made: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return made.map(partial(_published_for, key))


def _published_for(key: str, value: object) -> Any:
    try:
        return published(value)
    except RefusedError as error:
        raise RefusedError(f"fields[{key!r}] gave {value!r}: {error.what}", do=error.do) from error


def _check_envelope(value: object) -> Envelope:
    if not isinstance(value, Envelope):
        raise RefusedError(
            f"the strategy of events gave a {type(value).__name__}",
            do="it has to give Envelopes: binlog.changes.event(...), or binlog.testing.events(...)",
        )
    return value


# -- envelopes -----------------------------------------------------------------------------------

_PLACES = st.integers(0, IDS * 8 - 1)
_EXPECTS = st.sampled_from((0, 1, 2, 3, 4))
_METAS = pool([{"by": "a"}, {"by": "b", "n": 1}, {}], odd.METAS)


class Mix:
    """What envelopes are made of. Shown short: Hypothesis prints what a failing draw came from."""

    def __init__(
        self,
        kinds: list[tuple[_Kind, st.SearchStrategy[Any], tuple[str, ...]]],
        keys: st.SearchStrategy[dict[str, Any]],
        *,
        expects: bool,
        hostile: bool,
    ) -> None:
        self.kinds = kinds
        self.which = st.integers(0, len(kinds) - 1)
        self.keys = keys
        self.expects = expects
        self.hostile = hostile

    def __repr__(self) -> str:
        return f"<{', '.join(sorted({kind.type for kind, _, _ in self.kinds}))}>"

    def draw(
        self, draw: st.DrawFn, *, which: int | None = None, key: Mapping[str, Any] | None = None
    ) -> Envelope:
        """One envelope; ``which`` of the kinds, and the key, where they are settled."""
        kind, data, in_key = self.kinds[draw(self.which) if which is None else which]
        # One draw for what is nearly always plain: draws are what generation costs.
        place = draw(_PLACES)
        number, place = place % IDS, place // IDS
        expect = draw(_EXPECTS) if self.expects and place == 7 else None
        meta = (
            draw(_METAS) if self.hostile and (place == 6 or (place == 7 and number % 2)) else None
        )
        odd_id = self.hostile and number >= IDS - len(odd.IDS)
        key, content = draw(self.keys) if key is None else dict(key), draw(data)
        if in_key and isinstance(content, dict):
            content = {**content, **{name: key[name] for name in in_key}}
        if not _has_room(content):
            reject()
        return event(
            kind.type,
            key,
            content,
            schema=kind.schema,
            table=kind.table or None,
            event_id=odd.IDS[number - IDS] if odd_id else f"e{number}",
            meta=meta,
            expect=expect,
            now_ms=odd.TIMES_MS[number % len(odd.TIMES_MS)] if self.hostile else number,
        )

    def versions_of(self, envelope: Envelope) -> list[int]:
        """Places of the kinds of its type in ``kinds``, the newest first, its own the last."""
        places = [
            place for place, (kind, _, _) in enumerate(self.kinds) if kind.type == envelope.type
        ]
        newer = [place for place in places if self.kinds[place][0].schema >= envelope.schema]
        return sorted(newer, key=lambda place: -self.kinds[place][0].schema)

    def moved(self, envelope: Envelope, to: Envelope) -> Envelope:
        """The same event of the other one's key, in its data, too, where they repeat it."""
        data = envelope.data
        for kind, _, in_key in self.kinds:
            if in_key and data and (kind.type, kind.schema) == (envelope.type, envelope.schema):
                content, key = decode_value(data), decode_value(to.key)
                if isinstance(content, dict):
                    content |= {name: key[name] for name in in_key}
                    data = encode_value(content, outer=1)
        return msgspec.structs.replace(envelope, key=to.key, data=data)


@st.composite
def _envelopes(draw: st.DrawFn, mix: Mix) -> Envelope:
    return mix.draw(draw)


_mixes: WeakKeyDictionary[st.SearchStrategy[Envelope], Mix] = WeakKeyDictionary()


def mix_of(made: st.SearchStrategy[Envelope]) -> Mix | None:
    """What the envelopes of a strategy are made of, if `events` made it."""
    return _mixes.get(made)
