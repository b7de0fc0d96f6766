"""How a snapshot is begun, gone on with after an interruption, and cleaned up if nobody does.

Going on is right, although rows of different times are mixed by it, because nothing that a snapshot
promises needs them to be of one time (`appliers.survey`):

* the checkpoints are those of the beginning, and every row was read after they were durable, whichever
  process read it, so each holds every event up to them, or its letters do;
* rows of the same generation only: what a rebuild replaced is another generation, and is not gone on
  with, nor what more events were left out of. Of a store that keeps moments only at the same
  checkpoints, so that it stays exact;
* letters were all read before the first row, and rejections are after the last, also if it was another
  process that read those: a chain is only begun when the ones before it are complete.

An interrupted snapshot is gone on with for `JOIN_MS` after its last sign of life, and removed after
`LEFT_MS`; that the two differ keeps whoever goes on apart from whoever removes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from random import Random

from appliers.store import Checkpoint
from appliers.survey import Survey
from binlog.errors import BinlogError, ConflictError, StorageError
from binlog.objects.objects import Objects
from snapshots.snapshot import has_manifest, lost_manifest, part_ids, read_manifest
from snapshots.snapshot_chain import keys_of, remove
from snapshots.snapshot_manifest import (
    ASIDE,
    FORMAT,
    PARTS,
    Begun,
    begun_key,
    manifest_key,
    part_key,
    places_of,
    seal,
    unseal,
)

JOIN_MS = 12 * 3_600_000
LEFT_MS = 24 * 3_600_000


def begin(
    objects: Objects,
    source: Survey,
    *,
    segments: int,
    now_ms: int,
    random: Random | None = None,
    anew: bool = False,
    adopted: str | None = None,
) -> tuple[Begun, bytes]:
    """The beginning of a snapshot of ``source``, durable on return, and its bytes.

    That of one that was interrupted where there is one, unless ``anew``.

    Raises:
        ConflictError: an archive or a log is kept there.
    """
    _check_apart(objects)
    checkpoints = source.checkpoints()
    if not anew and (
        found := _interrupted(objects, source, checkpoints, now_ms=now_ms, adopted=adopted)
    ):
        return found
    token = secrets.token_hex(4) if random is None else f"{random.getrandbits(32):08x}"
    begun = Begun(
        format=FORMAT,
        id=f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_ms / 1000))}-{token}",
        began_ms=now_ms,
        store=source.name,
        genesis=source.genesis,
        generation=source.generation,
        places=places_of(checkpoints),
        segments=segments,
        is_moment=source.is_moment,
        adopted=adopted,
        without=source.without,
    )
    data = seal(begun)
    if not objects.put_new(begun_key(begun.id), data):
        raise StorageError("a snapshot of this id is there already", objects.name, "try again")
    return begun, data


def _check_apart(objects: Objects) -> None:
    """No archive's place, whose `check` would find what is none of it, and no log's folder."""
    for key, what in (("archive.json", "an archive"), ("GENESIS", "a log")):
        if objects.get(key, 0, 1) is not None:
            raise ConflictError(
                f"{what} is kept there", objects.name, "name a place of its own for the snapshots"
            )


def _interrupted(
    objects: Objects,
    source: Survey,
    checkpoints: dict[int, Checkpoint],
    *,
    now_ms: int,
    adopted: str | None,
) -> tuple[Begun, bytes] | None:
    """The newest of this store and generation that can be gone on with."""
    for id_, _, modified_ms in sorted(unfinished(objects), reverse=True):
        data = objects.get(begun_key(id_))
        if data is None or now_ms - modified_ms >= JOIN_MS:
            continue
        try:
            begun = unseal(data, Begun, f"{objects.name}/{begun_key(id_)}")
        except BinlogError:
            continue  # damaged, or a newer format: nobody's to go on with here
        if (begun.store, begun.genesis, begun.generation.id, begun.is_moment, begun.adopted) != (
            *(source.name, source.genesis, source.generation.id, source.is_moment),
            adopted,
        ):
            continue
        if begun.is_moment:
            is_same = begun.generation == source.generation and _at(begun.checkpoints) == _at(
                checkpoints
            )
        else:
            is_same = begun.generation.excluded == source.generation.excluded and set(
                begun.generation.tables
            ) <= set(source.generation.tables)
        if is_same:
            return begun, data
    return None


def _at(checkpoints: dict[int, Checkpoint]) -> dict[int, tuple[str, int, int]]:
    return {p: (c.shard, c.sequence, c.applied) for p, c in checkpoints.items()}


def unfinished(objects: Objects) -> Iterator[tuple[str, int, int]]:
    """Snapshots without a manifest: id, bytes, and the storage's time of the last sign of life."""
    for id_ in part_ids(objects):
        if has_manifest(objects, id_):
            continue
        size = modified_ms = 0
        for entry in objects.list(f"{PARTS}{id_}/"):
            size += entry.size
            modified_ms = max(modified_ms, entry.modified_ms)
        if modified_ms:
            yield id_, size, modified_ms


def clean(objects: Objects, id_: str) -> None:
    """After ``id_`` was finished: remove what it no longer needs, and what others left.

    Of one that was finished what it had read aside, at once; of one that was not all, after `LEFT_MS`.
    """
    manifest = read_manifest(objects, id_)
    needed = {part.key for part in manifest.parts} | {begun_key(id_)}
    remove(objects, (key for key in keys_of(objects, id_) if key not in needed))
    [now_ms] = [entry.modified_ms for entry in objects.list(manifest_key(id_))]
    for other in list(part_ids(objects)):
        aside = [entry.key for entry in objects.list(part_key(other, f"{ASIDE}/"))]
        if aside and has_manifest(objects, other):
            remove(objects, aside)
    for left, _, modified_ms in list(unfinished(objects)):
        # One whose manifest was lost is whole again when that is brought back.
        if now_ms - modified_ms >= LEFT_MS and not lost_manifest(objects, left):
            remove(objects, keys_of(objects, left))
