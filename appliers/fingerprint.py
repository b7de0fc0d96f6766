"""The fingerprint of a table generation: by which rules its items were made.

A generation may be continued only by the rules that began it; other rules are another generation,
never mixed in place. What is compared are *declared* versions, of the applier of each (table,
event type), of each upcaster of such a type, of each table's owner, and of the built-in actions
and the canonical form. Beside them stands a hash of each function's source, which only guards the
declaration: source that changed under the same version is refused, until it is given a new version
or said to mean the same.

The text is JSON in one order, so that equal fingerprints are equal texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

from appliers.actions import ACTIONS_VERSION
from appliers.applier import Rules
from appliers.source import source_hash
from appliers.transform import TableTransform
from binlog.errors import DamageError, MismatchError, UpgradeError

FORMAT = 2
"""2: with transforms. Without any it is written as 1, which earlier code reads."""
CANONICAL_VERSION = 1
"""Of `binlog.values`: other bytes for the same item are another fingerprint."""


class _Part(msgspec.Struct, frozen=True):
    """One function: its declared version and, under its name in the JSON, its source's hash."""

    version: int
    source: str = ""  # "": no source to be had, not compared


class _Transform(msgspec.Struct, frozen=True, omit_defaults=True):
    """A table's transform: all that it is, beside its declared version."""

    version: int
    to: str
    rename: dict[str, str] = {}
    drop: list[str] = []
    redact: dict[str, str] = {}


class _Fingerprint(msgspec.Struct, frozen=True, omit_defaults=True):
    format: int = 0
    actions: int = 0
    canonical: int = 0
    appliers: dict[str, dict[str, list[_Part]]] = {}  # type, table ("": its own): apply, key
    owners: dict[str, _Part] = {}
    upcasters: dict[str, list[_Part]] = {}  # of the types that have an applier; in order
    transforms: dict[str, _Transform] = {}  # by the table that the events name
    type_transforms: dict[str, _Part] = {}


class Comparison(msgspec.Struct, frozen=True):
    """What differs between two fingerprints; nothing of types that were never met."""

    versions: tuple[str, ...]  # rules that mean something else: another generation
    sources: tuple[str, ...]  # source that changed although its version did not

    @property
    def compatible(self) -> bool:
        return not self.versions and not self.sources


_encode = msgspec.json.Encoder(order="deterministic").encode


def fingerprint(rules: Rules) -> str:
    """The fingerprint of ``rules`` and the built-in actions, as canonical JSON text."""
    appliers: dict[str, dict[str, list[_Part]]] = {}
    for event_type, of_type in rules.by_type.items():
        for rule in of_type:
            functions = [rule.apply, *(f for f in (rule.key, rule.keys) if f is not None)]
            appliers.setdefault(event_type, {})[rule.table] = [
                _Part(rule.version, source_hash(function)) for function in functions
            ]
    transforms = rules.transforms
    return _encode(
        _Fingerprint(
            1 if transforms is None else FORMAT,
            ACTIONS_VERSION,
            CANONICAL_VERSION,
            appliers,
            {t: _Part(r.version, source_hash(r.owner)) for t, r in rules.owners.items()},
            {
                event_type: [
                    _Part(step.version, source_hash(step.upcast))
                    for step in rules.schemas.steps(event_type)
                ]
                for event_type in rules.by_type
                if rules.schemas.steps(event_type)
            },
            {} if transforms is None else {t: _whole(e) for t, e in transforms.tables.items()},
            {}
            if transforms is None
            else {
                t: _Part(e.version, source_hash(e.function)) for t, e in transforms.types.items()
            },
        )
    ).decode()


def _whole(transform: TableTransform) -> _Transform:
    return _Transform(
        transform.version,
        transform.to,
        dict(transform.rename),
        sorted(transform.drop),
        {name: redaction.text for name, redaction in transform.redact.items()},
    )


def ruled_tables(stored: str) -> frozenset[str] | None:
    """The tables whose items or owners the user's rules decide; ``None``: any table's.

    Raises:
        DamageError, UpgradeError: as `compare`.
    """
    found = _decode(stored)
    tables = {table for of_type in found.appliers.values() for table in of_type}
    for source, transform in found.transforms.items():
        tables |= {source, transform.to}
    return None if "" in tables else frozenset(tables | found.owners.keys())


def without_rules(stored: str) -> str:
    """The fingerprint less all of the user's: of built-in actions and canonical form alone.

    Raises:
        DamageError, UpgradeError: as `compare`.
    """
    found = _decode(stored)
    return _encode(_Fingerprint(1, found.actions, found.canonical)).decode()


def unready(stored: str) -> str:
    """A fingerprint that differs from ``stored``, and from that of any rules.

    Raises:
        DamageError, UpgradeError: as `compare`.
    """
    return _encode(msgspec.structs.replace(_decode(stored), actions=0)).decode()


def compare(
    stored: str,
    current: str,
    *,
    met: Collection[str] | None = None,
    tables: Collection[str] | None = None,
) -> Comparison:
    """What differs between the ``stored`` fingerprint of a generation and the ``current`` one.

    ``met`` are the event types that the generation has met, also those that no applier took;
    ``tables`` the tables that it holds. ``None``: not known, everything counts.

    Raises:
        DamageError: ``stored`` is no fingerprint.
        UpgradeError: of a newer format.
    """
    old, new = _decode(stored), _decode(current)
    versions: list[str] = []
    sources: list[str] = []
    for what, before, after in (
        ("the built-in actions", old.actions, new.actions),
        ("the canonical form", old.canonical, new.canonical),
    ):
        if before != after:
            versions.append(f"{what}: version {before} before, {after} now")
    versions += _transforms(old.transforms, new.transforms, tables)
    pairs = _pairs(old.owners, new.owners, tables, "the owner of table {}")
    pairs += _pairs(old.type_transforms, new.type_transforms, met, "the transform of {}")
    for event_type in _names(old.appliers, new.appliers, met):
        pairs = (
            *pairs,
            *_lists(
                old.appliers.get(event_type, {}),
                new.appliers.get(event_type, {}),
                f"the applier of {event_type}{{}}",
            ),
        )
        pairs = (*pairs, *_steps(old, new, event_type))
    for what, was, now in pairs:
        if was is None or now is None or was.version != now.version:
            versions.append(f"{what}: {_version(was)} before, {_version(now)} now")
        elif was.source != now.source and was.source and now.source:
            sources.append(f"{what}: changed, and still version {now.version}")
    return Comparison(tuple(versions), tuple(sources))


def check_fingerprint(
    stored: str,
    current: str,
    *,
    where: str,
    met: Collection[str] | None = None,
    tables: Collection[str] | None = None,
    same_meaning: bool = False,
) -> None:
    """Return if rules of ``current`` may continue what was made under ``stored``.

    ``same_meaning``: somebody vouches that changed source computes what it did.

    Raises:
        MismatchError: they may not; the message names every difference and what to do, and
            ``error.versions`` and ``error.sources`` hold them.
        DamageError, UpgradeError: as `compare`.
    """
    found = compare(stored, current, met=met, tables=tables)
    details = {"versions": found.versions, "sources": found.sources}
    if found.versions:
        raise MismatchError(
            f"made by other rules ({'; '.join(found.versions)})",
            where,
            "use the appliers that made it, or make a new generation: binlog rebuild",
            **details,
        )
    if found.sources and not same_meaning:
        raise MismatchError(
            f"the source of its rules changed ({'; '.join(found.sources)})",
            where,
            "declare a new version and rebuild, or pass --same-meaning if it computes the same",
            **details,
        )


def _transforms(
    old: Mapping[str, _Transform], new: Mapping[str, _Transform], tables: Collection[str] | None
) -> Iterator[str]:
    """What differs of those whose events or items are of ``tables``, before or now."""
    for source in sorted({*old, *new}):
        was, now = old.get(source), new.get(source)
        concerned = {source, *(each.to for each in (was, now) if each is not None)}
        if was == now or (tables is not None and concerned.isdisjoint(tables)):
            continue
        what = f"the transform of table {source}"
        if was is not None and now is not None and was.version == now.version:
            changed = [
                name
                for name in ("to", "rename", "drop", "redact")
                if getattr(was, name) != getattr(now, name)
            ]
            yield f"{what}: other {', '.join(changed)} now, and still version {now.version}"
        else:
            yield f"{what}: {_version(was)} before, {_version(now)} now"


_Pair = tuple[str, _Part | None, _Part | None]


def _pairs(
    old: Mapping[str, _Part], new: Mapping[str, _Part], counted: Collection[str] | None, what: str
) -> tuple[_Pair, ...]:
    return tuple(
        (what.format(name), old.get(name), new.get(name)) for name in _names(old, new, counted)
    )


def _lists(
    old: Mapping[str, list[_Part]], new: Mapping[str, list[_Part]], what: str
) -> Iterator[_Pair]:
    for table in _names(old, new, None):
        place = what.format(f" for table {table}" if table else "")
        was, now = old.get(table), new.get(table)
        if was is None or now is None or len(was) != len(now):
            # Another number of functions is a changed applier, whatever its version says.
            yield place, was[0] if was else None, now[0] if now else None
            if was and now and was[0].version == now[0].version:
                yield f"{place}, its key", None, now[-1]
        else:
            yield from ((place, *pair) for pair in zip(was, now, strict=True))


def _steps(old: _Fingerprint, new: _Fingerprint, event_type: str) -> Iterator[_Pair]:
    was, now = old.upcasters.get(event_type, []), new.upcasters.get(event_type, [])
    for step in range(max(len(was), len(now))):
        yield (
            f"the upcaster of {event_type} from schema {step + 1}",
            was[step] if step < len(was) else None,
            now[step] if step < len(now) else None,
        )


def _names(
    old: Mapping[str, object], new: Mapping[str, object], counted: Collection[str] | None
) -> list[str]:
    names = {*old, *new}
    return sorted(names if counted is None else names.intersection(counted))


def _version(part: _Part | _Transform | None) -> str:
    return "none" if part is None else f"version {part.version}"


def _decode(text: str) -> _Fingerprint:
    try:
        found = msgspec.json.decode(text, type=_Fingerprint)
    except msgspec.DecodeError as error:
        raise DamageError(f"no fingerprint ({error})", text[:60]) from error
    if found.format > FORMAT:
        raise UpgradeError(f"fingerprint of format {found.format}, this code knows {FORMAT}")
    return found
