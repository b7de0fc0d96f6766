"""Leaving an event out of a store that it stands in the way of: what `redrive --without` decides.

The event is a dead letter, and has changed nothing yet: then it is enough that the generation's
exclusions name its offset, and that it is passed over when the letters of its items are put back. What
comes out is what a rebuild with these exclusions makes.

It is refused where that would not be so:

* another item took the event, or it was rejected there: only a rebuild takes it out again;
* the item has no other event: an item that no event made is not there, and a store takes none away;
* the partition's checkpoint is not beyond it: whoever is at work there would meet it again.

Where the event is the last of its item nothing moves the item's version. A worker that read the item
before it was parked, and stood still since, may park it once more: any redrive puts it back, and `check`
finds it until then.

The exclusion is durable before any letter goes. A redrive that was killed in between is gone on with
by any other one: letters that an exclusion names are passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from appliers.letters import DeadLetter, run_of
from appliers.poison import readable_key
from appliers.routing import Routing
from appliers.store import Checkpoint, Generation, Store
from binlog.errors import ConflictError
from snapshots.touches import touches


class LeftOut(msgspec.Struct, frozen=True):
    """An event that is left out from now on, by the ``rule`` that names it."""

    id: str
    partition: int
    offset: int

    @property
    def rule(self) -> str:
        return f"offsets={self.partition}:{self.offset}-{self.offset}"


def find_left_out(
    store: Store, generations: Sequence[Generation], ids: Collection[str]
) -> dict[str, list[LeftOut]]:
    """By generation the events of these ids that are dead letters there.

    Raises:
        ConflictError: there is none of an id, or several events have it.
    """
    found: dict[str, set[LeftOut]] = {}
    for generation in generations:
        for letter in _letters(store, generation):
            if letter.id in ids:
                event = LeftOut(letter.id, letter.partition, letter.offset)
                found.setdefault(generation.id, set()).add(event)
    for id_ in ids:
        places = {event for events in found.values() for event in events if event.id == id_}
        if not places:
            raise ConflictError(
                f"no event {id_!r} waits or stands in the way",
                store.name,
                "binlog parked and binlog redrive tell the ids of those that do",
                id=id_,
            )
        if len(places) > 1:
            rules = ", ".join(sorted(event.rule for event in places))
            raise ConflictError(
                f"several events have the id {id_!r} ({rules})",
                store.name,
                "rebuild with the rules that are meant",
                id=id_,
            )
    return {generation: sorted(events, key=_place) for generation, events in found.items()}


def _place(event: LeftOut) -> tuple[int, int]:
    return event.partition, event.offset


def _letters(store: Store, generation: Generation) -> Iterator[DeadLetter]:
    for table in (*([""] if generation.open else ()), *generation.tables):
        yield from store.letters(table)


def check_left_out(
    store: Store,
    generation: Generation,
    routing: Routing,
    events: Sequence[LeftOut],
    checkpoints: Mapping[int, Checkpoint],
) -> None:
    """That leaving them out of the generation is all that a rebuild without them would do.

    Raises:
        ConflictError: it is not; see the module.
    """
    letters: dict[tuple[int, int], list[DeadLetter]] = {}
    kept: dict[tuple[str, bytes], int] = {}  # letters of each item that are not left out
    wanted = {_place(event) for event in events}
    for letter in _letters(store, generation):
        place = letter.partition, letter.offset
        if place in wanted:
            letters.setdefault(place, []).append(letter)
        elif not letter.alone:
            kept[letter.table, letter.key] = kept.get((letter.table, letter.key), 0) + 1
    for event in events:
        checkpoint = checkpoints.get(event.partition)
        if checkpoint is None or checkpoint.applied < event.offset:
            raise _refused(
                event,
                store,
                "the checkpoint of its partition is not beyond it yet",
                "wait until its consumer goes on, or stop it, and try again",
            )
        own = letters[_place(event)]
        waiting = {(letter.table, letter.key) for letter in own if not letter.alone}
        for letter in own:
            _check_items(store, generation, routing, event, letter, waiting)
        for table, key in waiting:
            row = store.read(generation.id, table, [key]).get(key)
            if row is not None and not row.version and not kept.get((table, key)):
                raise _refused(
                    event, store, f"nothing else made the item {_shown(table, key)}", _REBUILD
                )


_REBUILD = "rebuild the table with --exclude"


def _check_items(
    store: Store,
    generation: Generation,
    routing: Routing,
    event: LeftOut,
    letter: DeadLetter,
    waiting: Collection[tuple[str, bytes]],
) -> None:
    """That no item but those where it waits has taken the event."""
    run = routing.transformed(run_of(letter))
    for _, table, key in touches(routing, run):
        if (table, key) in waiting:
            continue
        row = store.read(generation.id, table, [key]).get(key)
        if row is not None and row.partition == letter.partition and row.version >= letter.version:
            raise _refused(event, store, f"the item {_shown(table, key)} took it", _REBUILD)
        if any(
            (each.partition, each.offset, each.key) == (event.partition, event.offset, key)
            for each in store.rejections(table)
        ):
            raise _refused(event, store, f"the item {_shown(table, key)} refused it", _REBUILD)


def _shown(table: str, key: bytes) -> str:
    return f"{readable_key(key)[1]} of {table}"


def _refused(event: LeftOut, store: Store, why: str, do: str) -> ConflictError:
    return ConflictError(
        f"event {event.id!r} cannot be left out here: {why}",
        f"{store.name}, partition {event.partition}, offset {event.offset}",
        do if do is not _REBUILD else f"{do} {event.rule}",
        id=event.id,
        partition=event.partition,
        offset=event.offset,
    )
