"""The file that declares a DynamoDB store's tables: TOML, strict, every mistake named by its key.

::

    [defaults]                      # of the tables that are made here
    billing = "on-demand"           # or { read = 5, write = 10 }, units a second
    pitr = 7                        # point-in-time recovery: days, or true
    deletion_protection = true
    kms = "alias/shop"
    tags = { team = "shop" }

    [control]                       # the store's own table; else PREFIX.binlog
    physical = "shop-state"

    [tables.orders]
    hash = ["customer", "S"]        # attribute, and S (text), N (number) or B (binary)
    range = ["number", "N"]

    [tables.users]
    like = "Users-2023"             # the key schema of a table that is there

    [tables.stock]
    physical = "Stock-1QX2"
    owned = true                    # made by CloudFormation or Terraform: compared, never changed

A table that is not named is derived: see `dynamodb_tables_spec`. Options of a table replace those
of ``defaults``; tags are joined.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from appliers.stores.dynamodb_tables_spec import (
    CONTROL_KEYS,
    NAME,
    NAME_RULE,
    Attribute,
    Declared,
    KeySchema,
    KeyType,
    Specification,
    Units,
    bare,
)
from binlog.errors import RefusedError
from binlog.values import RESERVED_ATTRIBUTE

_Positive = Annotated[int, msgspec.Meta(ge=1)]
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PointInTimeRecoverySpecification.html
_Days = Annotated[int, msgspec.Meta(ge=1, le=35)]
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Tagging.html
_TagKey = re.compile(r"[\w .:/=+\-@]{1,128}")
_TagValue = re.compile(r"[\w .:/=+\-@]{0,256}")
_ATTRIBUTE_BYTES_MAX = 255  # of a key attribute's name

_StructT = TypeVar("_StructT", bound=msgspec.Struct)


class _Units(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    read: _Positive
    write: _Positive


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    billing: Literal["on-demand"] | _Units | None = None
    pitr: bool | _Days | None = None
    deletion_protection: bool | None = None
    kms: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    tags: dict[str, str] = {}


class _Control(_Options, frozen=True, forbid_unknown_fields=True):
    physical: str | None = None
    owned: bool = False


class _Table(_Control, frozen=True, forbid_unknown_fields=True):
    hash: tuple[str, KeyType] | None = None
    range: tuple[str, KeyType] | None = None
    like: str | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    defaults: dict[str, Any] = {}
    control: dict[str, Any] = {}
    tables: dict[str, Any] = {}


def read(path: str, prefix: str) -> Specification:
    """The specification that a file is.

    Raises:
        RefusedError: no such file, no TOML, or a mistake in it: one line, with file and key.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RefusedError(f"{error.strerror or error}", path, "is ?tables=FILE right?") from error
    except UnicodeDecodeError as error:
        raise RefusedError("not UTF-8", path, "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise RefusedError(f"no TOML: {error}", path, "mend it") from error
    return _Reading(path).specification(content, prefix)


class _Reading:
    """One file being read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def specification(self, content: dict[str, Any], prefix: str) -> Specification:
        file = self._convert(content, _File, "")
        defaults = self._convert(file.defaults, _Options, "defaults")
        self._check_options(defaults, "defaults")
        control = self._convert(file.control, _Control, "control")
        self._check_control(control, "control")
        declared = {}
        for table, fields in file.tables.items():
            key = f"tables.{bare(table)}"
            if NAME.fullmatch(table) is None:
                raise self._mistake(key, "no table's name", f"{NAME_RULE}")
            found = self._convert(fields, _Table, key)
            self._check_control(found, key)
            declared[table] = self._declared(found, defaults, key)
        made = Specification(
            prefix=prefix,
            path=self.path,
            declared=declared,
            own=_filled(control, defaults, keys=CONTROL_KEYS if control.owned else None),
            defaults=_filled(_Table(), defaults, keys=None),
        )
        self._check_names(made)
        return made

    def _declared(self, found: _Table, defaults: _Options, key: str) -> Declared:
        if found.like is not None and found.hash is not None:
            raise self._mistake(f"{key}.like", f"{key}.hash is there as well", "remove one of them")
        if found.range is not None and found.hash is None:
            raise self._mistake(f"{key}.range", "there is no hash", "a range key needs a hash key")
        if found.like is not None and found.owned:
            raise self._mistake(
                f"{key}.like", "an owned table is like itself", "remove like, or owned"
            )
        keys = None
        if found.hash is not None:
            keys = self._keys(found.hash, found.range, key)
        return _filled(found, defaults, keys=keys)

    def _keys(self, hash_key: Attribute, range_key: Attribute | None, key: str) -> KeySchema:
        for role, attribute in (("hash", hash_key), ("range", range_key)):
            if attribute is None:
                continue
            name = attribute[0]
            if not 1 <= len(name.encode()) <= _ATTRIBUTE_BYTES_MAX:
                raise self._mistake(
                    f"{key}.{role}",
                    f"a name of {len(name.encode())} bytes",
                    f"a key attribute's name has 1 to {_ATTRIBUTE_BYTES_MAX}",
                )
            if name == RESERVED_ATTRIBUTE:
                raise self._mistake(f"{key}.{role}", f"{name} is reserved", "take another")
        if range_key is not None and range_key[0] == hash_key[0]:
            raise self._mistake(
                f"{key}.range", f"{range_key[0]!r} is the hash key already", "name another"
            )
        return KeySchema(hash_key, range_key)

    def _check_control(self, found: _Control, key: str) -> None:
        for name in ("physical", "like"):
            value = getattr(found, name, None)
            if value is not None and NAME.fullmatch(value) is None:
                raise self._mistake(f"{key}.{name}", f"{value!r} is no table's name", NAME_RULE)
        if found.owned:
            given = [
                option
                for option in ("billing", "pitr", "deletion_protection", "kms", "tags")
                if getattr(found, option) not in (None, {})
            ]
            if given:
                raise self._mistake(
                    f"{key}.{given[0]}",
                    "the table is owned by others, who set its options",
                    f"remove {given[0]}, or owned",
                )
        self._check_options(found, key)

    def _check_options(self, found: _Options, key: str) -> None:
        for tag, value in found.tags.items():
            where = f"{key}.tags.{bare(tag)}"
            if tag.lower().startswith(("aws:", "binlog/")):
                raise self._mistake(where, "the tag is reserved", "take another name")
            if _TagKey.fullmatch(tag) is None or _TagValue.fullmatch(value) is None:
                raise self._mistake(
                    where,
                    "no tag of DynamoDB's",
                    "letters, digits, blanks and . : / = + - @ _, 128 for the name, 256 for the "
                    "value",
                )

    def _check_names(self, made: Specification) -> None:
        """No two of them are the same table."""
        taken = {made.control().physical: "control"}
        for table in made.declared:
            key = f"tables.{bare(table)}"
            name = made.name_of(table, generation=None)
            if name in taken:
                raise self._mistake(f"{key}.physical", f"{name} is {taken[name]}'s", "name another")
            taken[name] = key

    def _convert(self, value: Mapping[str, Any], into: type[_StructT], key: str) -> _StructT:
        try:
            return msgspec.convert(value, into)
        except msgspec.ValidationError as error:
            raise self._explained(str(error), into, key) from error

    def _explained(self, said: str, into: type[msgspec.Struct], key: str) -> RefusedError:
        """The message of msgspec, with our key in place of its path."""
        what, _, path = said.partition(" - at `$")
        inner = path.removesuffix("`").replace("[...]", "").lstrip(".")
        if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
            holder = _Units if inner == "billing" else into
            known = [field.name for field in msgspec.structs.fields(holder)]
            near = difflib.get_close_matches(unknown[1], known, 1)
            place = ".".join(part for part in (key, inner, bare(unknown[1])) if part)
            hint = f"is it {near[0]}?" if near else f"known are {', '.join(known)}"
            return self._mistake(place, "no such key", hint)
        place = ".".join(part for part in (key, inner) if part)
        return self._mistake(
            place or "the file", _lower(what), _SHAPES.get(inner.partition("[")[0])
        )

    def _mistake(self, key: str, what: str, do: str | None) -> RefusedError:
        where = f"{self.path}: {key}" if key else self.path
        return RefusedError(what, where, do or "mend it", path=self.path, key=key)


_SHAPES = {
    "hash": 'write hash = ["ATTRIBUTE", "S"], or "N", or "B"',
    "range": 'write range = ["ATTRIBUTE", "S"], or "N", or "B"',
    "billing": 'write billing = "on-demand", or { read = 5, write = 10 }',
    "pitr": "write pitr = true, or days from 1 to 35",
}


def _filled(found: _Control, defaults: _Options, *, keys: KeySchema | None) -> Declared:
    """With the defaults where an option is not given; an owned table has none of them."""
    base = _Options() if found.owned else defaults
    billing = found.billing if found.billing is not None else base.billing
    return Declared(
        physical=found.physical,
        keys=keys,
        like=getattr(found, "like", None),
        owned=found.owned,
        billing=Units(billing.read, billing.write) if isinstance(billing, _Units) else billing,
        pitr=found.pitr if found.pitr is not None else base.pitr,
        deletion_protection=(
            found.deletion_protection
            if found.deletion_protection is not None
            else base.deletion_protection
        ),
        kms=found.kms or base.kms,
        tags={**base.tags, **found.tags},
    )


def _lower(text: str) -> str:
    """Msgspec's words in those of TOML."""
    text = text[:1].lower() + text[1:].replace("`", "").replace(" | null", "")
    return text.replace("object", "table").replace("array", "a list").replace("str", "text")
