"""Disaster recovery drills: a disaster, the runbook's own commands, and a judge."""

from binlog.drills.action import Action
from binlog.drills.declared import drill, twin
from binlog.drills.verbs import Drill

__all__ = ["Action", "Drill", "drill", "twin"]
