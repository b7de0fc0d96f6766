"""What a transform puts in the place of a value: a constant, or a keyed pseudonym.

Both are laid on events, before they are folded, so each says what becomes of an UpdateItem's
sections, too. None of them asks what is stored.

==========  ================================  ===================================================
            constant                          pseudonym
==========  ================================  ===================================================
a value     the constant                      40 hex digits of HMAC-SHA256 of its canonical bytes
a set       the constant                      the set of its members' pseudonyms
Add         a Set of the constant             of a set: of the members' pseudonyms; of a number it
                                              is refused, since a sum's pseudonym is no sum
Delete      is left out                       of the members' pseudonyms
==========  ================================  ===================================================

Equal values have equal pseudonyms in every table, so that what refers to each other still does; who
does not know the secret can neither tell the value nor try values out. 160 bits: among 10^12 values
two have the same with a chance below 10^-24.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from hmac import digest
from typing import Any, TypeAlias

import msgspec

from binlog.errors import RefusedError
from binlog.values import encode_value

SECRET_BYTES_MIN = 16
SECRET_VARIABLE = "BINLOG_PSEUDONYM_SECRET"  # noqa: S105 the name of a variable
_HEX_DIGITS = 40


class Constant(msgspec.Struct, frozen=True):
    """The same value, whatever was there."""

    value: Any

    injective = False

    def of(self, _value: Any) -> Any:
        """The value that is kept."""
        return self.value

    def added(self, _name: str, _operand: Any) -> tuple[str, Any]:
        """What an Add becomes: section and content."""
        return "Set", self.value

    def deleted(self, _operand: Any) -> Any:
        """What a Delete takes away, ``None``: nothing."""
        return None

    @property
    def text(self) -> str:
        """What a fingerprint holds of it."""
        return f"constant {encode_value(self.value).hex()}"


class Pseudonym(msgspec.Struct, frozen=True):
    """A keyed one-way function of the value. The secret comes from the environment."""

    variable: str
    secret: bytes = b""

    injective = True

    def __repr__(self) -> str:  # the secret is shown to nobody
        return f"pseudonym({self.variable!r})"

    def of(self, value: Any) -> Any:
        """The value that is kept."""
        if type(value) is frozenset:
            return frozenset(map(self._one, value))
        return self._one(value)

    def added(self, name: str, operand: Any) -> tuple[str, Any]:
        """What an Add becomes: section and content.

        Raises:
            RefusedError: of a number.
        """
        if type(operand) is not frozenset:
            raise RefusedError(
                f"Add {name!r}: a pseudonym cannot be added to (drop the attribute, or redact it by "
                "a constant)"
            )
        return "Add", self.of(operand)

    def deleted(self, operand: Any) -> Any:
        """What a Delete takes away.

        Raises:
            RefusedError: no set: it fits no item, and must not get as far as a dead letter.
        """
        if type(operand) is not frozenset:
            raise RefusedError("Delete takes the members of a set")
        return self.of(operand)

    @property
    def text(self) -> str:
        """What a fingerprint holds of it: no secret, and nothing to try short ones out on."""
        return f"pseudonym {digest(self.secret, b'binlog: which secret', sha256)[:16].hex()}"

    def _one(self, value: Any) -> str:
        return digest(self.secret, encode_value(value), "sha256").hex()[:_HEX_DIGITS]


Redaction: TypeAlias = Constant | Pseudonym


def pseudonym(variable: str = SECRET_VARIABLE) -> Pseudonym:
    """Pseudonyms by the secret in this environment variable, at least 16 bytes of text."""
    if not variable or "=" in variable or "\0" in variable:
        raise RefusedError(f"the environment variable {variable!r}")
    return Pseudonym(variable)


def redaction_of(value: Any) -> Redaction:
    """What a declaration means: a pseudonym, or any value of an item, a constant.

    Raises:
        RefusedError: what no item can hold.
    """
    if isinstance(value, Pseudonym):
        return value
    encode_value(value, outer=1)
    return Constant(frozenset(value) if isinstance(value, set) else value)


def with_secret(redaction: Redaction, environment: Mapping[str, str] = os.environ) -> Redaction:
    """The redaction, ready for use.

    Raises:
        RefusedError: the variable is not set, or holds less than 16 bytes.
    """
    if isinstance(redaction, Constant):
        return redaction
    secret = environment.get(redaction.variable, "").encode(errors="surrogateescape")
    if len(secret) < SECRET_BYTES_MIN:
        found = f"has {len(secret)} bytes" if secret else "is not set"
        raise RefusedError(
            f"the secret of pseudonyms, ${redaction.variable}, {found}",
            do=f"set it to the same {SECRET_BYTES_MIN} bytes or more wherever these appliers run",
            variable=redaction.variable,
        )
    return Pseudonym(redaction.variable, secret)
