"""DynamoDB's condition expressions, as far as the store writes them, for the double.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
What this grammar lacks raises, so that nothing is taken for true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

_TOKEN = re.compile(r"\s*([#:]?[A-Za-z_][A-Za-z0-9_]*|<>|<=|>=|[=<>().,])")
_COMPARE = {"=", "<", "<=", ">", ">=", "<>"}
_FUNCTIONS = {"attribute_exists", "attribute_not_exists", "begins_with"}

Attribute = Mapping[str, Any]


@cache
def tokens(expression: str) -> tuple[str, ...]:
    found, at = [], 0
    while at < len(expression.rstrip()):
        match = _TOKEN.match(expression, at)
        assert match, f"{expression!r} at {at}"
        found.append(match[1])
        at = match.end()
    return tuple(found)


def used(expression: str) -> set[str]:
    """The placeholders in an expression: the service refuses to be given any other."""
    return {token for token in tokens(expression) if token[0] in "#:"}


def holds(
    expression: str, item: Attribute, names: Mapping[str, str], values: Mapping[str, Attribute]
) -> bool:
    parser = _Parser(list(tokens(expression)), item, names, values)
    result = parser.either()
    assert not parser.left, f"{expression!r}: {parser.left} is left"
    return result


class _Parser:
    """Evaluates while it reads; OR binds less than AND, and AND less than NOT."""

    def __init__(
        self,
        left: list[str],
        item: Attribute,
        names: Mapping[str, str],
        values: Mapping[str, Attribute],
    ) -> None:
        self.left = left
        self.item = item
        self.names = names
        self.values = values

    def take(self, wanted: str | None = None) -> str:
        token = self.left.pop(0)
        assert wanted in (None, token), f"{token} for {wanted}"
        return token

    def next_is(self, *wanted: str) -> bool:
        return bool(self.left) and self.left[0] in wanted

    def either(self) -> bool:
        result = self.both()
        while self.next_is("OR"):
            self.take()
            other = self.both()
            result = result or other
        return result

    def both(self) -> bool:
        result = self.one()
        while self.next_is("AND"):
            self.take()
            other = self.one()
            result = result and other
        return result

    def one(self) -> bool:
        if self.next_is("NOT"):
            self.take()
            return not self.one()
        if self.next_is("("):
            self.take()
            result = self.either()
            self.take(")")
            return result
        if self.next_is(*_FUNCTIONS):
            return self.function()
        left = self.operand()
        operator = self.take()
        assert operator in _COMPARE, operator
        return compare(operator, left, self.operand())

    def function(self) -> bool:
        name = self.take()
        self.take("(")
        first = self.operand()
        if name == "begins_with":
            self.take(",")
            second = self.operand()
            self.take(")")
            return bool(first and second and str(first["S"]).startswith(second["S"]))
        self.take(")")
        return (first is not None) == (name == "attribute_exists")

    def operand(self) -> Attribute | None:
        """The value; ``None`` of what is not there."""
        token = self.take()
        if token.startswith(":"):
            return self.values[token]
        found: Attribute | None = self.item.get(self._name(token))
        while self.next_is("."):
            self.take()
            name = self._name(self.take())
            found = found["M"].get(name) if found is not None and "M" in found else None
        return found

    def _name(self, token: str) -> str:
        return self.names[token] if token.startswith("#") else token


def compare(operator: str, left: Attribute | None, right: Attribute | None) -> bool:
    """Of what is not there, or of two types, only "not equal" is true."""
    if left is None or right is None or left.keys() != right.keys():
        return operator == "<>"
    ((kind, a),), ((_, b),) = left.items(), right.items()
    if kind == "N":
        a, b = Decimal(a), Decimal(b)
    elif kind == "S":
        a, b = a.encode(), b.encode()
    order = {"=": a == b, "<>": a != b}
    if operator in order:
        return bool(order[operator])
    assert kind in ("N", "S", "B"), kind
    return bool({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator])
