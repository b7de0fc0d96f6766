"""The lock file: JSON in one order, for people to read in a diff and to commit beside their code.

::

    {
      "about": "Written by `binlog schema lock`. ...",
      "format": 1,
      "types": {
        "Placed": {
          "appliers": {"orders": {"source": "32 hex digits", "version": 1}},
          "checksum": "64 hex digits",
          "key": ["id"],
          "upcasters": [{"source": "32 hex digits", "version": 1}],
          "versions": [
            {
              "schema": 1,
              "shape": {"data": {"is": "record", "fields": {...}}},
              "golden": [{"name": "whole", "data": {...}, "base64": "...", ...}]
            },
            {"schema": 2}
          ]
        }
      },
      "owners": {"orders": {"checksum": ..., "golden": [...], "source": ..., "version": 1}}
    }

Values are DynamoDB JSON. A version whose data have no declared type has neither shape nor golden
events. Each entry's checksum is the SHA-256 of [name, content] as compact JSON in deterministic
order, the checksum itself left out; it does not cover how the file is laid out. It is one an entry,
and not one a file, so that branches that lock different types merge without a conflict.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from appliers.lock.golden import Golden, OwnerOf
from appliers.lock.shape import Schema
from binlog.errors import RefusedError, UpgradeError

FORMAT = 1
DEFAULT_FILE = "schema.lock.json"
ABOUT = (
    "Written by `binlog schema lock`, checked by `binlog schema check`. Commit it; do not edit it."
)
_WIDTH = 110


class Part(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A function: its declared version, and a hash of its source ("": there is none to be had)."""

    version: int
    source: str = ""
    key_source: str = ""  # of an applier's `key` or `keys`


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One schema version of a type."""

    schema: int
    shape: Schema | None = None
    golden: list[Golden] = []


class TypeEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One event type. ``versions`` are those from 1 on, without a gap."""

    versions: list[Version]
    key: list[str]  # the attributes of its golden events' key
    appliers: dict[str, Part] = {}  # by table, "" for the event's own
    upcasters: list[Part] = []  # from version 1, from version 2, and so on
    checksum: str = ""


class OwnerEntry(Part, frozen=True, omit_defaults=True, kw_only=True):
    """The owner of a table's items."""

    golden: list[OwnerOf] = []
    checksum: str = ""


class Lock(msgspec.Struct, frozen=True):
    """The whole file."""

    format: int = FORMAT
    types: dict[str, TypeEntry] = {}
    owners: dict[str, OwnerEntry] = {}
    about: str = ABOUT


_Entry = TypeVar("_Entry", TypeEntry, OwnerEntry)
_encode = msgspec.json.Encoder(order="deterministic").encode
_dumps = json.JSONEncoder(ensure_ascii=False).encode


def sealed(name: str, entry: _Entry) -> _Entry:
    """The entry with the checksum of its name and content."""
    return msgspec.structs.replace(entry, checksum=_checksum(name, entry))


def _checksum(name: str, entry: TypeEntry | OwnerEntry) -> str:
    content: Any = msgspec.structs.replace(entry, checksum="")
    return sha256(_encode([name, content])).hexdigest()


# -- out -----------------------------------------------------------------------------------------


def encode_lock(lock: Lock) -> str:
    """The text of the file: equal locks are equal texts."""
    document = {
        "about": ABOUT,
        "format": lock.format,
        "types": msgspec.to_builtins(dict(sorted(lock.types.items())), order="deterministic"),
        "owners": msgspec.to_builtins(dict(sorted(lock.owners.items())), order="deterministic"),
    }
    return _laid_out(document, 0) + "\n"


def _laid_out(value: Any, indent: int) -> str:
    """JSON in which whatever fits stands on one line, so that a change is one line of a diff."""
    flat = _flat(value, _WIDTH - indent)
    if flat is not None:
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        opening, closing = "{", "}"
        rows = [
            f"{inner}{_dumps(name)}: {_laid_out(member, indent + 2)}"
            for name, member in value.items()
        ]
    elif isinstance(value, list):
        opening, closing = "[", "]"
        rows = [inner + _laid_out(member, indent + 2) for member in value]
    else:
        return _dumps(value)
    return "\n".join((opening, ",\n".join(rows), " " * indent + closing))


def _flat(value: Any, room: int) -> str | None:
    """``value`` on one line, if it fits; it is looked at no further than that."""
    if isinstance(value, dict):
        opening, closing, parts = "{", "}", []
        for name, member in value.items():
            key = f"{_dumps(name)}: "
            part = _flat(member, room - len(key) - 2)
            if part is None:
                return None
            parts.append(key + part)
            room -= len(key) + len(part) + 2
    elif isinstance(value, list):
        opening, closing, parts = "[", "]", []
        for member in value:
            part = _flat(member, room - 2)
            if part is None:
                return None
            parts.append(part)
            room -= len(part) + 2
    else:
        text = _dumps(value)
        return text if len(text) <= room else None
    return f"{opening}{', '.join(parts)}{closing}" if room >= 0 else None


# -- in ------------------------------------------------------------------------------------------


class _Format(msgspec.Struct):
    format: int


def decode_lock(text: str, where: str) -> Lock:
    """The lock that ``text`` holds; ``where`` names the file.

    Raises:
        RefusedError: no JSON (with the line), no lock file, or an entry that was edited by hand.
        UpgradeError: of a newer format than this code knows.
    """
    document = _parse(text, where)
    try:
        found = msgspec.convert(document, _Format).format
    except msgspec.ValidationError as error:
        raise RefusedError(f"no lock file ({error})", where, "was it written by binlog?") from error
    if found > FORMAT:
        raise UpgradeError(
            f"lock file of format {found}, this code knows up to {FORMAT}", where, "upgrade binlog"
        )
    try:
        lock = msgspec.convert(document, Lock)
    except msgspec.ValidationError as error:
        raise RefusedError(
            f"the lock file was edited, or is damaged ({error})", where, _RESTORE
        ) from error
    for what, entries in (("type", lock.types), ("owner of table", lock.owners)):
        for name, entry in entries.items():
            if entry.checksum != _checksum(name, entry):
                raise RefusedError(
                    f"the {what} {name!r} was edited by hand: its checksum is another",
                    where,
                    _RESTORE,
                    name=name,
                )
    return lock


_RESTORE = (
    "restore it from version control, and let `binlog schema lock` write what changed; "
    "after a merge, restore one side whole and lock again"
)


def _parse(text: str, where: str) -> Any:
    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(members)
        if len(found) != len(members):
            twice = next(n for n, _ in members if [m for m, _ in members].count(n) > 1)
            raise RefusedError(f"the name {twice!r} stands twice in an object", where, _RESTORE)
        return found

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        # The line is after the last one where the text ends too early.
        line = next(iter(text.splitlines()[error.lineno - 1 :]), "")
        if line.lstrip().startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
            what = "a merge conflict is in it"
        else:
            what = f"no JSON: {error.msg[0].lower()}{error.msg[1:]}"
        raise RefusedError(
            what, f"{where}, line {error.lineno}", _RESTORE, line=error.lineno
        ) from error
    except RecursionError as error:
        raise RefusedError("no lock file: nested too deep", where, _RESTORE) from error
