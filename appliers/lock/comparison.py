"""What changed between two shapes of the same version, and whether old events still fit.

Which direction counts: events of a version are in logs for ever, and new code reads them. So a
change is *breaking* if some data that the old shape takes is not taken by the new one, or would mean
something else (a default that changed). The other direction, new events read by old code, is a
matter of the roll-out: deploy the readers first. Nothing here looks at it.

Shapes are compared all the way down: into records in unions, elements of lists and values of maps,
and a record that holds itself once. A path names the place: ``lines[].price``, ``prices{}``.
"""

from __future__ import annotations

from itertools import zip_longest

import msgspec

from appliers.lock.fitting import misfit
from appliers.lock.shape import (
    AnyShape,
    Anything,
    Decimal,
    Field,
    Int,
    ListOf,
    MapOf,
    OneOf,
    Record,
    Ref,
    Schema,
    SetOf,
    Sized,
    Text,
    TupleOf,
    members,
    said,
)


class Change(msgspec.Struct, frozen=True):
    """One difference. ``path`` is "" for the data itself.

    ``before`` and ``after`` are words; "" where the field is not there.
    """

    kind: str
    path: str
    before: str
    after: str
    breaking: bool


def changes(old: Schema, new: Schema) -> list[Change]:
    """Every difference, in the order of the old shape's fields; [] if all data fit both alike."""
    comparison = _Comparison(old, new)
    comparison.compare(old.data, new.data, "")
    return comparison.found


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self.found: list[Change] = []
        self._old = old
        self._new = new
        self._compared: set[tuple[str, str]] = set()

    def _add(
        self, kind: str, path: str, before: AnyShape | str, after: AnyShape | str, *, breaking: bool
    ) -> None:
        before = before if isinstance(before, str) else said(before, self._old.records)
        after = after if isinstance(after, str) else said(after, self._new.records)
        self.found.append(Change(kind, path, before, after, breaking))

    def compare(self, old: AnyShape, new: AnyShape, path: str) -> None:
        olds, news = members(old), members(new)
        if any(isinstance(member, Anything) for member in news):
            if not any(isinstance(member, Anything) for member in olds):
                self._add("type widened", path, old, new, breaking=False)
            return
        lone = sum(isinstance(self._new.resolve(member), Record) for member in news) == 1
        matched = [self._match(member, olds, news) for member in olds]
        if len(olds) == len(news) == 1 and matched == [None]:
            self._add("type changed", path, old, new, breaking=True)
            return
        for member, other in zip(olds, matched, strict=True):
            if other is None:
                if len(olds) == 1:
                    self._add("type changed", path, old, new, breaking=True)
                else:
                    self._add(
                        "member removed",
                        path,
                        member,
                        f"only {said(new, self._new.records)}",
                        breaking=True,
                    )
            else:
                self._pair(member, other, path, lone=lone)
        for other in news:
            if not any(other is taken for taken in matched):
                self._add("member added", path, old, other, breaking=False)

    def _match(self, old: AnyShape, olds: list[AnyShape], news: list[AnyShape]) -> AnyShape | None:
        """The alternative that is to take what ``old`` took."""
        whole = self._old.resolve(old)
        takers = [n for n in news if type(self._new.resolve(n)) is type(whole)]
        if isinstance(whole, Record):
            # By tag where there is one, so that a changed tag of the only record shows as that.
            same = [n for n in takers if _tag(self._new.resolve(n)) == _tag(whole)]
            records = [m for m in olds if isinstance(self._old.resolve(m), Record)]
            if same or len(takers) == len(records) == 1:
                return (same or takers)[0]
            named = [n for n in takers if isinstance(n, Ref) and n == old]
            return named[0] if named and not self._is_tag_of_any(named[0], records) else None
        if isinstance(whole, Text):
            takers = [n for n in takers if isinstance(n, Text) and n.form in (whole.form, "")]
            takers.sort(key=lambda n: isinstance(n, Text) and n.form != whole.form)
        if isinstance(whole, OneOf):
            numbers = type(whole.values[0]) is int
            takers = [
                n for n in takers if isinstance(n, OneOf) and (type(n.values[0]) is int) == numbers
            ]
            takers += [
                n
                for n in news
                if isinstance(n, Int | Decimal if numbers else Text)
                and all(misfit(Schema(n), value) is None for value in whole.values)
            ]
        if isinstance(whole, Int):
            takers += [n for n in news if isinstance(n, Decimal)]
        return takers[0] if takers else None

    def _is_tag_of_any(self, new: AnyShape, olds: list[AnyShape]) -> bool:
        tag = _tag(self._new.resolve(new))
        return any(_tag(self._old.resolve(old)) == tag for old in olds)

    def _pair(self, old: AnyShape, new: AnyShape, path: str, *, lone: bool) -> None:
        if isinstance(old, Ref) and isinstance(new, Ref):
            names = (old.to, new.to)
            if names in self._compared:
                return
            self._compared.add(names)
        old, new = self._old.resolve(old), self._new.resolve(new)
        if isinstance(old, OneOf) and isinstance(new, OneOf):
            self._values(old, new, path)
        elif isinstance(old, Record) and isinstance(new, Record):
            self._records(old, new, path, lone=lone)
        elif isinstance(old, TupleOf) and isinstance(new, TupleOf):
            if len(old.of) != len(new.of):
                self._add("type changed", path, old, new, breaking=True)
                return
            for place, (was, now) in enumerate(zip(old.of, new.of, strict=True)):
                self.compare(was, now, f"{path}[{place}]")
        else:
            if type(old) is not type(new) or (
                isinstance(old, Text) and isinstance(new, Text) and old.form != new.form
            ):
                self._add("type widened", path, old, new, breaking=False)
            self._bounds(old, new, path)
            if isinstance(old, ListOf | SetOf) and isinstance(new, ListOf | SetOf):
                self.compare(old.of, new.of, f"{path}[]")
            if isinstance(old, MapOf) and isinstance(new, MapOf):
                self.compare(old.keys, new.keys, f"{path}{{key}}")
                self.compare(old.values, new.values, f"{path}{{}}")

    def _values(self, old: OneOf, new: OneOf, path: str) -> None:
        for value in old.values:
            if value not in new.values:
                self._add("value removed", path, repr(value), said(new), breaking=True)
        for value in new.values:
            if value not in old.values:
                self._add("value added", path, said(old), repr(value), breaking=False)

    def _bounds(self, old: AnyShape, new: AnyShape, path: str) -> None:
        tighter = looser = False
        pairs: list[tuple[_Edge, _Edge]] = []
        if isinstance(old, Int) and isinstance(new, Int):
            pairs = [(_low(old), _low(new)), (_high(old), _high(new))]
            was, now = old.multiple_of, new.multiple_of
            if was != now:
                fits = now is None or (was is not None and was % now == 0)
                tighter, looser = not fits, fits
        elif isinstance(old, Sized) and isinstance(new, Sized):
            pairs = [
                (old.min_length or 0, new.min_length or 0),
                (_negative(old.max_length), _negative(new.max_length)),
            ]
            if isinstance(old, Text) and isinstance(new, Text) and old.pattern != new.pattern:
                tighter, looser = new.pattern is not None, new.pattern is None
        for was_edge, now_edge in pairs:
            if was_edge == now_edge:
                continue
            if now_edge is not None and (was_edge is None or now_edge > was_edge):
                tighter = True
            else:
                looser = True
        if tighter:
            self._add("bound tightened", path, old, new, breaking=True)
        elif looser:
            self._add("bound widened", path, old, new, breaking=False)

    # -- records ---------------------------------------------------------------------------------

    def _records(self, old: Record, new: Record, path: str, *, lone: bool) -> None:
        if _tag(old) != _tag(new):
            # A tag that tells nothing apart may be missing, or stand there for nothing.
            fits = lone and old.order is None and (_tag(old) is None or _tag(new) is None)
            self._add("tag changed", path, _said_tag(old), _said_tag(new), breaking=not fits)
        if (old.order is None) != (new.order is None):
            self._add(
                "type changed",
                path,
                *("record" if r.order is None else "list of its fields" for r in (old, new)),
                breaking=True,
            )
            return
        if old.order is not None and new.order is not None:
            for was, now in zip_longest(old.order, new.order):
                self._field(old.fields.get(was), new.fields.get(now), _join(path, was or now))
            return
        renamed = _renamed(old, new)
        for name, field in old.fields.items():
            if name in renamed:
                self._add(
                    "field renamed",
                    _join(path, name),
                    repr(name),
                    repr(renamed[name]),
                    breaking=True,
                )
            else:
                self._field(field, new.fields.get(name), _join(path, name))
        for name, field in new.fields.items():
            if name not in old.fields and name not in renamed.values():
                self._field(None, field, _join(path, name))

    def _field(self, old: Field | None, new: Field | None, path: str) -> None:
        if new is None:
            if old is not None:
                self._add("field removed", path, old.type, "", breaking=True)
            return
        if old is None:
            after = said(new.type, self._new.records)
            after += "" if new.required else f", {new.absence}"
            kind = "required field added" if new.required else "field added"
            self._add(kind, path, "", after, breaking=new.required)
            return
        self.compare(old.type, new.type, path)
        if old.absence == new.absence:
            return
        if new.required:
            self._add("default removed", path, old.absence, new.absence, breaking=True)
        elif old.required:
            self._add("default added", path, old.absence, new.absence, breaking=False)
        else:
            # An event without the field would come to mean something else.
            self._add("default changed", path, old.absence, new.absence, breaking=True)


def _renamed(old: Record, new: Record) -> dict[str, str]:
    """Fields that went while exactly one of the same kind came."""
    gone = [name for name in old.fields if name not in new.fields]
    came = [name for name in new.fields if name not in old.fields]
    found = {}
    for name in gone:
        alike = [other for other in came if new.fields[other] == old.fields[name]]
        rivals = [other for other in gone if old.fields[other] == old.fields[name]]
        if len(alike) == len(rivals) == 1:
            found[name] = alike[0]
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _tag(shape: AnyShape) -> tuple[str, str | int] | None:
    return (shape.tag_field, shape.tag) if isinstance(shape, Record) and shape.tag_field else None


def _said_tag(record: Record) -> str:
    return f"{record.tag_field} {record.tag!r}" if record.tag_field else "no tag"


_Edge = int | None
"""How far in a bound lies: the larger, the tighter."""


def _low(shape: Int) -> _Edge:
    return shape.ge if shape.gt is None else shape.gt + 1


def _high(shape: Int) -> _Edge:
    high = shape.le if shape.lt is None else shape.lt - 1
    return None if high is None else -high


def _negative(length: int | None) -> _Edge:
    return None if length is None else -length
