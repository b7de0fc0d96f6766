"""PartiQL as far as the store writes it, for the double: INSERT of named attributes by parameters.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.insert.html
What this grammar lacks raises, so that nothing is taken for done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_INSERT = re.compile(r"""INSERT INTO "([A-Za-z0-9_.-]{3,255})" VALUE \{('.*': \?)\}""", re.DOTALL)
_MEMBER = re.compile(r"""'([^'"\\?]+)': \?(?:, |$)""")
_CHARS_MAX = 8_192


def inserted(statement: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Table and item of a statement."""
    text = statement["Statement"]
    assert len(text) <= _CHARS_MAX, len(text)
    found = _INSERT.fullmatch(text)
    assert found, text
    names, at = [], 0
    while at < len(found[2]):
        member = _MEMBER.match(found[2], at)
        assert member, found[2][at:]
        names.append(member[1])
        at = member.end()
    assert len(set(names)) == len(names), names
    return found[1], dict(zip(names, statement["Parameters"], strict=True))
