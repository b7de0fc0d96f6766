"""Taking out of a lock what somebody vouches for: never published, or retired on purpose.

These are the only ways in which a lock forgets anything.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from appliers.lock.document import Lock, Version, sealed
from binlog.errors import RefusedError


def without_unpublished(lock: Lock, named: Iterable[str]) -> Lock:
    """``lock`` less versions of which no log holds an event: ``TYPE``, or ``TYPE@N`` from N on.

    Raises:
        RefusedError: no such type or version in the lock.
    """
    types = dict(lock.types)
    for name in named:
        event_type, at, number = name.rpartition("@")
        if not at or not number.isascii() or not number.isdigit():
            event_type, number = name, "1"
        entry, first = types.get(event_type), int(number)
        if entry is None or not 1 <= first <= len(entry.versions):
            raise RefusedError(
                f"--unpublished {name}: the lock has no such {'version' if entry else 'type'}",
                do=f"it has {_named(entry.versions) if entry else ', '.join(types) or 'no types'}",
            )
        if first == 1:
            del types[event_type]
            continue
        types[event_type] = sealed(
            event_type,
            msgspec.structs.replace(
                entry,
                versions=entry.versions[: first - 1],
                upcasters=entry.upcasters[: first - 2],
            ),
        )
    return msgspec.structs.replace(lock, types=types)


def without_retired(lock: Lock, named: Iterable[str]) -> Lock:
    """``lock`` less an applier, ``TYPE:TABLE`` ("" for the event's own), or an owner, ``:TABLE``.

    Raises:
        RefusedError: no such applier or owner in the lock.
    """
    for name in named:
        event_type, colon, table = name.rpartition(":")
        entry = lock.types.get(event_type)
        if colon and not event_type and table in lock.owners:
            owners = {of: owner for of, owner in lock.owners.items() if of != table}
            lock = msgspec.structs.replace(lock, owners=owners)
        elif colon and entry is not None and table in entry.appliers:
            appliers = {of: part for of, part in entry.appliers.items() if of != table}
            entry = sealed(event_type, msgspec.structs.replace(entry, appliers=appliers))
            lock = msgspec.structs.replace(lock, types={**lock.types, event_type: entry})
        else:
            raise RefusedError(
                f"--retire {name}: the lock has no such applier or owner",
                do="write TYPE:TABLE for an applier, :TABLE for an owner",
            )
    return lock


def _named(versions: list[Version]) -> str:
    return f"version {', '.join(str(version.schema) for version in versions)}"
