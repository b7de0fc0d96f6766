"""What dead generations and killed builds leave in a DynamoDB store, and its removal."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import msgspec

from appliers.stores.dynamodb_catalog import BUILD, checkpoints_pk
from appliers.stores.dynamodb_imported import Imported, remove_imported
from appliers.stores.dynamodb_items import Attributes
from appliers.stores.dynamodb_letters import LETTERS
from appliers.stores.dynamodb_session import Session
from binlog.params import decode_genesis

_OF_GENERATIONS = ("at", "rejected", LETTERS, "base")
_read_tables = msgspec.json.Decoder(list[Imported]).decode


def sweep(session: Session) -> None:
    """Remove the rows of generations that are not live and are not being built.

    Reads the keys of the control table, which are few: a row a partition, and what was rejected.
    """
    alive = {generation.id for generation in session.catalog.generations}
    dead: list[Attributes] = []
    building: list[str] = []
    for key in session.rows.every_key():
        kind, _, generation = key["pk"]["S"].partition("#")
        if kind == BUILD:
            building.append(key["sk"]["S"])
        elif kind in _OF_GENERATIONS and generation not in alive:
            dead.append(key)
    session.rows.delete(key for key in dead if key["pk"]["S"].partition("#")[2] not in building)


def remove_builds(session: Session, *, imports: bool = False) -> list[Imported]:
    """Remove what killed builds left: their tables, and their rows. Only the writer may.

    ``imports``: but for tables that they were importing, which are returned, and whose rows stay:
    `remove_left` is called when it is known which of them are taken over.

    One that has lost its lock and goes on all the same is stopped first: its row is replaced, so it
    makes no further table, and then the catalog, so it does not switch to tables that are removed.
    A build that did switch, and left its row, is live: its tables stay.

    Raises:
        LostError: the catalog was changed by another writer; nothing is removed.
    """
    found = [_stopped(session, item) for item in session.rows.query({"S": BUILD})]
    if found or session.catalog.rev:
        session.change()
    alive = {generation.id for generation in session.catalog.generations}
    left: list[Imported] = []
    for item in found:
        imported: list[Imported] = []
        if item["sk"]["S"] not in alive:
            for gone in _read_tables(item["tables"]["S"]):
                if gone.source:
                    imported.append(gone)
                elif gone.physical:
                    session.remove(gone)
        doomed = imported if not imports else [each for each in imported if each.doomed]
        kept = remove_imported(session, doomed)
        imported = kept + [each for each in imported if each not in doomed]
        left += [each for each in imported if not each.doomed]
        if not imported:
            session.rows.delete([item])
    sweep(session)
    for generation in session.catalog.generations:
        fence = partial(_fence, session, generation.id)
        session.states.sweep(generation.id, fence, session.calls.now_ms())
    return left


def remove_left(session: Session, *, build: str, taken: Collection[str]) -> None:
    """Remove what other builds than ``build`` were importing, but for the tables ``taken``."""
    for item in session.rows.query({"S": BUILD}):
        if item["sk"]["S"] == build:
            continue
        tables = _read_tables(item["tables"]["S"])
        rest = [each for each in tables if each.source and each.physical not in taken]
        if not remove_imported(session, rest):
            session.rows.delete([item])


def _stopped(session: Session, item: Attributes) -> Attributes:
    """The row of a build, as it is for good: what the build writes over it next, it cannot."""
    while True:
        rev = int(item["rev"]["N"])
        if session.rows.put(item | {"rev": {"N": str(rev + 1)}}, rev=rev):
            return item
        newer = session.rows.get(item)
        if newer is None:
            return item
        item = newer


def _fence(session: Session, generation: str) -> list[bytes] | None:
    """The checkpoint rows of a generation, each written again as it is.

    So a writer that was stopped, for days perhaps, and was about to name another one, cannot any
    more. ``None``, and nothing is to be deleted: a partition has no row yet, which nothing keeps
    that writer from making, or somebody else writes.
    """
    assert session.catalog.genesis is not None
    items = list(session.rows.query(checkpoints_pk(generation)))
    if len(items) < decode_genesis(session.catalog.genesis, session.name).partitions:
        return None
    session.forget_standings(generation)
    for item in items:
        rev = int(item["rev"]["N"])
        if not session.rows.put(item | {"rev": {"N": str(rev + 1)}}, rev=rev):
            return None
    return [bytes(item["state"]["B"]) for item in items]
