"""The tags of a stream that name the archive of its log.

A hint for who has nothing else: the record that names it (`binlog.archive.announcement`) is forgotten
with all others, and tags are not. Whatever they name is believed only if it is an archive of this log
(`binlog.archive.named_log`). Tags::

    binlog/archive-1    base64 of the address, first 256 characters, and so on; then one that is empty

Base64, since a tag takes neither ``?`` nor ``&`` (API reference, `Tag`); the empty one ends it where a
longer address was before.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

_TAG = "binlog/archive-"
_CHARACTERS = 256  # of a value (service limit); a stream has at most 50 tags


def archive_of_tags(tags: Mapping[str, str]) -> str | None:
    """The address that they hold; ``None``: none, or nothing that can be one."""
    parts: list[str] = []
    while part := tags.get(f"{_TAG}{len(parts) + 1}"):
        parts.append(part)
    try:
        return base64.b64decode("".join(parts), validate=True).decode() or None
    except ValueError:
        return None


def tags_of_archive(url: str) -> dict[str, str]:
    """The tags to write; an empty address takes back what is there."""
    packed = base64.b64encode(url.encode()).decode()
    parts = [packed[i : i + _CHARACTERS] for i in range(0, len(packed), _CHARACTERS)]
    return {f"{_TAG}{number}": part for number, part in enumerate([*parts, ""], 1)}
