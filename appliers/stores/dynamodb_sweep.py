"""What dead generations and killed builds leave in a DynamoDB store, and its removal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from appliers.state_base import named_by
from appliers.store import Generation
from appliers.stores.dynamodb_catalog import BUILD, Gone
from appliers.stores.dynamodb_items import Attributes
from appliers.stores.dynamodb_lease import LOCK, lock_of
from appliers.stores.dynamodb_reader import is_settled, read_standings
from appliers.stores.dynamodb_session import Session

_OF_GENERATIONS = ("at", "rejected", "base")
_read_tables = msgspec.json.Decoder(list[Gone]).decode


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


def remove_builds(session: Session) -> None:
    """Remove what killed builds left: their tables, and their rows. Only the writer may."""
    for item in list(session.rows.query({"S": BUILD})):
        for gone in _read_tables(item["tables"]["S"]):
            if gone.physical:
                session.remove(gone)
        session.rows.delete([item])
    sweep(session)
    for generation in session.catalog.generations:
        named = partial(_named, session, generation.id)
        session.states.sweep(generation.id, named, session.calls.now_ms())


def _named(session: Session, generation: str) -> set[str]:
    """The bases that the checkpoint rows of a generation name by now."""
    standings = read_standings(session.rows, generation, session.name).values()
    return {name for each in standings if (name := named_by(each.checkpoint.state))}


def is_built_over(session: Session, kept: Sequence[Generation]) -> bool:
    """Whether the last commit is done, or all that it wrote goes: then it says so nowhere else."""
    if not kept:
        return True
    standings = {each.id: session.standings(each.id) for each in session.catalog.generations}
    return is_settled(lock_of(session.rows.get(LOCK)), standings)
