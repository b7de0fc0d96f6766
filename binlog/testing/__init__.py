"""Proofs of your own appliers; extra ``[testing]``, never imported by what runs in production."""

from binlog.testing.check_applier import check_applier
from binlog.testing.check_schema import check_schema
from binlog.testing.given import given
from binlog.testing.invariants import of_each_item, of_each_replica
from binlog.testing.machine import ReplayMachine
from binlog.testing.types.strategies import events, values
from binlog.testing.violation import Violation
from binlog.testing.world.world import World

__all__ = [
    "ReplayMachine",
    "Violation",
    "World",
    "check_applier",
    "check_schema",
    "events",
    "given",
    "of_each_item",
    "of_each_replica",
    "values",
]
